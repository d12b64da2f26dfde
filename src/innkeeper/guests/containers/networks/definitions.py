"""The networks there are: made by `inn network create`, kept until they are removed.

    $XDG_STATE_HOME/innkeeper/networks/NAME.json

`bridge` is made by itself when it is first asked for.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from ipaddress import IPv6Network, ip_address, ip_network
from pathlib import Path
from types import MappingProxyType
from typing import Any

from innkeeper.base.errors import MachineError, NotFoundError, UsageError
from innkeeper.base.record import field, record
from innkeeper.guests.containers.networks import links
from innkeeper.guests.containers.networks.links import Subnet
from innkeeper.guests.containers.networks.netlink import Netlink
from innkeeper.guests.containers.records import read_json
from innkeeper.images.paths import make_dir, state_dir, storage_errors

DEFAULT = "bridge"
DEFAULT_SUBNET = "10.90.0.0/16"
POOL_PREFIX = 24
POOLS = ("10.91.0.0/16", "10.92.0.0/14", "10.96.0.0/11", "172.30.0.0/16", "192.168.0.0/16")
MAX_NAME, MAX_INTERFACES, MAX_SUBNETS = 63, 4096, 2
MIN_MTU, MAX_MTU = 68, 65535
RESERVED = ("none", "host", "container", "ns", "slirp", "slirp4netns", "pasta", "private", "pod")
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")
_NO_LABELS: Mapping[str, str] = MappingProxyType({})


@record(kw_only=True)
class Network:
    """A network: its bridge, subnets as (subnet, gateway), and what holds for those in it.

    `internal` has no way out of the host; `dns` answers names of containers at the gateways.
    """

    name: str
    id: str
    interface: str
    subnets: tuple[tuple[str, str], ...]
    internal: bool = False
    dns: bool = True
    mtu: int = 0
    labels: Mapping[str, str] = field(default_factory=lambda: _NO_LABELS)
    created: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Return what is kept, and what `inn network inspect` shows."""
        return {
            "name": self.name, "id": self.id, "driver": "bridge", "interface": self.interface,
            "subnets": [{"subnet": s, "gateway": g} for s, g in self.subnets],
            "internal": self.internal, "dns": self.dns, "mtu": self.mtu,
            "labels": dict(self.labels), "created": self.created,
        }  # fmt: skip


def networks_dir() -> Path:
    """Return the folder of networks, and of what is attached to them."""
    return state_dir() / "networks"


def check_name(name: str) -> str:
    """Return a name that a network may have; it becomes a file's."""
    usable = 0 < len(name) <= MAX_NAME and name[0] not in "._-" and _NAME.issuperset(name)
    if not usable or name in RESERVED:
        raise UsageError(
            f"{name[:80]!r} is no name for a network",
            fix=f"use up to {MAX_NAME} letters, digits, '-', '_' and '.', and no other mode's name",
        )
    return name


def every() -> list[Network]:
    """Return all networks by name."""
    found = []
    with suppress(FileNotFoundError):
        for path in sorted(networks_dir().glob("*.json")):
            with suppress(NotFoundError):
                found.append(load(path.name.removesuffix(".json")))
    return found


def load(name: str) -> Network:
    """Return a network; `NotFoundError` when there is none, or its file is damaged."""
    if _NAME.issuperset(name) and name[:1] not in ("", ".", "-", "_"):
        data = read_json(networks_dir() / f"{name}.json")
        with suppress(KeyError, TypeError, ValueError):
            if data is not None:
                return _network(data)
    raise NotFoundError(
        f"there is no network {name[:80]!r}", fix=f"inn network ls; inn network create {name[:80]}"
    )


def _network(data: dict[str, Any]) -> Network:
    return Network(
        name=data["name"], id=data["id"], interface=data["interface"],
        subnets=tuple((one["subnet"], one["gateway"]) for one in data["subnets"]),
        internal=bool(data["internal"]), dns=bool(data["dns"]), mtu=int(data["mtu"]),
        labels=data["labels"], created=float(data["created"]),
    )  # fmt: skip


