"""Looking into unpacked layers as overlayfs would, without a mount and without leaving them.

A layer is a folder in overlayfs's form: a character device 0:0 hides what is below it (Linux
Documentation/filesystems/overlayfs.rst "whiteouts and opaque directories"). Each step opens one
name relative to an open folder and follows no link of the host's: links are resolved here, inside
the root, so a layer cannot climb out of it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Self

from innkeeper.base.errors import ImageError

MAX_LINKS_FOLLOWED = 40
MAX_DEPTH = 256
MAX_LISTED = 2_000_000
OPEN_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
OPAQUE = ("trusted.overlay.opaque", "user.overlay.opaque")
Parts = tuple[str, ...]


def is_whiteout(status: os.stat_result) -> bool:
    """Tell whether a file is overlayfs's mark that a name is deleted."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def is_opaque(fd: int) -> bool:
    """Tell whether an open folder hides what is below it."""
    for name in OPAQUE:
        try:
            if os.getxattr(fd, name) == b"y":
                return True
        except OSError:
            continue
    return False


class Place:
    """A directory of the union: the open folders it is made of, top first. To be closed."""

    __slots__ = ("fds", "levels")

    def __init__(self, fds: list[int], levels: list[int]) -> None:
        self.fds, self.levels = fds, levels

    def close(self) -> None:
        """Close the folders."""
        while self.fds:
            os.close(self.fds.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def stat(self, name: str) -> tuple[os.stat_result, int] | None:
        """Return the status of `name` and the number of its layer, or None when it is not there."""
        for fd, level in zip(self.fds, self.levels, strict=True):
            try:
                status = os.lstat(name, dir_fd=fd)
            except (FileNotFoundError, NotADirectoryError):
                continue
            return None if is_whiteout(status) else (status, level)
        return None

    def fd_of(self, level: int) -> int | None:
        """Return the open folder of one layer, or None when it has no part in this directory."""
        return self.fds[self.levels.index(level)] if level in self.levels else None

    def readlink(self, name: str, level: int) -> str:
        """Return the target of the link `name` in a layer."""
        return os.readlink(name, dir_fd=self.fds[self.levels.index(level)])

    def names(self) -> list[str]:
        """Return the names in the directory, in order."""
        seen: dict[str, bool] = {}
        for fd in self.fds:
            for entry in os.scandir(fd):
                if entry.name not in seen:
                    seen[entry.name] = not is_whiteout(entry.stat(follow_symlinks=False))
            if len(seen) > MAX_LISTED:
                raise ImageError("a directory has too many names", why=f"more than {MAX_LISTED}")
        return sorted(name for name, there in seen.items() if there)


class Union:
    """Layers over one another, top first; `opaque` are directories that hide all but the top."""

    def __init__(self, roots: Sequence[str | os.PathLike[str]]) -> None:
        self._stack = ExitStack()
        self.opaque: set[Parts] = set()
        self.roots: list[int] = []
        try:
            for root in roots:
                fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                self._stack.callback(os.close, fd)
                self.roots.append(fd)
        except BaseException:
            self._stack.close()
            raise

    def close(self) -> None:
        """Close the layers."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self, parts: Parts, *, first: int = 0, hidden: bool = False) -> Place | None:
        """Open the directory at `parts`, which has no links in it, from layer `first` down.

        None when it is not there, or is no directory. `hidden` looks below `opaque` as well.
        """
        opaque = set() if hidden else self.opaque
        end = 1 if () in opaque else len(self.roots)
        place = Place([os.dup(fd) for fd in self.roots[first:end]], list(range(first, end)))
        for depth, name in enumerate(parts):
            try:
                below = self._step(place, name, opaque=parts[: depth + 1] in opaque)
            finally:
                place.close()
            if not below.fds:
                return None
            place = below
        return place

    def _step(self, place: Place, name: str, *, opaque: bool) -> Place:
        found = Place([], [])
        try:
            for fd, level in zip(place.fds, place.levels, strict=True):
                if level > 0 and opaque:
                    break
                try:
                    status = os.lstat(name, dir_fd=fd)
                except (FileNotFoundError, NotADirectoryError):
                    continue
                if not stat.S_ISDIR(status.st_mode):
                    break  # hides what is below it, or is hidden by what is above it
                below = os.open(name, OPEN_DIR, dir_fd=fd)
                found.fds.append(below)
                found.levels.append(level)
                if is_opaque(below):
                    break
        except BaseException:
            found.close()
            raise
        return found

    def resolve(self, parts: Parts, *, follow_last: bool = False) -> Parts:
        """Return where `parts` leads with its links followed, all of them inside the root.

        What is not there stands for itself, so that the rest of a path can be made. The last part
        is followed only when asked. `ImageError` for a loop.
        """
        trail: list[str] = []
        todo = list(reversed(parts))
        budget = MAX_LINKS_FOLLOWED
        while todo:
            name = todo.pop()
            if name == "..":
                trail = trail[:-1]
                continue
            target = self._link(tuple(trail), name) if todo or follow_last else None
            if target is None:
                trail.append(name)
                continue
            budget -= 1
            if budget < 0 or len(todo) > MAX_DEPTH * 4:
                raise ImageError("a path has too many links", why="/".join(parts)[:200])
            if target.startswith("/"):
                trail = []
            todo += [part for part in reversed(target.split("/")) if part not in ("", ".")]
        if len(trail) > MAX_DEPTH:
            raise ImageError("a path is too deep", why="/".join(trail)[:200])
        return tuple(trail)

    def _link(self, folder: Parts, name: str) -> str | None:
        place = self.open(folder)
        if place is None:
            return None
        with place:
            found = place.stat(name)
            if found is None or not stat.S_ISLNK(found[0].st_mode):
                return None
            return place.readlink(name, found[1])
