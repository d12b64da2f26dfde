"""Addresses for containers: the next free one of a subnet, in turn, or the one asked for."""

from __future__ import annotations

from collections.abc import Container, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from innkeeper.base.errors import MachineError, UsageError
from innkeeper.guests.containers.networks.links import Subnet

Address = IPv4Address | IPv6Address


def next_address(
    name: str, subnet_text: str, gateway: str, *, taken: Container[str], last: str,
    wanted: Sequence[str] = (),
) -> str:  # fmt: skip
    """Return a free address of a network's subnet, with the prefix.

    One of `wanted` if it is free; else the next after `last`, so that an address that was just
    given back is not at once somebody else's. `MachineError` when all are taken.
    """
    subnet = ip_network(subnet_text)
    first, end = _bounds(subnet)
    for text in wanted:
        if _inside(text, subnet) and text != gateway and text not in taken:
            return f"{text}/{subnet.prefixlen}"
    start = int(ip_address(last)) + 1 if _inside(last, subnet) else first
    for base, stop in ((start, end), (first, min(start, end))):
        for number in range(base, stop):
            address = str(_address(number, subnet))
            if address != gateway and address not in taken:
                return f"{address}/{subnet.prefixlen}"
    raise MachineError(
        f"network {name} has no free address", why=f"every one of {subnet} is taken",
        fix="inn rm a container, or inn network create one with a larger --subnet",
    )  # fmt: skip


def given_address(
    name: str, subnets: Sequence[tuple[str, str]], text: str, *, taken: Container[str]
) -> str:
    """Return an address that was asked for, with the prefix; it must be free."""
    for subnet_text, gateway in subnets:
        subnet = ip_network(subnet_text)
        if not _inside(text, subnet):
            continue
        address = str(ip_address(text))
        if address == gateway or address in taken:
            whose = "the gateway's" if address == gateway else "another container's"
            raise MachineError(f"address {address} is {whose}", fix="give another, or none")
        return f"{address}/{subnet.prefixlen}"
    where = " and ".join(subnet for subnet, _ in subnets)
    raise UsageError(f"address {text[:80]!r} is not one of network {name}", fix=f"it has {where}")


def ethernet_address(address: str) -> bytes:
    """Return the Ethernet address that belongs to an address (`A/PREFIX`).

    The same each time: who remembers an address of the network (ARP) is never wrong. It is
    administered locally (IEEE 802: bit 1 of the first byte).
    """
    packed = ip_address(address.partition("/")[0]).packed
    return b"\x02\x49" + packed[-4:]


def _bounds(subnet: Subnet) -> tuple[int, int]:
    """Return the first number for a container, and the one after the last."""
    size = subnet.num_addresses
    return int(subnet.network_address) + 1, int(subnet.network_address) + size - 1


def _address(number: int, subnet: Subnet) -> Address:
    return IPv4Address(number) if subnet.version == 4 else IPv6Address(number)


def _inside(text: str, subnet: Subnet) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if address.version != subnet.version:
        return False
    first, end = _bounds(subnet)
    return first <= int(address) < end
