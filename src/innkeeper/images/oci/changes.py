"""What a container has changed, as a list and as a layer (image-spec 1.1 layer.md "Changes")."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from innkeeper.base.record import record
from innkeeper.images.oci.attributes import noted_owner, read_xattrs
from innkeeper.images.oci.union import Parts, Place, Union, is_opaque, is_whiteout
from innkeeper.images.tarout import TarOut
from innkeeper.images.tarsafe import Entry, Kind

ADDED, CHANGED, DELETED = "A", "C", "D"
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_OPEN_DIR = _OPEN | os.O_DIRECTORY
_KINDS = {
    stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.DIR, stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFCHR: Kind.CHAR, stat.S_IFBLK: Kind.BLOCK, stat.S_IFIFO: Kind.FIFO,
}  # fmt: skip
# What the runtime itself puts in a root file system for its mounts.
_MOUNT_POINTS = {("etc", "hosts"), ("etc", "hostname"), ("etc", "resolv.conf"),
                 ("run", ".containerenv"), (".dockerenv",)}  # fmt: skip
_PSEUDO = {("proc",), ("sys",), ("dev",)}


@record
class Change:
    """One path that was added, changed or deleted."""

    kind: str
    parts: Parts

    @property
    def path(self) -> str:
        """The path in the container."""
        return "/" + "/".join(self.parts)


class Differ:
    """Compare a container's files with the layers below it.

    `upper` is an overlay's upper folder, or with `whole` a full copy of the root file system.
    """

    def __init__(self, upper: Path, lower: list[Path], *, whole: bool) -> None:
        self._upper, self._lower, self._whole = upper, lower, whole

    def changes(self) -> Iterator[Change]:
        """Yield the changes: parents first, and in a folder what is deleted first."""
        with Union(self._lower) as union:
            fd = os.open(self._upper, _OPEN_DIR)
            try:
                place = union.open(()) if self._lower else None
                yield from self._folder(union, fd, (), place)
            finally:
                os.close(fd)

    def _folder(self, union: Union, fd: int, parts: Parts, lower: Place | None) -> Iterator[Change]:
        """Compare one folder; `lower` is closed in any case."""
        with lower or Place([], []) as below:
            here = {e.name: e.stat(follow_symlinks=False) for e in os.scandir(fd)}
            opaque = self._whole or is_opaque(fd)
            for name in sorted(self._deleted(here, below, opaque=opaque)):
                yield Change(DELETED, (*parts, name))
            for name in sorted(here):
                if not is_whiteout(here[name]) and not _ours((*parts, name), here[name]):
                    old = below.stat(name)
                    yield from self._name(union, fd, (*parts, name), here[name], below, old,
                                          opaque=opaque and not self._whole)  # fmt: skip

    def _deleted(self, here: dict[str, os.stat_result], below: Place, *, opaque: bool) -> set[str]:
        marked = {n for n, s in here.items() if is_whiteout(s) and below.stat(n) is not None}
        return marked | ({n for n in below.names() if n not in here} if opaque else set())

    def _name(
        self, union: Union, fd: int, parts: Parts, status: os.stat_result, below: Place,
        old: tuple[os.stat_result, int] | None, *, opaque: bool,
    ) -> Iterator[Change]:  # fmt: skip
        """Compare one name that is there."""
        name = parts[-1]
        folder = stat.S_ISDIR(status.st_mode)
        merges = folder and old is not None and stat.S_ISDIR(old[0].st_mode) and not opaque
        if not folder or not merges:
            if old is None:
                yield Change(ADDED, parts)
            elif not self._whole or _differs(fd, below, name, status, old):
                yield Change(CHANGED, parts)
            if not folder:
                return
        elif old is not None and (not self._whole or _differs(fd, below, name, status, old)):
            yield Change(CHANGED, parts)
        if parts in _PSEUDO:
            return
        inner = os.open(name, _OPEN_DIR, dir_fd=fd)
        try:
            yield from self._folder(union, inner, parts, union.open(parts) if merges else None)
        finally:
            os.close(inner)


def write_changes(changes: Iterator[Change], source: Path, tar: TarOut) -> None:
    """Write changes as a layer, from the folder they were found in."""
    writer = TreeWriter(source, tar)
    for change in changes:
        if change.kind == DELETED:
            *above, name = change.parts
            tar.file("/".join([*above, f".wh.{name}"]), b"", mode=0)
        else:
            writer.write(change.parts)
    writer.close()


class TreeWriter:
    """Write files of a folder to a tar archive by path; hard links stay that."""

    def __init__(self, source: Path, tar: TarOut) -> None:
        self._union, self._tar = Union([source]), tar
        self._links: dict[tuple[int, int], str] = {}

    def close(self) -> None:
        """Close the folder."""
        self._union.close()

    def write(self, parts: Parts) -> None:
        """Write one file, or a folder without what is in it."""
        place = self._union.open(parts[:-1])
        if place is None:
            return
        with place:
            write_file(place.fds[0], parts[-1], "/".join(parts), self._tar, self._links)


def write_union(union: Union, tar: TarOut) -> None:
    """Write all that a union shows to a tar archive."""
    links: dict[tuple[int, int], str] = {}
    todo: list[Parts] = [()]
    while todo:
        parts = todo.pop()
        place = union.open(parts)
        if place is None:
            continue
        with place:
            folders = []
            for name in place.names():
                found = place.stat(name)
                if found is None or _ours((*parts, name), found[0]):
                    continue
                fd = place.fds[place.levels.index(found[1])]
                write_file(fd, name, "/".join((*parts, name)), tar, links)
                if stat.S_ISDIR(found[0].st_mode) and (*parts, name) not in _PSEUDO:
                    folders.append((*parts, name))
            todo += reversed(folders)


def write_file(
    folder: int, name: str, path: str, tar: TarOut, links: dict[tuple[int, int], str]
) -> None:
    """Write the file `name` of an open folder as `path`; a socket is left out."""
    status = os.lstat(name, dir_fd=folder)
    kind = _KINDS.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        return
    named = f"/proc/self/fd/{folder}/{name}"
    uid, gid = noted_owner(named) or (status.st_uid, status.st_gid)
    key = (status.st_dev, status.st_ino)
    first = links.get(key) if status.st_nlink > 1 and kind is not Kind.DIR else None
    target = os.readlink(name, dir_fd=folder) if kind is Kind.SYMLINK else first or ""
    entry = Entry(
        path, Kind.HARDLINK if first else kind, stat.S_IMODE(status.st_mode), uid, gid,
        int(status.st_mtime), size=status.st_size if kind is Kind.FILE and not first else 0,
        target=target, xattrs={} if first else read_xattrs(named),
        device=(os.major(status.st_rdev), os.minor(status.st_rdev)),
    )  # fmt: skip
    if status.st_nlink > 1 and kind is not Kind.DIR:
        links.setdefault(key, path)
    if entry.kind is not Kind.FILE:
        tar.entry(entry)
        return
    with os.fdopen(os.open(name, _OPEN, dir_fd=folder), "rb") as data:
        tar.entry(entry, data)


def _ours(parts: Parts, status: os.stat_result) -> bool:
    """Tell whether a file is only there for the runtime to mount something over."""
    return parts in _MOUNT_POINTS and stat.S_ISREG(status.st_mode) and status.st_size == 0


def _differs(
    fd: int, below: Place, name: str, status: os.stat_result, old: tuple[os.stat_result, int]
) -> bool:
    """Tell whether a copied file is no longer as it was in the image."""
    before, level = old
    same = ("st_mode", "st_uid", "st_gid", "st_rdev")
    if any(getattr(status, key) != getattr(before, key) for key in same):
        return True
    if not stat.S_ISDIR(status.st_mode) and (
        status.st_size != before.st_size or status.st_mtime_ns != before.st_mtime_ns
    ):
        return True
    lower = below.fds[below.levels.index(level)]
    return read_xattrs(f"/proc/self/fd/{fd}/{name}") != read_xattrs(f"/proc/self/fd/{lower}/{name}")
