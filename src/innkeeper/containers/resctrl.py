"""Cache and memory bandwidth by resctrl: config-linux.md "IntelRdt", Linux filesystems/resctrl.rst.

A group of resctrl is a directory: `schemata` says what it may use, `tasks` who is in it. The one
that is named after a container, and the container's monitoring group, are gone with it; one that
`closID` names may be others' as well and stays.
"""

from __future__ import annotations

import os

from innkeeper.base.errors import ContainerError
from innkeeper.containers import kernel as k

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_FILE_BYTES = 1 << 16
_FIELD = "linux.intelRdt"


def mounted() -> str:
    """Return where resctrl is mounted; `ContainerError` when it is not."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            if after.startswith("resctrl "):
                return before.split(" ")[4]
    raise ContainerError(_FIELD, why="resctrl is not mounted on this host")


def join(wanted: dict[str, Any], name: str, pid: int, root: str) -> None:
    """Put a process into the group that `intelRdt` describes, made where the text says so."""
    group, schemata = _group(wanted, name, root), _wanted_lines(wanted)
    exists = os.path.isdir(group)
    if not exists and wanted.get("closID") and not schemata:
        raise ContainerError(f"{_FIELD}.closID", why=f"there is no group {wanted['closID']!r}")
    try:
        if exists and wanted.get("closID"):
            _compare(group, schemata)
        else:
            _make(group, schemata, root, new=not exists)
        _write(f"{group}/tasks", f"{pid}\n", root)
        if wanted.get("enableCMT") or wanted.get("enableMBM"):
            monitor = _monitor(group, name)
            os.makedirs(monitor, exist_ok=True)
            _write(f"{monitor}/tasks", f"{pid}\n", root)
    except OSError as error:
        raise ContainerError(_FIELD, why=k.reason(error)) from None


def leave(wanted: dict[str, Any], name: str, root: str) -> None:
    """Remove what was made for one container alone; what is not there is no error."""
    group = _group(wanted, name, root)
    for path in (_monitor(group, name), *(() if wanted.get("closID") else (group,))):
        try:
            os.rmdir(path)
        except OSError:
            continue


def forget(linux: dict[str, Any], name: str) -> None:
    """Do so for a container that ends, where it had any of it."""
    if "intelRdt" in linux:
        try:
            leave(linux["intelRdt"], name, mounted())
        except ContainerError:  # not mounted any more
            pass


def _group(wanted: dict[str, Any], name: str, root: str) -> str:
    identity = wanted.get("closID") or name
    if "/" in identity or identity in (".", "..", "info", "mon_groups", "mon_data"):
        raise ContainerError(f"{_FIELD}.closID", why=f"{identity!r} is not the name of a group")
    return f"{root}/{identity}"


def _monitor(group: str, name: str) -> str:
    return f"{group}/mon_groups/{name}"


def _wanted_lines(wanted: dict[str, Any]) -> list[str]:
    """Return the lines for `schemata`: the cache's, the bandwidth's, then `schemata`'s own."""
    cache, bandwidth = wanted.get("l3CacheSchema", ""), wanted.get("memBwSchema", "")
    if bandwidth and (not bandwidth.startswith("MB:") or "\n" in bandwidth.strip()):
        raise ContainerError(f"{_FIELD}.memBwSchema", why="must be one line that begins with MB:")
    lines = [line.strip() for line in cache.split("\n")]
    if bandwidth:  # its line is the one that counts
        lines = [line for line in lines if not line.startswith("MB:")] + [bandwidth.strip()]
    return [line for line in lines + wanted.get("schemata", "").split("\n") if line.strip()]


def _make(group: str, lines: list[str], root: str, *, new: bool) -> None:
    if new:
        os.mkdir(group, 0o755)
    try:
        if lines:
            _write(f"{group}/schemata", "".join(f"{line}\n" for line in lines), root)
    except (OSError, ContainerError):
        if new:
            leave({}, os.path.basename(group), root)
        raise


def _compare(group: str, lines: list[str]) -> None:
    """Refuse a group that is there and has another schema."""
    if not lines:
        return
    with open(f"{group}/schemata", encoding="utf-8", errors="replace") as file:
        there = _parsed(file.read(MAX_FILE_BYTES).split("\n"))
    for kind, domains in _parsed(lines).items():
        for domain, value in domains.items():
            if there.get(kind, {}).get(domain) != value:
                raise ContainerError(
                    f"{_FIELD}.closID",
                    why=f"{group}/schemata does not have {kind}:{domain}={value:x}",
                )


def _parsed(lines: list[str]) -> dict[str, dict[str, int]]:
    """Read lines as `L3:0=7f0;1=1f`; bandwidths are decimal, masks hexadecimal."""
    found: dict[str, dict[str, int]] = {}
    for line in lines:
        kind, colon, rest = line.strip().partition(":")
        if not colon:
            continue
        base = 10 if kind == "MB" else 16
        for part in rest.split(";"):
            domain, _, value = part.strip().partition("=")
            try:
                found.setdefault(kind.strip(), {})[domain.strip()] = int(value, base)
            except ValueError:
                raise ContainerError(_FIELD, why=f"{line[:80]!r} is no schema") from None
    return found


def _write(path: str, text: str, root: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, text.encode())
    except OSError as error:
        raise ContainerError(
            _FIELD, why=f"{text.strip()!r} to {path}: {_last_words(root) or k.reason(error)}"
        ) from None
    finally:
        os.close(fd)


def _last_words(root: str) -> str:
    """Return why the kernel refused (resctrl.rst "last_cmd_status")."""
    try:
        with open(f"{root}/info/last_cmd_status", encoding="utf-8", errors="replace") as file:
            said = file.read(MAX_FILE_BYTES).strip()
    except OSError:
        return ""
    return "" if said == "ok" else said
