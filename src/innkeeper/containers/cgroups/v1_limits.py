"""`linux.resources` as writes to the files of cgroup v1 (config-linux, cgroup-v1/*.rst).

Zero means "not set" where runc has it so.
"""

from __future__ import annotations

import os

from innkeeper.containers.cgroups import files
from innkeeper.containers.cgroups.files import I64_MAX, U32_MAX, U64_MAX, integer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

EINVAL, EBUSY, ENOENT = 22, 16, 2
MIN_WEIGHT, MAX_WEIGHT = 10, 1000
THROTTLES = {
    "throttleReadBpsDevice": "blkio.throttle.read_bps_device",
    "throttleWriteBpsDevice": "blkio.throttle.write_bps_device",
    "throttleReadIOPSDevice": "blkio.throttle.read_iops_device",
    "throttleWriteIOPSDevice": "blkio.throttle.write_iops_device",
}


class Limits:
    """One application of `resources` to a container's directories."""

    def __init__(self, paths: dict[str, str], resources: dict[str, Any]) -> None:
        self.paths, self.resources = paths, resources

    def apply(self) -> None:
        """Set every limit that is given, in runc's order of controllers."""
        self._cpuset()
        self._memory()
        self._cpu()
        self._pids()
        self._block_io()
        self._huge_pages()
        self._network()
        self._rdma()

    def _path(self, controller: str, field: str) -> str:
        path = self.paths.get(controller)
        if path is None:
            raise files.unavailable(field, controller)
        return path

    def _set(self, controller: str, name: str, value: object, field: str) -> None:
        path = self._path(controller, field)
        files.set_value(path, name, str(value), f"linux.resources.{field}")

    def _given(self, key: str, field: str, low: int, high: int) -> int | None:
        """Return a number of one section, or None where it is not there."""
        value = files.section(self.resources, key).get(field)
        return None if value is None else integer(value, low, high, f"{key}.{field}")

    def _cpuset(self) -> None:
        cpu = files.section(self.resources, "cpu")
        for field in ("cpus", "mems"):
            if value := cpu.get(field):
                name = f"cpuset.{field}"
                if not files.exists(self._path("cpuset", f"cpu.{field}"), name):
                    name = field
                self._set("cpuset", name, files.text(value, f"cpu.{field}"), f"cpu.{field}")

    def _memory(self) -> None:
        limit = self._given("memory", "limit", -1, I64_MAX) or 0
        swap = self._given("memory", "swap", -1, I64_MAX) or 0
        reservation = self._given("memory", "reservation", -1, I64_MAX) or 0
        swappiness = self._given("memory", "swappiness", -1, 100)
        self._memory_and_swap(limit, swap)
        if reservation:
            name = "memory.soft_limit_in_bytes"
            self._set("memory", name, reservation, "memory.reservation")
        memory = files.section(self.resources, "memory")
        if memory.get("kernel") is not None or memory.get("kernelTCP") is not None:
            self._kernel_memory()
        if memory.get("disableOOMKiller"):
            self._set("memory", "memory.oom_control", 1, "memory.disableOOMKiller")
        if swappiness is not None and swappiness >= 0:
            self._set("memory", "memory.swappiness", swappiness, "memory.swappiness")

    def _kernel_memory(self) -> None:
        """Check the deprecated kernel limits; Linux no longer enforces them, runc ignores them."""
        for field in ("kernel", "kernelTCP"):
            self._given("memory", field, -1, I64_MAX)

    def _memory_and_swap(self, limit: int, swap: int) -> None:
        """Write both limits in the order in which memory never exceeds memory and swap."""
        if not limit and not swap:
            return
        path = self._path("memory", "memory.limit" if limit else "memory.swap")
        swap_file = "memory.memsw.limit_in_bytes"
        if limit == -1 and not swap and files.exists(path, swap_file):
            swap = -1
        if swap > 0 and limit > swap:
            raise files.invalid("memory.swap", f"memory and swap {swap} is below memory {limit}")
        steps = [("limit", limit), ("swap", swap)]
        if limit and swap:
            now = files.need(path, "memory.limit_in_bytes", "linux.resources.memory.limit")
            if swap == -1 or int(now) < swap:
                steps.reverse()
        for field, value in steps:
            if value:
                name = swap_file if field == "swap" else "memory.limit_in_bytes"
                self._set_memory(path, name, value, f"memory.{field}")

    def _set_memory(self, path: str, name: str, value: int, field: str) -> None:
        try:
            files.put(path, name, str(value))
        except OSError as e:
            if e.errno == EBUSY:
                used = files.get_or(path, "memory.usage_in_bytes", "?").strip()
                peak = files.get_or(path, "memory.max_usage_in_bytes", "?").strip()
                why = f"{value} is below what is in use ({used}, at most {peak})"
                raise files.invalid(field, why) from None
            raise files.refused(f"linux.resources.{field}", f"{path}/{name}", str(value), e) from e

    def _cpu(self) -> None:
        shares = self._given("cpu", "shares", 0, U64_MAX)
        if shares:
            self._set("cpu", "cpu.shares", shares, "cpu.shares")
            self._check_shares(shares)
        self._real_time()
        self._bandwidth()
        idle = self._given("cpu", "idle", 0, 1)
        if idle is not None:
            self._set("cpu", "cpu.idle", idle, "cpu.idle")

    def _check_shares(self, shares: int) -> None:
        """Refuse what the kernel silently clamps."""
        kept = int(files.get_or(self.paths["cpu"], "cpu.shares", str(shares)))
        if kept != shares:
            side = "maximum" if shares > kept else "minimum"
            raise files.invalid("cpu.shares", f"the {side} is {kept}")

    def _real_time(self) -> None:
        for field, name in (
            ("realtimePeriod", "cpu.rt_period_us"),
            ("realtimeRuntime", "cpu.rt_runtime_us"),
        ):
            value = self._given("cpu", field, 0, I64_MAX)
            if value:
                self._set("cpu", name, value, f"cpu.{field}")

    def _bandwidth(self) -> None:
        """Write period, quota and burst so that each step is valid with what stands already."""
        period = self._given("cpu", "period", 0, U64_MAX)
        quota = self._given("cpu", "quota", -I64_MAX, I64_MAX)
        burst = self._given("cpu", "burst", 0, U64_MAX)
        if burst and quota and 0 < quota < burst:
            raise files.invalid("cpu.burst", f"{burst} is above the quota {quota}")
        late: list[tuple[str, int, str]] = []
        steps = (
            ("cpu.cfs_burst_us", burst, "cpu.burst"),
            ("cpu.cfs_period_us", period or None, "cpu.period"),
        )
        for name, value, field in steps:
            if value is None:
                continue
            try:
                files.put(self._path("cpu", field), name, str(value))
            except OSError as e:
                if e.errno != EINVAL or not quota:
                    path = f"{self.paths['cpu']}/{name}"
                    raise files.refused(f"linux.resources.{field}", path, str(value), e) from e
                late.append((name, value, field))
        if quota:
            self._set("cpu", "cpu.cfs_quota_us", quota, "cpu.quota")
        for name, value, field in late:
            self._set("cpu", name, value, field)

    def _pids(self) -> None:
        limit = self._given("pids", "limit", -I64_MAX, I64_MAX)
        if limit:
            self._set("pids", "pids.max", limit if limit > 0 else "max", "pids.limit")

    def _block_io(self) -> None:
        for field, names in (
            ("weight", ("blkio.weight", "blkio.bfq.weight")),
            ("leafWeight", ("blkio.leaf_weight",)),
        ):
            weight = self._given("blockIO", field, 0, MAX_WEIGHT)
            if weight:
                self._set("blkio", self._offered(names, field), weight, f"blockIO.{field}")
        block_io = files.section(self.resources, "blockIO")
        for at, device in enumerate(files.entries(block_io.get("weightDevice"), "blockIO")):
            self._weight_device(device, f"blockIO.weightDevice[{at}]")
        for key, name in THROTTLES.items():
            for at, device in enumerate(files.entries(block_io.get(key), f"blockIO.{key}")):
                where = f"blockIO.{key}[{at}]"
                rate = integer(device.get("rate"), 0, U64_MAX, f"{where}.rate")
                self._set("blkio", name, f"{device_number(device, where)} {rate}", where)

    def _weight_device(self, device: dict[str, Any], where: str) -> None:
        number = device_number(device, where)
        for field, names in (
            ("weight", ("blkio.weight_device", "blkio.bfq.weight_device")),
            ("leafWeight", ("blkio.leaf_weight_device",)),
        ):
            if device.get(field):
                weight = integer(device[field], MIN_WEIGHT, MAX_WEIGHT, f"{where}.{field}")
                name = self._offered(names, f"{where}.{field}")
                self._set("blkio", name, f"{number} {weight}", f"{where}.{field}")

    def _offered(self, names: tuple[str, ...], field: str) -> str:
        """Return the first of these files that the kernel has; it depends on the scheduler."""
        path = self._path("blkio", f"blockIO.{field}")
        return next((name for name in names if files.exists(path, name)), names[0])

    def _huge_pages(self) -> None:
        limits = files.entries(self.resources.get("hugepageLimits"), "hugepageLimits")
        for at, entry in enumerate(limits):
            where = f"hugepageLimits[{at}]"
            size = page_size(entry.get("pageSize"), f"{where}.pageSize")
            limit = integer(entry.get("limit"), 0, U64_MAX, f"{where}.limit")
            self._set("hugetlb", f"hugetlb.{size}.limit_in_bytes", limit, where)
            reserved = f"hugetlb.{size}.rsvd.limit_in_bytes"
            if files.exists(self.paths["hugetlb"], reserved):
                self._set("hugetlb", reserved, limit, where)

    def _network(self) -> None:
        class_id = self._given("network", "classID", 0, U32_MAX)
        if class_id is not None:
            self._set("net_cls", "net_cls.classid", class_id, "network.classID")
        network = files.section(self.resources, "network")
        for at, entry in enumerate(files.entries(network.get("priorities"), "network.priorities")):
            where = f"network.priorities[{at}]"
            name = files.text(entry.get("name"), f"{where}.name")
            if not name or " " in name or "\n" in name:
                raise files.invalid(f"{where}.name", f"{name!r} is not an interface")
            priority = integer(entry.get("priority"), 0, U32_MAX, f"{where}.priority")
            self._set("net_prio", "net_prio.ifpriomap", f"{name} {priority}", where)

    def _rdma(self) -> None:
        for line, where in rdma_lines(self.resources):
            self._set("rdma", "rdma.max", line, where)


