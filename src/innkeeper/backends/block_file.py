"""A disk in a raw image file or on a host block device."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from innkeeper.base.errors import NotFoundError, StorageError

SECTOR_BYTES = 512
MAX_IOVECS = 1024
MAX_TRANSFER_BYTES = 1 << 30  # Linux moves at most 2 GiB - 4 KiB a call
ZERO_CHUNK_BYTES = 1 << 20
PUNCH_HOLE, KEEP_SIZE, ZERO_RANGE = 2, 1, 16
BLKGETSIZE64 = 0x80081272
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODEV, errno.EINVAL)


class FileDisk:
    """Serve a raw image file, or a host block device, as a disk.

    A size that is no multiple of 512 is rounded up for the guest: the missing bytes read as
    zeroes, and a
    regular file grows by them when they are written. Raises `NotFoundError` or `StorageError` when
    the file cannot be opened; the methods raise `OSError`, which the guest sees as an I/O error.
    """

    def __init__(self, path: Path | str, *, read_only: bool = False) -> None:
        self.name = str(path)
        self.read_only = read_only
        self._fd = _open(self.name, os.O_RDONLY if read_only else os.O_RDWR)
        try:
            mode = os.fstat(self._fd).st_mode
            if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
                raise StorageError(
                    f"{self.name} cannot be a disk", why="it is neither a file nor a block device"
                )
            self.size_bytes = _size(self._fd, is_device=stat.S_ISBLK(mode))
        except BaseException:
            os.close(self._fd)
            raise
        self._rounded = -(-self.size_bytes // SECTOR_BYTES) * SECTOR_BYTES
        self._can_zero_range = not stat.S_ISBLK(mode)

    def close(self) -> None:
        """Close the file; the disk is of no use afterwards."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def readv(self, views: Sequence[memoryview], offset: int) -> None:
        """Fill `views`; past the end of the file they are zeroes."""
        for batch in _batches(views):
            offset = self._read_batch(batch, offset)

    def _read_batch(self, views: list[memoryview], offset: int) -> int:
        while views:
            done = os.preadv(self._fd, views, offset)
            if done == 0:
                for view in views:
                    view[:] = bytes(len(view))
                return offset + sum(map(len, views))
            offset += done
            views = _after(views, done)
        return offset

    def writev(self, views: Sequence[memoryview], offset: int) -> None:
        """Store `views`; nothing is stored past the rounded size."""
        self._check(offset, sum(map(len, views)))
        for batch in _batches(views):
            while batch:
                done = os.pwritev(self._fd, batch, offset)
                if done == 0:
                    raise OSError(errno.EIO, "the host stored nothing", self.name)
                offset += done
                batch = _after(batch, done)

    def flush(self) -> None:
        """Make earlier writes durable."""
        os.fdatasync(self._fd)

    def discard(self, offset: int, length: int) -> None:
        """Punch a hole; where the host cannot, nothing happens, as a discard allows."""
        self._check(offset, length)
        self._fallocate(PUNCH_HOLE | KEEP_SIZE, offset, length)

    def write_zeroes(self, offset: int, length: int, *, may_unmap: bool) -> None:
        """Make a range read as zeroes, without storing them where the host can."""
        self._check(offset, length)
        mode = PUNCH_HOLE | KEEP_SIZE if may_unmap else ZERO_RANGE | KEEP_SIZE
        if self._fallocate(mode, offset, length):
            return
        zeroes = memoryview(bytes(min(length, ZERO_CHUNK_BYTES)))
        for at in range(offset, offset + length, ZERO_CHUNK_BYTES):
            self.writev([zeroes[: offset + length - at]], at)

    def _check(self, offset: int, length: int) -> None:
        if self.read_only:
            raise OSError(errno.EROFS, "the disk is read-only", self.name)
        if offset < 0 or length < 0 or offset + length > self._rounded:
            raise OSError(errno.ENOSPC, "beyond the end of the disk", self.name)

    def _fallocate(self, mode: int, offset: int, length: int) -> bool:
        """Call fallocate(2); tell whether the host knows how."""
        if length == 0:
            return True
        libc = ctypes.CDLL(None, use_errno=True)
        at, size = ctypes.c_int64(offset), ctypes.c_int64(length)
        if libc.fallocate(self._fd, ctypes.c_int(mode), at, size) == 0:
            return True
        code = ctypes.get_errno()
        if code in _UNSUPPORTED:
            return False
        raise OSError(code, os.strerror(code), self.name)


def _open(name: str, flags: int) -> int:
    try:
        return os.open(name, flags | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFoundError(f"disk {name} does not exist") from None
    except OSError as error:
        raise StorageError(
            f"disk {name} cannot be opened",
            why=error.strerror or str(error),
            fix="check its permissions, or open it read-only" if flags & os.O_RDWR else "",
        ) from None


def _size(fd: int, *, is_device: bool) -> int:
    if not is_device:
        return os.fstat(fd).st_size
    answer = bytearray(8)
    fcntl.ioctl(fd, BLKGETSIZE64, answer)
    return int.from_bytes(answer, "little")


def _batches(views: Sequence[memoryview]) -> list[list[memoryview]]:
    """Split `views` into what one preadv(2) or pwritev(2) takes."""
    batches: list[list[memoryview]] = []
    room = count = 0
    for view in views:
        for start in range(0, len(view), MAX_TRANSFER_BYTES):
            piece = view[start : start + MAX_TRANSFER_BYTES]
            if len(piece) > room or count == MAX_IOVECS:
                batches.append([])
                room, count = MAX_TRANSFER_BYTES, 0
            batches[-1].append(piece)
            room, count = room - len(piece), count + 1
    return batches


def _after(views: list[memoryview], done: int) -> list[memoryview]:
    """Return what is left of `views` after their first `done` bytes."""
    for index, view in enumerate(views):
        if done < len(view):
            return [view[done:], *views[index + 1 :]]
        done -= len(view)
    return []
