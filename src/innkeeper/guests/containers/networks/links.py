"""Bridges, veth pairs, addresses and routes: `linux/if_link.h`, `if_addr.h`, `rtnetlink.h`."""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_network

from innkeeper.base.record import record
from innkeeper.containers import kernel as k
from innkeeper.guests.containers.networks import netlink as nl
from innkeeper.guests.containers.networks.netlink import Netlink, attribute, attributes

Interface = IPv4Interface | IPv6Interface
Subnet = IPv4Network | IPv6Network

_IFF_UP = 1
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_MASTER = 1, 3, 4, 10
_IFLA_LINKINFO, _IFLA_IFALIAS, _IFLA_NET_NS_FD = 18, 20, 28
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFLA_INFO_SLAVE_KIND, _IFLA_INFO_SLAVE_DATA, _IFLA_BRPORT_MODE = 4, 5, 4
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_F_NODAD = 1, 2, 4, 2
_RTA_DST, _RTA_OIF, _RTA_GATEWAY = 1, 4, 5
_RT_TABLE_MAIN, _RT_TABLE_LOCAL, _RTPROT_STATIC, _RTN_UNICAST = 254, 255, 4, 1
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_ADDRESS = struct.Struct("=BBBBi")  # struct ifaddrmsg: family, prefix, flags, scope, index
_ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_NEW = nl.NLM_F_CREATE | nl.NLM_F_EXCL


@record
class Link:
    """A network interface: its index, name, alias, and the bridge it is a port of (0: none)."""

    index: int
    name: str
    alias: str
    master: int


@contextmanager
def network_namespace(path: str) -> Iterator[None]:
    """Be in another network namespace: sockets made in here stay in it (network_namespaces(7))."""
    there = own = -1
    try:
        there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        k.setns(there, k.CLONE_NEWNET)
        try:
            yield
        finally:
            k.setns(own, k.CLONE_NEWNET)
    finally:
        for fd in (there, own):
            if fd >= 0:
                os.close(fd)


def links(net: Netlink) -> list[Link]:
    """Return all interfaces of a namespace."""
    return [_link(data) for data in net.get(nl.RTM_GETLINK, _LINK.pack(0, 0, 0, 0, 0), dump=True)]


def link_named(net: Netlink, name: str) -> Link | None:
    """Return the interface of a name, or None."""
    try:
        request = _LINK.pack(0, 0, 0, 0, 0) + attribute(_IFLA_IFNAME, name)
        return _link(net.get(nl.RTM_GETLINK, request)[0])
    except OSError as error:
        if error.errno == errno.ENODEV:
            return None
        raise


def _link(data: bytes) -> Link:
    index = _LINK.unpack_from(data)[2]
    found = attributes(data[16:])
    return Link(
        index, _text(found.get(_IFLA_IFNAME)), _text(found.get(_IFLA_IFALIAS)),
        _number(found.get(_IFLA_MASTER)),
    )  # fmt: skip


def _text(value: bytes | None) -> str:
    return (value or b"").rstrip(b"\0").decode("utf-8", "replace")


def _number(value: bytes | None) -> int:
    return int(struct.unpack("=I", value)[0]) if value is not None and len(value) == 4 else 0


def add_bridge(net: Netlink, name: str, *, mac: bytes, mtu: int, alias: str) -> int:
    """Make a bridge that is up; return its index. A fixed address does not follow its ports'."""
    info = attribute(_IFLA_LINKINFO, attribute(_IFLA_INFO_KIND, b"bridge"))
    named = attribute(_IFLA_IFNAME, name)
    more = attribute(_IFLA_ADDRESS, mac) + (attribute(_IFLA_MTU, mtu) if mtu else b"")
    net.do(nl.RTM_NEWLINK, _LINK.pack(0, 0, 0, 0, 0) + named + more + info, _NEW)
    made = link_named(net, name)
    if made is None:
        raise OSError(errno.ENODEV, f"{name} is gone again")
    _change(net, made.index, attribute(_IFLA_IFALIAS, alias.encode()))
    return made.index


def add_veth(
    net: Netlink, name: str, *, bridge: int, peer: str, namespace: int, mac: bytes, mtu: int
) -> None:
    """Make a pair: one end a port of a bridge, and up, the other in another namespace."""
    size = attribute(_IFLA_MTU, mtu) if mtu else b""
    inside = attribute(_IFLA_IFNAME, peer) + attribute(_IFLA_ADDRESS, mac) + size
    inside += attribute(_IFLA_NET_NS_FD, namespace)
    data = attribute(_VETH_INFO_PEER, _LINK.pack(0, 0, 0, 0, 0) + inside)
    info = attribute(_IFLA_INFO_KIND, b"veth") + attribute(_IFLA_INFO_DATA, data)
    outside = attribute(_IFLA_IFNAME, name) + attribute(_IFLA_MASTER, bridge) + size
    head = _LINK.pack(0, 0, 0, _IFF_UP, _IFF_UP)
    net.do(nl.RTM_NEWLINK, head + outside + attribute(_IFLA_LINKINFO, info), _NEW)
    _turn_back(net, name)


