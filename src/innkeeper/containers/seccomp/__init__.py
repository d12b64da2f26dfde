"""Seccomp: the OCI profile of a container as a program for the kernel.

`compile_profile` answers from a cache on disk where it can: this is on the path of every container
start, so nothing is imported until it is needed. The caller installs the program.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any


class SeccompProgram:
    """A compiled filter: `filter` is an array of struct sock_filter, `flags` are for seccomp(2)."""

    __slots__ = ("filter", "flags", "listener_metadata", "listener_path", "notify")

    def __init__(self, code: bytes, flags: int, notify: bool, profile: dict[str, Any]) -> None:
        self.filter, self.flags, self.notify = code, flags, notify
        self.listener_path: str | None = profile.get("listenerPath") or None
        self.listener_metadata: str | None = profile.get("listenerMetadata") or None


def compile_profile(linux_seccomp: dict[str, Any], machine: str) -> SeccompProgram:
    """Compile an OCI `linux.seccomp` object for a machine as uname(2) names it.

    The contract is OCI runtime-spec config-linux "Seccomp"; what it leaves open is listed in
    `rules.py`. Raises ConfigError naming the field.
    """
    from innkeeper.containers.seccomp import cache

    key = cache.key_of(linux_seccomp, machine)
    kept = cache.load(key) if key else None
    if kept is None:
        from innkeeper.containers.seccomp.compile import compile_filter

        kept = compile_filter(linux_seccomp, machine)
        if key:
            cache.store(key, kept)
    code, flags, notify = kept
    return SeccompProgram(code, flags, notify, linux_seccomp)


def default_profile(capabilities: Iterable[str], machine: str) -> dict[str, Any]:
    """Return the default profile for a container that has these capabilities, in OCI form."""
    from innkeeper.containers.seccomp.default import profile

    return profile(frozenset(capabilities), machine)
