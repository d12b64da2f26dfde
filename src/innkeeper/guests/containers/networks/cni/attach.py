"""Containers on networks of CNI plugins: CNI specification 1.0.0 section 3.

What a plugin was told, and the result, are kept in the link of the container's entry, as section 3
"Attachment Parameters" asks: DEL and CHECK get the same again.

    LINK["cni"]: {"config": the list, "capabilities": what is known, "result": of the last plugin}

The network namespace has a name in the file system (a bind mount) until DEL is done: plugins clean
up in there, and the container's processes have ended by then.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_interface
from pathlib import Path
from typing import TYPE_CHECKING, Any

from innkeeper.base.errors import InnError, MachineError, NotFoundError, UsageError
from innkeeper.containers import kernel as k
from innkeeper.guests.containers.networks import state
from innkeeper.guests.containers.networks.cni import config, plugin
from innkeeper.guests.containers.networks.cni.config import NetworkList
from innkeeper.guests.containers.networks.definitions import networks_dir
from innkeeper.guests.containers.networks.files import is_address, is_word

if TYPE_CHECKING:
    from innkeeper.guests.containers.records import Record

MAX_ADDRESSES = 64  # in a result
_MS_BIND = 0x1000
_CHECKED_SINCE = ("0.4.0", "1.0.0", "1.1.0")


def add_all(record: Record, entry: dict[str, Any], pid: int) -> None:
    """Attach a container to its networks of plugins, one after the other."""
    bind_namespace(record.id, pid)
    has_own = any(link["driver"] == "bridge" for link in entry["links"])
    ports = [] if has_own else entry["ports"]
    for link in entry["links"]:
        if link["driver"] != "cni":
            continue
        found = config.find(link["network"], record.data["net"]["cni_dir"])
        if found is None:
            raise NotFoundError(f"there is no CNI network {link['network']!r} any more")
        given = _capabilities(link["asked"], entry, ports)
        _check_capabilities(found, link["asked"], ports)
        link["cni"] = {"config": found.as_json(), "capabilities": given, "result": None}
        _save(record.id, entry)  # before ADD: DEL is owed from here on
        result = _add(found, link, record.id)
        link["cni"]["result"] = result
        link["addresses"], link["dns"] = _addresses(result), _dns(result)
        link["gateways"] = _gateways(result)
        _save(record.id, entry)


def _save(container: str, entry: dict[str, Any]) -> None:
    with state.changing() as now:
        now.containers[container] = entry
        now.save()


def _add(found: NetworkList, link: dict[str, Any], container: str) -> Any:
    """ADD with each plugin, each with the last one's result ("Adding an attachment")."""
    result = None
    for one in found.plugins:
        told = _execution(found, one, link["cni"]["capabilities"], result)
        result = plugin.call("ADD", told, _environment(container, link))
        if not isinstance(result, dict):
            raise MachineError(f"CNI plugin {one['type']} answers ADD with no result")
    return result


def delete_all(container: str, entry: dict[str, Any]) -> None:
    """DEL of what was, or may have been, added; then let the namespace go.

    A plugin that fails does not keep the others from their turn; its error is raised at the end, so
    that the entry stays and DEL is tried again.
    """
    failure = None
    for link in reversed([link for link in entry["links"] if link["driver"] == "cni"]):
        if link["cni"] is None:
            continue
        for one in reversed(link["cni"]["config"]["plugins"]):
            try:
                _call("DEL", one, container, link)
            except InnError as error:
                failure = failure or error
    if failure is not None:
        raise failure
    release_namespace(container)


def check(container: str, link: dict[str, Any]) -> None:
    """CHECK with each plugin ("Checking an attachment"); a configuration may forbid it."""
    cached = link["cni"]
    if cached["config"]["disableCheck"] or cached["config"]["cniVersion"] not in _CHECKED_SINCE:
        return
    for one in cached["config"]["plugins"]:
        _call("CHECK", one, container, link)


def _call(command: str, one: dict[str, Any], container: str, link: dict[str, Any]) -> None:
    cached = link["cni"]
    found = config.parse(cached["config"])
    told = _execution(found, one, cached["capabilities"], cached["result"])
    plugin.call(command, told, _environment(container, link))


def _execution(
    found: NetworkList, one: dict[str, Any], capabilities: dict[str, Any], result: Any
) -> dict[str, Any]:
    """Derive what a plugin is told ("Deriving execution configuration from plugin configuration"):
    capabilities it has become `runtimeConfig`."""
    told = {key: value for key, value in one.items() if key != "capabilities"}
    told |= {"cniVersion": found.version, "name": found.name}
    wanted = one.get("capabilities", {})
    runtime = {key: value for key, value in capabilities.items() if wanted.get(key) is True}
    if runtime:
        told["runtimeConfig"] = runtime
    if result is not None:
        told["prevResult"] = result
    return told


