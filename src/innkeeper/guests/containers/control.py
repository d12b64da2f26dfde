"""What is done to a container from outside: ask, stop, signal, freeze, remove, enter."""

from __future__ import annotations

import fcntl
import os
import select
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from innkeeper.base.errors import ContainerError, MachineError, NotFoundError, UsageError
from innkeeper.guests.containers import ending, records, roots
from innkeeper.guests.containers.making import settings_of
from innkeeper.guests.containers.records import Record, as_guest_error
from innkeeper.guests.containers.subids import is_rootless
from innkeeper.guests.containers.users import resolve_user

STOP_TIMEOUT_S = 10.0
DIE_TIMEOUT_S = 10.0
LOOK_S = 0.05
_SIGKILL = 9


def status_of(record: Record) -> str:
    """Return `created`, `running`, `paused`, `restarting` or `exited`."""
    if record.data.get("fresh"):
        return "created"
    try:
        status: str = ending.container_of(record).status()
    except NotFoundError:
        again = record.data.get("restart", "no") != "no" or record.is_to_start_again
        if again and record.attended():
            return "restarting"
        ended = record.ended() is not None or not record.attended()
        return "exited" if ended else "created"
    return {"stopped": "exited", "creating": "created"}.get(status, status)


def running(record: Record) -> Any:
    """Return the runtime's container of one that runs; `MachineError` when it does not."""
    with suppress(NotFoundError):
        container = ending.container_of(record)
        if container.pid:
            return container
    raise MachineError(f"container {record.name} does not run", fix="inn ps -a")


def send(record: Record, signal: str) -> None:
    """Send a signal, by name or number, to the container's first process."""
    from innkeeper.containers.lifecycle import kill_command
    from innkeeper.containers.signals import signal_number

    try:
        signal_number(signal)
    except ContainerError as error:
        raise UsageError(f"there is no signal {signal!r}", why=error.why) from None
    running(record)
    try:
        kill_command(settings_of(record), {}, [record.id, signal])
    except ContainerError as error:
        raise MachineError(f"container {record.name} does not run", why=str(error)) from None


def kill(record: Record, signal: str) -> None:
    """Send a signal that somebody asked for.

    One that is meant to end it, KILL or its stop signal, also keeps its restart policy from
    starting it again, as with docker; another (HUP, to have it read its configuration) does not.
    """
    from innkeeper.containers.signals import signal_number

    try:
        number = signal_number(signal)
    except ContainerError as error:
        raise UsageError(f"there is no signal {signal!r}", why=error.why) from None
    status = status_of(record)
    if number in (_SIGKILL, signal_number(record.data.get("stop_signal", "SIGTERM"))):
        if status not in ("exited", "created"):
            record.ask_to_stop()
        if status == "restarting":  # it has no process now, and gets none any more
            return
    send(record, signal)


def stop(record: Record, *, timeout_s: float = STOP_TIMEOUT_S) -> None:
    """Send the image's stop signal, kill what has not ended in time, and wait for the clean-up."""
    record.ask_to_stop()
    end(record, timeout_s=timeout_s)
    _await_end(record)


def _await_end(record: Record) -> None:
    """Wait until one that is to stop has ended, or somebody has it started again after all."""
    while is_waited_for(record) and record.is_to_stop:
        time.sleep(LOOK_S)


def end(record: Record, *, timeout_s: float = STOP_TIMEOUT_S) -> None:
    """Send the image's stop signal, and kill what has not ended in time."""
    with suppress(MachineError, ProcessLookupError):  # it has ended meanwhile
        watch = os.pidfd_open(running(record).pid)
        try:
            if status_of(record) == "paused":
                freeze(record, on=False)
            send(record, record.data.get("stop_signal", "SIGTERM"))
            poll = select.poll()
            poll.register(watch, select.POLLIN)
            if not poll.poll(timeout_s * 1000):
                send(record, "SIGKILL")
                poll.poll(DIE_TIMEOUT_S * 1000)
        finally:
            os.close(watch)


def restart(record: Record, *, timeout_s: float = STOP_TIMEOUT_S) -> None:
    """Stop a detached container, if it runs, and start it again; return when its program runs."""
    from innkeeper.guests.containers.detached import start_again

    if not record.data.get("detach"):
        raise MachineError(f"container {record.name} is another command's, in the foreground")
    starts = record.data.get("starts", 0)
    record.ask_to_start_again(by_user=True)
    end(record, timeout_s=timeout_s)
    while record.attended():
        now = records.read_json(record.folder / records.RECORD) or {}
        if now.get("starts", 0) > starts:
            return
        time.sleep(LOOK_S)
    if not record.folder.is_dir():
        raise NotFoundError(f"container {record.name} is gone")
    start_again(record)


def remove(record: Record, *, force: bool = False) -> None:
    """Remove a container; one that runs only with `force`, which kills it."""
    while record.attended():
        if not force:
            raise MachineError(
                f"container {record.name} is in use", fix=f"inn stop {record.name}, or inn rm -f"
            )
        record.ask_to_stop()
        with suppress(MachineError):
            send(record, "SIGKILL")
        _await_end(record)
    if record.take_soon():
        ending.remove(record)


def freeze(record: Record, *, on: bool) -> None:
    """Freeze all processes of a container, or let them go on."""
    from innkeeper.containers import resources

    running(record)
    command = resources.pause_command if on else resources.resume_command
    try:
        command(settings_of(record), {}, [record.id])
    except ContainerError as error:  # paused already, or there is no freezer
        raise MachineError(error.what, why=error.why, fix=error.fix) from None


def usage(record: Record) -> dict[str, Any]:
    """Return what a container uses, in the shape of `data` of `runc events --stats`."""
    from innkeeper.containers.launch import open_container_cgroup

    found: dict[str, Any] = open_container_cgroup(running(record).data).stats()
    return found


def enter(
    record: Record, argv: Sequence[str], *, env: Mapping[str, str], workdir: str | None,
    user: str | None, tty: bool, stdin: bool, detach: bool,
) -> int:  # fmt: skip
    """Run another command in a running container; return its exit status, 0 when detached."""
    from innkeeper.containers.execute import exec_command

    running(record)
    options: dict[str, Any] = {
        "tty": tty, "detach": detach, "env": [f"{name}={value}" for name, value in env.items()]
    }  # fmt: skip
    if workdir:
        options["cwd"] = workdir
    if user:
        found = resolve_user(user, roots.shown_of(record))
        options["user"] = f"{found.uid}:{found.gid}"
        if not is_rootless():
            options["additional-gids"] = [str(gid) for gid in found.groups]
    if not stdin or detach:
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2) if detach else (0,):
            os.dup2(null, fd)
        os.close(null)
    try:
        return exec_command(settings_of(record), options, [record.id, *argv])
    except ContainerError as error:
        raise as_guest_error(error) from None


def is_waited_for(record: Record) -> bool:
    """Tell, without waiting, whether a process still attends to the container (for `logs -f`)."""
    try:
        fd = os.open(record.folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
