"""Enter a container that runs: setns(2) by the process's own descriptor, for `exec`."""

from __future__ import annotations

import os
import sys

from innkeeper.base.errors import ContainerError
from innkeeper.containers import kernel as k
from innkeeper.containers import namespaces as ns
from innkeeper.containers.channel import SAVED, Channel
from innkeeper.containers.config import NAMESPACES
from innkeeper.containers.first import (
    describe,
    install_seccomp,
    join_cgroups,
    reset_signals,
    seal_imports,
)
from innkeeper.containers.process import prepare, raise_limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from innkeeper.containers.seccomp import SeccompProgram
    from innkeeper.containers.state import Container

_SIGKILL = 9
MAX_CPU = 8191  # the most that Linux is built for


class EnteringProcess:
    """A process that will run a program in a container; gathered before it is cloned."""

    def __init__(self, container: Container, process: dict[str, Any], channel: Channel) -> None:
        self.container, self.process, self.channel = container, process, channel
        self.proc = os.open("/proc", k.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.pidfd, self.flags = _differing(container)
        self.program: SeccompProgram | None = None
        self.seccomp: dict[str, Any] = container.data["config"]["linux"].get("seccomp", {})
        self.joiners: list[int] = []
        self.console: Any = None
        self.preserve_fds = 0

    def spawn(self) -> int:
        """Start the process in the container's namespaces and return its number."""
        if self.flags & k.CLONE_NEWUSER:
            return ns.spawn_in(lambda: self._join(self.flags), 0, self.main)
        k.prctl(k.PR_SET_DUMPABLE, 0)
        if self.flags & k.CLONE_NEWPID:
            k.setns(self.pidfd, k.CLONE_NEWPID)  # where the next child will be
        pid = k.clone(0)
        if pid == 0:
            rest = self.flags & ~k.CLONE_NEWPID
            ns.run_child(lambda: self._join(rest), self.main)
        return pid

    def _join(self, flags: int) -> None:
        """Enter the cgroups and namespaces; what is imported is imported before."""
        initial = self.process.get("execCPUAffinity", {}).get("initial")
        if initial:
            os.sched_setaffinity(0, cpu_list(initial))
        raise_limits(0, self.process)
        join_cgroups(self.joiners)
        if self.process.get("terminal"):
            import innkeeper.containers.console
        if self.program is not None:
            import innkeeper.containers.filter  # noqa: F401
        seal_imports()
        if flags:
            k.setns(self.pidfd, flags)

    def main(self) -> None:
        """Live; never returns."""
        try:
            self.channel.be_child()
            k.prctl(k.PR_SET_PDEATHSIG, _SIGKILL)
            reset_signals()
            os.setsid()
            if self.flags & k.CLONE_NEWUSER:
                ns.become_root()
                k.prctl(k.PR_SET_DUMPABLE, 0)
                k.prctl(k.PR_SET_PDEATHSIG, _SIGKILL)
            self._become()
        except BaseException as error:
            self.channel.report(error=describe(error))
        os._exit(1)

    def _become(self) -> None:
        if self.process.get("terminal"):
            self._take_terminal()
        final = self.process.get("execCPUAffinity", {}).get("final")
        if final:
            os.sched_setaffinity(0, cpu_list(final))
        os.umask(0o022)
        ready = prepare(
            self.process,
            proc=self.proc,
            preserve_fds=self.preserve_fds,
            keyring=f"_ses.{self.container.id}",
            install_seccomp=lambda: install_seccomp(self.program, self.channel),
        )
        self.channel.report(stage="ready")
        self.channel.await_answer(SAVED)
        ready.execute(self.seccomp)

    def _take_terminal(self) -> None:
        console = sys.modules["innkeeper.containers.console"]
        root = os.open("/", k.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        master, terminal, name = console.open_pair(root)
        console.send_descriptor(self.console, master, name)
        os.close(master)
        console.take(terminal, self.process)


def _differing(container: Container) -> tuple[int, int]:
    """Return a descriptor of the container's process, and the namespaces it does not share."""
    pid = container.pid
    try:
        pidfd = os.pidfd_open(pid) if pid else -1
        flags = 0
        for flag, name in NAMESPACES.values():
            if _identity(pid, name) != _identity(os.getpid(), name):
                flags |= flag
    except OSError:
        pidfd = -1
    if pidfd < 0 or container.pid != pid:  # it may have died, and its number be another's
        raise ContainerError("cannot exec in a stopped container")
    return pidfd, flags


def _identity(pid: int, name: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/{name}")
    except FileNotFoundError:  # a kernel without this type
        return ""


def cpu_list(text: str) -> set[int]:
    """Parse `0-3,7` (config.md `execCPUAffinity`)."""
    found: set[int] = set()
    for part in text.replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        last = last if dash else first
        if not first.isdigit() or not last.isdigit() or int(last) > MAX_CPU:
            raise ContainerError("process.execCPUAffinity", why=f"{text!r} is not a list of CPUs")
        found.update(range(int(first), int(last) + 1))
    return found
