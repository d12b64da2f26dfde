"""The end of a detached container: how it ended, and whether it is started again.

The process that stayed beside it becomes `inn` to do this, and when the container is started again
stays beside it once more.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from innkeeper.base.errors import InnError
from innkeeper.guests.containers import ending, making, records
from innkeeper.guests.containers.records import Record
from innkeeper.guests.containers.request import read_policy
from innkeeper.guests.containers.streams import Streams

FIRST_PAUSE_S, LONGEST_PAUSE_S, LOOK_S = 0.1, 60.0, 0.1


def finish(folder: str, lock_fd: str, status: str) -> None:
    """Write down how a detached container ended, and give back what it held."""
    record = Record(Path(folder), records.read_json(Path(folder) / records.RECORD) or {})
    record.lock_fd = int(lock_fd)
    os.set_inheritable(record.lock_fd, False)
    code = int(status)
    code = code if code >= 0 else 128 - code
    ending.note_end(record, code)
    if _may_start_again(record, code):
        _restart(record)
    if record.data.get("keep"):
        ending.keep(record)
    else:
        ending.remove(record)


def _may_start_again(record: Record, status: int) -> bool:
    """Ask the restart policy, and wait: longer each time, and not when it is to stop."""
    if record.is_to_start_again:
        return not record.is_to_stop
    word, most = read_policy(record.data.get("restart", "no"))
    count = record.data.get("restarts", 0)
    wanted = word in ("always", "unless-stopped") or (word == "on-failure" and status != 0)
    if not wanted or count >= most:
        return False
    deadline = time.monotonic() + min(FIRST_PAUSE_S * 2 ** min(count, 16), LONGEST_PAUSE_S)
    while not record.is_to_stop and (left := deadline - time.monotonic()) > 0:
        if record.is_to_start_again:
            break
        time.sleep(min(left, LOOK_S))
    return not record.is_to_stop


def _restart(record: Record) -> None:
    """Start the container again, in its root file system as it is; returns when that failed."""
    by_policy = not record.is_to_start_again
    try:
        ending.stop_holding(record)
        record.forget_end(stopped=False)
        record.change(restarts=record.data.get("restarts", 0) + 1 if by_policy else 0)
        launch = making.launch_of(record)
        streams = Streams(record)
        streams.launch(launch)
    except InnError as error:
        _say(record, f"inn: {error}\n")
        ending.note_end(record, error.exit_code)
        return
    streams.become_attendant(launch.pid, None)


def _say(record: Record, text: str) -> None:
    """Write into the container's log why it is not started again."""
    from innkeeper.guests.containers.beside.logfile import LogFile

    if record.log_path.is_file():
        LogFile(str(record.log_path), max_bytes=1 << 40, max_files=2).write(
            b"stderr", text.encode()
        )
