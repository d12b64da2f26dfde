"""Where a layer's paths lead: its own folders, made as they are needed, over those below.

Every path is resolved inside the root with the links of this layer and of those below
(`Union.resolve`), then walked from the layer's folder name by name with no link followed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from innkeeper.base.errors import ImageError
from innkeeper.images.oci.attributes import Owners, noted_owner, read_xattrs
from innkeeper.images.oci.union import OPEN_DIR, Parts, Place, Union, is_whiteout
from innkeeper.images.tarsafe import Entry, Kind

_DEFAULT_DIR = Entry("", Kind.DIR, 0o755, 0, 0, 0)


class Places:
    """The folders of a layer that is being unpacked into `top`, over `lowers`, top first.

    `folders` has the attributes each folder gets in the end, when nothing is made in it any more.
    """

    def __init__(self, top: Path, lowers: Sequence[Path], *, rootless: bool) -> None:
        self.union = Union([top, *lowers])
        self.owners = Owners(rootless)
        self.rootless = rootless
        self.folders: dict[Parts, Entry] = {}
        self._resolved: dict[Parts, Parts] = {}
        self._real: set[Parts] = set()
        self._open: tuple[Parts, int] | None = None

    def close(self) -> None:
        """Close all that is open."""
        self.drop(())
        self.union.close()

    def set_root(self) -> None:
        """Give the root the attributes it has below, when the layer says nothing of it."""
        if () not in self.folders:
            lower = self.union.open((), first=1, hidden=True)
            with lower or Place([], []) as place:
                below = self._attributes(place.fds[0], ".") if place.fds else _DEFAULT_DIR
            self.folders[()] = below

    def parent(self, parts: Parts) -> Parts:
        """Return where a folder's path leads, inside the root."""
        found = self._resolved.get(parts)
        if found is None:
            found = self.union.resolve(parts, follow_last=True)
            self._resolved[parts] = found
            self._real.update(found[: n + 1] for n in range(len(found)))
        return found

    def changed(self, parts: Parts) -> None:
        """Forget what was worked out through a name that is now something else."""
        if parts in self._real:
            self.forget()
        self.drop(parts)

    def removed(self, parts: Parts) -> None:
        """Forget a folder of this layer with all that was noted below it."""
        depth = len(parts)
        self.folders = {p: e for p, e in self.folders.items() if p[:depth] != parts}
        self.union.opaque = {p for p in self.union.opaque if p[:depth] != parts}

    def forget(self) -> None:
        """Forget where all paths led."""
        self._resolved.clear()
        self._real.clear()

    def drop(self, parts: Parts) -> None:
        """Close the folder that is kept open, if it is at or below `parts`."""
        if self._open is not None and self._open[0][: len(parts)] == parts:
            os.close(self._open[1])
            self._open = None

    def ensure(self, parts: Parts) -> int:
        """Return the folder of this layer at `parts`, made with what is missing above it."""
        if self._open is not None and self._open[0] == parts:
            return self._open[1]
        fd = os.dup(self.union.roots[0])
        try:
            for depth in range(len(parts)):
                below = self._step(fd, parts[: depth + 1])
                os.close(fd)
                fd = below
        except BaseException:
            os.close(fd)
            raise
        if self._open is not None:
            os.close(self._open[1])
        self._open = (parts, fd)
        return fd

    def _step(self, fd: int, parts: Parts) -> int:
        name = parts[-1]
        try:
            return os.open(name, OPEN_DIR, dir_fd=fd)
        except FileNotFoundError:
            self._copy_folder(fd, parts)
        except NotADirectoryError:
            if not is_whiteout(os.lstat(name, dir_fd=fd)):
                raise _no_directory(parts) from None
            os.unlink(name, dir_fd=fd)
            self._make_folder(fd, parts, _DEFAULT_DIR)
            self.union.opaque.add(parts)
        return os.open(name, OPEN_DIR, dir_fd=fd)

    def _copy_folder(self, fd: int, parts: Parts) -> None:
        """Make a folder that the layer only implies, with the attributes it has below."""
        entry = _DEFAULT_DIR
        lower = self.lower(parts[:-1])
        if lower is not None:
            with lower:
                found = lower.stat(parts[-1])
                if found is not None and not stat.S_ISDIR(found[0].st_mode):
                    raise _no_directory(parts)
                if found is not None:
                    entry = self._attributes(lower.fds[lower.levels.index(found[1])], parts[-1])
        self._make_folder(fd, parts, entry)

    def _attributes(self, folder: int, name: str) -> Entry:
        fd = os.open(name, OPEN_DIR, dir_fd=folder)
        try:
            status = os.fstat(fd)
            uid, gid = noted_owner(fd) or (
                (0, 0) if self.rootless else (status.st_uid, status.st_gid)
            )
            mode, mtime = stat.S_IMODE(status.st_mode), int(status.st_mtime)
            return Entry("", Kind.DIR, mode, uid, gid, mtime, xattrs=read_xattrs(fd))
        finally:
            os.close(fd)

    def _make_folder(self, fd: int, parts: Parts, entry: Entry) -> None:
        os.mkdir(parts[-1], 0o700, dir_fd=fd)
        self.folders[parts] = entry

    def lower(self, parts: Parts) -> Place | None:
        """Open the directory as the layers below have it, unless this layer hides it."""
        if any(parts[:n] in self.union.opaque for n in range(len(parts) + 1)):
            return None
        return self.union.open(parts, first=1)

    def finish(self, parts: Parts) -> None:
        """Give a folder its attributes, now that nothing is made in it any more."""
        fd = os.dup(self.union.roots[0])
        try:
            for name in parts:
                below = os.open(name, OPEN_DIR, dir_fd=fd)
                os.close(fd)
                fd = below
            self.owners.set_open(fd, self.folders[parts])
        finally:
            os.close(fd)


def _no_directory(parts: Parts) -> ImageError:
    where = "/".join(parts)[:200]
    return ImageError("a layer has a file below something that is no directory", why=where)
