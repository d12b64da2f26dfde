"""Detached containers: who waits for their end, and where their output goes.

Somebody has to: only a parent learns an exit status (waitpid(2)). So a detached container has one
process beside it. It makes the container, and then becomes, by execve(2) and so with its child, an
interpreter that has imported next to nothing (`beside/`): it writes the log, serves who attaches,
has the container's health looked at, and waits. When the container has ended, that process becomes
`inn` again (`finishing.py`) to write down how, and to clean up.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from innkeeper.base.errors import InnError, MachineError
from innkeeper.guests.containers import ending, making, records, roots
from innkeeper.guests.containers.streams import Streams

if TYPE_CHECKING:
    from _socket import socket
    from pathlib import Path

    from innkeeper.containers.launch import Launch
    from innkeeper.guests.containers.records import Record
    from innkeeper.guests.containers.request import ContainerRequest
    from innkeeper.guests.containers.roots import ShowProgress
    from innkeeper.images.oci.image import Image

MAX_TOLD_BYTES = 65536
_STARTED = "0"


def start(request: ContainerRequest, show: ShowProgress, client: socket | None = None) -> str:
    """Start a container that goes on by itself; return its id once its program runs.

    `client` is attached to it before that.
    """
    record = records.create(request.summary())
    try:
        launch = making.make(request, record, show)
        _launch_beside(record, launch, client)
    except BaseException:
        ending.remove(record)
        raise
    ending.sweep(but=record.id)
    return record.id


def create(request: ContainerRequest, show: ShowProgress, image: Image | None = None) -> Record:
    """Make a container and do not start it: `start_again` does.

    `image` is one that the request's name does not find.
    """
    record = records.create({**request.summary(), "fresh": True})
    try:
        making.make(request, record, show, image)
        ending.keep(record)
    except BaseException:
        ending.remove(record)
        raise
    ending.sweep(but=record.id)
    return record


def start_again(
    record: Record, client: socket | None = None, *, images: Path | None = None
) -> None:
    """Start a container that was made, or has ended, with the files and the output it has.

    `client` is attached to it before its program runs, so that it misses nothing. With `images`,
    its processes are brought back from a checkpoint instead.
    """
    if not record.take_soon():
        raise MachineError(f"container {record.name} is in use", fix="inn ps -a")
    if not record.data.get("detach") or "command" not in record.data:
        record.release()
        raise MachineError(f"container {record.name} was not a detached one")
    try:
        ending.stop_holding(record)
        roots.mount_again(record)
        record.forget_end()
        record.change(fresh=False, restarts=0)
        _launch_beside(record, making.launch_of(record), client, images)
    except BaseException as error:
        code = error.exit_code if isinstance(error, InnError) else ending.UNKNOWN_STATUS
        ending.note_end(record, code)
        ending.keep(record)
        raise


def _launch_beside(
    record: Record, launch: Launch, client: socket | None = None, images: Path | None = None
) -> None:
    """Let another process make the container, and have the record from then on."""
    told, tell = os.pipe()
    if os.fork() == 0:
        os.close(told)
        _attend(record, launch, tell, client, images)
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


def _attend(
    record: Record, launch: Launch, tell: int, client: socket | None, images: Path | None
) -> None:
    """Make the container in a session of its own, say how that went, and wait; never returns."""
    try:
        os.setsid()
        from innkeeper.containers import kernel as k

        k.prctl(k.PR_SET_CHILD_SUBREAPER, 1)
        streams = Streams(record)
        if images is None:
            streams.launch(launch)
        else:
            streams.restore(launch, images)
    except BaseException as error:
        shown = error if isinstance(error, InnError) else MachineError("unexpected", why=str(error))
        words = [" ".join(text.split()) for text in (shown.what, shown.why, shown.fix)]
        os.write(tell, "\n".join([str(shown.exit_code), *words]).encode()[:MAX_TOLD_BYTES])
        os._exit(1)
    os.write(tell, _STARTED.encode())
    os.close(tell)
    streams.become_attendant(launch.pid, client)
