"""Reading a container's log, while it is written and while its files are moved on.

A file is known by its inode, for its name changes (`beside/logfile.py` says how). What cannot be
read as a record, as the last one of a writer that was killed, is left out. Who follows more slowly
than the files are rotated misses those that were removed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from innkeeper.base.record import record
from innkeeper.guests.containers import control
from innkeeper.guests.containers.beside.logfile import MAX_FILES
from innkeeper.guests.containers.records import Record

FOLLOW_S = 0.1
MAX_LINE_BYTES = 1 << 20  # our writer's are far shorter
_CHUNK = 1 << 16
_STAMP_CHARS = len("2026-11-27T16:00:00.123456789Z")
_TAGS = {b"F": True, b"P": False}


@record
class LogRecord:
    """One record: when it was read, of which stream, whether it ends a line, and what it is."""

    stamp: str
    stream: str
    ends_line: bool
    data: bytes


def parse(line: bytes) -> LogRecord | None:
    """Read one line of a log; None when it is no record."""
    parts = line.split(b" ", 3)
    if len(parts) != 4 or len(parts[0]) != _STAMP_CHARS or parts[2] not in _TAGS:
        return None
    if parts[1] not in (b"stdout", b"stderr") or not parts[0].isascii():
        return None
    return LogRecord(parts[0].decode(), parts[1].decode(), _TAGS[parts[2]], parts[3])


def read_log(
    container: Record, *, follow: bool = False, tail: int | None = None, since: str = "",
    until: str = "",
) -> Iterator[LogRecord]:  # fmt: skip
    """Yield a container's records, oldest first.

    `tail` is how many lines from the end to begin with; `since` and `until` are stamps as the
    records have them. With `follow`, go on until nobody attends to the container.
    """
    with LogReader(container.log_path) as reader:
        skip = reader.begin(tail)
        for one in _lines_after(skip, _records(reader, container, follow=follow)):
            if until and one.stamp >= until:
                return
            if not since or one.stamp >= since:
                yield one


def _records(reader: LogReader, container: Record, *, follow: bool) -> Iterator[LogRecord]:
    while True:
        goes_on = follow and control.is_waited_for(container)
        yield from filter(None, map(parse, reader.lines()))
        if not goes_on:
            return
        time.sleep(FOLLOW_S)


def _lines_after(count: int, found: Iterator[LogRecord]) -> Iterator[LogRecord]:
    """Leave out the first lines, each with all of its parts."""
    inside: dict[str, bool] = {}
    left_out: dict[str, bool] = {}
    for one in found:
        if not inside.get(one.stream):  # a line begins
            left_out[one.stream] = count > 0
            count -= 1
        inside[one.stream] = not one.ends_line
        if not left_out[one.stream]:
            yield one


class LogReader:
    """The files of a log, read one after the other."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._rest = b""  # a line whose end is not there yet

    def __enter__(self) -> LogReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def begin(self, tail: int | None) -> int:
        """Open the oldest file that is needed; return how many of its lines are to be left out."""
        files = self._files()
        if not files:
            return 0
        if tail is None:
            self._open(*files[-1])
            return 0
        count = 0
        for file in files:
            # One line more than is asked for: the first may have begun in the file before.
            if (count := count + self._count(*file)) > tail:
                break
        self._open(*file)
        return max(0, count - tail)

    def _count(self, inode: int, path: Path) -> int:
        """Return how many lines begin in a file."""
        if not self._open(inode, path):
            return 0
        inside: dict[str, bool] = {}
        count = 0
        for one in filter(None, map(parse, self._available())):
            count += not inside.get(one.stream)
            inside[one.stream] = not one.ends_line
        return count

    def lines(self) -> Iterator[bytes]:
        """Yield the lines that are there now."""
        if self._fd < 0 and (files := self._files()):
            self._open(*files[-1])
        while self._fd >= 0:
            yield from self._available()
            newer = self._newer()
            if newer is None:
                return
            yield from self._available()  # what was written before it was moved on
            if self._rest:
                yield self._rest
            self._open(*newer)

    def _available(self) -> Iterator[bytes]:
        while data := os.read(self._fd, _CHUNK):
            *lines, self._rest = (self._rest + data).split(b"\n")
            if len(self._rest) > MAX_LINE_BYTES:
                self._rest = b""
            yield from lines

    def _newer(self) -> tuple[int, Path] | None:
        """Return the file that comes after the one that is open, None when that is the newest."""
        own = os.fstat(self._fd).st_ino
        files = self._files()
        inodes = [inode for inode, _ in files]
        if not files or own == inodes[0]:
            return None
        return files[inodes.index(own) - 1 if own in inodes else -1]

    def _files(self) -> list[tuple[int, Path]]:
        """Return the files' inodes and names, newest first."""
        found = []
        for entry in os.scandir(self._path.parent) if self._path.parent.is_dir() else ():
            stem, _, number = entry.name.partition(f"{self._path.name}.")
            if entry.name == self._path.name:
                found.append((0, entry.path))
            elif not stem and number.isascii() and number.isdigit() and int(number) < MAX_FILES:
                found.append((int(number), entry.path))
        known = []
        for _, path in sorted(found):
            try:
                known.append((os.stat(path).st_ino, Path(path)))
            except FileNotFoundError:  # moved on, or removed
                continue
        return known

    def _open(self, inode: int, path: Path) -> bool:
        """Open a file, if its name still is its name; else it is looked for by its inode."""
        self._close()
        for _ in range(MAX_FILES):
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                return False
            if os.fstat(fd).st_ino == inode:
                self._fd = fd
                return True
            os.close(fd)
            moved = dict(self._files())
            if inode not in moved:
                return False
            path = moved[inode]
        return False

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._rest = -1, b""
