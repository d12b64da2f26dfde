"""A detached container's standard streams, and the process that has their other ends.

Pipes, or a terminal of its own with `-t`; without `-i` nothing is passed on to either.
"""

from __future__ import annotations

import os
import sys
import time
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_SEQPACKET, socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from innkeeper.guests.containers import beside, making
from innkeeper.guests.containers.request_parts import DEFAULT_LOG_BYTES, DEFAULT_LOG_FILES
from innkeeper.images.paths import storage_errors

if TYPE_CHECKING:
    from innkeeper.containers.launch import Launch
    from innkeeper.guests.containers.records import Record

_SIGKILL = 9
_BESIDE = "import sys; sys.path.append(sys.argv.pop(1)); from beside.{} import main; main()"
_FINISH = (
    "import sys; from innkeeper.guests.containers.finishing import finish; finish(*sys.argv[1:])"
)
_CHECK = "import sys; from innkeeper.guests.containers.health import main; main(sys.argv[1])"


class Streams:
    """The streams of one container that is about to be launched."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._ours: dict[str, int] = {}
        self._listener = _listen(record)

    def launch(self, launch: Launch) -> None:
        """Launch the container with its ends of the streams; this process keeps the others."""
        if self._record.data.get("tty"):
            self._launch_with_terminal(launch)
        else:
            self._launch_with_pipes(launch)
        self._note_start(launch.pid)

    def restore(self, launch: Launch, images: Path) -> None:
        """Bring the container back from a checkpoint, with new pipes in the place of its old."""
        from innkeeper.guests.containers.checkpoints import bring_back

        theirs = self._pipes()
        bring_back(self._record, launch, images, theirs)
        for fd in theirs.values():
            os.close(fd)
        self._note_start(launch.pid)

    def _note_start(self, pid: int) -> None:
        _point_at_nothing(0, 1, 2)
        starts = self._record.data.get("starts", 0) + 1
        self._record.change(starts=starts, started=time.time())
        if self._record.is_to_stop:  # asked for meanwhile, by one who found nothing to signal
            os.kill(pid, _SIGKILL)

    def _launch_with_terminal(self, launch: Launch) -> None:
        from innkeeper.containers.terminal import Terminal

        _point_at_nothing(0, 1, 2)
        terminal = Terminal()
        launch.console = terminal.peer
        making.launch_now(launch)
        master = terminal.receive()
        self._ours = {"out": master, "tty": 1}
        if self._record.data.get("stdin"):
            self._ours["in"] = master

    def _launch_with_pipes(self, launch: Launch) -> None:
        _point_at_nothing(0)
        for fd, theirs in self._pipes().items():
            os.dup2(theirs, fd)
            os.close(theirs)
        making.launch_now(launch)

    def _pipes(self) -> dict[int, int]:
        """Make the pipes; return the container's ends by the descriptors they are to be."""
        theirs = {}
        for name, fd in (("out", 1), ("err", 2)):
            self._ours[name], theirs[fd] = os.pipe()
        if self._record.data.get("stdin"):
            theirs[0], self._ours["in"] = os.pipe()
        return theirs

    def become_attendant(self, pid: int, client: socket | None) -> None:
        """Become the process that attends to the container; never returns."""
        sockets = {"listen": self._listener}
        if client is not None:
            sockets["client"] = client
        words = {"pid": pid, **self._ours, **{n: s.fileno() for n, s in sockets.items()}}
        for name, fd in words.items():
            if name not in ("pid", "tty"):
                os.set_inheritable(fd, True)
        record = self._record
        os.set_inheritable(record.lock_fd, True)
        finish = [sys.executable, "-P", "-c", _FINISH, str(record.folder), str(record.lock_fd)]
        argv = _beside("main", words | _settings(record))
        os.chdir("/")
        os.execv(sys.executable, [*argv, "--", *finish])


class Ticker:
    """The process that has the health of a container in the foreground looked at."""

    def __init__(self, record: Record) -> None:
        ends, self._until = os.pipe()
        quiet = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (1, 2)]
        actions = [(os.POSIX_SPAWN_DUP2, ends, 0), *quiet]
        argv = _beside("ticker", _settings(record))
        self._pid = os.posix_spawn(sys.executable, argv, os.environ, file_actions=actions)
        os.close(ends)

    def stop(self) -> None:
        """End it, and wait until it has."""
        os.close(self._until)
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)


def _beside(module: str, words: dict[str, Any]) -> list[str]:
    """Return the command that runs a module of `beside/` in a small interpreter."""
    home = str(Path(beside.__file__).parents[1])
    texts = [f"{name}={value}" for name, value in words.items()]
    program = _BESIDE.format(module)
    return [sys.executable, "-I", "-S", "-c", program, home, *texts]


def _settings(record: Record) -> dict[str, str | int | float]:
    """Return what the attendant is told beside its descriptors."""
    data = record.data
    log = data.get("log") or {}
    keeps = log.get("driver") != "none"
    found: dict[str, str | int | float] = {
        "folder": str(record.folder),
        "log": str(record.log_path) if keeps else "",
        "bytes": log.get("max_bytes", DEFAULT_LOG_BYTES),
        "files": log.get("max_files", DEFAULT_LOG_FILES),
        "once": int(data.get("stdin_once", False)),
    }
    if health := data.get("health"):
        times = ("interval", "start_interval", "start_period")
        found |= {"check": _CHECK, **{name: health[f"{name}_s"] for name in times}}
    return found


def _listen(record: Record) -> socket:
    """Make the socket that others attach to; its path is short, for sun_path is (unix(7))."""
    os.chdir(record.folder)
    sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    path = record.folder / "attach"
    old = os.umask(0o177)
    try:
        with storage_errors("make a container's socket", path):
            path.unlink(missing_ok=True)
            sock.bind("attach")
            sock.listen(16)
    finally:
        os.umask(old)
        os.chdir("/")
    return sock


def _point_at_nothing(*fds: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for fd in fds:
        os.dup2(null, fd)
    os.close(null)
