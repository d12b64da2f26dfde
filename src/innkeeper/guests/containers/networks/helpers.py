"""The programs behind user-mode networking: `pasta` (passt(1)) and `slirp4netns(1)`.

A helper joins the container's network namespace and carries its traffic with sockets of its own, as
this user, outside. It must not outlive the container. So a *guard* waits beside it: an interpreter
that has imported nothing, with process descriptors of both, which kills the helper when the
container has ended, whoever else was killed. The guard is in the container's user and network
namespaces, and so is the process that helpers find these by: the container's own cannot be looked
into. A helper's command line names a file in the container's folder, or the guard's does: by that
`prune` finds one that nobody else knows of any more.
"""

from __future__ import annotations

import fcntl
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from innkeeper.base.errors import MachineError
from innkeeper.containers import kernel as k
from innkeeper.containers.first import reset_signals
from innkeeper.containers.state import start_time
from innkeeper.guests.containers.records import Record, containers_dir, read_json, write_json

STATE, PID_FILE, API_SOCKET = "slirp.json", "slirp.pid", "slirp.sock"
START_TIMEOUT_S, END_TIMEOUT_S = 20.0, 5.0
MAX_SAID_BYTES, MAX_COMMAND_BYTES = 16384, 65536
_TAGGED = "slirp4netns:"  # what stands before a folder's path in the name of a process
PROGRAMS = ("pasta", "slirp4netns")
_SIGKILL = 9
_PR_SET_SECUREBITS, _SECBIT_NOROOT = 28, 1
_FIRST_FREE_FD = 64
# Is told the helper's number, and waits for the container or the helper to end; then both have.
_GUARD = """
import posix, select, _signal
posix.write(2, b"1")
posix.dup2(0, 2)
helper = posix.read(4, 16)
if helper:
    helper = posix.pidfd_open(int(helper))
    poll = select.poll()
    poll.register(3, 1)
    poll.register(helper, 1)
    poll.poll()
    _signal.pidfd_send_signal(helper, 9)
"""


def spawn(argv: list[str], fds: dict[int, int], *, program: str = "") -> int:
    """Start a program in a session of its own, with these descriptors as those numbers only.

    Of root's it gets a mount namespace, too: slirp4netns 1.2 lets go of all mounts in its sandbox,
    and where these are shared (/run/netns) the host would lose its own.
    """
    root = os.geteuid() == 0
    pid = k.clone(k.CLONE_NEWNS if root else 0)
    if pid == 0:
        try:
            if root:
                k.syscall("mount", 0, b"/", 0, k.MS_SLAVE | k.MS_REC, 0)
            _execute(argv, fds, program or argv[0])
        finally:
            os._exit(127)
    return pid


def _execute(argv: list[str], fds: dict[int, int], program: str) -> None:
    """Become a program; returns only by an exception."""
    os.setsid()
    reset_signals()
    moved = {to: fcntl.fcntl(fd, fcntl.F_DUPFD, _FIRST_FREE_FD) for to, fd in fds.items()}
    for to, fd in moved.items():
        os.dup2(fd, to)
    k.close_on_exec_from(max(fds) + 1)
    os.execvp(program, argv)


def start_pasta(argv: list[str], folder: Path) -> int:
    """Start `pasta`, which goes to the background when the network is up; return its number."""
    pid_file = folder / PID_FILE
    pid_file.unlink(missing_ok=True)
    with _output() as (null, said):
        words = [*argv[:1], "--pid", str(pid_file), *argv[1:]]
        starter = spawn(words, {0: null, 1: said, 2: said})
        status = _wait(starter)
        number = pid_file.read_text().strip() if pid_file.exists() else ""
        if status or not number.isdigit():
            raise _failed("pasta", said)
    return int(number)


def start_slirp(argv: list[str], folder: Path, *, ends_with: int) -> int:
    """Start `slirp4netns`, wait until the network is up, and return its number.

    It ends when nobody has the other end of the pipe `ends_with` any more. Descriptors 3 to 5 are
    that pipe, one to say that it is ready, and the container's folder: a socket's path is short.
    """
    ready, tell = os.pipe()
    place = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    words = [f"{_TAGGED}{folder}/{API_SOCKET}", *argv[1:]]
    with _output() as (null, said):
        try:
            fds = {0: null, 1: said, 2: said, 3: ends_with, 4: tell, 5: place}
            pid = spawn(words, fds, program=argv[0])
        finally:
            os.close(tell)
            os.close(place)
        poll = select.poll()
        poll.register(ready, select.POLLIN)
        up = poll.poll(START_TIMEOUT_S * 1000) and os.read(ready, 1) == b"1"
        os.close(ready)
        if not up:
            end(pid, start_time(pid))
            raise _failed("slirp4netns", said)
    return pid


@contextmanager
def _output() -> Iterator[tuple[int, int]]:
    """Give a helper nothing to read, and a file in memory for what it says."""
    null, said = os.open(os.devnull, os.O_RDWR), os.memfd_create("helper", os.MFD_CLOEXEC)
    try:
        yield null, said
    finally:
        os.close(null)
        os.close(said)


def _wait(pid: int) -> int:
    """Return the exit status of a child, which is killed when it takes too long."""
    process = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(process, select.POLLIN)
    if not poll.poll(START_TIMEOUT_S * 1000):
        os.kill(pid, _SIGKILL)
    os.close(process)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _failed(program: str, said: int) -> MachineError:
    text = os.pread(said, MAX_SAID_BYTES, 0).decode("utf-8", "replace")
    lines = [line for line in text.splitlines() if line.strip() and "syslog" not in line]
    why = "".join(c if c.isprintable() else "?" for c in "; ".join(lines[-2:]))
    return MachineError(f"{program} did not set the network up", why=why[:500])


