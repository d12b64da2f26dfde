"""Control files as numbers: what a kernel may leave out is zero, as runc reports it."""

from __future__ import annotations

from innkeeper.containers.cgroups import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_CPUS = 65536


def text_lines(path: str, name: str) -> list[str]:
    """Return a file's lines, none where it is not there."""
    return files.get_or(path, name, "").splitlines()


def number(path: str, name: str) -> int:
    """Return a file's one number; "max" is the highest, what is not there is zero.

    Values below zero, which the kernel prints for some counters in flux, are zero too.
    """
    text = files.get_or(path, name, "0").strip()
    if text == "max":
        return files.U64_MAX
    try:
        return max(0, int(text))
    except ValueError:
        return 0


def key_values(path: str, name: str) -> dict[str, int]:
    """Return a flat keyed file: lines of a name and a number."""
    found = {}
    for line in text_lines(path, name):
        key, _, value = line.partition(" ")
        if value.strip().isdigit():
            found[key] = int(value)
    return found


def nested(path: str, name: str) -> dict[str, dict[str, str]]:
    """Return a nested keyed file: lines of a name and KEY=VALUE pairs."""
    found = {}
    for line in text_lines(path, name):
        key, *pairs = line.split()
        found[key] = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    return found


def cpu_list(text: str) -> list[int]:
    """Return the numbers of a list such as 0-3,7."""
    found: list[int] = []
    for part in text.strip().split(","):
        low, _, high = part.partition("-")
        if low.isdigit() and (not high or high.isdigit()):
            found += range(int(low), min(int(high or low), int(low) + MAX_CPUS) + 1)
    return found


def pressure(path: str, name: str) -> dict[str, Any] | None:
    """Return pressure stall information (accounting/psi.rst), None where the kernel has none."""
    found = {}
    for kind, values in nested(path, name).items():
        try:
            found[kind] = {key: float(values[key]) for key in ("avg10", "avg60", "avg300")}
            found[kind]["total"] = int(values["total"])
        except (KeyError, ValueError):
            return None
    return found or None


def entry(**values: Any) -> dict[str, Any]:
    """Return an object without its empty members, as Go's `omitempty` writes it."""
    return {key: value for key, value in values.items() if value not in (0, "", [], {}, None)}


def memory_entry(*, limit: int, usage: int, peak: int, failcnt: int) -> dict[str, int]:
    """Return the shape of one counter of memory."""
    return {"limit": limit, **entry(usage=usage, max=peak), "failcnt": failcnt}
