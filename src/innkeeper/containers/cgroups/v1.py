"""Control groups version 1 (and hybrid hosts): kernel Documentation/admin-guide/cgroup-v1."""

from __future__ import annotations

import os

from innkeeper.containers.cgroups import base, files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# In runc's order: what can refuse a process comes before what only counts.
ORDER = (
    *("cpuset", "devices", "memory", "cpu", "cpuacct", "pids", "blkio", "hugetlb", "net_cls"),
    *("net_prio", "perf_event", "freezer", "rdma", "name=systemd", "misc", ""),
)
PERMISSION_ERRNOS = (1, 13, 30)  # EPERM, EACCES, EROFS
FREEZE_ROUNDS = 1000


class CgroupV1(base.Cgroup):
    """One directory for every mounted controller."""

    @property
    def home(self) -> str | None:
        for controller in ("devices", "pids", "freezer", "memory", *self.paths):
            if controller in self.paths:
                return self.paths[controller]
        return None

    def _make(self, resources: dict[str, Any]) -> None:
        if resources.get("unified"):
            raise files.invalid("unified", "this host has cgroup v1, which has no such files")
        for controller in self._controllers():
            path = self.paths[controller]
            try:
                if controller == "cpuset":
                    self.new += make_cpuset(path)
                else:
                    self.new += files.make_directories(path)
            except OSError as e:
                if self.optional and e.errno in PERMISSION_ERRNOS:
                    del self.paths[controller]  # a limit for it fails later, by name
                    continue
                raise files.refused("linux.cgroupsPath", path, "mkdir", e) from None
        if self.home is not None and self.home not in self.new:
            self._check_fit()

    def _controllers(self) -> list[str]:
        """Return the controllers to use, each directory once."""
        seen: set[str] = set()
        found = []
        for controller in (*ORDER, *(c for c in self.paths if c not in ORDER)):
            path = self.paths.get(controller)
            if path is not None and path not in seen:
                seen.add(path)
                found.append(controller)
        return found

    def _limit(self, resources: dict[str, Any], *, fresh: bool) -> None:
        from innkeeper.containers.cgroups.v1_limits import Limits

        Limits(self.paths, resources).apply()
        if fresh or "devices" in resources:
            self._set_devices(resources.get("devices"))

    def _set_devices(self, rules: Any) -> None:
        from innkeeper.containers.cgroups import devices

        wanted = devices.wanted(rules)
        field = "linux.resources.devices"
        path = self.paths.get("devices")
        if path is None:
            if self.rootless:
                return  # the host's own permissions guard devices from a user
            raise files.unavailable("devices", "devices")
        try:
            now = devices.parse_list(files.need(path, "devices.list", field))
            for name, line in devices.transition(now, wanted):
                files.set_value(path, name, line, field)
        except Exception:
            if not self.rootless:
                raise

    def add(self, pid: int) -> None:
        for controller in self._controllers():
            try:
                base.join(self.paths[controller], pid)
            except OSError as e:
                if self.optional and e.errno in PERMISSION_ERRNOS:
                    del self.paths[controller]
                    continue
                path = f"{self.paths[controller]}/cgroup.procs"
                raise files.refused("linux.cgroupsPath", path, str(pid), e) from None

    def joiners(self, *, unified: bool = True) -> list[int]:
        opened: list[int] = []
        for controller in self._controllers():
            if controller == "" and not unified:
                continue
            path, name = self.paths[controller], "tasks" if controller else "cgroup.procs"
            try:
                opened.append(base.open_joiner(path, name))
            except OSError as e:
                if self.optional and e.errno in PERMISSION_ERRNOS:
                    del self.paths[controller]
                    continue
                for fd in opened:
                    os.close(fd)
                raise files.refused("linux.cgroupsPath", f"{path}/{name}", "0", e) from None
        return opened

    @property
    def frozen(self) -> bool:
        path = self.paths.get("freezer")
        if path is None:
            return False
        state = files.get_or(path, "freezer.state", "THAWED").strip()
        # Stopped by an ancestor is not stopped by us.
        return state != "THAWED" and files.get_or(path, "freezer.self_freezing", "1").strip() == "1"

    def freeze(self) -> None:
        path = self._freezer()
        try:
            self._freeze(path)
        except BaseException:
            # Half frozen is worse than not: nothing would ever thaw it.
            try:
                files.put(path, "freezer.state", "THAWED")
            finally:
                raise

    def _freeze(self, path: str) -> None:
        """Ask until all are stopped: new processes keep v1 in FREEZING (freezer-subsystem.rst)."""
        import time

        for round_ in range(FREEZE_ROUNDS):
            if round_ % 50 == 49:
                files.set_value(path, "freezer.state", "THAWED", "freeze")
                time.sleep(0.01)
            files.set_value(path, "freezer.state", "FROZEN", "freeze")
            if round_ % 25 == 24:
                time.sleep(0.00001)
            if round_ % 200 == 199:
                time.sleep(2 ** (round_ // 200) / 4)
            state = files.need(path, "freezer.state", "freeze").strip()
            if state == "FROZEN":
                return
        from innkeeper.containers.cgroups.errors import CgroupError

        raise CgroupError(
            "cannot freeze the container", why=f"{path} stays in {state}: processes keep appearing"
        )

    def thaw(self) -> None:
        files.set_value(self._freezer(), "freezer.state", "THAWED", "thaw")

    def _freezer(self) -> str:
        path = self.paths.get("freezer")
        if path is None:
            raise files.unavailable("freezer", "freezer")
        return path

    def stats(self) -> dict[str, Any]:
        from innkeeper.containers.cgroups.v1_stats import stats

        return stats(self.paths)


def make_cpuset(path: str) -> list[str]:
    """Create a cpuset and its parents, each with its parent's CPUs and memory nodes.

    A new cpuset is empty and takes no process until it has both (cgroup-v1/cpusets.rst).
    """
    new = files.make_directories(path)
    for made in new:
        parent = os.path.dirname(made)
        for name in ("cpuset.cpus", "cpuset.mems"):
            if not files.exists(made, name):
                name = name[7:]  # mounted with noprefix
            if not files.get(made, name).strip():
                files.put(made, name, files.get(parent, name).strip())
    return new
