"""Places in a container's root file system, found and made without ever leaving it.

Whoever wrote the image, or runs in a container that shares a volume with this one, may swap a
directory for a symbolic link at any moment. So no path is resolved twice: every place is an
`O_PATH` descriptor that `openat2` found beneath the root, and all is done to the descriptor.
"""

from __future__ import annotations

import os

from innkeeper.base.errors import ContainerError
from innkeeper.containers.kernel import (
    O_PATH,
    PROC_SUPER_MAGIC,
    filesystem_type,
    open_in_root,
    reason,
)

MAX_LINKS = 40  # symbolic links in a row, as path_resolution(7) has it
# What may be mounted over inside /proc: files that say nothing of other processes
_PROC_FILES = {
    "/proc/cpuinfo", "/proc/diskstats", "/proc/meminfo", "/proc/stat", "/proc/swaps",
    "/proc/uptime", "/proc/loadavg", "/proc/slabinfo", "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid", "/proc/sys/crypto/fips_enabled",
}  # fmt: skip


def clean(path: str) -> str:
    """Return an absolute path without `.`, `..` and doubled slashes."""
    return os.path.normpath("/" + path.lstrip("/"))


def open_target(root: int, path: str, *, directory: bool, mode: int = 0o755) -> int:
    """Open the place `path` under `root`, and make what is missing of it.

    The last part is made a directory or an empty file. `OSError` when that cannot be.
    """
    return _open(root, clean(path), directory, mode, MAX_LINKS)


def _open(root: int, path: str, directory: bool, mode: int, links: int) -> int:
    try:
        return open_in_root(root, path)
    except FileNotFoundError:
        if links == 0:
            raise OSError(40, "too many levels of symbolic links") from None
    head, tail = os.path.split(path)
    parent = _open(root, head, True, 0o755, links - 1)
    try:
        _make(parent, tail, directory, mode)
        return open_in_root(root, path)
    except (FileExistsError, FileNotFoundError):  # a symbolic link that leads nowhere yet
        link = os.readlink(tail, dir_fd=parent)
        return _open(root, clean(os.path.join(head, link)), directory, mode, links - 1)
    finally:
        os.close(parent)


def _make(parent: int, name: str, directory: bool, mode: int) -> None:
    if directory:
        os.mkdir(name, mode, dir_fd=parent)
    else:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode, dir_fd=parent))


def is_directory(fd: int) -> bool:
    """Say whether a descriptor is a directory."""
    return os.fstat(fd).st_mode & 0o170000 == 0o040000


def check_target(root: int, fd: int, path: str, *, kind: str) -> None:
    """Refuse a mount that would hide or fake part of `/proc` (CVE-2019-16884, CVE-2019-19921).

    `fd` is the opened place and `kind` the type of file system; a new procfs or sysfs goes on the
    plain directory that its path names, nothing else goes into a procfs but a few harmless files.
    """
    place = clean(path)
    if kind in ("proc", "sysfs"):
        _check_plain(root, place, kind)
    elif place == "/proc":
        raise ContainerError(f'"{place}" cannot be mounted because it is not of type proc')
    elif filesystem_type(fd) == PROC_SUPER_MAGIC and place not in _PROC_FILES:
        raise ContainerError(f'"{place}" cannot be mounted because it is inside /proc')


def _check_plain(root: int, place: str, kind: str) -> None:
    """Refuse a symbolic link as the last part of a path (CVE-2023-27561)."""
    head, tail = os.path.split(place)
    parent = open_in_root(root, head)
    try:
        mode = os.stat(tail, dir_fd=parent, follow_symlinks=False).st_mode
    finally:
        os.close(parent)
    if mode & 0o170000 != 0o040000:
        raise ContainerError(f'filesystem "{kind}" must be mounted on ordinary directory')


def open_existing(root: int, path: str, flags: int = O_PATH) -> int | None:
    """Open a place that may be missing: None when it is."""
    try:
        return open_in_root(root, clean(path), flags)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ContainerError(f"open {path}", why=reason(error)) from None
