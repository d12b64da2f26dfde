"""`tmpcopyup`: fill a new tmpfs with what the directory held that it will cover."""

from __future__ import annotations

import os

from innkeeper.base.errors import ContainerError

MAX_DEPTH = 128  # directories below the copied one
_CHUNK = 1 << 20
_KIND, _DIRECTORY, _LINK, _FILE = 0o170000, 0o040000, 0o120000, 0o100000


def copy_up(source: int, target: int) -> None:
    """Copy files, directories and links with owner, mode and attributes; nothing is followed."""
    opened = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=source)
    try:
        _copy_directory(opened, target, MAX_DEPTH)
    finally:
        os.close(opened)


def _copy_directory(source: int, target: int, depth: int) -> None:
    if depth == 0:
        raise ContainerError("tmpcopyup", why=f"directories lie deeper than {MAX_DEPTH}")
    for name in os.listdir(source):
        stat = os.stat(name, dir_fd=source, follow_symlinks=False)
        kind = stat.st_mode & _KIND
        if kind == _LINK:
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
            os.chown(name, stat.st_uid, stat.st_gid, dir_fd=target, follow_symlinks=False)
        elif kind in (_DIRECTORY, _FILE):
            _copy_one(source, target, name, stat, depth)


def _copy_one(source: int, target: int, name: str, stat: os.stat_result, depth: int) -> None:
    directory = stat.st_mode & _KIND == _DIRECTORY
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_DIRECTORY if directory else 0)
    old = os.open(name, flags, dir_fd=source)
    if directory:
        os.mkdir(name, 0o700, dir_fd=target)
        new = os.open(name, flags, dir_fd=target)
    else:
        create = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        new = os.open(name, create, 0o600, dir_fd=target)
    try:
        if directory:
            _copy_directory(old, new, depth - 1)
        else:
            while chunk := os.read(old, _CHUNK):
                while chunk:
                    chunk = chunk[os.write(new, chunk) :]
        os.fchown(new, stat.st_uid, stat.st_gid)
        os.fchmod(new, stat.st_mode & 0o7777)
        _copy_attributes(old, new)
    finally:
        os.close(old)
        os.close(new)


def _copy_attributes(old: int, new: int) -> None:
    """Copy extended attributes as far as a tmpfs takes them."""
    try:
        for name in os.listxattr(old):
            os.setxattr(new, name, os.getxattr(old, name))
    except OSError:
        pass
