"""Regions on disk: one file for each version, LLVM and CPU, found again by the guest's code.

The file is an index and images, all of which load without linking. It is mapped read-only and
native code takes from it what it meets, checksum first, so a damaged image is never run. To write,
a process merges what it has made with what is there into a new file that takes the old one's place:
readers keep the one they have, and a lock lets writers follow one another.

Layout: magic (8 bytes), count (8), BLAKE2b-256 of the rows (32), rows of `ROW`, then the images,
each at a multiple of 64 bytes.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import mmap
import os
import struct
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from innkeeper.base.record import record
from innkeeper.base.units import MIB
from innkeeper.engine.emulator.regions.layout import INDEX_ROOM, MAX_IMAGE_BYTES
from innkeeper.native.cache import touch, trim

MAGIC = b"INNREGN1"
HEAD = struct.Struct("<8sQ32s")
ROW = struct.Struct("<QQQII")
"""Key, offset, checksum, size, place of the record."""
MAX_PACK_BYTES = 64 * MIB
ALIGNMENT = 64


@record
class Packed:
    """A region in a pack: its key, where its image lies, and what its checksum must be."""

    key: int
    offset: int
    checksum: int
    size: int
    record: int


class Pack:
    """The regions of one file, mapped; an absent, foreign or damaged file has none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.memory: mmap.mmap | None = None
        self.rows: list[Packed] = []
        with contextlib.suppress(OSError, ValueError):
            self._read()

    def _read(self) -> None:
        # Without O_NONBLOCK a FIFO in our place would hold us for ever.
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(fd)
            foreign = status.st_uid != os.geteuid() or status.st_mode & 0o022
            if foreign or not HEAD.size <= status.st_size <= 2 * MAX_PACK_BYTES:
                return
            memory = mmap.mmap(fd, status.st_size, prot=mmap.PROT_READ)
        finally:
            os.close(fd)
        magic, count, digest = HEAD.unpack_from(memory)
        end = HEAD.size + count * ROW.size
        if magic != MAGIC or count > INDEX_ROOM or end > len(memory):
            return
        rows = memory[HEAD.size : end]
        if hashlib.blake2b(rows, digest_size=32).digest() != digest:
            return
        touch(self.path)
        self.rows = [one for one in _rows(rows) if _fits(one, end, len(memory))]
        self.memory = memory

    def image(self, row: Packed) -> bytes:
        """Return a copy of an image."""
        assert self.memory is not None
        return self.memory[row.offset : row.offset + row.size]


def _rows(raw: bytes) -> Iterator[Packed]:
    for fields in ROW.iter_unpack(raw):
        yield Packed(*fields)


def _fits(row: Packed, start: int, end: int) -> bool:
    """Tell whether a row's numbers make sense in its file."""
    return (
        0 < row.size <= MAX_IMAGE_BYTES
        and row.size % ALIGNMENT == row.offset % ALIGNMENT == row.record % 8 == 0
        and start <= row.offset <= end - row.size
        and row.record < row.size
        and row.key != 0
        and row.checksum != 0
    )


@record
class Made:
    """A region to be kept."""

    key: int
    checksum: int
    record: int
    image: bytes


def merge(path: Path, made: Iterable[Made], used: set[tuple[int, int]]) -> None:
    """Add regions to a pack; raises `OSError`.

    `used` are the keys and checksums of regions that this process has run: when the file would
    grow too large, others go first.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(path.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = Pack(path)
        known = {(m.key, m.checksum): m for m in made}
        for row in before.rows:
            if (row.key, row.checksum) not in known:
                image = before.image(row)
                known[row.key, row.checksum] = Made(row.key, row.checksum, row.record, image)
        ordered = sorted(known.values(), key=lambda m: (m.key, m.checksum) not in used)
        _write(path, _what_fits(ordered))
    trim(path.parent)


def _what_fits(ordered: list[Made]) -> list[Made]:
    kept, size = [], 0
    for one in ordered:
        size += len(one.image) + ROW.size
        if size > MAX_PACK_BYTES or len(kept) >= INDEX_ROOM // 2:
            break
        kept.append(one)
    return kept


def _write(path: Path, kept: list[Made]) -> None:
    at = (HEAD.size + len(kept) * ROW.size + ALIGNMENT - 1) & -ALIGNMENT
    start, rows = at, []
    for one in kept:
        rows.append(ROW.pack(one.key, at, one.checksum, len(one.image), one.record))
        at += len(one.image)
    index = b"".join(rows)
    head = HEAD.pack(MAGIC, len(kept), hashlib.blake2b(index, digest_size=32).digest())
    handle, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as f:
            f.write((head + index).ljust(start, b"\0"))
            f.writelines(one.image for one in kept)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
