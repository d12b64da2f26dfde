"""Waiting for a container to be in some state."""

from __future__ import annotations

import time

from innkeeper.base.errors import MachineError
from innkeeper.guests.containers import control
from innkeeper.guests.containers.ending import UNKNOWN_STATUS
from innkeeper.guests.containers.health import health_of
from innkeeper.guests.containers.records import RECORD, Record, read_json

CONDITIONS = (
    "exited", "stopped", "running", "paused", "created", "healthy", "unhealthy", "removed"
)  # fmt: skip
LOOK_S = 0.1
NOT_ENDED = -1


def wait_for(record: Record, condition: str) -> int:
    """Wait until a container meets a condition; return its exit status, `NOT_ENDED` without one.

    `MachineError` when it cannot meet it any more: it has ended, or has no health check.
    """
    if condition == "removed":
        return _wait_until_gone(record)
    if condition in ("exited", "stopped"):
        while _now(record).data.get("fresh"):
            time.sleep(LOOK_S)
        return _end(record)
    if condition in ("healthy", "unhealthy") and not record.data.get("health"):
        raise MachineError(f"container {record.name} has no health check", fix="--health-cmd")
    while not _meets(now := _now(record), condition):
        if control.status_of(now) == "exited":
            raise MachineError(f"container {record.name} has ended before it was {condition}")
        time.sleep(LOOK_S)
    return NOT_ENDED


def _now(record: Record) -> Record:
    return Record(record.folder, read_json(record.folder / RECORD) or record.data)


def _meets(record: Record, condition: str) -> bool:
    status = control.status_of(record)
    if condition in ("healthy", "unhealthy"):
        return status == "running" and (health_of(record) or {}).get("status") == condition
    return status == condition


def _end(record: Record) -> int:
    end = record.wait() or record.ended() or {}
    status: int = end.get("status", UNKNOWN_STATUS)
    return status


def _wait_until_gone(record: Record) -> int:
    status = _end(record) if not record.data.get("fresh") else NOT_ENDED
    while record.folder.is_dir():
        time.sleep(LOOK_S)
    return status
