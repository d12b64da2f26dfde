"""Networks with a bridge, and those of CNI plugins: the mode of `--network NETWORK`.

A bridge on the host for each network, a veth pair for each container: netlink. NAT and published
ports: nftables. Names: `dns/`. What CNI plugins make of a network is in `cni/`.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from innkeeper.base.errors import MachineError, NotFoundError, UsageError
from innkeeper.guests.containers import records
from innkeeper.guests.containers.networks import (
    attaching,
    definitions,
    flows,
    host,
    ports,
    ruleset,
    state,
    words,
)
from innkeeper.guests.containers.networks.dns import process as dns
from innkeeper.guests.containers.networks.files import Files, added_hosts, outer_resolvers, search
from innkeeper.guests.containers.networks.options import NetworkOptions

if TYPE_CHECKING:
    from innkeeper.guests.containers.records import Record
    from innkeeper.guests.containers.request import ContainerRequest

_NOWHERE = "0.0.0.0"  # of what has no gateway
HOST_NAME = "host.containers.internal"  # as podman has it


def prepare(request: ContainerRequest, record: Record) -> None:
    """Read what is asked for, and refuse what cannot be."""
    if os.geteuid() != 0:
        raise UsageError(
            f"--network {request.networks[0]} needs root",
            why="bridges and packet filters are the host's",
            fix="use --network slirp, which needs no privileges",
        )
    given = request.net or NetworkOptions()
    asked = [_with_driver(words.read_network(text), given.cni_dir) for text in request.networks]
    if len({one["network"] for one in asked}) < len(asked):
        raise UsageError("a network is given twice")
    if len(asked) > words.MAX_NETWORKS:
        raise UsageError(f"{len(asked)} networks", why=f"at most {words.MAX_NETWORKS}")
    _apply(given, asked)
    if any(one["driver"] == "bridge" for one in asked):
        ruleset.find_nft()
    exposed = record.data.get("exposed", ()) if given.publish_all else ()
    record.data["net"] |= {
        "networks": asked, "ports": words.read_ports(given.publish, exposed), "got": {},
        "cni_dir": given.cni_dir,
        "files": {"hosts": list(given.hosts), "dns": list(given.dns),
                  "search": list(given.dns_search), "options": list(given.dns_options)},
    }  # fmt: skip


def _with_driver(asked: dict[str, Any], cni_dir: str) -> dict[str, Any]:
    """Say who makes a network: we, where it is one of ours, or CNI plugins where they know it."""
    name = asked["network"]
    try:
        if name != definitions.DEFAULT:
            definitions.load(name)
        return asked | {"driver": "bridge"}
    except NotFoundError:
        from innkeeper.guests.containers.networks.cni.config import find

        if find(name, cni_dir) is None:
            raise
        return asked | {"driver": "cni"}


def _apply(given: NetworkOptions, asked: list[dict[str, Any]]) -> None:
    """Give the options that stand beside `--network` to the networks."""
    alone = {"ip": given.ip, "ip6": given.ip6, "mac": given.mac}
    if any(alone.values()) and len(asked) > 1:
        raise UsageError(
            "--ip, --ip6 and --mac-address are for containers with one network",
            fix="--network NETWORK:ip=ADDRESS",
        )
    aliases = [words.read_alias(text) for text in given.aliases]
    for one in asked:
        one["aliases"] = [*one["aliases"], *aliases]
        if one["aliases"] and one["network"] == definitions.DEFAULT:
            raise UsageError(
                f"network {definitions.DEFAULT} has no names", fix="inn network create one"
            )
        if len(one["aliases"]) > words.MAX_ALIASES:
            raise UsageError(f"{len(one['aliases'])} aliases", why=f"at most {words.MAX_ALIASES}")
    if given.ip:
        asked[0]["ip"] = words.read_address(given.ip, version=4)
    if given.ip6:
        asked[0]["ip6"] = words.read_address(given.ip6, version=6)
    if given.mac:
        asked[0]["mac"] = words.read_mac(given.mac)


def files(_request: ContainerRequest, record: Record) -> Files:
    """Return the files without addresses, which there are none of yet; `attach` writes them."""
    return _files(record, [])


def _files(record: Record, links: list[dict[str, Any]]) -> Files:
    """Return the files of a container that has these links."""
    given = record.data["net"]["files"]
    own = [link for link in links if link["driver"] == "bridge"]
    networks = [definitions.load(link["network"]) for link in own]
    gateways = [gateway for network in networks for _, gateway in network.subnets]
    gateways += [gateway for link in links for gateway in link.get("gateways", ())]
    names = tuple(dict.fromkeys((record.data["hostname"], record.name)))
    hosts = [(a.partition("/")[0], names) for link in links for a in link["addresses"]]
    hosts += [(gateway, (HOST_NAME,)) for gateway in gateways[:1]]
    options = NetworkOptions(hosts=tuple(given["hosts"]))
    # It is read before there is a gateway, too: to find what is wrong with the rest.
    added = added_hosts(options, gateway=gateways[0] if gateways else _NOWHERE)
    hosts += [line for line in added if line[0] != _NOWHERE]
    servers = [g for n in networks if n.dns for _, g in n.subnets]
    said = [word for link in links for word in link.get("dns", {}).get("nameservers", ())]
    told = [word for link in links for word in link.get("dns", {}).get("search", ())]
    return Files(
        hosts=tuple(hosts),
        nameservers=tuple(servers or given["dns"] or said or outer_resolvers()),
        search=tuple(given["search"] or told or search()),
        options=tuple(given["options"]),
    )


def attach(record: Record, pid: int) -> None:
    """Lease addresses and ports, make the links, the filter and the resolvers, write the files."""
    with _as_machine_errors(), state.changing() as now:
        attaching.drop_unattended(now)
        ports.let_go(record)
        entry, held = _leased(record, now)
        now.containers[record.id] = entry
        now.save()
        ports.hold(record, held)
        if now.in_use():
            attaching.connect(entry, pid)
            host.refilter(now)
            flows.forget(entry["ports"])
        for link in entry["links"]:
            if link["driver"] == "bridge" and (network := definitions.load(link["network"])).dns:
                dns.ensure(network)
    if any(link["driver"] == "cni" for link in entry["links"]):
        from innkeeper.guests.containers.networks.cni import attach as cni

        with _as_machine_errors():
            cni.add_all(record, entry, pid)
    record.data["net"]["got"] = {one["network"]: one["addresses"] for one in entry["links"]}
    record.change(net=record.data["net"])
    _files(record, entry["links"]).write(record.folder)


def renamed(record: Record) -> None:
    """Have a container found by its new name."""
    with _as_machine_errors(), state.changing() as now:
        entry = now.containers.get(record.id)
        if entry is None:
            return
        entry["name"] = record.name
        for link, asked in zip(entry["links"], record.data["net"]["networks"], strict=True):
            link["names"] = _names(record, asked)
        now.save()
    _files(record, entry["links"]).write(record.folder)


def _leased(record: Record, now: state.State) -> tuple[dict[str, Any], list[int]]:
    """Return the entry of a container that is to be attached, and descriptors of its ports."""
    wanted = record.data["net"]
    links: list[dict[str, Any]] = []
    for number, asked in enumerate(wanted["networks"]):
        link = {
            "network": asked["network"], "driver": asked["driver"],
            "inside": asked["interface"] or f"eth{number}", "addresses": [],
            "names": _names(record, asked),
        }  # fmt: skip
        if asked["driver"] == "bridge":
            preferred = wanted["got"].get(asked["network"], ())
            link |= attaching.lease(asked, now, preferred=preferred)
            link["outside"] = f"v{record.id[:10]}-{number}"
        else:
            link |= {"mac": asked["mac"], "asked": asked, "cni": None}
        links.append(link)
    if len({link["inside"] for link in links}) < len(links):
        raise UsageError("two interfaces of the container's have one name")
    _check_ports(wanted["ports"], links)
    found, held = ports.reserve(wanted["ports"], now)
    return {
        "name": record.name, "links": links, "ports": found, "dns": wanted["files"]["dns"]
    }, held  # fmt: skip


def _names(record: Record, asked: dict[str, Any]) -> list[str]:
    """Return the names that a container has on a network, its own first."""
    own = [record.name, record.id[: records.SHORT], record.id]
    return list(dict.fromkeys([*own, *asked["aliases"]]))


def _check_ports(wanted: list[dict[str, Any]], links: list[dict[str, Any]]) -> None:
    """Refuse ports that would lead nowhere."""
    own = [link for link in links if link["driver"] == "bridge"]
    open_ = [link for link in own if not definitions.load(link["network"]).internal]
    if wanted and own and not open_ and len(own) == len(links):
        raise UsageError("an internal network has no published ports", fix="leave out -p, or -P")
    versions = {
        ip_address(a.partition("/")[0]).version for one in open_[:1] for a in one["addresses"]
    }
    for port in wanted:
        if open_ and port["host"] and ip_address(port["host"]).version not in versions:
            raise UsageError(
                f"--publish {port['host']}: the container has no such address",
                fix=f"inn network create --ipv6, or publish at an IPv{min(versions)} address",
            )


def detach(record: Record) -> None:
    """Give everything back that a container holds."""
    if not record.data["net"].get("networks"):
        return
    ports.let_go(record)
    with _as_machine_errors(), state.changing() as now:
        attaching.drop(record.id, now)


def sweep() -> list[str]:
    """Remove what no container's record knows of."""
    if os.geteuid() != 0 or not definitions.networks_dir().is_dir():
        return []
    removed = []
    with _as_machine_errors(), state.changing() as now:
        removed += [f"network of {container}" for container in attaching.drop_unattended(now)]
        used = now.in_use()
        removed += [f"resolver of {n}" for n in dns.running() if n not in used and dns.end(n)]
        removed += host.remove_unused(now)
    return removed


@contextmanager
def _as_machine_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        lacks = error.errno == errno.EPERM  # root of a user namespace, or without CAP_NET_ADMIN
        raise MachineError(
            "the container's network cannot be set up", why=error.strerror or str(error),
            fix="give CAP_NET_ADMIN, or use --network slirp" if lacks else "",
        ) from error  # fmt: skip