def _turn_back(net: Netlink, port: str) -> None:
    """Let frames leave by the port that they came from (hairpin mode): where the kernel filters
    bridged packets (br_netfilter) that is the way back from a published port of one's own."""
    data = attribute(_IFLA_INFO_SLAVE_KIND, b"bridge")
    data += attribute(_IFLA_INFO_SLAVE_DATA, attribute(_IFLA_BRPORT_MODE, b"\1"))
    named = attribute(_IFLA_IFNAME, port)
    net.do(nl.RTM_NEWLINK, _LINK.pack(0, 0, 0, 0, 0) + named + attribute(_IFLA_LINKINFO, data))


def set_up(net: Netlink, index: int) -> None:
    """Bring an interface up."""
    _change(net, index, b"")


def _change(net: Netlink, index: int, more: bytes) -> None:
    net.do(nl.RTM_NEWLINK, _LINK.pack(0, 0, index, _IFF_UP, _IFF_UP) + more)


def delete_link(net: Netlink, name: str) -> bool:
    """Remove an interface, and of a pair both; False when there is none."""
    try:
        net.do(nl.RTM_DELLINK, _LINK.pack(0, 0, 0, 0, 0) + attribute(_IFLA_IFNAME, name))
    except OSError as error:
        if error.errno == errno.ENODEV:
            return False
        raise
    return True


def add_address(net: Netlink, index: int, address: Interface) -> None:
    """Give an interface an address; one that it has already is no error.

    Addresses are ours to give, so IPv6 does not look for others that have it (nodad): that takes a
    second.
    """
    packed = address.ip.packed
    flags = _IFA_F_NODAD if address.version == 6 else 0
    prefix = address.network.prefixlen
    request = _ADDRESS.pack(_FAMILIES[address.version], prefix, flags, 0, index)
    request += attribute(_IFA_LOCAL, packed) + attribute(_IFA_ADDRESS, packed)
    if address.version == 4 and prefix < 31:
        request += attribute(_IFA_BROADCAST, address.network.broadcast_address.packed)
    net.do(nl.RTM_NEWADDR, request, nl.NLM_F_CREATE | nl.NLM_F_REPLACE)


def add_default_route(net: Netlink, index: int, gateway: bytes) -> None:
    """Lead all that has no other way over a gateway."""
    family = _FAMILIES[4 if len(gateway) == 4 else 6]
    head = _ROUTE.pack(family, 0, 0, 0, _RT_TABLE_MAIN, _RTPROT_STATIC, 0, _RTN_UNICAST, 0)
    net.do(
        nl.RTM_NEWROUTE,
        head + attribute(_RTA_GATEWAY, gateway) + attribute(_RTA_OIF, index),
        nl.NLM_F_CREATE | nl.NLM_F_EXCL,
    )


def used_subnets(net: Netlink) -> list[Subnet]:
    """Return every subnet that the host has an address in or a route to; no default route."""
    found: list[Subnet] = []
    for data in net.get(nl.RTM_GETADDR, _ADDRESS.pack(0, 0, 0, 0, 0), dump=True):
        values = attributes(data[8:])
        packed = values.get(_IFA_LOCAL) or values.get(_IFA_ADDRESS)
        _keep(found, packed, data[1])
    for data in net.get(nl.RTM_GETROUTE, _ROUTE.pack(*[0] * 9), dump=True):
        if data[4] == _RT_TABLE_LOCAL or data[7] != _RTN_UNICAST:
            continue
        _keep(found, attributes(data[12:]).get(_RTA_DST), data[1])
    return found


def own_addresses(net: Netlink) -> set[bytes]:
    """Return the addresses that are the host's own."""
    found = set()
    for data in net.get(nl.RTM_GETADDR, _ADDRESS.pack(0, 0, 0, 0, 0), dump=True):
        values = attributes(data[8:])
        found.add(values.get(_IFA_LOCAL) or values.get(_IFA_ADDRESS) or b"")
    return found


def outer_mtu(net: Netlink) -> int:
    """Return the MTU of the interface that the default route leads to; 0 where there is none."""
    for data in net.get(nl.RTM_GETROUTE, _ROUTE.pack(socket.AF_INET, *[0] * 8), dump=True):
        values = attributes(data[12:])
        if data[1] == 0 and data[4] == _RT_TABLE_MAIN and _RTA_OIF in values:
            request = _LINK.pack(0, 0, _number(values[_RTA_OIF]), 0, 0)
            return _number(attributes(net.get(nl.RTM_GETLINK, request)[0][16:]).get(_IFLA_MTU))
    return 0


def _keep(found: list[Subnet], packed: bytes | None, prefix: int) -> None:
    with suppress(ValueError):
        if packed is not None and prefix:
            found.append(ip_network((packed, prefix), strict=False))
