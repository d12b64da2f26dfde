"""Detached containers: who waits for their end, and where their output goes.

Somebody has to: only a parent learns an exit status (waitpid(2)). So a detached container has one
process beside it. It makes the container, and then becomes, by execve(2) and so with its child, an
interpreter that has imported nothing and only waits; the container writes to its two files itself.
When it has ended, that process becomes `inn` again (`finish`) to write down how, and to clean up.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

from innkeeper.base.errors import InnError, MachineError
from innkeeper.guests.containers import ending, making, records, roots
from innkeeper.guests.containers.records import STDERR, STDOUT
from innkeeper.guests.containers.request import read_policy

if TYPE_CHECKING:
    from innkeeper.containers.launch import Launch
    from innkeeper.guests.containers.records import Record
    from innkeeper.guests.containers.request import ContainerRequest
    from innkeeper.guests.containers.roots import ShowProgress

MAX_TOLD_BYTES = 65536
FIRST_PAUSE_S, LONGEST_PAUSE_S, LOOK_S = 0.1, 60.0, 0.1
_STARTED = "0"
# Waits for the container, reaping what it leaves; then what comes after, with the status.
_WAITER = """
import posix, sys
pid, *after = sys.argv[1:]
while True:
    try:
        ended, status = posix.waitpid(-1, 0)
    except ChildProcessError:
        ended, status = int(pid), 65280
    if ended == int(pid):
        break
posix.execv(after[0], [*after, str(posix.waitstatus_to_exitcode(status))])
"""
_FINISH = (
    "import sys; from innkeeper.guests.containers.detached import finish; finish(*sys.argv[1:])"
)


def start(request: ContainerRequest, show: ShowProgress) -> str:
    """Start a container that goes on by itself; return its id once its program runs."""
    record = records.create(request.summary())
    try:
        launch = making.make(request, record, show)
        _launch_beside(record, launch)
    except BaseException:
        ending.remove(record)
        raise
    ending.sweep(but=record.id)
    return record.id


def start_again(record: Record) -> None:
    """Start a container that has ended, with the files and the output it has."""
    if not record.take():
        raise MachineError(f"container {record.name} is in use", fix="inn ps -a")
    if not record.data.get("detach") or "command" not in record.data:
        record.release()
        raise MachineError(f"container {record.name} was not a detached one")
    try:
        ending.stop_holding(record)
        roots.mount_again(record)
        record.forget_end()
        _launch_beside(record, making.launch_of(record))
    except BaseException:
        ending.keep(record)
        raise


def _launch_beside(record: Record, launch: Launch) -> None:
    """Let another process make the container, and have the record from then on."""
    told, tell = os.pipe()
    if os.fork() == 0:
        os.close(told)
        _attend(record, launch, tell)
    os.close(tell)
    with os.fdopen(told, "rb") as pipe:
        said = pipe.read(MAX_TOLD_BYTES)
    _check(said.decode("utf-8", "replace"))
    # The lock is one open file of both: given back when both have closed it.
    record.release()


def _check(said: str) -> None:
    """Raise what the process beside the container says went wrong, if anything did."""
    status, _, text = said.partition("\n")
    if status == _STARTED:
        return
    what, why, fix = [*text.split("\n"), "", "", ""][:3]
    error = MachineError(what or "the process beside the container was killed", why=why, fix=fix)
    error.exit_code = int(status) if status else error.exit_code
    raise error


def _attend(record: Record, launch: Launch, tell: int) -> None:
    """Make the container in a session of its own, say how that went, and wait; never returns."""
    try:
        os.setsid()
        _redirect(record)
        from innkeeper.containers import kernel as k

        k.prctl(k.PR_SET_CHILD_SUBREAPER, 1)
        making.launch_now(launch)
    except BaseException as error:
        shown = error if isinstance(error, InnError) else MachineError("unexpected", why=str(error))
        words = [" ".join(text.split()) for text in (shown.what, shown.why, shown.fix)]
        os.write(tell, "\n".join([str(shown.exit_code), *words]).encode()[:MAX_TOLD_BYTES])
        os._exit(1)
    os.write(tell, _STARTED.encode())
    os.close(tell)
    _become_waiter(record, launch.pid)


def _become_waiter(record: Record, pid: int) -> None:
    os.set_inheritable(record.lock_fd, True)
    finish = [sys.executable, "-P", "-c", _FINISH, str(record.folder), str(record.lock_fd)]
    waiter = [sys.executable, "-I", "-S", "-c", _WAITER, str(pid), *finish]
    os.chdir("/")
    os.execv(sys.executable, waiter)


def _redirect(record: Record) -> None:
    """Give the container its own output files, and no input."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    for fd, path in ((1, record.folder / STDOUT), (2, record.folder / STDERR)):
        opened = os.open(path, flags, 0o600)
        os.dup2(opened, fd)
        os.close(opened)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


def finish(folder: str, lock_fd: str, status: str) -> None:
    """Write down how a detached container ended, and give back what it held."""
    from pathlib import Path

    data = records.read_json(Path(folder) / records.RECORD) or {}
    record = records.Record(Path(folder), data)
    record.lock_fd = int(lock_fd)
    os.set_inheritable(record.lock_fd, False)
    code = int(status)
    code = code if code >= 0 else 128 - code
    ending.note_end(record, code)
    if _may_start_again(record, code):
        _restart(record)
    if data.get("keep"):
        ending.keep(record)
    else:
        ending.remove(record)


def _may_start_again(record: Record, status: int) -> bool:
    """Ask the restart policy, and wait: longer each time, and not when it is to stop."""
    word, most = read_policy(record.data.get("restart", "no"))
    count = record.data.get("restarts", 0)
    wanted = word == "always" or (word == "on-failure" and status != 0)
    if not wanted or count >= most:
        return False
    deadline = time.monotonic() + min(FIRST_PAUSE_S * 2 ** min(count, 16), LONGEST_PAUSE_S)
    while not record.is_to_stop and (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, LOOK_S))
    return not record.is_to_stop


def _restart(record: Record) -> None:
    """Start the container again, in its root file system as it is; returns when that failed."""
    try:
        ending.stop_holding(record)
        record.data["restarts"] = record.data.get("restarts", 0) + 1
        record.save()
        (record.folder / records.EXIT).unlink(missing_ok=True)
        launch = making.launch_of(record)
        making.launch_now(launch)
    except InnError as error:
        os.write(2, f"inn: {error}\n".encode())
        ending.note_end(record, error.exit_code)
        return
    _become_waiter(record, launch.pid)