def device_number(device: dict[str, Any], where: str) -> str:
    """Return a device as control files name it."""
    major = integer(device.get("major"), 0, U32_MAX, f"{where}.major")
    return f"{major}:{integer(device.get('minor'), 0, U32_MAX, f'{where}.minor')}"


def page_size(value: Any, field: str) -> str:
    """Return a huge page size in its own notation (64KB, 2MB, 1GB), or refuse it."""
    size = files.text(value, field)
    if size[-2:] not in ("KB", "MB", "GB") or not size[:-2].isdecimal() or len(size) > 12:
        raise files.invalid(field, f"{size!r} is not a size such as 64KB, 2MB or 1GB")
    return size


def rdma_lines(resources: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the lines for `rdma.max`, each with its field; the same in both versions."""
    found = []
    for device, entry in files.section(resources, "rdma").items():
        where = f"rdma.{device}"
        if not isinstance(entry, dict) or os.sep in device or not device.isprintable():
            raise files.invalid(where, "it is not an object named by a device")
        parts = [device]
        for field, name in (("hcaHandles", "hca_handle"), ("hcaObjects", "hca_object")):
            if entry.get(field) is not None:
                parts.append(f"{name}={integer(entry[field], 0, U32_MAX, f'{where}.{field}')}")
        if len(parts) == 1:
            raise files.invalid(where, "it needs hcaHandles or hcaObjects")
        found.append((" ".join(parts), where))
    return found
