"""`inn run --engine container` in the foreground: attend to the container until it ends."""

from __future__ import annotations

import _signal
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from innkeeper.base.errors import GuestTimeout
from innkeeper.guests.containers import ending, making, records

if TYPE_CHECKING:
    from innkeeper.containers.launch import Launch
    from innkeeper.containers.terminal import Terminal
    from innkeeper.guests.containers.records import Record
    from innkeeper.guests.containers.request import ContainerRequest
    from innkeeper.guests.containers.roots import ShowProgress

AGAIN_WITHIN_S = 1.0
_ENDING = (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGQUIT)


def run(request: ContainerRequest, show: ShowProgress) -> int:
    """Run a container, and return its exit status when it has ended.

    Its standard streams are this process's own; `show` is used when something takes long. Raises
    `GuestTimeout`; `NotFoundError` or `NotExecutableError` for its program. What it held is given
    back in any case.
    """
    record = records.create(request.summary())
    try:
        launch = making.make(request, record, show)
        status = _attend(launch, request, record)
        end = ending.note_end(record, status)
        _tell_oom(end["oom"], request.options.memory_bytes)
    except BaseException:
        ending.remove(record)
        raise
    if request.keep:
        ending.keep(record)
    else:
        ending.remove(record)
    ending.sweep(but=record.id)
    if status == _TIMED_OUT:
        raise GuestTimeout(f"the container did not finish in {request.timeout_s:g} s")
    return status


_TIMED_OUT = -1


def _attend(launch: Launch, request: ContainerRequest, record: Record) -> int:
    from innkeeper.containers import kernel as k

    if not request.stdin:
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
    k.prctl(k.PR_SET_CHILD_SUBREAPER, 1)
    launch.foreground = True
    terminal = _terminal(launch, request)
    making.launch_now(launch)
    fired = _watchdog(launch.pid, request.timeout_s) if request.timeout_s else -1
    with _health(record):
        status = _wait_for(launch.pid, terminal)
    if fired >= 0 and os.read(fired, 1):
        return _TIMED_OUT
    return status


def _wait_for(pid: int, terminal: Terminal | None) -> int:
    from innkeeper.containers.foreground import attend

    return attend(pid, terminal) if terminal is not None else _wait(pid)


@contextmanager
def _health(record: Record) -> Iterator[None]:
    """Have the container's health looked at, if it is to be."""
    if not record.data.get("health"):
        yield
        return
    from innkeeper.guests.containers.streams import Ticker

    record.change(started=time.time())
    ticker = Ticker(record)
    try:
        yield
    finally:
        ticker.stop()


def _terminal(launch: Launch, request: ContainerRequest) -> Terminal | None:
    if not request.options.tty:
        return None
    from innkeeper.containers.terminal import Terminal

    terminal = Terminal()
    launch.console = terminal.peer
    return terminal


def _wait(pid: int) -> int:
    """Wait for the container's process, and pass signals on to it.

    The first process of a process namespace ignores what it has no handler for
    (pid_namespaces(7)), so a signal that asks for an end, twice within a second, is one.
    """
    from innkeeper.containers import foreground

    passed = _signal.valid_signals() - foreground.OWN
    waited = passed | {_signal.SIGCHLD}
    _signal.pthread_sigmask(_signal.SIG_BLOCK, waited)
    last: dict[int, float] = {}
    while (status := foreground.reap(pid)) is None:
        number = _signal.sigwait(waited)
        if number == _signal.SIGCHLD:
            continue
        now = time.monotonic()
        if number in _ENDING and now - last.get(number, -AGAIN_WITHIN_S) < AGAIN_WITHIN_S:
            foreground.pass_on(pid, _signal.SIGKILL)
            os.waitpid(pid, 0)
            return 128 + int(number)
        last[number] = now
        foreground.pass_on(pid, number)
    return status


def _watchdog(pid: int, timeout_s: float) -> int:
    """Start a process that kills the container when its time is over; return a pipe.

    The pipe has a byte in it when the time was over, and ends with the process.
    """
    import select

    watched = os.pidfd_open(pid)
    read, write = os.pipe()
    if os.fork() == 0:
        try:
            os.close(read)
            poll = select.poll()
            poll.register(watched, select.POLLIN)
            if not poll.poll(timeout_s * 1000):
                os.write(write, b"x")
                _signal.pidfd_send_signal(watched, _signal.SIGKILL)
        finally:
            os._exit(0)
    os.close(write)
    os.close(watched)
    return read


def _tell_oom(kills: int, limit: int | None) -> None:
    """Say on standard error that the container ran out of memory."""
    if kills:
        than = f"{limit / (1 << 20):g} MiB" if limit else "the host could give"
        os.write(2, f"inn: killed: it used more memory than {than}\n".encode())
