"""The life of a container's first process, from `clone` to its program.

One sequence, in one thread, in the order that runtime.md "Lifecycle" gives. Until it has reported
that it is ready it dies with the runtime; what goes wrong is reported over the channel.
"""

from __future__ import annotations

import _signal
import os
import sys

from innkeeper.base.errors import ContainerError, InnError
from innkeeper.containers import kernel as k
from innkeeper.containers import namespaces as ns
from innkeeper.containers.channel import GO, HOOKS_DONE, SAVED, Channel
from innkeeper.containers.process import ReadyProcess, prepare, raise_limits, set_personality
from innkeeper.containers.rootfs import Rootfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from innkeeper.containers.config import Config
    from innkeeper.containers.seccomp import SeccompProgram

_NULL = 1 << 8 | 3  # /dev/null's device number, major and minor
_SIGPIPE, _SIGXFSZ, _SIGKILL = 13, 25, 9


class FirstProcess:
    """Everything the process needs, gathered by the runtime before it is cloned."""

    def __init__(self, config: Config, channel: Channel, *, proc: int, name: str) -> None:
        self.config, self.channel, self.proc, self.name = config, channel, proc, name
        self.trees: dict[int, int] = {}  # bind sources opened outside
        self.mount_root: Callable[[], None] | None = None
        self.program: SeccompProgram | None = None
        self.console: Any = None  # the connected console socket
        self.fifo: int | None = None  # what `start` writes to
        self.state: dict[str, Any] = {}  # for hooks
        self.joiners: list[int] = []  # cgroups to enter: a process moves itself at once
        self.placed = False  # by systemd, from outside: wait for it
        self.lock_fd = -1  # of the container's directory: the runtime's alone
        self.preserve_fds = 0
        self.pivot = True
        self.keyring = True
        self.bound = False  # it dies with this process, not only until it is ready

    @property
    def mapped(self) -> bool:
        """Say whether the process is in a user namespace other than the runtime's."""
        return "user" in self.config.namespaces

    @property
    def _death_signal(self) -> int:
        return _SIGKILL if self.bound else 0

    def main(self) -> None:
        """Live; never returns."""
        waiting = False
        try:
            os.close(self.lock_fd)
            self.channel.be_child()
            ready = self._become()
            self.channel.report(stage="ready")
            self.channel.await_answer(SAVED)
            waiting = self.fifo is not None
            self._start(ready)
        except BaseException as error:
            text = describe(error)
            if waiting:  # the runtime is gone, the container's standard error is what is left
                os.write(2, f"{text}\n".encode())
            else:
                self.channel.report(error=text)
        os._exit(1)

    def _become(self) -> ReadyProcess:
        linux = self.config.linux
        k.prctl(k.PR_SET_PDEATHSIG, _SIGKILL)
        reset_signals()
        os.setsid()
        join_cgroups(self.joiners)
        if self.placed:
            self.channel.await_answer(GO)
        if self.config.new("cgroup"):
            k.unshare(k.CLONE_NEWCGROUP)
        if not self.mapped:  # else the runtime has done it
            raise_limits(0, self.config.process)
        if self.mapped:
            self.channel.await_answer(GO)
            ns.become_root()
            k.prctl(k.PR_SET_DUMPABLE, 0)
            k.prctl(k.PR_SET_PDEATHSIG, _SIGKILL)
        os.umask(0)
        if self.config.new("time"):
            ns.enter_time_namespace(linux.get("timeOffsets", {}), self.proc)
        if self.config.new("network"):
            ns.raise_loopback()
        ns.set_names(self.config.raw)
        self._build()
        set_personality(linux)
        os.umask(0o022)
        return prepare(
            self.config.process,
            proc=self.proc,
            preserve_fds=self.preserve_fds,
            keyring=f"_ses.{self.name}" if self.keyring else None,
            install_seccomp=self._install_seccomp,
            death_signal=self._death_signal,
        )

    def _build(self) -> None:
        """Make the root file system and move in, with the hooks that belong in between."""
        rootfs = Rootfs(self.config, self.proc, self.trees, mapped=self.mapped)
        rootfs.attach_root(self.mount_root)
        rootfs.fill()
        ns.set_sysctls(self.config.linux.get("sysctl", {}), self.proc)
        terminal = self._open_terminal(rootfs.root)
        self._load()
        if self.config.hooks("prestart") or self.config.hooks("createRuntime"):
            self.channel.report(stage="hooks")
            self.channel.await_answer(HOOKS_DONE)
        self._run_hooks("createContainer", "creating")
        rootfs.guard()
        seal_imports()
        rootfs.enter(pivot=self.pivot)
        reopen_null()
        if terminal is not None:
            sys.modules["innkeeper.containers.console"].take(terminal, self.config.process)

    def _load(self) -> None:
        """Import what is needed later, as long as there is anything to import it from."""
        if self.program is not None:
            import innkeeper.containers.filter
        if self.config.hooks("startContainer"):
            import select  # noqa: F401

            import innkeeper.containers.hooks  # noqa: F401

    def _open_terminal(self, root: int) -> int | None:
        if not self.config.process.get("terminal"):
            return None
        from innkeeper.containers import console

        master, terminal, name = console.open_pair(root)
        console.bind_console(root, terminal)
        console.send_descriptor(self.console, master, name)
        os.close(master)
        return terminal

    def _run_hooks(self, point: str, status: str) -> None:
        if hooks := self.config.hooks(point):
            from innkeeper.containers.hooks import run_hooks

            own = int(os.readlink("self", dir_fd=self.proc))
            run_hooks(hooks, {**self.state, "pid": own, "status": status})

    def _install_seccomp(self) -> None:
        install_seccomp(self.program, self.channel, death_signal=self._death_signal)

    def _start(self, ready: ReadyProcess) -> None:
        if self.fifo is not None:
            os.read(self.fifo, 1)
        self._run_hooks("startContainer", "created")
        ready.execute(self.config.linux.get("seccomp", {}))


