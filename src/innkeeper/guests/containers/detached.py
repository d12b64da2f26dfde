"""Detached containers: who waits for their end, and where their output goes.

Somebody has to: only a parent learns an exit status (waitpid(2)). So a detached container has one
process beside it. It makes the container, and then becomes, by execve(2) and so with its child, an
interpreter that has imported nothing and only waits; the container writes to its two files itself.
When it has ended, that process becomes `inn` again (`finish`) to write down how, and to clean up.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from innkeeper.base.errors import InnError, MachineError
from innkeeper.guests.containers import ending, making, records
from innkeeper.guests.containers.records import STDERR, STDOUT

if TYPE_CHECKING:
    from innkeeper.containers.launch import Launch
    from innkeeper.guests.containers.making import ShowProgress
    from innkeeper.guests.containers.records import Record
    from innkeeper.guests.containers.request import ContainerRequest

MAX_TOLD_BYTES = 65536
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
        told, tell = os.pipe()
        if os.fork() == 0:
            os.close(told)
            _attend(record, launch, tell)
        os.close(tell)
        with os.fdopen(told, "rb") as pipe:
            said = pipe.read(MAX_TOLD_BYTES)
    except BaseException:
        ending.remove(record)
        raise
    # The lock is the other process's now: it is one open file, given back when both have closed it.
    os.close(record.lock_fd)
    record.lock_fd = -1
    _check(said.decode("utf-8", "replace"))
    ending.sweep(but=record.id)
    return record.id


def _check(said: str) -> None:
    """Raise what the process beside the container says went wrong, if anything did."""
    status, _, text = said.partition("\n")
    if status == _STARTED:
        return
    what, _, why = text.partition("\n")
    error = MachineError(what or "the process beside the container was killed", why=why)
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
        os.write(tell, f"{shown.exit_code}\n{shown.what}\n{shown.why}".encode()[:MAX_TOLD_BYTES])
        ending.remove(record)
        os._exit(1)
    os.set_inheritable(record.lock_fd, True)
    finish = [sys.executable, "-P", "-c", _FINISH, str(record.folder), str(record.lock_fd)]
    waiter = [sys.executable, "-I", "-S", "-c", _WAITER, str(launch.pid), *finish]
    os.chdir("/")
    os.write(tell, _STARTED.encode())  # closed by the next call
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
    ending.note_end(record, code if code >= 0 else 128 - code)
    if data.get("keep"):
        ending.keep(record)
    else:
        ending.remove(record)
