"""The health of a container: a command is run in it now and then, and its exit status counts.

As docker's HEALTHCHECK has it: 0 is healthy; so many failures in a row, not counting those of the
start period until the first success, are unhealthy. `health.json` has the status, the failures in a
row and the last results.
"""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from innkeeper.base.errors import ContainerError, InnError, MachineError, NotFoundError
from innkeeper.guests.containers import control, records
from innkeeper.guests.containers.beside.checks import HEALTHY, STARTING, UNHEALTHY
from innkeeper.guests.containers.making import settings_of
from innkeeper.guests.containers.records import HEALTH, Record

MAX_OUTPUT_BYTES, MAX_RESULTS = 4096, 5
TIMED_OUT = -1  # the exit status of a check that took too long, or could not be run
_OUTCOMES = {"healthy": HEALTHY, "unhealthy": UNHEALTHY}
_SIGKILL = 9


def health_of(record: Record) -> dict[str, Any] | None:
    """Return what is known of a container's health, None when nobody looks at it."""
    if not record.data.get("health"):
        return None
    fresh = {"status": "starting", "failing_streak": 0, "log": []}
    return records.read_json(record.folder / HEALTH) or fresh


def check(record: Record) -> str:
    """Look once, and write down what was found; return the status.

    A container that is paused is not looked at.
    """
    health = record.data.get("health")
    if not health:
        raise MachineError(f"container {record.name} has no health check", fix="--health-cmd")
    control.running(record)
    if control.status_of(record) == "paused":
        raise MachineError(f"container {record.name} is paused", fix=f"inn unpause {record.name}")
    began = time.time()
    code, output = _look(record, health)
    return _note(record, health, code, output, began)


def main(folder: str) -> None:
    """Look once for the process that stays beside a container, and do what is to be done."""
    record = Record(Path(folder), records.read_json(Path(folder) / records.RECORD) or {})
    try:
        status = check(record)
        if status == "unhealthy":
            act(record)
    except InnError:  # it is ending, or paused
        status = (health_of(record) or {}).get("status", "")
    os._exit(_OUTCOMES.get(status, STARTING))


def act(record: Record) -> None:
    """Do to an unhealthy container what `--health-on-failure` says."""
    what = record.data["health"]["on_failure"]
    if what == "kill":
        control.send(record, "SIGKILL")
    elif what == "stop":
        record.ask_to_stop()
        control.end(record)
    elif what == "restart":
        record.ask_to_start_again(by_user=False)
        control.end(record)


def _look(record: Record, health: dict[str, Any]) -> tuple[int, str]:
    """Run the test; return its exit status and what it said."""
    from innkeeper.containers.execute import start_process

    kind, *words = health["test"]
    argv = ["/bin/sh", "-c", *words] if kind == "CMD-SHELL" else words
    read, write = os.pipe()
    saved = [os.dup(fd) for fd in (0, 1, 2)]
    null = os.open(os.devnull, os.O_RDONLY)
    for fd, source in ((0, null), (1, write), (2, write)):
        os.dup2(source, fd)
    try:
        pid, _ = start_process(settings_of(record), {"detach": True}, [record.id, *argv])
    except ContainerError as error:
        os.close(read)
        return TIMED_OUT, str(error)[:MAX_OUTPUT_BYTES]
    finally:
        for fd, source in enumerate(saved):
            os.dup2(source, fd)
            os.close(source)
        os.close(null)
        os.close(write)
    return _await(pid, read, health["timeout_s"])


def _await(pid: int, pipe: int, timeout_s: float) -> tuple[int, str]:
    """Wait for the test and gather what it says; kill it when it takes too long."""
    deadline = time.monotonic() + timeout_s
    watch, output = os.pidfd_open(pid), b""
    poll = select.poll()
    poll.register(watch, select.POLLIN)
    poll.register(pipe, select.POLLIN)
    ended = False
    while not ended and (left := deadline - time.monotonic()) > 0:
        ready = dict(poll.poll(left * 1000 + 1))
        if pipe in ready and not (data := os.read(pipe, MAX_OUTPUT_BYTES)):
            poll.unregister(pipe)
        elif pipe in ready:
            output = (output + data)[:MAX_OUTPUT_BYTES]
        ended = watch in ready
    if not ended:
        _kill(pid)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.set_blocking(pipe, False)
    with suppress(BlockingIOError):  # else a process it has left behind has it open
        output = (output + os.read(pipe, MAX_OUTPUT_BYTES))[:MAX_OUTPUT_BYTES]
    os.close(watch)
    os.close(pipe)
    if not ended:
        return TIMED_OUT, f"the health check took longer than {timeout_s:g} s"
    return (status if status >= 0 else 128 - status), output.decode("utf-8", "replace")


def _kill(pid: int) -> None:
    """Kill the test, with what it has started in its session."""
    for kill, number in ((os.killpg, pid), (os.kill, pid)):
        with suppress(OSError):
            kill(number, _SIGKILL)


def _note(record: Record, health: dict[str, Any], code: int, output: str, began: float) -> str:
    """Write down one result; return the status that follows from it."""
    with record.changing():
        if not (record.folder / records.RECORD).exists():
            raise NotFoundError(f"container {record.name} is gone")
        state = health_of(record) or {}
        starting = state["status"] == "starting"
        grace = record.data.get("started", 0) + health["start_period_s"]
        if code == 0:
            state.update(status="healthy", failing_streak=0)
        elif not (starting and began < grace):
            state["failing_streak"] += 1
            if state["failing_streak"] >= health["retries"]:
                state["status"] = "unhealthy"
        result = {"start": began, "end": time.time(), "exit_code": code, "output": output}
        state["log"] = [*state["log"], result][-MAX_RESULTS:]
        records.write_json(record.folder / HEALTH, state)
    return str(state["status"])
