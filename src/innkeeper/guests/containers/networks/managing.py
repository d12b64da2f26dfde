"""What is done to networks from outside: make, list, remove, ask."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from innkeeper.base.errors import MachineError, NotFoundError, UsageError
from innkeeper.guests.containers import records
from innkeeper.guests.containers.networks import definitions, host, links, ruleset, state
from innkeeper.guests.containers.networks.cni import config
from innkeeper.guests.containers.networks.definitions import Network
from innkeeper.guests.containers.networks.netlink import Netlink


def create(
    name: str, *, subnets: Sequence[str], gateways: Sequence[str], ipv6: bool, internal: bool,
    dns: bool, mtu: int, labels: Mapping[str, str],
) -> Network:  # fmt: skip
    """Make a network; no bridge before there is a container on it."""
    _needs_root()
    ruleset.find_nft()
    with state.changing():
        return definitions.create(
            name, subnets=subnets, gateways=gateways, ipv6=ipv6, internal=internal, dns=dns,
            mtu=mtu, labels=labels,
        )  # fmt: skip


def _needs_root() -> None:
    if os.geteuid() != 0:
        raise UsageError(
            "networks with a bridge need root", why="bridges and packet filters are the host's",
            fix="inn run --engine container --network slirp needs no privileges",
        )  # fmt: skip


def described(cni_dir: str = "") -> list[dict[str, Any]]:
    """Return what there is to say of every network."""
    now = state.State()
    found = [_described(one, now) for one in definitions.every()]
    ours = {one["name"] for one in found}
    return found + [_cni(one, now) for one in config.every(cni_dir) if one.name not in ours]


def description(name: str, cni_dir: str = "") -> dict[str, Any]:
    """Return what there is to say of a network; `NotFoundError` when there is none."""
    now = state.State()
    try:
        return _described(definitions.load(name), now)
    except NotFoundError:
        found = config.find(name, cni_dir)
        if found is None:
            raise
        return _cni(found, now)


def _described(one: Network, now: state.State) -> dict[str, Any]:
    return one.as_json() | {"containers": _containers(one.name, "bridge", now)}


def _cni(found: config.NetworkList, now: state.State) -> dict[str, Any]:
    return {
        "name": found.name, "driver": "cni", "file": found.path, "cniVersion": found.version,
        "plugins": [one["type"] for one in found.plugins],
        "containers": _containers(found.name, "cni", now),
    }  # fmt: skip


def _containers(name: str, driver: str, now: state.State) -> dict[str, Any]:
    return {
        container: {
            "name": entry["name"], "interface": link["inside"], "mac": link["mac"],
            "addresses": link["addresses"], "names": link["names"],
        }
        for container, entry in now.containers.items()
        for link in entry["links"]
        if link["network"] == name and link["driver"] == driver
    }  # fmt: skip


def remove(name: str, *, force: bool = False) -> None:
    """Forget a network; one that a container is on, or would start on again, only with `force`,
    which removes the containers."""
    definitions.load(name)
    _needs_root()
    for record in users(name):
        if not force:
            raise MachineError(
                f"network {name} is in use", why=f"container {record.name} is on it",
                fix=f"inn rm {record.name}, or inn network rm -f {name}",
            )  # fmt: skip
        from innkeeper.guests.containers.control import remove as remove_container

        remove_container(record, force=True)
    with state.changing() as now:
        if now.links(name):
            raise MachineError(f"network {name} is in use", fix="inn ps; inn system prune")
        host.remove_bridge(definitions.load(name))
        definitions.remove(name)


def users(name: str) -> list[records.Record]:
    """Return the containers that are on a network, or will be when they are started again."""
    found = []
    for record in records.every():
        net = record.data.get("net", {})
        asked = net.get("networks", ()) if net.get("mode") == "bridge" else ()
        if any(one["network"] == name and one["driver"] == "bridge" for one in asked):
            found.append(record)
    return found


def prune() -> list[str]:
    """Remove the networks that nobody uses; return their names."""
    removed = []
    for one in definitions.every():
        if not users(one.name):
            with suppress(MachineError):  # somebody has begun to use it meanwhile
                remove(one.name)
                removed.append(one.name)
    return removed


def entry_of(name: str) -> tuple[records.Record, dict[str, Any] | None]:
    """Return a container, and what it holds of networks."""
    record = records.find(name)
    return record, state.State().containers.get(record.id)


def ports_of(record: records.Record) -> list[dict[str, Any]]:
    """Return the published ports of a container, none when it does not run."""
    net = record.data.get("net", {})
    if net.get("mode") != "bridge":  # what was chosen before it started
        return list(net.get("ports", ())) if record.attended() else []
    entry = state.State().containers.get(record.id)
    return [] if entry is None else list(entry["ports"])


def check(name: str) -> None:
    """Look whether everything of a container's network is there; `MachineError` when not."""
    record, entry = entry_of(name)
    if entry is None:
        raise MachineError(f"container {record.name} is on no network", fix="inn ps -a")
    _needs_root()
    with Netlink() as net:
        for link in entry["links"]:
            if link["driver"] == "bridge":
                _check_link(net, record, link)
            else:
                from innkeeper.guests.containers.networks.cni import attach as cni

                cni.check(record.id, link)


def _check_link(net: Netlink, record: records.Record, link: dict[str, Any]) -> None:
    network = definitions.load(link["network"])
    bridge = links.link_named(net, network.interface)
    outer = links.link_named(net, link["outside"])
    broken = ""
    if bridge is None or outer is None or outer.master != bridge.index:
        broken = f"{link['outside']} is no port of {network.interface}"
    elif host.table_name() not in ruleset.tables():
        broken = f"there is no nftables table {host.table_name()}"
    if broken:
        raise MachineError(
            f"the network of container {record.name} is broken", why=broken,
            fix=f"inn stop {record.name}; inn start {record.name}",
        )  # fmt: skip
