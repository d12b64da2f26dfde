"""Threads with names that the host shows."""

from __future__ import annotations

import contextlib
import threading

MAX_NAME_BYTES = 15  # TASK_COMM_LEN without its NUL


def name_thread(name: str) -> None:
    """Name the calling thread for `top -H`, `perf` and bench/.

    proc_pid_comm(5); CPython does so itself from 3.14 on. Where the host has no such file the
    thread stays nameless.
    """
    with (
        contextlib.suppress(OSError),
        open(f"/proc/self/task/{threading.get_native_id()}/comm", "wb") as f,
    ):
        f.write(name.encode()[:MAX_NAME_BYTES])
