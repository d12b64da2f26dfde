"""The host's side of our networks: bridges, kernel parameters (ip-sysctl), and taking them away."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_interface
from pathlib import Path
from typing import Any

from innkeeper.base.errors import MachineError
from innkeeper.guests.containers.networks import definitions, links, ruleset
from innkeeper.guests.containers.networks.definitions import Network
from innkeeper.guests.containers.networks.ipam import ethernet_address
from innkeeper.guests.containers.networks.netlink import Netlink
from innkeeper.guests.containers.networks.ports import EVERY_ADDRESS
from innkeeper.guests.containers.networks.ruleset import Forward, Wire
from innkeeper.guests.containers.networks.state import State, tag

_SYS = "/proc/sys/net"


def table_name() -> str:
    """Return the name of our nftables table: one for each folder of networks."""
    return f"innkeeper-{tag()}"


def set_parameter(path: str, value: str) -> None:
    """Write a kernel parameter of this network namespace; nothing is done where it says so."""
    try:
        with open(f"{_SYS}/{path}", "r+") as file:
            if file.read().strip() != value:
                file.seek(0)
                file.write(value)
    except OSError as error:
        raise MachineError(
            f"net/{path} cannot be set to {value}", why=error.strerror or "",
            fix=f"sysctl -w net.{path.replace('/', '.')}={value}",
        ) from None  # fmt: skip


def ensure_bridge(net: Netlink, network: Network) -> int:
    """Have a network's bridge, up and with its addresses; return its index."""
    mark = f"innkeeper {tag()} {network.name}"
    there = links.link_named(net, network.interface)
    if there is not None and there.alias != mark:
        raise MachineError(
            f"the interface {network.interface} is somebody else's",
            why=f"network {network.name} would have it as its bridge",
            fix=f"ip link delete {network.interface}, or inn network rm {network.name}",
        )
    index = there.index if there is not None else _add_bridge(net, network, mark)
    for subnet, gateway in network.subnets:
        prefix = subnet.partition("/")[2]
        links.add_address(net, index, ip_interface(f"{gateway}/{prefix}"))
    _let_through(network)
    return index


def _add_bridge(net: Netlink, network: Network, mark: str) -> int:
    mac = ethernet_address(network.subnets[0][1])
    name = network.interface
    mtu = network.mtu or links.outer_mtu(net)
    index = links.add_bridge(net, name, mac=mac, mtu=mtu, alias=mark)
    # What containers send is nothing to configure the host by.
    with suppress(MachineError):  # a kernel without IPv6
        set_parameter(f"ipv6/conf/{name}/accept_ra", "0")
        if not any(":" in subnet for subnet, _ in network.subnets):
            set_parameter(f"ipv6/conf/{name}/disable_ipv6", "1")
    return index


def _let_through(network: Network) -> None:
    """Have the host forward. One that forwards IPv6 takes no router advertisements unless told to
    (ip-sysctl accept_ra): interfaces that took them go on to."""
    if not network.internal:
        set_parameter(f"ipv4/conf/{network.interface}/route_localnet", "1")
    set_parameter("ipv4/ip_forward", "1")
    if not any(":" in subnet for subnet, _ in network.subnets):
        return
    if _read("ipv6/conf/all/forwarding") == "0":
        for name in os.listdir(f"{_SYS}/ipv6/conf"):
            if name not in ("all", "default") and _read(f"ipv6/conf/{name}/accept_ra") == "1":
                set_parameter(f"ipv6/conf/{name}/accept_ra", "2")
        set_parameter("ipv6/conf/all/forwarding", "1")


def _read(path: str) -> str:
    with suppress(OSError):
        return Path(_SYS, path).read_text().strip()
    return ""


def refilter(state: State) -> None:
    """Make the packet filter anew from what is attached."""
    used = state.in_use()
    networks = [network for network in definitions.every() if network.name in used]
    wires = [
        Wire(network.interface, tuple(subnet for subnet, _ in network.subnets), network.internal)
        for network in networks
    ]
    inner = {network.name for network in networks if network.internal}
    entries = state.containers.values()
    forwards = [one for entry in entries for one in _forwards(entry, inner)]
    ruleset.apply(ruleset.table_text(table_name(), wires, forwards))


def _forwards(entry: dict[str, Any], inner: set[str]) -> Iterable[Forward]:
    """Return where a container's ports lead: to its addresses on the first network that has a way
    out, each host's address to one of its own kind."""
    chosen = next(
        (
            one
            for one in entry["links"]
            if one["driver"] == "bridge" and one["network"] not in inner
        ),
        None,
    )
    if chosen is None:
        return
    for port in entry["ports"]:
        for text in chosen["addresses"]:
            address = text.partition("/")[0]
            if not port["host"] or (":" in port["host"]) == (":" in address):
                host = "" if port["host"] in EVERY_ADDRESS else port["host"]
                yield Forward(port["protocol"], host, port["host_port"], address, port["port"])


def remove_bridge(network: Network) -> bool:
    """Take a network's bridge away, with what still is a port of it; False when there is none, or
    it is not ours."""
    with Netlink() as net:
        there = links.link_named(net, network.interface)
        if there is None or not there.alias.startswith(f"innkeeper {tag()} "):
            return False
        for link in links.links(net):
            if link.master == there.index:
                links.delete_link(net, link.name)
        return links.delete_link(net, network.interface)


def remove_unused(state: State) -> list[str]:
    """Take away bridges, their ports and the table, where nothing of the state needs them; return
    what it was. Used after crashes, when there may be anything."""
    removed = []
    used, ports = state.in_use(), _ports(state)
    with Netlink() as net:
        every = links.links(net)
        ours = {one.index: one for one in every if one.alias.startswith(f"innkeeper {tag()} ")}
        for link in every:
            if link.master in ours and link.name not in ports and links.delete_link(net, link.name):
                removed.append(f"interface {link.name}")
        for bridge in ours.values():
            if bridge.alias.split(" ", 2)[2] not in used and links.delete_link(net, bridge.name):
                removed.append(f"interface {bridge.name}")
    with suppress(MachineError):  # where there is no nft there are no rules of ours
        if not used and table_name() in ruleset.tables():
            ruleset.apply(ruleset.table_text(table_name(), [], []))
            removed.append(f"nftables table {table_name()}")
    return removed


def _ports(state: State) -> set[str]:
    entries = state.containers.values()
    return {one["outside"] for entry in entries for one in entry["links"] if "outside" in one}
