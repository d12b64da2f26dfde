"""Usage from cgroup v1, in the shape of `runc events --stats` (runc types/events.go)."""

from __future__ import annotations

from innkeeper.containers.cgroups import files
from innkeeper.containers.cgroups.parse import (
    cpu_list,
    entry,
    key_values,
    memory_entry,
    number,
    pressure,
    text_lines,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NS_PER_TICK = 10_000_000  # USER_HZ is 100 on every architecture
CPUSET_FLAGS = (
    *("cpu_exclusive", "mem_hardwall", "mem_exclusive", "memory_migrate"),
    *("memory_spread_page", "memory_spread_slab", "memory_pressure", "sched_load_balance"),
)
RELAX = "sched_relax_domain_level"  # -1 is "no request"
# What to read for each field, by what the kernel's I/O scheduler offers: the first that is there.
BLKIO = {
    "ioServiceBytesRecursive": "io_service_bytes",
    "ioServicedRecursive": "io_serviced",
    "ioQueueRecursive": "io_queued",
    "ioServiceTimeRecursive": "io_service_time",
    "ioWaitTimeRecursive": "io_wait_time",
    "ioMergedRecursive": "io_merged",
    "ioTimeRecursive": "time",
    "sectorsRecursive": "sectors",
}
BLKIO_FORMS = ("bfq.{}_recursive", "{}_recursive", "throttle.{}_recursive", "throttle.{}")


def stats(paths: dict[str, str]) -> dict[str, Any]:
    """Return what the controllers of this container have counted."""
    found: dict[str, Any] = {
        "cpu": _cpu(paths.get("cpu"), paths.get("cpuacct")),
        "cpuset": _cpuset(paths["cpuset"]) if "cpuset" in paths else {},
        "memory": _memory(paths["memory"]) if "memory" in paths else {},
        "pids": _pids(paths["pids"]) if "pids" in paths else {},
        "blkio": _blkio(paths["blkio"]) if "blkio" in paths else {},
        "hugetlb": _hugetlb(paths["hugetlb"]) if "hugetlb" in paths else {},
        "intel_rdt": {},
        "network_interfaces": None,
    }
    unified = paths.get("")
    if unified:
        for key, name in (("cpu", "cpu"), ("memory", "memory"), ("blkio", "io")):
            if psi := pressure(unified, f"{name}.pressure"):
                found[key]["psi"] = psi
    return found


def _cpu(cpu: str | None, cpuacct: str | None) -> dict[str, Any]:
    usage: dict[str, Any] = {"kernel": 0, "user": 0}
    throttling = {}
    if cpuacct is not None:
        ticks = key_values(cpuacct, "cpuacct.stat")
        usage["user"] = ticks.get("user", 0) * NS_PER_TICK
        usage["kernel"] = ticks.get("system", 0) * NS_PER_TICK
        usage |= entry(total=number(cpuacct, "cpuacct.usage"))
        each = files.get_or(cpuacct, "cpuacct.usage_percpu", "").split()
        usage |= entry(percpu=[int(n) for n in each])
        rows = [line.split() for line in text_lines(cpuacct, "cpuacct.usage_all")[1:]]
        usage |= entry(
            percpu_user=[int(row[1]) for row in rows if len(row) == 3],
            percpu_kernel=[int(row[2]) for row in rows if len(row) == 3],
        )
    if cpu is not None:
        counted = key_values(cpu, "cpu.stat")
        throttling = entry(
            periods=counted.get("nr_periods", 0),
            throttledPeriods=counted.get("nr_throttled", 0),
            throttledTime=counted.get("throttled_time", 0),
        )
    return {"usage": usage, "throttling": throttling}


def _cpuset(path: str) -> dict[str, Any]:
    prefix = "cpuset." if files.exists(path, "cpuset.cpus") else ""
    found: dict[str, Any] = entry(
        cpus=cpu_list(files.get_or(path, f"{prefix}cpus", "")),
        mems=cpu_list(files.get_or(path, f"{prefix}mems", "")),
    )
    for name in CPUSET_FLAGS:
        found[name] = number(path, prefix + name)
    found[RELAX] = (
        -1
        if files.get_or(path, prefix + RELAX, "").strip() == "-1"
        else number(path, prefix + RELAX)
    )
    return found


def _memory(path: str) -> dict[str, Any]:
    raw = key_values(path, "memory.stat")
    found: dict[str, Any] = entry(cache=raw.get("cache", 0))
    for key, kind in (
        ("usage", ""),
        ("swap", "memsw."),
        ("kernel", "kmem."),
        ("kernelTCP", "kmem.tcp."),
    ):
        found[key] = memory_entry(
            limit=number(path, f"memory.{kind}limit_in_bytes"),
            usage=number(path, f"memory.{kind}usage_in_bytes"),
            peak=number(path, f"memory.{kind}max_usage_in_bytes"),
            failcnt=number(path, f"memory.{kind}failcnt"),
        )
    found |= entry(raw=raw)
    return found


def _pids(path: str) -> dict[str, Any]:
    return entry(current=number(path, "pids.current"), limit=number(path, "pids.max"))


def _blkio(path: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field, name in BLKIO.items():
        for form in BLKIO_FORMS:
            rows = _blkio_rows(path, f"blkio.{form.format(name)}")
            if rows:
                found[field] = rows
                break
    return found


def _blkio_rows(path: str, name: str) -> list[dict[str, Any]]:
    """Parse lines of `MAJOR:MINOR [OPERATION] VALUE`; totals are left out."""
    rows = []
    for line in text_lines(path, name):
        parts = line.replace(":", " ", 1).split()
        if len(parts) < 3 or not parts[-1].isdigit():
            continue
        op = parts[2] if len(parts) == 4 else ""
        rows.append(entry(major=int(parts[0]), minor=int(parts[1]), op=op, value=int(parts[-1])))
    return rows


def _hugetlb(path: str) -> dict[str, Any]:
    import os

    found = {}
    for name in sorted(os.listdir(path)):
        if (
            name.startswith("hugetlb.")
            and name.endswith(".usage_in_bytes")
            and ".rsvd." not in name
        ):
            size = name.split(".")[1]
            form = (
                f"hugetlb.{size}.rsvd"
                if files.exists(path, f"hugetlb.{size}.rsvd.usage_in_bytes")
                else f"hugetlb.{size}"
            )
            found[size] = entry(
                usage=number(path, f"{form}.usage_in_bytes"),
                max=number(path, f"{form}.max_usage_in_bytes"),
            ) | {"failcnt": number(path, f"{form}.failcnt")}
    return found
