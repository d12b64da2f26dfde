"""Make a container: the runtime's side of runtime.md "Lifecycle", steps 1 to 8.

Whatever is made outside of the container's own namespaces is written down before it is made (the
state directory, then the cgroup), and the first process dies with the runtime until it is ready: a
runtime that is killed between any two steps leaves nothing that `delete --force` does not find.
"""

from __future__ import annotations

import os

from innkeeper.base.errors import ContainerError, InnError
from innkeeper.containers import kernel as k
from innkeeper.containers.channel import GO, HOOKS_DONE, SAVED, Channel
from innkeeper.containers.first import FirstProcess
from innkeeper.containers.namespaces import Namespaces
from innkeeper.containers.process import raise_limits
from innkeeper.containers.state import Container, start_time, timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from innkeeper.containers.cgroups import Cgroup
    from innkeeper.containers.config import Config
    from innkeeper.containers.settings import Settings

_SIGKILL = 9


class Launch:
    """The making of one container."""

    def __init__(self, config: Config, settings: Settings, name: str) -> None:
        self.config, self.settings, self.name = config, settings, name
        self.console_socket: str | None = None
        self.console: Any = None  # or a socket that is connected already
        self.waiting: Callable[[int], None] | None = None  # called while the process waits
        self.network: Callable[[int], None] | None = None  # sets it up for a process
        self.mount_root: Callable[[], None] | None = None  # in the container's namespaces, first
        self.pid_file: str | None = None
        self.preserve_fds = 0
        self.pivot = self.keyring = True
        self.wait_for_start = self.foreground = False
        self.bound = False  # the container dies with this process
        self.pid = 0

    def make(self) -> Container:
        """Make the container; it is ready, and started unless it is to wait for `start`."""
        container = Container.create(self.settings.root, self.name, self.record())
        cgroup: Cgroup | None = None
        try:
            container.save()
            cgroup = open_container_cgroup(container.data)
            self._make(container, cgroup)
        except BaseException:
            self._undo(container, cgroup)
            raise
        return container

    def record(self) -> dict[str, Any]:
        """Return what is known of the container before it is made."""
        linux = self.config.linux
        return {
            "id": self.name,
            "pid": 0,
            "created": timestamp(),
            "bundle": self.config.bundle,
            "rootfs": self.config.rootfs,
            "cgroup": {
                "path": linux.get("cgroupsPath"),
                "id": self.name,
                "systemd": self.settings.systemd_cgroup,
                "rootless": self.settings.rootless,
            },
            "config": self.config.raw,
        }

    def _make(self, container: Container, cgroup: Cgroup) -> None:
        channel = Channel()
        first = self._first(container, channel)
        if self.wait_for_start:
            os.mkfifo(container.fifo, 0o600)
            first.fifo = os.open(container.fifo, os.O_RDWR | os.O_CLOEXEC)
        if not first.mapped:
            k.prctl(k.PR_SET_DUMPABLE, 0)
        cgroup.create(self.config.linux.get("resources", {}))
        self._spawn(first, cgroup)
        channel.be_parent()
        try:
            if first.placed:
                cgroup.add(self.pid)
                channel.answer(GO)
            self._admit(cgroup)
            if self.waiting is not None:
                self.waiting(self.pid)
            if first.mapped:
                channel.answer(GO)
            if self.foreground:  # imported while the process builds
                import innkeeper.containers.foreground  # noqa: F401
            failure = self._set_up_network()
            self._attend(container, channel)
            if failure is not None:
                raise failure
            self._finish(container, cgroup, channel)
        except ContainerError as error:
            what = "unable to start container process"
            raise ContainerError(what, why=str(error)) from None

    def _spawn(self, first: FirstProcess, cgroup: Cgroup) -> None:
        """Start the first process, in the cgroup where that can be, else let it join itself."""
        namespaces = Namespaces(self.config)
        first.placed = cgroup.by_manager
        unified = None if first.placed else cgroup.paths.get("")
        directory = None
        if unified and "user" not in namespaces.joined:
            directory = os.open(unified, k.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        first.joiners = cgroup.joiners(unified=directory is None)
        self.pid = namespaces.spawn(first.main, directory)
        for fd in first.joiners if directory is None else [*first.joiners, directory]:
            os.close(fd)

    def _first(self, container: Container, channel: Channel) -> FirstProcess:
        proc = os.open("/proc", k.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        first = FirstProcess(self.config, channel, proc=proc, name=self.name)
        first.preserve_fds, first.pivot, first.keyring = self.preserve_fds, self.pivot, self.keyring
        first.bound = self.bound
        first.lock_fd, first.state = container.lock_fd, container.report()
        first.mount_root = self.mount_root
        if profile := self.config.linux.get("seccomp"):
            from innkeeper.containers.seccomp import compile_profile

            first.program = compile_profile(profile, k.MACHINE)
        if self.console_socket is not None:
            from innkeeper.containers.console import connect

            self.console = connect(self.console_socket)
        first.console = self.console
        if any(one.get("type") == "cgroup" for one in self.config.mounts):
            import innkeeper.containers.cgroup_mount  # noqa: F401 - cheaper in one process
        reaches_less = first.mapped and os.geteuid() == 0  # than this process, that is
        if reaches_less or any(_asks_idmap(one) for one in self.config.mounts):
            from innkeeper.containers.outside import open_trees

            first.trees = open_trees(self.config, mapped=reaches_less)
        return first

    def _admit(self, cgroup: Cgroup) -> None:
        """Do what is done to the process from outside, while it waits or builds."""
        linux = self.config.linux
        if "oomScoreAdj" in self.config.process:
            set_oom_score(self.pid, self.config.process["oomScoreAdj"], self.settings.rootless)
        if "user" in self.config.namespaces:
            raise_limits(self.pid, self.config.process)
        if self.config.new("user"):
            from innkeeper.containers.idmaps import write_maps

            write_maps(self.pid, linux)
        if self.config.new("cgroup") and self._writable_cgroup():
            cgroup.delegate(_root_of(linux))
        if "intelRdt" in linux:
            from innkeeper.containers import resctrl

            resctrl.join(linux["intelRdt"], self.name, self.pid, resctrl.mounted())

    def _writable_cgroup(self) -> bool:
        """Say whether the container may manage its own cgroup ("Cgroup ownership")."""
        return any(
            one.get("type") in ("cgroup", "cgroup2") and "ro" not in one.get("options", ())
            for one in self.config.mounts
        )

    def _set_up_network(self) -> BaseException | None:
        """Let the caller set up the network that the process has, while it builds.

        What goes wrong is told after what the process itself has to tell: its death is a cause.
        """
        try:
            if self.network is not None:
                self.network(self.pid)
        except (OSError, InnError) as error:
            return error
        return None

    def _attend(self, container: Container, channel: Channel) -> None:
        """Serve the process until it is ready."""
        while (report := channel.next_report()) is not None:
            if report["stage"] == "ready":
                return
            if report["stage"] == "seccomp":
                self._hand_over_listener(container, report["fd"])
                channel.answer(GO)
            else:
                self._run_hooks(container)
                channel.answer(HOOKS_DONE)
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.pid = 0
        raise ContainerError("container init exited unexpectedly", why=f"status {status}")

    def _run_hooks(self, container: Container) -> None:
        from innkeeper.containers.hooks import run_hooks

        state = {**container.report(), "pid": self.pid, "status": "creating"}
        try:
            for point in ("prestart", "createRuntime"):
                run_hooks(self.config.hooks(point), state)
        except ContainerError as error:
            raise ContainerError("error during container init", why=str(error)) from None

    def _hand_over_listener(self, container: Container, fd: int) -> None:
        from innkeeper.containers.outside import send_listener

        seccomp = self.config.linux["seccomp"]
        state = {**container.report(), "pid": self.pid, "status": "creating"}
        send_listener(self.pid, fd, seccomp, state)

    def _finish(self, container: Container, cgroup: Cgroup, channel: Channel) -> None:
        container.data.update(
            pid=self.pid, startTime=start_time(self.pid), cgroupPaths=cgroup.paths
        )
        container.save()
        if self.pid_file is not None:
            write_pid_file(self.pid_file, self.pid)
        if self.foreground:
            from innkeeper.containers.foreground import hold_signals

            hold_signals()
        channel.answer(SAVED)
        if not self.wait_for_start and (report := channel.next_report()) is not None:
            raise ContainerError(f"unexpected report {report}")

    def _undo(self, container: Container, cgroup: Cgroup | None) -> None:
        """Take back what was made; the error that led here is the one to tell."""
        if self.pid:
            os.kill(self.pid, _SIGKILL)
            os.waitpid(self.pid, 0)
        try:
            if "intelRdt" in self.config.linux:
                from innkeeper.containers import resctrl

                resctrl.forget(self.config.linux, self.name)
            if cgroup is not None:
                cgroup.remove()
            if self.pid_file is not None and self.pid:
                os.unlink(self.pid_file)
        except (OSError, InnError):
            pass
        container.remove()


def open_container_cgroup(data: dict[str, Any]) -> Cgroup:
    """Return a container's cgroup, made already or not."""
    from innkeeper.containers.cgroups import Cgroup, open_cgroup

    wanted = data["cgroup"]
    if "cgroupPaths" in data:  # none at all, where a rootless container could have none
        return Cgroup.load(data["cgroupPaths"], rootless=wanted["rootless"])
    return open_cgroup(
        wanted["path"], wanted["id"], systemd=wanted["systemd"], rootless=wanted["rootless"]
    )


def processes_of(container: Container) -> list[int]:
    """Return the container's processes; without a cgroup the first is the one that is known."""
    if not container.pid:
        return []
    return open_container_cgroup(container.data).pids(recursive=True) or [container.pid]


def write_pid_file(path: str, pid: int) -> None:
    """Write a pid file as a whole or not at all."""
    head, tail = os.path.split(path)
    new = os.path.join(head, f".{tail}")
    try:
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        os.write(fd, str(pid).encode())
        os.close(fd)
        os.rename(new, path)
    except OSError as error:
        raise ContainerError(f"open {path}", why=k.reason(error)) from None


def _root_of(linux: dict[str, Any]) -> int:
    """Return the host's number of the container's root."""
    for one in linux.get("uidMappings", []):
        if one.get("containerID", 0) == 0:
            return int(one["hostID"])
    return 0


def _asks_idmap(mount: dict[str, Any]) -> bool:
    return "uidMappings" in mount or bool({"idmap", "ridmap"} & set(mount.get("options", ())))


def set_oom_score(pid: int, score: int, rootless: bool) -> None:
    """Set how soon a process is killed for memory (config.md `oomScoreAdj`)."""
    try:
        fd = os.open(f"/proc/{pid}/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        os.write(fd, str(score).encode())
        os.close(fd)
    except PermissionError:
        if not rootless:  # without privilege it can only grow: runc lets that pass, too
            raise ContainerError("write oom_score_adj", why="permission denied") from None