def reopen_null() -> None:
    """Take the container's own null device for standard streams that are the host's.

    As runc does: nothing of the host's mounts stays open, which criu could not find again.
    """
    for fd in (0, 1, 2):
        try:
            if not _is_null(os.fstat(fd)):
                continue
            own = os.open("/dev/null", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:  # closed, or there is none in here
            continue
        if _is_null(os.fstat(own)):
            os.dup2(own, fd)
        os.close(own)


def _is_null(status: os.stat_result) -> bool:
    return status.st_mode & 0o170000 == 0o020000 and status.st_rdev == _NULL


def install_seccomp(
    program: SeccompProgram | None, channel: Channel, *, death_signal: int = 0
) -> None:
    """Install the filter, and let the runtime fetch the listener when there is one."""
    # The last moment at which a filter cannot refuse it.
    k.prctl(k.PR_SET_PDEATHSIG, death_signal)
    if program is None:
        return
    from innkeeper.containers.filter import install

    listener = install(program)
    if listener is not None:
        channel.report(stage="seccomp", fd=listener)
        channel.await_answer(GO)
        os.close(listener)


def join_cgroups(joiners: list[int]) -> None:
    """Enter the cgroups whose opened lists of processes these are."""
    for fd in joiners:
        os.write(fd, b"0")
        os.close(fd)


def seal_imports() -> None:
    """Import nothing any more: from here on `sys.path` would name files of the container's."""
    sys.meta_path.clear()
    sys.path.clear()


def reset_signals() -> None:
    """Undo what Python ignores and a caller blocks: both would stay so in the program."""
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
    for number in (_SIGPIPE, _SIGXFSZ):
        _signal.signal(number, _signal.SIG_DFL)


def describe(error: BaseException) -> str:
    """Say what went wrong in the words that callers of runc look for."""
    if isinstance(error, InnError):
        text = str(error)
    elif isinstance(error, OSError):
        text = k.reason(error)
    else:
        text = f"{type(error).__name__}: {error}"
    begins = ("exec:", "exec ")
    if isinstance(error, ContainerError) and text.startswith(begins):
        return text
    return f"error during container init: {text}"
