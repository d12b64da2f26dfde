"""Who a container's process runs as: names looked up in the container's own files.

The root file system is hostile: its links are resolved inside it, and its files are bounded.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from innkeeper.base.errors import ImageError, NotFoundError, UsageError
from innkeeper.base.record import record
from innkeeper.images.oci.union import Union

MAX_FILE_BYTES = 1 << 20
MAX_ID = (1 << 32) - 2
MAX_GROUPS = 1000


@record(kw_only=True)
class User:
    """What runtime-spec config.md `process.user` is made of, and the user's home."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    home: str = "/"


def resolve_user(text: str, roots: Sequence[Path]) -> User:
    """Find the user `NAME|UID[:GROUP|GID]` in a root file system (image-spec config.md `User`).

    `roots` are the root, or what an overlay that is not mounted here is made of, top first. Without
    a group, the user's own and those that list it count. `NotFoundError` for a name that is not
    there.
    """
    name, colon, group = text.partition(":")
    users = [line for line in _lines(roots, "etc/passwd") if len(line) >= 7]
    groups = [line for line in _lines(roots, "etc/group") if len(line) >= 4]
    number = _number(name) if name else 0
    entry = _entry(users, name, number)
    if number is None and entry is None:
        raise NotFoundError(
            f"the image has no user {name!r}",
            why="it is not in its /etc/passwd",
            fix="give a number, or another name, with --user",
        )
    uid = number if number is not None else _checked(entry[2] if entry else "", name)
    home = entry[5] if entry and entry[5].startswith("/") else "/"
    if colon:
        return User(uid=uid, gid=_group(groups, group), home=home)
    gid = _checked(entry[3], name) if entry else 0
    return User(uid=uid, gid=gid, groups=_listed(groups, entry[0] if entry else ""), home=home)


def _group(groups: list[list[str]], name: str) -> int:
    number = _number(name)
    if number is not None:
        return number
    entry = _entry(groups, name, None)
    if entry is None:
        raise NotFoundError(f"the image has no group {name!r}", fix="give a number")
    return _checked(entry[2], name)


def _listed(groups: list[list[str]], user: str) -> tuple[int, ...]:
    found = [_number(line[2]) for line in groups if user and user in line[3].split(",")]
    return tuple(gid for gid in found if gid is not None)[:MAX_GROUPS]


def _entry(lines: list[list[str]], name: str, number: int | None) -> list[str] | None:
    for line in lines:
        if line[0] == name or (number is not None and line[2] == str(number)):
            return line
    return None


def _number(text: str) -> int | None:
    if not (text.isascii() and text.isdigit()):
        return None
    return _checked(text, text)


def _checked(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 11 and int(text) <= MAX_ID):
        raise UsageError(f"user {name!r} has no usable number", why=repr(text[:40]))
    return int(text)


def _lines(roots: Sequence[Path], path: str) -> Iterator[list[str]]:
    for line in read_inside(roots, path).decode("utf-8", "replace").splitlines():
        yield line.split(":")


def read_inside(roots: Sequence[Path], path: str) -> bytes:
    """Return a small file of a root file system, or nothing when it cannot be had."""
    try:
        return _read_inside(roots, path)
    except OSError:  # not there, or not for this user to see
        return b""


def _read_inside(roots: Sequence[Path], path: str) -> bytes:
    with Union(roots) as union:
        parts = union.resolve(tuple(path.split("/")), follow_last=True)
        place = union.open(parts[:-1]) if parts else None
        if place is None:
            return b""
        with place:
            found = place.stat(parts[-1])
            if found is None:
                return b""
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            fd = os.open(parts[-1], flags, dir_fd=place.fd_of(found[1]))
    with os.fdopen(fd, "rb") as file:
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise ImageError(f"the image's /{path} is too large", why=f"over {MAX_FILE_BYTES} bytes")
    return data
