"""Advisory file locks: two processes that want the same thing make it once."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from innkeeper.images.paths import make_dir, storage_errors


@contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[None]:
    """Hold the lock file at `path`, waiting for whoever has it.

    The kernel drops the lock when its holder dies, so a killed process never blocks another.
    The file itself is left in place: removing it would let two processes hold "the" lock.
    """
    make_dir(path.parent)
    with storage_errors("take a lock", path):
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with storage_errors("take a lock", path):
            fcntl.flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def try_lock(fd: int) -> bool:
    """Take an exclusive lock on an open file; False when another process holds it."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
