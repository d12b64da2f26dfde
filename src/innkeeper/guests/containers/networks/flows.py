"""UDP flows that the kernel remembers (conntrack): forgotten where a published port has changed.

NAT is decided by a flow's first packet. Who goes on sending would reach a container that has ended,
or never one that has begun, as long as he sends. `linux/netfilter/nfnetlink_conntrack.h`.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from innkeeper.guests.containers.networks import links
from innkeeper.guests.containers.networks.netlink import Netlink, attribute, attributes

_NETLINK_NETFILTER = 12
_CT_GET, _CT_DELETE = 1 << 8 | 1, 1 << 8 | 2  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_*
_CTA_TUPLE_ORIG, _CTA_ID, _CTA_TUPLE_IP, _CTA_TUPLE_PROTO = 1, 12, 1, 2
_CTA_IP_V4_DST, _CTA_IP_V6_DST, _CTA_PROTO_NUM, _CTA_PROTO_DST_PORT = 2, 4, 1, 3
_NLA_F_NESTED, _UDP = 0x8000, 17


def forget(ports: Iterable[dict[str, Any]]) -> int:
    """Forget the flows to UDP ports of the host's own addresses; return how many there were.

    A kernel that cannot list them (no nf_conntrack_netlink) keeps them.
    """
    numbers = {one["host_port"] for one in ports if one["protocol"] == "udp"}
    if not numbers:
        return 0
    count = 0
    with suppress(OSError), Netlink(_NETLINK_NETFILTER) as net, Netlink() as routes:
        own = links.own_addresses(routes)
        for data in net.get(_CT_GET, bytes(4), dump=True):
            if _leads_to(data, numbers, own):
                count += _delete(net, data)
    return count


def _leads_to(data: bytes, ports: set[int], addresses: set[bytes]) -> bool:
    """Tell whether a flow's first packet was for one of the ports at one of the addresses.

    127.0.0.0/8 is all the host's own.
    """
    first = attributes(attributes(data[4:]).get(_CTA_TUPLE_ORIG, b""))
    ip = attributes(first.get(_CTA_TUPLE_IP, b""))
    protocol = attributes(first.get(_CTA_TUPLE_PROTO, b""))
    target = ip.get(_CTA_IP_V4_DST) or ip.get(_CTA_IP_V6_DST) or b""
    port = int.from_bytes(protocol.get(_CTA_PROTO_DST_PORT, b""), "big")
    own = target in addresses or (len(target) == 4 and target[0] == 127)
    return protocol.get(_CTA_PROTO_NUM) == bytes([_UDP]) and port in ports and own


def _delete(net: Netlink, data: bytes) -> int:
    known = attributes(data[4:])
    request = struct.pack("=BBH", data[0], 0, 0)
    request += attribute(_CTA_TUPLE_ORIG | _NLA_F_NESTED, known[_CTA_TUPLE_ORIG])
    if _CTA_ID in known:
        request += attribute(_CTA_ID, known[_CTA_ID])
    with suppress(OSError):  # it has just ended by itself
        net.do(_CT_DELETE, request)
        return 1
    return 0
