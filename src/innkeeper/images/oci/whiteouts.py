"""Marks of deletion, from archives' form into overlayfs's (image-spec layer.md "Whiteouts").

An opaque folder is written as a mark for each name below it, which needs no attribute that the disk
may not keep, and says the same.
"""

from __future__ import annotations

import os
import stat

from innkeeper.base.errors import ImageError
from innkeeper.images.oci.places import Places
from innkeeper.images.oci.union import OPEN_DIR, Parts, Place

WHITEOUT = ".wh."
OPAQUE_WHITEOUT = ".wh..wh..opq"
AUFS = ".wh..wh."


class Whiteouts:
    """The marks of one layer; they count for the layers below it only."""

    def __init__(self, places: Places) -> None:
        self._places = places

    def finish(self) -> None:
        """Hide what the layers below have in folders that this layer has made anew."""
        for parts in sorted(self._places.union.opaque):
            self._hide(parts)

    def mark(self, parent: Parts, name: str) -> None:
        """Obey the whiteout `name` in the folder `parent`."""
        if name == OPAQUE_WHITEOUT:
            place = self._places.union.open(parent)
            if place is None:
                return  # nothing there that could be hidden
            place.close()
            self._places.ensure(parent)
            self._places.union.opaque.add(parent)
            self._places.forget()
            return
        victim = name.removeprefix(WHITEOUT)
        if name.startswith(AUFS):
            return  # bookkeeping of aufs, as old archives have it
        if victim in ("", ".", ".."):
            raise ImageError("a whiteout names nothing", why=repr(name[:80]))
        lower = self._places.lower(parent)
        if lower is None:
            return
        with lower:
            if lower.stat(victim) is None:
                return
        folder = self._places.ensure(parent)
        try:
            status = os.lstat(victim, dir_fd=folder)
        except FileNotFoundError:
            mark_deleted(folder, victim)
            self._places.forget()
            return
        if stat.S_ISDIR(status.st_mode):
            self._places.union.opaque.add((*parent, victim))
            self._places.forget()

    def _hide(self, parts: Parts) -> None:
        """Mark deleted what the layers below have in a directory and this layer has not."""
        if any(parts[:n] in self._places.union.opaque for n in range(len(parts))):
            return  # done with the directory above
        lower = self._places.union.open(parts, first=1, hidden=True)
        if lower is None:
            return
        with lower:
            folder = os.dup(self._places.ensure(parts))
            try:
                for name in lower.names():
                    self._hide_name(lower, folder, (*parts, name))
            finally:
                os.close(folder)

    def _hide_name(self, lower: Place, folder: int, parts: Parts) -> None:
        name = parts[-1]
        try:
            status = os.lstat(name, dir_fd=folder)
        except FileNotFoundError:
            mark_deleted(folder, name)
            return
        below = lower.stat(name)
        if stat.S_ISDIR(status.st_mode) and below and stat.S_ISDIR(below[0].st_mode):
            deeper = self._places.union.open(parts, first=1, hidden=True)
            if deeper is None:
                return
            with deeper:
                inner = os.open(name, OPEN_DIR, dir_fd=folder)
                try:
                    for child in deeper.names():
                        self._hide_name(deeper, inner, (*parts, child))
                finally:
                    os.close(inner)


def mark_deleted(folder: int, name: str) -> None:
    """Make overlayfs's mark that a name is deleted, which needs no privileges since Linux 5.8."""
    os.mknod(name, stat.S_IFCHR, 0, dir_fd=folder)
