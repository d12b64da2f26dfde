"""The host's directory tree under one root, reached only through directory descriptors.

Every step is `openat(directory, one component, O_PATH | O_NOFOLLOW)`: a component holds no
slash and is neither `.` nor `..` (`wire.check_name`), and a symbolic link is opened itself, never
followed. So a walk cannot leave the root whatever the guest names and whatever changes underneath;
this is what `openat2(RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)` does for a whole path, a component at
a time. A descriptor pins its inode, so what was checked is what is used: files are then opened
through `/proc/self/fd/N`, which leads to that inode and nowhere else.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from innkeeper.backends.share.wire import Qid, check_name, refuse
from innkeeper.base.errors import NotFoundError, StorageError, UsageError
from innkeeper.base.units import KIB

QT_DIR, QT_SYMLINK, QT_FILE = 0x80, 0x02, 0x00
MAX_DIRENT_BUFFER = 64 * KIB
DIRENT = struct.Struct("<QqHB")  # linux_dirent64: d_ino, d_off, d_reclen, d_type, then d_name
_PATH_FLAGS = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
Getdents = Callable[[int, "ctypes.Array[ctypes.c_char]", int], int]


class DirEntry(NamedTuple):
    """One name in a directory; `next_offset` is where the entry after it starts."""

    ino: int
    next_offset: int
    kind: int
    name: bytes


def host_path(fd: int) -> str:
    """Return a path that leads to the very inode `fd` is open on."""
    return f"/proc/self/fd/{fd}"


def reopen(fd: int, flags: int) -> int:
    """Open the inode of `fd` again with other flags; it must not be a symbolic link."""
    return os.open(host_path(fd), flags | os.O_CLOEXEC | os.O_NOCTTY)


class HostTree:
    """One exported directory; `NotFoundError` or `StorageError` if it cannot be opened."""

    def __init__(self, root: Path) -> None:
        try:
            self.root_fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFoundError(
                f"directory {str(root)!r} does not exist", fix="create it, or share another one"
            ) from None
        except NotADirectoryError:
            raise UsageError(
                f"{str(root)!r} is not a directory", fix="share the directory that holds it"
            ) from None
        except OSError as error:
            raise StorageError(
                f"cannot open {str(root)!r}", why=os.strerror(error.errno or 0)
            ) from None
        self.root_stat = os.fstat(self.root_fd)
        self._getdents = _find_getdents()
        if not os.path.exists(host_path(self.root_fd)):
            self.close()
            raise StorageError(
                f"cannot share {str(root)!r}",
                why="/proc is not mounted, and open files are reached through it",
                fix="mount -t proc proc /proc",
            )

    def close(self) -> None:
        """Let go of the root; the tree is unusable after that."""
        if self.root_fd >= 0:
            os.close(self.root_fd)
            self.root_fd = -1

    def open_child(self, directory_fd: int, name: bytes) -> int:
        """Open an entry of a directory as a path descriptor, a symbolic link as itself."""
        return os.open(check_name(name), _PATH_FLAGS, dir_fd=directory_fd)

    def open_directory(self, where: bytes) -> int:
        """Open the directory at a path below the root, following no symbolic link."""
        fd = os.open(host_path(self.root_fd), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        for name in where.split(b"/") if where else ():
            try:
                child = os.open(check_name(name), _PATH_FLAGS | os.O_DIRECTORY, dir_fd=fd)
            finally:
                os.close(fd)
            fd = child
        return fd

    def is_root(self, status: os.stat_result) -> bool:
        """Tell whether this is the root itself."""
        return os.path.samestat(status, self.root_stat)

    def qid(self, status: os.stat_result) -> Qid:
        """Name a file: identity from device and inode, version from time and size."""
        version = (status.st_mtime_ns ^ (status.st_size << 8)) & 0xFFFF_FFFF
        return Qid(_qid_kind(status.st_mode), version, self.qid_path(status.st_dev, status.st_ino))

    def qid_path(self, device: int, ino: int) -> int:
        """Return 64 bits that tell files apart; on other file systems than the root's, a hash."""
        if device == self.root_stat.st_dev:
            return ino & 0xFFFF_FFFF_FFFF_FFFF
        mixed = hashlib.blake2b(struct.pack("<QQ", device, ino), digest_size=8)
        return int.from_bytes(mixed.digest(), "little")

    def entries(self, directory_fd: int, offset: int, size_bytes: int) -> Iterator[DirEntry]:
        """Yield entries from `offset` on, as many as the kernel gives for one buffer.

        `offset` is 0 or an earlier entry's `next_offset`: the host file system's own cookie, so it
        stays good while entries come and go (telldir, seekdir).
        """
        size_bytes = min(size_bytes, MAX_DIRENT_BUFFER)
        os.lseek(directory_fd, offset, os.SEEK_SET)
        buffer = ctypes.create_string_buffer(size_bytes)
        got = self._getdents(directory_fd, buffer, size_bytes)
        if got < 0:
            raise refuse(ctypes.get_errno())
        at, data = 0, buffer.raw
        while at + DIRENT.size < got:
            ino, next_offset, length, kind = DIRENT.unpack_from(data, at)
            name = data[at + DIRENT.size : at + length].split(b"\0", 1)[0]
            yield DirEntry(ino, next_offset, kind, name)
            at += length


def _qid_kind(mode: int) -> int:
    if stat.S_ISDIR(mode):
        return QT_DIR
    return QT_SYMLINK if stat.S_ISLNK(mode) else QT_FILE


def _find_getdents() -> Getdents:
    """Find the C library's getdents64 (musl calls the same thing getdents on 64-bit hosts).

    `os.scandir` gives no offsets, and only the file system's own are stable.
    """
    library = ctypes.CDLL(None, use_errno=True)
    for name in ("getdents64", "getdents"):
        function = getattr(library, name, None)
        if function is not None:
            function.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t)
            function.restype = ctypes.c_ssize_t
            found: Getdents = function
            return found
    raise StorageError("cannot list directories", why="the C library has no getdents64")
