"""The host's packet filter for our networks: one nftables table, always made anew as a whole.

The text is a function of what is attached, and `nft -f` takes it in one transaction (nft(8)), so
that there is no moment without rules and nothing to be put together again after a crash.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from innkeeper.base.errors import MachineError
from innkeeper.base.record import record

MAX_SAID_BYTES = 4096
FOLDERS = ("/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin")
MISSING = "apt-get install nftables"
_MULTICAST = {4: "224.0.0.0/4", 6: "ff00::/8"}


@record
class Wire:
    """A network as the filter sees it: its bridge, its subnets, and whether it ends there."""

    interface: str
    subnets: tuple[str, ...]
    internal: bool = False


@record
class Forward:
    """A port of the host's that leads to a container's; `host` empty: every address of its kind."""

    protocol: str
    host: str
    host_port: int
    address: str
    port: int


def table_text(table: str, wires: Sequence[Wire], forwards: Iterable[Forward]) -> str:
    """Return the script that puts the table in the place of the one that was."""
    begin = f"add table inet {table}\ndelete table inet {table}\n"
    if not wires:
        return begin
    chains = [
        _chain("guard", "type filter hook prerouting priority raw; policy accept;", _guard(wires)),
        _chain("publish", "", _publish(forwards)),
        _chain("inbound", "type nat hook prerouting priority dstnat; policy accept;", _TO_HOST),
        _chain("local", "type nat hook output priority -100; policy accept;", _TO_HOST),
        _chain("outbound", "type nat hook postrouting priority srcnat; policy accept;",
               _outbound(wires)),
        _chain("forwarding", "type filter hook forward priority filter; policy accept;",
               _forwarding(wires)),
    ]  # fmt: skip
    return f"{begin}table inet {table} {{\n{''.join(chains)}}}\n"


_TO_HOST = ("fib daddr type local jump publish",)


def _chain(name: str, head: str, rules: Iterable[str]) -> str:
    return "".join([f"\tchain {name} {{\n", *(f"\t\t{r}\n" for r in (head, *rules) if r), "\t}\n"])


def _set(words: Iterable[str]) -> str:
    return f"{{ {', '.join(words)} }}"


def _guard(wires: Sequence[Wire]) -> list[str]:
    """`route_localnet` lets published ports be reached at 127.0.0.1; nothing else is to come in
    that way from a bridge (CVE-2020-8558)."""
    return [f"iifname {_set(_quoted(wires))} ip daddr 127.0.0.0/8 drop"]


def _quoted(wires: Iterable[Wire]) -> list[str]:
    return [f'"{wire.interface}"' for wire in wires]


def _publish(forwards: Iterable[Forward]) -> list[str]:
    """Group ports into maps, so that their number costs nothing: one host's address first."""
    groups: dict[tuple[str, int, str], list[str]] = {}
    for one in forwards:
        version = _version(one.address)
        key = (one.host, version, one.protocol)
        groups.setdefault(key, []).append(f"{one.host_port} : {one.address} . {one.port}")
    rules = []
    for (host, version, protocol), entries in sorted(groups.items(), reverse=True):
        family = "ip" if version == 4 else "ip6"
        where = f"{family} daddr {host}" if host else f"meta nfproto ipv{version}"
        rules.append(f"{where} dnat {family} to {protocol} dport map {_set(entries)}")
    return rules


def _version(address: str) -> int:
    return 6 if ":" in address else 4


def _outbound(wires: Sequence[Wire]) -> list[str]:
    """Hide containers behind the host's address: on their way out, and where a published port leads
    back to the network it was asked from, or was asked for on the host's loopback."""
    rules = []
    for wire in wires:
        for subnet in wire.subnets:
            version = _version(subnet)
            family = "ip" if version == 4 else "ip6"
            if not wire.internal:
                elsewhere = _set([subnet, _MULTICAST[version]])
                rules.append(f"{family} saddr {subnet} {family} daddr != {elsewhere} masquerade")
            rules.append(
                f'oifname "{wire.interface}" ct status dnat {family} saddr {subnet} masquerade'
            )
        rules.append(f'oifname "{wire.interface}" ct status dnat ip saddr 127.0.0.0/8 masquerade')
    return rules


def _forwarding(wires: Sequence[Wire]) -> list[str]:
    """Keep networks apart. Within one all may talk; from outside comes what was published, and
    answers. An accept here is no more than the end of this chain: other tables have their say."""
    rules = [f'iifname "{w.interface}" oifname "{w.interface}" accept' for w in wires]
    internal = [wire for wire in wires if wire.internal]
    if internal:
        rules += [f"{way} {_set(_quoted(internal))} drop" for way in ("iifname", "oifname")]
    rules += ["ct state established,related accept", "ct status dnat accept"]
    return [*rules, f"oifname {_set(_quoted(wires))} drop"]


def find_nft() -> str:
    """Return the path of the `nft` program; `MachineError` when there is none."""
    folders = [*os.environ.get("PATH", "").split(os.pathsep), *FOLDERS]
    for folder in folders:
        path = f"{folder}/nft"
        if folder.startswith("/") and os.access(path, os.X_OK):
            return path
    raise MachineError("there is no nft program", why="networks need nftables", fix=MISSING)


def apply(text: str) -> None:
    """Have the kernel take a script, all of it or nothing."""
    import subprocess

    done = subprocess.run(
        [find_nft(), "-f", "-"], input=text.encode(), capture_output=True, check=False,
        env={"PATH": ":".join(FOLDERS), "LC_ALL": "C"},
    )  # fmt: skip
    if done.returncode != 0:
        said = done.stderr[:MAX_SAID_BYTES].decode("utf-8", "replace")
        raise MachineError(
            "nftables does not take the rules of our networks", why=" ".join(said.split()),
            fix="the kernel needs nf_tables with nat, masquerade and fib (modprobe nft_chain_nat)",
        )  # fmt: skip


def tables() -> list[str]:
    """Return the names of the tables of the family inet that the host has."""
    lines = _listed("list", "tables", "inet").decode("utf-8", "replace").splitlines()
    return [words[2] for line in lines if len(words := line.split()) == 3]


def closed_chains() -> list[str]:
    """Return the chains of others that drop what is forwarded, or comes in (questions to our
    resolvers), unless told otherwise: what one table drops, no other lets through. Empty, too,
    where `nft` has no JSON."""
    import json

    found = json.loads(_listed("-j", "list", "chains") or b"{}")
    chains = [one["chain"] for one in found.get("nftables", ()) if "chain" in one]
    return [
        f"{one['family']} {one['table']} {one['name']}"
        for one in chains
        if one.get("hook") in ("forward", "input") and one.get("policy") == "drop"
    ]


def _listed(*what: str) -> bytes:
    import subprocess

    return subprocess.run([find_nft(), *what], capture_output=True, check=False).stdout
