"""The compiler proper: imported only where no compiled filter is at hand."""

from __future__ import annotations

from innkeeper.containers.seccomp import rules
from innkeeper.containers.seccomp.arches import ABIS, MACHINES, WITHOUT_TABLE, Abi
from innkeeper.containers.seccomp.codegen import program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def compile_filter(profile: dict[str, Any], machine: str) -> tuple[bytes, int, bool]:
    """Return (array of struct sock_filter, SECCOMP_FILTER_FLAG_*, a listener is asked for)."""
    if not isinstance(profile, dict):
        raise rules.refuse("", "it is not an object")
    default, parsed = rules.parse(profile)
    abis = filter_abis(profile, machine)
    decisions = []
    for abi in abis:
        each = rules.Decisions(abi)
        each.add_all(parsed, default)
        decisions.append(each)
    stub = default & rules.RET_ACTION not in rules.PERMISSIVE
    notify = any(value == rules.RET_NOTIFY for _name, value, _alternatives in parsed)
    _check_listener(profile, notify=notify)
    return program(decisions, default, stub=stub), _flags(profile, notify=notify), notify


def filter_abis(profile: dict[str, Any], machine: str) -> list[Abi]:
    """Return the ABIs to filter: the machine's own first, then those the profile lists."""
    if machine not in MACHINES:
        raise rules.refuse(
            "architectures", f"no system call table for {machine}; known: {' '.join(MACHINES)}"
        )
    own = ABIS[MACHINES[machine][0]]
    found = [own]
    for name in rules.strings(profile.get("architectures"), "architectures"):
        if name in ("SCMP_ARCH_NATIVE", own.name):
            continue
        abi = ABIS.get(name)
        if abi is None:
            listed = name.removeprefix("SCMP_ARCH_") in WITHOUT_TABLE.split()
            why = "has no system call table here" if listed else "is unknown"
            raise rules.refuse("architectures", f"{name} {why}; known: {' '.join(ABIS)}")
        if abi.big_endian != own.big_endian:
            raise rules.refuse("architectures", f"{name} differs in byte order from {machine}")
        if abi not in found:
            found.append(abi)
    return found


def _flags(profile: dict[str, Any], *, notify: bool) -> int:
    """Return the flags for seccomp(2); where none are given runc asks for SPEC_ALLOW."""
    names = profile.get("flags")
    if names is None:
        names = ["SECCOMP_FILTER_FLAG_SPEC_ALLOW"]
    bits = rules.FLAG_NEW_LISTENER if notify else 0
    for name in rules.strings(names, "flags"):
        if name not in rules.FLAGS:
            raise rules.refuse("flags", f"{name} is unknown; known: {' '.join(rules.FLAGS)}")
        if name.endswith("WAIT_KILLABLE_RECV") and not notify:
            continue  # the kernel takes it with a listener only
        bits |= rules.FLAGS[name]
    return bits


def _check_listener(profile: dict[str, Any], *, notify: bool) -> None:
    """Refuse a listener that cannot be told, and metadata for nobody."""
    path, metadata = profile.get("listenerPath"), profile.get("listenerMetadata")
    for key, value in (("listenerPath", path), ("listenerMetadata", metadata)):
        if value is not None and not isinstance(value, str):
            raise rules.refuse(key, "it is not a string")
    if notify and not path:
        raise rules.refuse("listenerPath", "SCMP_ACT_NOTIFY needs the socket of an agent")
    if metadata and not path:
        raise rules.refuse("listenerMetadata", "it may only be set together with listenerPath")
