"""Control groups version 2: kernel Documentation/admin-guide/cgroup-v2.rst."""

from __future__ import annotations

import os

from innkeeper.containers.cgroups import base, files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DELEGATE = "/sys/kernel/cgroup/delegate"
DELEGATED = ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads")
# Controllers that work in a threaded cgroup (cgroups(7)); all others need a domain.
THREADED = ("cpu", "cpuset", "pids", "perf_event")
PERMISSION_ERRNOS = (1, 13, 30)  # EPERM, EACCES, EROFS
FREEZE_TIMEOUT_S = 10


class CgroupV2(base.Cgroup):
    """One directory, with the controllers its parents hand down."""

    @property
    def home(self) -> str | None:
        return self.paths.get("")

    def _make(self, resources: dict[str, Any]) -> None:
        from innkeeper.containers.cgroups.v2_limits import needed_controllers

        path = self.paths[""]
        needed = needed_controllers(resources)
        try:
            self.new = files.make_directories(path)
        except OSError as e:
            if e.errno in PERMISSION_ERRNOS and self.optional and not needed:
                self.paths = {}
                return
            why = " (without permission there can be no limits and no path)" * self.optional
            raise files.refused(f"linux.cgroupsPath{why}", path, "mkdir", e) from None
        if path not in self.new:
            self._check_fit()
        self._enable(path, needed)

    def _enable(self, path: str, needed: set[str]) -> None:
        """Hand every controller down to the cgroup; what cannot be had fails where it is used."""
        chain = []
        parent = os.path.dirname(path)
        while files.exists(parent, "cgroup.controllers"):
            chain.append(parent)
            parent = os.path.dirname(parent)
        for directory in reversed(chain):
            self._check_domain(directory, needed)
            available = files.get_or(directory, "cgroup.controllers", "").split()
            have = files.get_or(directory, "cgroup.subtree_control", "").split()
            missing = [f"+{name}" for name in available if name not in have]
            if missing and not _try_put(directory, "cgroup.subtree_control", " ".join(missing)):
                for each in missing:
                    _try_put(directory, "cgroup.subtree_control", each)
        self._check_domain(path, needed)

    def _check_domain(self, directory: str, needed: set[str]) -> None:
        """Refuse a threaded cgroup where a controller needs a domain; else make do with it."""
        kind = files.get_or(directory, "cgroup.type", "domain").strip()
        if kind == "domain":
            return
        if hindered := sorted(needed - set(THREADED)):
            from innkeeper.containers.cgroups.errors import CgroupError

            raise CgroupError(
                f"cannot use the cgroup {directory}",
                why=f"it is {kind}, and {' '.join(hindered)} needs a domain",
                fix="choose a cgroupsPath whose parents have no processes of their own",
            )
        if kind == "domain invalid":
            _try_put(directory, "cgroup.type", "threaded")

    def _limit(self, resources: dict[str, Any], *, fresh: bool) -> None:
        from innkeeper.containers.cgroups.v2_limits import Limits, needed_controllers

        path = self.paths.get("")
        if path is None:
            if needed := sorted(needed_controllers(resources)):
                raise files.unavailable(needed[0], needed[0])
            return
        Limits(path, resources).apply()
        if fresh or "devices" in resources:
            self._set_devices(path, resources.get("devices"))

    def _set_devices(self, path: str, rules: Any) -> None:
        from innkeeper.containers.cgroups import devices, ebpf

        wanted = devices.wanted(rules)
        try:
            ebpf.attach(path, ebpf.device_program(wanted))
        except OSError as e:
            if self.rootless:
                return  # the host's own permissions guard devices from a user
            raise files.refused("linux.resources.devices", path, "eBPF program", e) from None

    def add(self, pid: int) -> None:
        path = self.paths.get("")
        if path is None:
            return
        try:
            base.join(path, pid)
        except OSError as e:
            raise files.refused("linux.cgroupsPath", f"{path}/cgroup.procs", str(pid), e) from None

    def joiners(self, *, unified: bool = True) -> list[int]:
        path = self.paths.get("")
        if path is None or not unified:
            return []
        try:
            return [base.open_joiner(path, "cgroup.procs")]
        except OSError as e:
            raise files.refused("linux.cgroupsPath", f"{path}/cgroup.procs", "0", e) from None

    def delegate(self, uid: int) -> None:
        """Let the user who is root inside manage what is below, and no limit of the cgroup itself.

        config-linux "Cgroup ownership": the directory and the files the kernel lists.
        """
        path = self.paths.get("")
        if path is None:
            return
        names = files.get_or("", DELEGATE, "").split() or DELEGATED
        for each in (path, *(f"{path}/{name}" for name in names)):
            try:
                os.chown(each, uid, -1)
            except FileNotFoundError:
                continue
            except OSError as e:
                raise files.refused("cgroup ownership", each, f"chown {uid}", e) from None

    @property
    def frozen(self) -> bool:
        path = self.paths.get("")
        return path is not None and files.get_or(path, "cgroup.freeze", "0").strip() == "1"

    def freeze(self) -> None:
        self._freeze(1)

    def thaw(self) -> None:
        self._freeze(0)

    def _freeze(self, to: int) -> None:
        """Write the state and wait until `cgroup.events` says it is reached."""
        path = self.paths.get("")
        if path is None:
            raise files.unavailable("freezer", "freezer")
        files.set_value(path, "cgroup.freeze", str(to), "freeze" if to else "thaw")
        if not self._settled(path, to):
            if to:
                _try_put(path, "cgroup.freeze", "0")
            from innkeeper.containers.cgroups.errors import CgroupError

            what = "freeze" if to else "thaw"
            raise CgroupError(
                f"cannot {what} the container", why=f"{path} does not reach the state"
            )

    def _settled(self, path: str, to: int) -> bool:
        """Wait for `frozen` in cgroup.events; the file becomes ready when it changes."""
        import select

        files.need(path, "cgroup.events", "freeze")
        fd = os.open(f"{path}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC)
        try:
            poll = select.poll()
            poll.register(fd, select.POLLPRI)
            for _ in range(FREEZE_TIMEOUT_S * 10):
                if f"frozen {to}" in os.pread(fd, 4096, 0).decode():
                    return True
                poll.poll(100)
        finally:
            os.close(fd)
        return False

    def stats(self) -> dict[str, Any]:
        from innkeeper.containers.cgroups.v2_stats import stats

        path = self.paths.get("")
        return stats(path) if path is not None else {}


def _try_put(directory: str, name: str, value: str) -> bool:
    try:
        files.put(directory, name, value)
    except OSError:
        return False
    return True