def _environment(container: str, link: dict[str, Any]) -> dict[str, str]:
    path = namespace_path(container)
    return {
        "CNI_CONTAINERID": container, "CNI_IFNAME": link["inside"],
        "CNI_NETNS": str(path) if _is_namespace(path) else "",
        "CNI_ARGS": _arguments(link["asked"], link["names"][0]),
    }  # fmt: skip


def _arguments(asked: dict[str, Any], name: str) -> str:
    """Return CNI_ARGS: what plugins took before there were capabilities (CONVENTIONS "args").

    The name is in the variable in which podman gives it to the plugin dnsname.
    """
    given = [
        ("IgnoreUnknown", "1"), ("K8S_POD_NAME", name), ("IP", asked["ip"]), ("MAC", asked["mac"])
    ]  # fmt: skip
    return ";".join(f"{key}={value}" for key, value in given if value)


def _capabilities(
    asked: dict[str, Any], entry: dict[str, Any], ports: Iterable[dict[str, Any]]
) -> dict[str, Any]:
    """Return what is known, under the names of CONVENTIONS "Dynamic Plugin specific fields"."""
    given: dict[str, Any] = {}
    mapped = [
        {"hostPort": one["host_port"], "containerPort": one["port"], "protocol": one["protocol"],
         **({"hostIP": one["host"]} if one["host"] else {})}
        for one in ports
    ]  # fmt: skip
    if mapped:
        given["portMappings"] = mapped
    ips = [text for text in (asked["ip"], asked["ip6"]) if text]
    if ips:
        given["ips"] = ips
    if asked["mac"]:
        given["mac"] = asked["mac"]
    if asked["aliases"]:
        given["aliases"] = {asked["network"]: [entry["name"], *asked["aliases"]]}
    if entry["dns"]:
        given["dns"] = {"servers": entry["dns"]}
    return given


def _check_capabilities(found: NetworkList, asked: dict[str, Any], ports: list[Any]) -> None:
    """Refuse ports that no plugin of the list would publish."""
    able = {key for one in found.plugins for key, on in one.get("capabilities", {}).items() if on}
    if ports and "portMappings" not in able:
        raise UsageError(
            f"CNI network {asked['network']} publishes no ports",
            why="no plugin of it has the capability portMappings",
            fix=f"add the plugin portmap to {found.path}",
        )


def _gateways(result: dict[str, Any]) -> list[str]:
    """Return the gateways of a result's addresses."""
    entries = result.get("ips")
    entries = entries[:MAX_ADDRESSES] if isinstance(entries, list) else []
    said = [one.get("gateway") for one in entries if isinstance(one, dict)]
    return [one for one in said if isinstance(one, str) and is_address(one)]


def _addresses(result: dict[str, Any]) -> list[str]:
    """Return the container's addresses of a result ("Success"), whichever version it has."""
    entries = result.get("ips")
    if not isinstance(entries, list):
        entries = [
            {"address": result[key].get("ip")}
            for key in ("ip4", "ip6")
            if isinstance(result.get(key), dict)  # 0.2.0
        ]
    found = []
    for one in entries[:MAX_ADDRESSES]:
        with suppress(ValueError, TypeError, AttributeError):
            found.append(str(ip_interface(one.get("address"))))
    return found


def _dns(result: dict[str, Any]) -> dict[str, list[str]]:
    said = result.get("dns")
    said = said if isinstance(said, dict) else {}
    servers, words = said.get("nameservers"), said.get("search")
    return {
        "nameservers": [s for s in servers or () if isinstance(s, str) and is_address(s)],
        "search": [w for w in words or () if isinstance(w, str) and is_word(w)],
    }


def namespace_path(container: str) -> Path:
    """Return where a container's network namespace is found as long as plugins need it."""
    return networks_dir() / f"{container}.netns"


def bind_namespace(container: str, pid: int) -> None:
    """Give the network namespace of a process a name."""
    path = namespace_path(container)
    path.touch()
    source = os.fsencode(f"/proc/{pid}/ns/net")
    k.syscall("mount", source, os.fsencode(path), None, _MS_BIND, None)


def release_namespace(container: str) -> None:
    """Take the name away, and with it what was kept alive."""
    path = namespace_path(container)
    with suppress(OSError):
        k.syscall("umount2", os.fsencode(path), k.MNT_DETACH)
    path.unlink(missing_ok=True)


def _is_namespace(path: Path) -> bool:
    """Tell whether the name still is a namespace's: not after the host has started anew."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return k.filesystem_type(fd) == _NSFS_MAGIC
    finally:
        os.close(fd)


_NSFS_MAGIC = 0x6E736673
