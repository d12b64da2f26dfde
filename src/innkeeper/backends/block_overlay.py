"""A temporary copy-on-write overlay: a guest writes, its base image stays as it is."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from innkeeper.backends.block_file import FileDisk
from innkeeper.base.errors import StorageError
from innkeeper.devices.block import BlockBackend
from innkeeper.devices.virtio.chain import slice_views

CLUSTER_BYTES = 64 << 10


class OverlayDisk:
    """Serve `base` with writes kept in a nameless sparse file under `directory`, gone at `close`.

    A bit a cluster says where its bytes are. The first write to a part of a cluster copies the
    rest of it from the base.
    """

    read_only = False

    def __init__(self, base: BlockBackend, *, directory: Path | str | None = None) -> None:
        self.name = f"overlay of {base.name}"
        self._base = base
        self.size_bytes = base.size_bytes
        self._clusters = -(-base.size_bytes // CLUSTER_BYTES)
        self._written = bytearray(-(-self._clusters // 8))
        self._copy = memoryview(bytearray(CLUSTER_BYTES))
        self._file = _nameless_disk(self._clusters * CLUSTER_BYTES, directory, self.name)

    def close(self) -> None:
        """Drop all that was written, and close the base where it can be."""
        self._file.close()
        close = getattr(self._base, "close", None)
        if close is not None:
            close()

    def _is_written(self, cluster: int) -> bool:
        return bool(self._written[cluster >> 3] >> (cluster & 7) & 1)

    def _runs(self, offset: int, length: int) -> Iterator[tuple[bool, int, int]]:
        """Split a range into runs of `(is in the overlay, offset, length)`."""
        end, start = offset + length, offset
        while start < end:
            cluster = start // CLUSTER_BYTES
            here = self._is_written(cluster)
            while cluster * CLUSTER_BYTES < end and self._is_written(cluster) is here:
                cluster += 1
            stop = min(cluster * CLUSTER_BYTES, end)
            yield here, start, stop - start
            start = stop

    def readv(self, views: Sequence[memoryview], offset: int) -> None:
        """Fill `views` from the overlay and the base."""
        length = sum(map(len, views))
        self._check(offset, length)
        for here, start, size_bytes in self._runs(offset, length):
            part = slice_views(views, start - offset, size_bytes)
            (self._file if here else self._base).readv(part, start)

    def writev(self, views: Sequence[memoryview], offset: int) -> None:
        """Store `views` in the overlay."""
        length = sum(map(len, views))
        self._check(offset, length)
        self._complete_edges(offset, length)
        self._file.writev(views, offset)
        self._mark(offset, length)

    def flush(self) -> None:
        """Do nothing: what is temporary need not be durable."""

    def discard(self, offset: int, length: int) -> None:
        """Let go of host space in clusters that the overlay has; the guest may not rely on it."""
        self._check(offset, length)
        for here, start, size_bytes in self._runs(offset, length):
            if here:
                self._file.discard(start, size_bytes)

    def write_zeroes(self, offset: int, length: int, *, may_unmap: bool) -> None:
        """Make a range read as zeroes: whole clusters become holes of the overlay."""
        self._check(offset, length)
        if length:
            self._complete_edges(offset, length)
            self._file.write_zeroes(offset, length, may_unmap=True)
            self._mark(offset, length)

    def _complete_edges(self, offset: int, length: int) -> None:
        """Copy the clusters that a write covers in part from the base, if they are there only."""
        end = offset + length
        for edge in {offset // CLUSTER_BYTES, max(end - 1, offset) // CLUSTER_BYTES}:
            start = edge * CLUSTER_BYTES
            whole = offset <= start and start + CLUSTER_BYTES <= end
            if length and not whole and not self._is_written(edge):
                self._base.readv([self._copy[: self._base_bytes(start)]], start)
                self._file.writev([self._copy[: self._base_bytes(start)]], start)
                self._written[edge >> 3] |= 1 << (edge & 7)

    def _base_bytes(self, start: int) -> int:
        rounded = -(-self.size_bytes // 512) * 512
        return min(CLUSTER_BYTES, rounded - start)

    def _mark(self, offset: int, length: int) -> None:
        if length:
            last = (offset + length - 1) // CLUSTER_BYTES
            for cluster in range(offset // CLUSTER_BYTES, last + 1):
                self._written[cluster >> 3] |= 1 << (cluster & 7)

    def _check(self, offset: int, length: int) -> None:
        if offset < 0 or offset + length > self._clusters * CLUSTER_BYTES:
            raise OSError(errno.ENOSPC, "beyond the end of the disk", self.name)


def _nameless_disk(size_bytes: int, directory: Path | str | None, name: str) -> FileDisk:
    """Make a sparse file that no path leads to, as a disk."""
    try:
        fd, path = tempfile.mkstemp(prefix="innkeeper-overlay-", dir=directory)
        try:
            os.ftruncate(fd, size_bytes)
            disk = FileDisk(path)
        finally:
            os.close(fd)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
    except OSError as error:
        raise StorageError(
            f"no room for the {name}",
            why=str(error),
            fix="free some space, or point TMPDIR to a file system that has some",
        ) from None
    disk.name = name
    return disk
