"""Usage from cgroup v2, in the shape of `runc events --stats` (runc types/events.go)."""

from __future__ import annotations

from innkeeper.containers.cgroups import files
from innkeeper.containers.cgroups.parse import (
    cpu_list,
    entry,
    key_values,
    memory_entry,
    nested,
    number,
    pressure,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

IO_FIELDS = {
    "rbytes": ("ioServiceBytesRecursive", "Read"),
    "wbytes": ("ioServiceBytesRecursive", "Write"),
    "rios": ("ioServicedRecursive", "Read"),
    "wios": ("ioServicedRecursive", "Write"),
}


def stats(path: str) -> dict[str, Any]:
    """Return what the controllers of this container have counted."""
    found: dict[str, Any] = {
        "cpu": _cpu(path),
        "cpuset": entry(
            cpus=cpu_list(files.get_or(path, "cpuset.cpus.effective", "")),
            mems=cpu_list(files.get_or(path, "cpuset.mems.effective", "")),
        ),
        "memory": _memory(path),
        "pids": _pids(path),
        "blkio": _io(path),
        "hugetlb": _hugetlb(path),
        "intel_rdt": {},
        "network_interfaces": None,
    }
    for key, name in (("cpu", "cpu"), ("memory", "memory"), ("blkio", "io")):
        if psi := pressure(path, f"{name}.pressure"):
            found[key]["psi"] = psi
    return found


def _cpu(path: str) -> dict[str, Any]:
    counted = key_values(path, "cpu.stat")
    usage = entry(total=counted.get("usage_usec", 0) * 1000)
    usage["kernel"] = counted.get("system_usec", 0) * 1000
    usage["user"] = counted.get("user_usec", 0) * 1000
    return {
        "usage": usage,
        "throttling": entry(
            periods=counted.get("nr_periods", 0),
            throttledPeriods=counted.get("nr_throttled", 0),
            throttledTime=counted.get("throttled_usec", 0) * 1000,
        ),
    }


def _memory(path: str) -> dict[str, Any]:
    raw = key_values(path, "memory.stat")
    events = key_values(path, "memory.events")
    memory = _counter(path, "memory")
    swap = _counter(path, "memory.swap")
    # v1 counts memory and swap together, and so does this shape; peaks cannot be added.
    both = memory_entry(
        limit=min(memory["limit"] + swap["limit"], files.U64_MAX),
        usage=memory["usage"] + swap["usage"],
        peak=0,
        failcnt=0,
    )
    found: dict[str, Any] = entry(cache=raw.get("file", 0))
    found["usage"] = memory_entry(**memory, failcnt=events.get("max", 0))
    found["swap"] = both
    found["kernel"] = {"limit": 0, "failcnt": 0}
    found["kernelTCP"] = {"limit": 0, "failcnt": 0}
    found |= entry(raw=raw)
    return found


def _counter(path: str, name: str) -> dict[str, int]:
    return {
        "limit": number(path, f"{name}.max"),
        "usage": number(path, f"{name}.current"),
        "peak": number(path, f"{name}.peak"),
    }


def _pids(path: str) -> dict[str, Any]:
    """Count processes; without the controller the list of them is counted, as runc does."""
    if not files.exists(path, "pids.current"):
        from innkeeper.containers.cgroups.base import processes

        return entry(current=len(processes(path)))
    limit = number(path, "pids.max")
    return entry(current=number(path, "pids.current"), limit=0 if limit == files.U64_MAX else limit)


def _io(path: str) -> dict[str, Any]:
    found: dict[str, list[dict[str, Any]]] = {}
    for device, values in nested(path, "io.stat").items():
        major, _, minor = device.partition(":")
        if not (major.isdigit() and minor.isdigit()):
            continue
        for key, (field, op) in IO_FIELDS.items():
            if values.get(key, "").isdigit():
                row = entry(major=int(major), minor=int(minor), op=op, value=int(values[key]))
                found.setdefault(field, []).append(row)
    return dict(found)


def _hugetlb(path: str) -> dict[str, Any]:
    import os

    found = {}
    for name in sorted(os.listdir(path)):
        if name.startswith("hugetlb.") and name.endswith(".current") and ".rsvd." not in name:
            size = name.split(".")[1]
            reserved = files.exists(path, f"hugetlb.{size}.rsvd.current")
            kind = f"hugetlb.{size}.rsvd" if reserved else f"hugetlb.{size}"
            failed = key_values(path, f"hugetlb.{size}.events").get("max", 0)
            found[size] = entry(usage=number(path, f"{kind}.current")) | {"failcnt": failed}
    return found
