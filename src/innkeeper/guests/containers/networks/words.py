"""What the command line says of networks and ports, read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from typing import Any

from innkeeper.base.errors import UsageError
from innkeeper.guests.containers.networks.files import is_address, is_word

MAX_NETWORKS, MAX_ALIASES, MAX_PORTS = 16, 64, 4096
PROTOCOLS = ("tcp", "udp", "sctp")
MAX_INTERFACE_NAME = 15  # IFNAMSIZ without the zero
_FIX = "write it as [IP:][HOSTPORT:]PORT[/udp], a port or a range: 8080:80, 127.0.0.1::80"


def read_network(text: str) -> dict[str, Any]:
    """Read `NETWORK[:OPTION=VALUE,...]`: ip, ip6, mac, alias (any number), interface_name."""
    name, _, rest = text.partition(":")
    found: dict[str, Any] = {
        "network": name, "ip": "", "ip6": "", "mac": "", "aliases": [], "interface": ""
    }  # fmt: skip
    for word in filter(None, rest.split(",")):
        key, _, value = word.partition("=")
        if key in ("ip", "ip6"):
            found[key] = read_address(value, version=6 if key == "ip6" or ":" in value else 4)
        elif key == "mac":
            found["mac"] = read_mac(value)
        elif key == "alias":
            found["aliases"].append(read_alias(value))
        elif key == "interface_name":
            found["interface"] = _interface(value)
        else:
            raise UsageError(
                f"--network {text[:80]!r}: there is no option {key!r}",
                fix="NETWORK:ip=ADDRESS,ip6=ADDRESS,mac=ADDRESS,alias=NAME,interface_name=NAME",
            )
    return found


def read_address(text: str, *, version: int) -> str:
    """Check an address of a version, and return its plain form."""
    if not is_address(text) or ip_address(text).version != version:
        raise UsageError(f"{text[:80]!r} is not an IPv{version} address")
    return str(ip_address(text))


def read_mac(text: str) -> str:
    """Check an Ethernet address: six bytes, not a group's."""
    parts = text.replace("-", ":").split(":")
    try:
        packed = bytes(int(part, 16) for part in parts if len(part) == 2)
    except ValueError:
        packed = b""
    if len(packed) != 6 or len(parts) != 6 or packed[0] & 1 or not any(packed):
        raise UsageError(f"{text[:80]!r} is not an Ethernet address", fix="02:49:00:00:00:07")
    return packed.hex(":")


def read_alias(text: str) -> str:
    """Check a name that others are to find a container by."""
    if not is_word(text) or ":" in text or len(text) > 253:
        raise UsageError(f"{text[:80]!r} is no name for a container on a network")
    return text


def _interface(text: str) -> str:
    if (
        not is_word(text)
        or ":" in text
        or len(text) > MAX_INTERFACE_NAME
        or text in (".", "..", "lo")
    ):
        raise UsageError(f"{text[:80]!r} is no name for an interface")
    return text


def read_ports(published: Iterable[str], exposed: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Read `--publish`, and the image's ports (image-spec config.md ExposedPorts) for
    `--publish-all`; one entry for each port. A host port of 0 is still to be chosen."""
    found = [entry for text in published for entry in _published(text)]
    there = {(one["port"], one["protocol"]) for one in found}
    for text in exposed:
        for entry in _published(text):
            if (entry["port"], entry["protocol"]) not in there:
                found.append(entry)
    if len(found) > MAX_PORTS:
        raise UsageError(f"{len(found)} published ports", why=f"at most {MAX_PORTS}")
    return found


def _published(text: str) -> list[dict[str, Any]]:
    body, slash, protocol = text.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    host, ports = _host(body)
    outer, _, inner = ports.rpartition(":")
    inside = _range(inner, text)
    outside = _range(outer, text, zero=True) if outer else range(1)
    if protocol not in PROTOCOLS or (host and not is_address(host)):
        raise UsageError(f"--publish {text[:80]!r}", fix=_FIX)
    if outside != range(1) and len(outside) != len(inside):
        raise UsageError(f"--publish {text[:80]!r}", why="the ranges are not of one length")
    host = str(ip_address(host)) if host else ""
    return [
        {"host": host, "host_port": 0 if outside == range(1) else outside[n], "port": port,
         "protocol": protocol}
        for n, port in enumerate(inside)
    ]  # fmt: skip


def _host(body: str) -> tuple[str, str]:
    """Take the host's address off: `[V6]:...`, or what stands before the last two parts."""
    if body.startswith("["):
        address, bracket, ports = body[1:].partition("]:")
        return address, ports if bracket else ""
    if body.count(":") < 2:
        return "", body
    address, outer, inner = body.rsplit(":", 2)
    return address, f"{outer}:{inner}"


def _range(text: str, whole: str, *, zero: bool = False) -> range:
    first, dash, last = text.partition("-")
    sound = all(w.isascii() and w.isdigit() and len(w) < 6 for w in (first, last if dash else "1"))
    if sound:
        begin, end = int(first), int(last) if dash else int(first)
        if (begin or (zero and not dash)) and begin <= end < 1 << 16:
            return range(begin, end + 1)
    raise UsageError(f"--publish {whole[:80]!r}", fix=_FIX)
