"""`linux.resources` as writes to the files of cgroup v2 (config-linux, cgroup-v2.rst).

The specification speaks cgroup v1; what v2 counts otherwise is converted as runc does it.
"""

from __future__ import annotations

from innkeeper.containers.cgroups import files
from innkeeper.containers.cgroups.files import I64_MAX, U64_MAX, integer
from innkeeper.containers.cgroups.v1_limits import (
    MAX_WEIGHT,
    MIN_WEIGHT,
    THROTTLES,
    device_number,
    page_size,
    rdma_lines,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT_PERIOD_US = 100_000
MIN_SHARES, MAX_SHARES, MAX_CPU_WEIGHT = 2, 1 << 18, 10000
LIMIT_KEYS = {
    "throttleReadBpsDevice": "rbps",
    "throttleWriteBpsDevice": "wbps",
    "throttleReadIOPSDevice": "riops",
    "throttleWriteIOPSDevice": "wiops",
}
assert LIMIT_KEYS.keys() == THROTTLES.keys()


def cpu_weight(shares: int) -> int:
    """Convert cpu.shares (2 to 262144, usually 1024) to cpu.weight (1 to 10000, usually 100).

    The curve through those three points that runc has since version 1.3.2.
    """
    if shares <= MIN_SHARES:
        return 1
    if shares >= MAX_SHARES:
        return MAX_CPU_WEIGHT
    from math import ceil, log2

    x = log2(shares)
    return ceil(10 ** ((x * x + 125 * x) / 612 - 7 / 34))


def io_weight(weight: int) -> int:
    """Convert blkio.weight (10 to 1000) to io.weight (1 to 10000)."""
    return 1 + (weight - MIN_WEIGHT) * 9999 // 990


def swap_max(limit: int, swap: int) -> int | None:
    """Return `memory.swap.max` for memory and (memory and swap) limits; -1 is "max"."""
    if limit == -1 and swap == 0:
        return -1
    if swap == 0:
        return None
    if swap == -1 or limit == -1:
        return swap
    if limit == 0:
        raise files.invalid("memory.swap", "it needs memory.limit: cgroup v2 counts swap alone")
    if swap < limit:
        raise files.invalid("memory.swap", f"memory and swap {swap} is below memory {limit}")
    return swap - limit


def needed_controllers(resources: dict[str, Any]) -> set[str]:
    """Return the controllers without which these limits cannot be set."""
    needed = set()
    for key, controller in (("memory", "memory"), ("blockIO", "io"), ("rdma", "rdma")):
        if any(value for value in files.section(resources, key).values()):
            needed.add(controller)
    cpu = files.section(resources, "cpu")
    if any(cpu.get(key) for key in ("shares", "quota", "period", "burst", "idle")):
        needed.add("cpu")
    if cpu.get("cpus") or cpu.get("mems"):
        needed.add("cpuset")
    if files.section(resources, "pids").get("limit"):
        needed.add("pids")
    if resources.get("hugepageLimits"):
        needed.add("hugetlb")
    unified = {name.partition(".")[0] for name in files.section(resources, "unified")}
    return needed | (unified - {"cgroup"})


class Limits:
    """One application of `resources` to a container's directory."""

    def __init__(self, path: str, resources: dict[str, Any]) -> None:
        self.path, self.resources = path, resources

    def apply(self) -> None:
        """Set every limit that is given, in runc's order."""
        if any(files.section(self.resources, "network").values()):
            raise files.invalid("network", "cgroup v2 has no net_cls and net_prio to convert it to")
        self._pids()
        self._memory()
        self._block_io()
        self._cpu()
        self._cpuset()
        self._huge_pages()
        for line, where in rdma_lines(self.resources):
            self._set("rdma.max", line, where)
        self._unified()

    def _set(self, name: str, value: object, field: str) -> None:
        try:
            files.put(self.path, name, str(value))
        except OSError as e:
            controller = name.partition(".")[0]
            have = files.get_or(self.path, "cgroup.controllers", "").split()
            if e.errno in (1, 2, 13) and controller != "cgroup" and controller not in have:
                raise files.unavailable(field, controller) from None
            full = f"linux.resources.{field}"
            raise files.refused(full, f"{self.path}/{name}", str(value), e) from None

    def _given(self, key: str, field: str, low: int, high: int) -> int | None:
        value = files.section(self.resources, key).get(field)
        return None if value is None else integer(value, low, high, f"{key}.{field}")

    def _pids(self) -> None:
        limit = self._given("pids", "limit", -I64_MAX, I64_MAX)
        if limit:
            self._set("pids.max", limit if limit > 0 else "max", "pids.limit")

    def _memory(self) -> None:
        limit = self._given("memory", "limit", -1, I64_MAX) or 0
        swap = self._given("memory", "swap", -1, I64_MAX) or 0
        low = self._given("memory", "reservation", -1, I64_MAX) or 0
        self._given("memory", "swappiness", -1, 100)  # v2 has only memory.reclaim's own
        self._check_usage(limit, swap)
        beside = swap_max(limit, swap)
        if beside is not None:
            self._set_swap(beside)
        if limit:
            self._set("memory.max", _or_max(limit), "memory.limit")
        if low:
            self._set("memory.low", _or_max(low), "memory.reservation")

    def _set_swap(self, beside: int) -> None:
        """Limit swap; a kernel that does not count it needs neither "none" nor "all"."""
        if beside <= 0 and not files.exists(self.path, "memory.swap.max"):
            return
        self._set("memory.swap.max", _or_max(beside), "memory.swap")

    def _check_usage(self, limit: int, swap: int) -> None:
        """Refuse a limit below the usage where that is asked for (`checkBeforeUpdate`)."""
        if not files.section(self.resources, "memory").get("checkBeforeUpdate"):
            return
        used = files.get_or(self.path, "memory.current", "").strip()
        if not used.isdigit():
            return
        for field, value in (("swap", swap), ("limit", limit)):
            if 0 < value <= int(used):
                raise files.invalid(f"memory.{field}", f"{value} is not above the usage {used}")

    def _block_io(self) -> None:
        block_io = files.section(self.resources, "blockIO")
        weight = self._given("blockIO", "weight", 0, MAX_WEIGHT)
        if weight:
            self._weight("", weight, "blockIO.weight")
        for at, device in enumerate(files.entries(block_io.get("weightDevice"), "blockIO")):
            where = f"blockIO.weightDevice[{at}]"
            if device.get("weight"):
                value = integer(device["weight"], MIN_WEIGHT, MAX_WEIGHT, f"{where}.weight")
                self._weight(device_number(device, where) + " ", value, where)
        for key, limit in LIMIT_KEYS.items():
            for at, device in enumerate(files.entries(block_io.get(key), f"blockIO.{key}")):
                where = f"blockIO.{key}[{at}]"
                rate = integer(device.get("rate"), 0, U64_MAX, f"{where}.rate")
                # v1 writes 0 for "no limit", v2 has a word for it.
                line = f"{device_number(device, where)} {limit}={rate or 'max'}"
                self._set("io.max", line, where)

    def _weight(self, prefix: str, weight: int, field: str) -> None:
        """Set a weight in the scheduler's own file, or converted where it is not BFQ."""
        if files.exists(self.path, "io.bfq.weight"):
            self._set("io.bfq.weight", f"{prefix}{weight}", field)
        else:
            self._set("io.weight", f"{prefix}{io_weight(weight)}", field)

    def _cpu(self) -> None:
        idle = self._given("cpu", "idle", 0, 1)
        if idle is not None:
            self._set("cpu.idle", idle, "cpu.idle")
        shares = self._given("cpu", "shares", 0, U64_MAX)
        if shares and idle != 1:
            self._set("cpu.weight", cpu_weight(shares), "cpu.shares")
        quota = self._given("cpu", "quota", -I64_MAX, I64_MAX) or 0
        period = self._given("cpu", "period", 0, U64_MAX) or 0
        burst = self._given("cpu", "burst", 0, U64_MAX)
        if burst and 0 < quota < burst:
            raise files.invalid("cpu.burst", f"{burst} is above the quota {quota}")
        if burst is not None and not quota:
            self._set("cpu.max.burst", burst, "cpu.burst")
        if quota or period:
            line = f"{quota if quota > 0 else 'max'} {period or DEFAULT_PERIOD_US}"
            if burst is not None and quota:
                self._set("cpu.max.burst", 0, "cpu.burst")  # else a lower quota would be refused
            self._set("cpu.max", line, "cpu.quota")
        if burst is not None and quota:
            self._set("cpu.max.burst", burst, "cpu.burst")

    def _cpuset(self) -> None:
        cpu = files.section(self.resources, "cpu")
        for field in ("cpus", "mems"):
            if value := cpu.get(field):
                text = files.text(value, f"cpu.{field}")
                self._set(f"cpuset.{field}", text, f"cpu.{field}")

    def _huge_pages(self) -> None:
        limits = files.entries(self.resources.get("hugepageLimits"), "hugepageLimits")
        for at, entry in enumerate(limits):
            where = f"hugepageLimits[{at}]"
            size = page_size(entry.get("pageSize"), f"{where}.pageSize")
            limit = integer(entry.get("limit"), 0, U64_MAX, f"{where}.limit")
            self._set(f"hugetlb.{size}.max", limit, where)
            if files.exists(self.path, f"hugetlb.{size}.rsvd.max"):
                self._set(f"hugetlb.{size}.rsvd.max", limit, where)

    def _unified(self) -> None:
        """Write files by their own names; several lines are several writes."""
        for name, value in files.section(self.resources, "unified").items():
            field = f"unified[{name!r}]"
            if "/" in name or "." not in name[1:] or "\0" in name:
                raise files.invalid(field, "it is not of the form CONTROLLER.PARAMETER")
            for line in files.text(value, field).splitlines() or [""]:
                self._set(name, line, field)


def _or_max(value: int) -> str:
    return "max" if value == -1 else str(value)
