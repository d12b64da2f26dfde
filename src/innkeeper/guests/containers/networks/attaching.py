"""One container on our networks: its leases, its links, and their end."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address, ip_interface
from typing import Any

from innkeeper.base.errors import InnError, MachineError, NotFoundError
from innkeeper.guests.containers.networks import definitions, flows, host, ipam, links
from innkeeper.guests.containers.networks.dns import process as dns
from innkeeper.guests.containers.networks.netlink import Netlink
from innkeeper.guests.containers.networks.state import State, is_attended


def lease(asked: dict[str, Any], state: State, *, preferred: Sequence[str]) -> dict[str, Any]:
    """Choose the addresses of a link: those asked for, those of the last time, or the next."""
    name = asked["network"]
    network = definitions.find_or_make(name)
    taken = state.taken(name)
    given = [text for text in (asked["ip"], asked["ip6"]) if text]
    own = [ipam.given_address(name, network.subnets, text, taken=taken) for text in given]
    had = [text.partition("/")[0] for text in preferred]
    addresses = []
    for subnet, gateway in network.subnets:
        version = 6 if ":" in subnet else 4
        one = next((a for a in own if ip_interface(a).version == version), None)
        if one is None:
            key = f"{name} {version}"
            one = ipam.next_address(
                name, subnet, gateway, taken=taken, last=state.last.get(key, ""), wanted=had
            )
            state.last[key] = one.partition("/")[0]
        addresses.append(one)
    mac = asked["mac"] or ipam.ethernet_address(addresses[0]).hex(":")
    return {"addresses": addresses, "mac": mac}


def connect(entry: dict[str, Any], pid: int) -> None:
    """Make a container's links to our networks, in the namespace of its process."""
    own = [link for link in entry["links"] if link["driver"] == "bridge"]
    namespace = f"/proc/{pid}/ns/net"
    routed = False
    with Netlink() as outer:
        fd = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with links.network_namespace(namespace):
                inner = Netlink()
            with inner:
                for link in own:
                    network = definitions.load(link["network"])
                    bridge = host.ensure_bridge(outer, network)
                    mtu = network.mtu or links.outer_mtu(outer)
                    links.add_veth(
                        outer, link["outside"], bridge=bridge, peer=link["inside"], namespace=fd,
                        mac=bytes.fromhex(link["mac"].replace(":", "")), mtu=mtu,
                    )  # fmt: skip
                    wants_route = not routed and not network.internal
                    _configure(inner, namespace, link, network, route=wants_route)
                    routed = routed or wants_route
        finally:
            os.close(fd)


def _configure(
    inner: Netlink, namespace: str, link: dict[str, Any], network: definitions.Network, *,
    route: bool,
) -> None:  # fmt: skip
    """Give the inner end its addresses, bring it up, and lead the rest over the gateways."""
    there = links.link_named(inner, link["inside"])
    if there is None:
        raise MachineError(f"the interface {link['inside']} is gone")
    with links.network_namespace(namespace), suppress(MachineError):
        # Neighbours are no routers (CVE-2020-10749); a kernel without IPv6 needs nothing.
        host.set_parameter(f"ipv6/conf/{link['inside']}/accept_ra", "0")
    links.set_up(inner, there.index)
    for address in link["addresses"]:
        links.add_address(inner, there.index, ip_interface(address))
    for _, gateway in network.subnets if route else ():
        links.add_default_route(inner, there.index, ip_address(gateway).packed)


def drop(container: str, state: State) -> None:
    """Give back what a container holds, and what only it needed; the entry goes last, so that a
    process killed in here has left it to the next one."""
    entry = state.containers.get(container)
    if entry is None:
        return
    if any(link["driver"] == "cni" for link in entry["links"]):
        from innkeeper.guests.containers.networks.cni import attach as cni

        cni.delete_all(container, entry)
    own = [link for link in entry["links"] if link["driver"] == "bridge"]
    with Netlink() as net:
        for link in own:
            links.delete_link(net, link["outside"])
    del state.containers[container]
    used = state.in_use()
    for link in own:
        if link["network"] not in used:
            _end_network(link["network"])
    if own:
        host.refilter(state)
        flows.forget(entry["ports"])
    state.save()


def drop_unattended(state: State) -> list[str]:
    """Give back what containers held that nobody attends to; return their ids. One that cannot be
    given back (a plugin of CNI's fails) keeps what it has, and nobody else from going on."""
    dropped = []
    for container in [one for one in state.containers if not is_attended(one)]:
        try:
            drop(container, state)
            dropped.append(container)
        except InnError as error:
            os.write(2, f"inn: network of {container}: {error}\n".encode())
    return dropped


def _end_network(name: str) -> None:
    """End what a network has as long as something is attached to it."""
    dns.end(name)
    with suppress(NotFoundError):
        host.remove_bridge(definitions.load(name))