class Guard:
    """The guard of a container's helper; `holds` is open as long as it lives."""

    def __init__(self, record: Record, container: int, *, holds: int) -> None:
        self.record, self._holds = record, holds
        self._container = os.pidfd_open(container)
        waits, self._tell = os.pipe()
        joined, say_joined = os.pipe()
        self.pid = k.clone(0)
        if self.pid == 0:
            self._live(waits, say_joined)
        for fd in (waits, say_joined, self._container):
            os.close(fd)
        # A helper that is shown the guard any sooner would set up the network of the host.
        with os.fdopen(joined, "rb") as pipe:
            if pipe.read(1) != b"1":
                raise MachineError("the network's guard could not join the container's namespaces")

    def _live(self, waits: int, say_joined: int) -> None:
        """Join the namespaces and become the bare interpreter; never returns."""
        try:
            for fd in reversed(self.record.namespaces):  # the user namespace first
                k.setns(fd, 0)
            # Without any right of its own a process may be looked into by one that has few, as a
            # helper has by then; and it needs none.
            k.prctl(_PR_SET_SECUREBITS, _SECBIT_NOROOT)
            null = os.open(os.devnull, os.O_RDWR)
            fds = [null, null, say_joined, self._container, waits, self._holds]
            tag = f"{self.record.folder}/{PID_FILE}"
            argv = [sys.executable, "-I", "-S", "-c", _GUARD, tag]
            _execute(argv, dict(enumerate(fds)), sys.executable)
        finally:
            os._exit(1)

    def watch(self, helper: int) -> None:
        """Have the guard end the helper, and write both down."""
        both = {"guard": (self.pid, start_time(self.pid)), "helper": (helper, start_time(helper))}
        write_json(self.record.folder / STATE, both)
        with suppress(BrokenPipeError):
            os.write(self._tell, str(helper).encode())
        self.close()

    def close(self) -> None:
        """Let go of the guard, which ends when it has nothing to watch."""
        if self._tell >= 0:
            os.close(self._tell)
            self._tell = -1


def stop(record: Record) -> None:
    """End the helper of a container, and its guard; nothing there is no error."""
    known = read_json(record.folder / STATE)
    if known is not None:
        for name in ("guard", "helper"):
            end(*known.get(name, (0, None)))
    elif record.data["net"].get("helper"):  # killed before they were written down
        for pid in _named_by(str(record.folder)):
            end(pid, start_time(pid))
    for name in (STATE, PID_FILE, API_SOCKET):
        (record.folder / name).unlink(missing_ok=True)


def sweep() -> list[str]:
    """End helpers whose container's folder is gone; return the containers' ids."""
    swept = []
    for pid, folder in _running(str(containers_dir())):
        if not os.path.isdir(folder):
            end(pid, start_time(pid))
            swept.append(os.path.basename(folder))
    return sorted(set(swept))


def end(pid: int, started: int | None) -> None:
    """Kill a process if it is still the one that was started then, and wait until it is gone."""
    if pid <= 0 or started is None:
        return
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if start_time(pid) == started:
            _signal_and_wait(process)
    finally:
        os.close(process)
    with suppress(OSError):  # it may be a child of this process
        os.waitpid(pid, os.WNOHANG)


def _signal_and_wait(process: int) -> None:
    from _signal import pidfd_send_signal

    with suppress(OSError):
        pidfd_send_signal(process, _SIGKILL)
        poll = select.poll()
        poll.register(process, select.POLLIN)
        poll.poll(END_TIMEOUT_S * 1000)


def _named_by(folder: str) -> list[int]:
    return [pid for pid, found in _running(os.path.dirname(folder)) if found == folder]


def _running(above: str) -> list[tuple[int, str]]:
    """Return helpers and guards whose command line names a folder in `above`, with that folder."""
    found: list[tuple[int, str]] = []
    names = {f"/{PID_FILE}", f"/{API_SOCKET}"}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        for word in _command(entry):
            word = word.removeprefix(_TAGGED)
            folder = os.path.dirname(word)
            if os.path.dirname(folder) == above and word[len(folder) :] in names:
                found.append((int(entry), folder))
                break
    return found


def _command(pid: str) -> list[str]:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return os.fsdecode(file.read(MAX_COMMAND_BYTES)).split("\0")
    except OSError:
        return []


def call_api(folder: Path, command: str, arguments: dict[str, Any]) -> None:
    """Give slirp4netns a command over its API socket (slirp4netns(1) "API socket")."""
    import json
    import socket

    place = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    with socket.socket(socket.AF_UNIX) as api:
        api.settimeout(START_TIMEOUT_S)
        try:
            api.connect(f"/proc/self/fd/{place}/{API_SOCKET}")
            api.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
            api.shutdown(socket.SHUT_WR)
            said = b""
            while part := api.recv(4096):
                said += part
                if len(said) > MAX_SAID_BYTES:
                    break
            answer = json.loads(said)
        except (OSError, ValueError) as error:
            raise MachineError(
                f"slirp4netns does not answer to {command}", why=str(error)
            ) from None
        finally:
            os.close(place)
    if not isinstance(answer, dict) or "error" in answer:
        said_why = answer.get("error", {}).get("desc", "") if isinstance(answer, dict) else ""
        raise MachineError(f"slirp4netns refuses {command}", why=str(said_why)[:300])
