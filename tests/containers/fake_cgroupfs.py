"""A file tree that looks like cgroup file systems: directories come with their control files.

It stands in for kernels this host does not run (cgroup v2 with controllers, v1 hugetlb, ...): what is
written to it is kept and can be compared; what the kernel would compute is set by the test.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from innkeeper.containers.cgroups import files

V2 = {
    "cgroup.controllers": "cpuset cpu io memory hugetlb pids rdma",
    "cgroup.subtree_control": "", "cgroup.procs": "", "cgroup.threads": "", "cgroup.type": "domain",
    "cgroup.freeze": "0", "cgroup.events": "populated 0\nfrozen 0", "cgroup.kill": "",
    "cpu.max": "max 100000", "cpu.weight": "100", "cpu.idle": "0", "cpu.max.burst": "0", "cpu.stat": "",
    "cpuset.cpus": "", "cpuset.mems": "", "memory.max": "max", "memory.low": "0", "memory.current": "0",
    "memory.swap.max": "max", "memory.swap.current": "0", "memory.stat": "", "memory.events": "",
    "io.max": "", "io.weight": "default 100", "io.stat": "", "pids.max": "max", "pids.current": "0",
    "hugetlb.2MB.max": "max", "hugetlb.2MB.rsvd.max": "max", "rdma.max": "", "memory.high": "max",
}  # fmt: skip
V1 = {
    "cpu": ("cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.cfs_burst_us", "cpu.idle",
            "cpu.rt_runtime_us", "cpu.rt_period_us", "cpu.stat"),
    "cpuacct": ("cpuacct.usage", "cpuacct.stat"),
    "cpuset": ("cpuset.cpus", "cpuset.mems"),
    "memory": ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.soft_limit_in_bytes",
               "memory.swappiness", "memory.oom_control", "memory.usage_in_bytes"),
    "pids": ("pids.max", "pids.current"),
    "blkio": ("blkio.weight", "blkio.leaf_weight", "blkio.weight_device", "blkio.leaf_weight_device",
              *(f"blkio.throttle.{d}_{u}_device" for d in ("read", "write") for u in ("bps", "iops"))),
    "hugetlb": ("hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.rsvd.limit_in_bytes"),
    "net_cls": ("net_cls.classid",),
    "net_prio": ("net_prio.ifpriomap",),
    "rdma": ("rdma.max",),
    "devices": ("devices.allow", "devices.deny", "devices.list"),
    "freezer": ("freezer.state", "freezer.self_freezing"),
}  # fmt: skip
V1_TEXT = {
    "freezer.state": "THAWED", "freezer.self_freezing": "0", "devices.list": "a *:* rwm",
    "memory.limit_in_bytes": "9223372036854771712",
}  # fmt: skip


class FakeKernel:
    """Populates directories as they are made and remembers every write in order."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.writes: list[tuple[str, str]] = []
        self.failing: dict[str, int] = {}  # file name: errno
        self._put = files.put
        monkeypatch.setattr(files, "make_directory", self.make_directory)
        monkeypatch.setattr(files, "put", self.put)
        self._rmdir = os.rmdir
        monkeypatch.setattr(os, "rmdir", self.rmdir)

    def populate(self, path: str) -> None:
        relative = os.path.relpath(path, self.root)
        controller = relative.split("/")[0]
        wanted = {n: V1_TEXT.get(n, "") for n in V1[controller]} if controller in V1 else V2
        if controller in V1:
            wanted |= {"cgroup.procs": "", "tasks": ""}
        for name, text in wanted.items():
            Path(path, name).write_text(text)

    def make_directory(self, path: str) -> bool:
        if os.path.isdir(path):
            return False
        os.mkdir(path)
        self.populate(path)
        return True

    def rmdir(self, path: str) -> None:
        """Remove a cgroup: its control files do not count."""
        for each in os.scandir(path):
            if each.is_dir():
                raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
            os.unlink(each.path)
        self._rmdir(path)

    def put(self, directory: str, name: str, value: str) -> None:
        if name in self.failing:
            raise OSError(self.failing[name], os.strerror(self.failing[name]))
        self._put(directory, name, value)
        self.writes.append((name, value))
        if name == "cgroup.freeze":
            Path(directory, "cgroup.events").write_text(f"populated 1\nfrozen {value}")
            Path(directory, name).write_text(value)

    def written(self, *prefixes: str) -> list[tuple[str, str]]:
        return [w for w in self.writes if w[0].startswith(prefixes)]