def create(
    name: str, *, subnets: Iterable[str] = (), gateways: Iterable[str] = (), ipv6: bool = False,
    internal: bool = False, dns: bool = True, mtu: int = 0,
    labels: Mapping[str, str] = _NO_LABELS,
) -> Network:  # fmt: skip
    """Make a network; to be called under the lock. Subnets that are not given are chosen so that
    they overlap with nothing that the host, or another network, has."""
    if (networks_dir() / f"{check_name(name)}.json").exists():
        raise MachineError(f"there is a network {name!r} already", fix=f"inn network rm {name}")
    if mtu and not MIN_MTU <= mtu <= MAX_MTU:
        raise UsageError(f"an MTU of {mtu}", fix=f"give one from {MIN_MTU} to {MAX_MTU}")
    with Netlink() as net:
        used, there = links.used_subnets(net), {link.name for link in links.links(net)}
    others = every()
    used += [ip_network(subnet) for other in others for subnet, _ in other.subnets]
    chosen = _chosen(name, [_subnet(text) for text in subnets], used, ipv6=ipv6)
    taken = there | {other.interface for other in others}
    made = Network(
        name=name, id=os.urandom(32).hex(), interface=_free_interface(taken),
        subnets=_with_gateways(chosen, list(gateways)), internal=internal, dns=dns, mtu=mtu,
        labels=dict(labels), created=time.time(),
    )  # fmt: skip
    _keep(made)
    return made


def _keep(network: Network) -> None:
    """Write a network down as a whole or not at all, so that it lasts."""
    path = make_dir(networks_dir()) / f"{network.name}.json"
    new = path.with_name(f".{path.name}.new")
    with storage_errors("keep a network", path):
        with new.open("w") as file:
            json.dump(network.as_json(), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def find_or_make(name: str) -> Network:
    """Return a network; the default one is made the first time. Under the lock."""
    try:
        return load(name)
    except NotFoundError:
        if name != DEFAULT:
            raise
    return create(DEFAULT, dns=False)


def remove(name: str) -> None:
    """Forget a network that nothing is attached to; under the lock."""
    (networks_dir() / f"{name}.json").unlink(missing_ok=True)


def _subnet(text: str) -> Subnet:
    try:
        found = ip_network(text)
    except ValueError as error:
        raise UsageError(f"subnet {text[:80]!r}", why=str(error)[:200]) from None
    if found.num_addresses < 4 or found.is_multicast or found.is_loopback or not found.prefixlen:
        raise UsageError(f"subnet {text}", why="no containers fit in there", fix="10.91.7.0/24")
    return found


def _chosen(name: str, given: list[Subnet], used: list[Subnet], *, ipv6: bool) -> list[Subnet]:
    versions = [subnet.version for subnet in given]
    if len(given) > MAX_SUBNETS or len(set(versions)) < len(versions):
        raise UsageError("a network has one IPv4 and one IPv6 subnet at most")
    for subnet in given:
        if (other := _overlapping(subnet, used)) is not None:
            raise MachineError(
                f"subnet {subnet} cannot be had",
                why=f"the host or another network has {other}", fix="give another --subnet",
            )  # fmt: skip
    chosen = list(given)
    if 4 not in versions:
        chosen.insert(0, _free_subnet(DEFAULT_SUBNET if name == DEFAULT else "", used))
    if ipv6 and 6 not in versions:
        chosen.append(_unique_local())
    return chosen


def _overlapping(subnet: Subnet, used: list[Subnet]) -> Subnet | None:
    return next((u for u in used if u.version == subnet.version and u.overlaps(subnet)), None)


def _free_subnet(first: str, used: list[Subnet]) -> Subnet:
    if first and _overlapping(ip_network(first), used) is None:
        return ip_network(first)
    for pool in POOLS:
        for subnet in ip_network(pool).subnets(new_prefix=POOL_PREFIX):
            if _overlapping(subnet, used) is None:
                return subnet
    raise MachineError("there is no subnet left", fix="inn network prune, or give --subnet")


def _unique_local() -> Subnet:
    """Return a subnet of a random global id (RFC 4193 3.2)."""
    return IPv6Network((b"\xfd" + os.urandom(5) + bytes(10), 64))


def _with_gateways(subnets: list[Subnet], given: list[str]) -> tuple[tuple[str, str], ...]:
    left = []
    for text in given:
        try:
            left.append(ip_address(text))
        except ValueError:
            raise UsageError(f"gateway {text[:80]!r} is not an address") from None
    found = []
    for subnet in subnets:
        own = next((one for one in left if one in subnet), subnet.network_address + 1)
        edges = (subnet.network_address, subnet.broadcast_address)
        if own in edges:
            raise UsageError(f"gateway {own} is not one", why=f"it is an end of {subnet}")
        left = [one for one in left if one != own]
        found.append((str(subnet), str(own)))
    if left:
        raise UsageError(f"gateway {left[0]} is in no subnet of the network")
    return tuple(found)


def _free_interface(taken: set[str]) -> str:
    for number in range(MAX_INTERFACES):
        if f"inn{number}" not in taken:
            return f"inn{number}"
    raise MachineError("there are too many networks", fix="inn network prune")
