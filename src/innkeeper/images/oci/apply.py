"""A layer unpacked over the layers below it, into overlayfs's form (image-spec 1.1 layer.md).

The archive is hostile. Every path is resolved inside the root with the links of this layer and
of those below (`Union.resolve`), then walked from the layer's folder name by name with no link
followed, so nothing is read or written outside. Device 0:0 and overlayfs's own attributes, which
would be obeyed rather than stored, are not taken.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from innkeeper.base.errors import ImageError
from innkeeper.base.record import record
from innkeeper.images.oci.attributes import Owners, noted_owner, read_xattrs
from innkeeper.images.oci.copying import copy_entry
from innkeeper.images.oci.files import split
from innkeeper.images.oci.layers import MAX_LAYER_BYTES
from innkeeper.images.oci.union import MAX_DEPTH, Parts, Place, Union, is_whiteout
from innkeeper.images.tarsafe import Entry, Kind, Readable, TarReader

WHITEOUT = ".wh."
OPAQUE_WHITEOUT = ".wh..wh..opq"
AUFS = ".wh..wh."
MAX_NAME_BYTES = 255
_CHUNK_BYTES = 1 << 18
_ZEROES = bytes(_CHUNK_BYTES)
_OPEN_DIR = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DEFAULT_DIR = Entry("", Kind.DIR, 0o755, 0, 0, 0)


@record(kw_only=True)
class Applied:
    """What became of a layer; `skipped` are devices that could not be made without privileges."""

    entries: int
    bytes: int
    skipped: tuple[str, ...] = ()


class Applier:
    """Unpack one layer into the folder `top`, over the unpacked layers `lowers`, top first."""

    def __init__(self, top: Path, lowers: Sequence[Path], *, rootless: bool) -> None:
        self._union = Union([top, *lowers])
        self._owners = Owners(rootless)
        self._rootless = rootless
        self._folders: dict[Parts, Entry] = {}
        self._resolved: dict[Parts, Parts] = {}
        self._real: set[Parts] = set()
        self._open: tuple[Parts, int] | None = None
        self._entries = self._bytes = 0
        self._skipped: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._drop(())
        self._union.close()

    def apply(self, reader: TarReader) -> Applied:
        """Unpack every entry; `ImageError` names the one that is at fault."""
        for entry, data in reader:
            self._entries += 1
            self._bytes += entry.size
            if self._bytes > MAX_LAYER_BYTES:
                raise ImageError("a layer has too much in it", why=f"over {MAX_LAYER_BYTES} bytes")
            self._entry(entry, data)
        self._root()
        for parts in sorted(self._union.opaque):
            self._hide(parts)
        for parts in sorted(self._folders, key=len, reverse=True):
            self._finish(parts)
        return Applied(entries=self._entries, bytes=self._bytes, skipped=tuple(self._skipped))

    def _entry(self, entry: Entry, data: Readable) -> None:
        parts = tuple(split(entry.path))
        if len(parts) > MAX_DEPTH:
            raise ImageError("a path is too deep", why=repr(entry.path[:200]))
        if any(len(os.fsencode(part)) > MAX_NAME_BYTES for part in parts):
            raise ImageError("a file's name is too long", why=repr(entry.path[:200]))
        if not parts:
            if entry.kind is Kind.DIR:
                self._folders[()] = entry
            return
        name = parts[-1]
        if name.startswith(WHITEOUT):
            self._whiteout(self._parent(parts[:-1]), name)
            return
        parent = self._parent(parts[:-1])
        folder = self._ensure(parent)
        if entry.kind is Kind.DIR:
            self._directory((*parent, name), folder, entry)
        elif entry.kind is Kind.HARDLINK:
            self._hardlink((*parent, name), folder, entry)
        else:
            self._remove((*parent, name), folder)
            self._create(folder, name, entry, data)

    def _root(self) -> None:
        """Give the root the attributes it has below, when the layer says nothing of it."""
        if () not in self._folders:
            lower = self._union.open((), first=1, hidden=True)
            with lower or Place([], []) as place:
                below = self._attributes(place.fds[0], ".") if place.fds else _DEFAULT_DIR
            self._folders[()] = below

    # Places

    def _parent(self, parts: Parts) -> Parts:
        """Return where a folder's path leads, inside the root."""
        found = self._resolved.get(parts)
        if found is None:
            found = self._union.resolve(parts, follow_last=True)
            self._resolved[parts] = found
            self._real.update(found[: n + 1] for n in range(len(found)))
        return found

    def _changed(self, parts: Parts) -> None:
        """Forget what was worked out through a name that is now something else."""
        if parts in self._real:
            self._forget()
        self._drop(parts)

    def _forget(self) -> None:
        self._resolved.clear()
        self._real.clear()

    def _drop(self, parts: Parts) -> None:
        """Close the folder that is kept open, if it is at or below `parts`."""
        if self._open is not None and self._open[0][: len(parts)] == parts:
            os.close(self._open[1])
            self._open = None

    def _ensure(self, parts: Parts) -> int:
        """Return the folder of this layer at `parts`, made with what is missing above it."""
        if self._open is not None and self._open[0] == parts:
            return self._open[1]
        fd = os.dup(self._union.roots[0])
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
            return os.open(name, _OPEN_DIR, dir_fd=fd)
        except FileNotFoundError:
            self._copy_folder(fd, parts)
        except NotADirectoryError:
            if not is_whiteout(os.lstat(name, dir_fd=fd)):
                raise _no_directory(parts) from None
            os.unlink(name, dir_fd=fd)
            self._make_folder(fd, parts, _DEFAULT_DIR)
            self._union.opaque.add(parts)
        return os.open(name, _OPEN_DIR, dir_fd=fd)

    def _copy_folder(self, fd: int, parts: Parts) -> None:
        """Make a folder that the layer only implies, with the attributes it has below."""
        entry = _DEFAULT_DIR
        lower = self._lower(parts[:-1])
        if lower is not None:
            with lower:
                found = lower.stat(parts[-1])
                if found is not None and not stat.S_ISDIR(found[0].st_mode):
                    raise _no_directory(parts)
                if found is not None:
                    entry = self._attributes(lower.fds[lower.levels.index(found[1])], parts[-1])
        self._make_folder(fd, parts, entry)

    def _attributes(self, folder: int, name: str) -> Entry:
        fd = os.open(name, _OPEN_DIR, dir_fd=folder)
        try:
            status = os.fstat(fd)
            uid, gid = noted_owner(fd) or (
                (0, 0) if self._rootless else (status.st_uid, status.st_gid)
            )
            mode, mtime = stat.S_IMODE(status.st_mode), int(status.st_mtime)
            return Entry("", Kind.DIR, mode, uid, gid, mtime, xattrs=read_xattrs(fd))
        finally:
            os.close(fd)

    def _make_folder(self, fd: int, parts: Parts, entry: Entry) -> None:
        os.mkdir(parts[-1], 0o700, dir_fd=fd)
        self._folders[parts] = entry

    def _lower(self, parts: Parts) -> Place | None:
        """Open the directory as the layers below have it, unless this layer hides it."""
        if any(parts[:n] in self._union.opaque for n in range(len(parts) + 1)):
            return None
        return self._union.open(parts, first=1)

    # Entries

    def _directory(self, parts: Parts, folder: int, entry: Entry) -> None:
        name = parts[-1]
        try:
            status = os.lstat(name, dir_fd=folder)
        except FileNotFoundError:
            self._changed(parts)
            os.mkdir(name, 0o700, dir_fd=folder)
        else:
            if not stat.S_ISDIR(status.st_mode):
                self._changed(parts)
                os.unlink(name, dir_fd=folder)
                os.mkdir(name, 0o700, dir_fd=folder)
                # What the layers below have here was replaced by what is removed now.
                self._union.opaque.add(parts)
        self._folders[parts] = entry

    def _remove(self, parts: Parts, folder: int) -> None:
        """Remove what this layer itself has at a name, to make it anew."""
        name = parts[-1]
        self._changed(parts)
        try:
            os.unlink(name, dir_fd=folder)
        except FileNotFoundError:
            return
        except IsADirectoryError:
            shutil.rmtree(name, dir_fd=folder)
            self._folders = {p: e for p, e in self._folders.items() if p[: len(parts)] != parts}
            self._union.opaque = {p for p in self._union.opaque if p[: len(parts)] != parts}

    def _create(self, folder: int, name: str, entry: Entry, data: Readable) -> None:
        if entry.kind is Kind.FILE:
            with os.fdopen(os.open(name, _NEW, 0o600, dir_fd=folder), "wb") as out:
                while chunk := data.read(_CHUNK_BYTES):
                    if chunk == _ZEROES:
                        out.seek(len(chunk), os.SEEK_CUR)
                    else:
                        out.write(chunk)
                out.truncate()
                out.flush()
                self._owners.set_open(out.fileno(), entry)
            return
        if entry.kind is Kind.SYMLINK:
            if not entry.target:
                raise ImageError("a symbolic link leads nowhere", why=repr(entry.path[:200]))
            os.symlink(entry.target, name, dir_fd=folder)
        elif not self._special(folder, name, entry):
            return
        self._owners.set_named(folder, name, entry, link=entry.kind is Kind.SYMLINK)

    def _special(self, folder: int, name: str, entry: Entry) -> bool:
        kinds = {Kind.CHAR: stat.S_IFCHR, Kind.BLOCK: stat.S_IFBLK, Kind.FIFO: stat.S_IFIFO}
        device = os.makedev(*entry.device)
        if entry.kind is Kind.CHAR and not device:
            raise ImageError(
                "a layer has a device that cannot be", why=f"{entry.path[:200]!r} is 0:0"
            )
        try:
            os.mknod(name, 0o600 | kinds[entry.kind], device, dir_fd=folder)
        except PermissionError:
            self._skipped.append("/".join(split(entry.path)))
            return False
        return True

    def _hardlink(self, parts: Parts, folder: int, entry: Entry) -> None:
        target = tuple(split(entry.target))
        if not target:
            raise _nothing(entry)
        source = (*self._parent(target[:-1]), target[-1])
        if "/".join(target) in self._skipped:
            self._skipped.append("/".join(split(entry.path)))
            return
        kept = os.dup(self._ensure(source[:-1]))
        try:
            self._copy_up(source, kept, entry)
            if source == parts:
                return
            folder = self._ensure(parts[:-1])
            self._remove(parts, folder)
            folder = self._ensure(parts[:-1])
            os.link(
                source[-1], parts[-1], src_dir_fd=kept, dst_dir_fd=folder, follow_symlinks=False
            )
        finally:
            os.close(kept)

    def _copy_up(self, source: Parts, folder: int, entry: Entry) -> None:
        """Bring a hard link's target into this layer, when only a layer below has it."""
        try:
            status = os.lstat(source[-1], dir_fd=folder)
        except FileNotFoundError:
            lower = self._lower(source[:-1])
            if lower is not None:
                with lower:
                    found = lower.stat(source[-1])
                    if found is not None and not stat.S_ISDIR(found[0].st_mode):
                        below = lower.fds[lower.levels.index(found[1])]
                        copy_entry(below, folder, source[-1], rootless=self._rootless)
                        return
            raise _nothing(entry) from None
        if stat.S_ISDIR(status.st_mode) or is_whiteout(status):
            raise _nothing(entry)

    # Whiteouts

    def _whiteout(self, parent: Parts, name: str) -> None:
        if name == OPAQUE_WHITEOUT:
            place = self._union.open(parent)
            if place is None:
                return  # nothing there that could be hidden
            place.close()
            self._ensure(parent)
            self._union.opaque.add(parent)
            self._forget()
            return
        victim = name.removeprefix(WHITEOUT)
        if name.startswith(AUFS):
            return  # bookkeeping of aufs, as old archives have it
        if victim in ("", ".", ".."):
            raise ImageError("a whiteout names nothing", why=repr(name[:80]))
        lower = self._lower(parent)
        if lower is None:
            return
        with lower:
            if lower.stat(victim) is None:
                return
        folder = self._ensure(parent)
        try:
            status = os.lstat(victim, dir_fd=folder)
        except FileNotFoundError:
            mark_deleted(folder, victim)
            self._forget()
            return
        if stat.S_ISDIR(status.st_mode):
            self._union.opaque.add((*parent, victim))
            self._forget()

    def _hide(self, parts: Parts) -> None:
        """Mark deleted what the layers below have in a directory and this layer has not."""
        if any(parts[:n] in self._union.opaque for n in range(len(parts))):
            return  # done with the directory above
        lower = self._union.open(parts, first=1, hidden=True)
        if lower is None:
            return
        with lower:
            folder = os.dup(self._ensure(parts))
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
            deeper = self._union.open(parts, first=1, hidden=True)
            if deeper is None:
                return
            with deeper:
                inner = os.open(name, _OPEN_DIR, dir_fd=folder)
                try:
                    for child in deeper.names():
                        self._hide_name(deeper, inner, (*parts, child))
                finally:
                    os.close(inner)

    def _finish(self, parts: Parts) -> None:
        """Give a folder its attributes, now that nothing is made in it any more."""
        fd = os.dup(self._union.roots[0])
        try:
            for name in parts:
                below = os.open(name, _OPEN_DIR, dir_fd=fd)
                os.close(fd)
                fd = below
            self._owners.set_open(fd, self._folders[parts])
        finally:
            os.close(fd)


def mark_deleted(folder: int, name: str) -> None:
    """Make overlayfs's mark that a name is deleted, which needs no privileges since Linux 5.8."""
    os.mknod(name, stat.S_IFCHR, 0, dir_fd=folder)


def _no_directory(parts: Parts) -> ImageError:
    where = "/".join(parts)[:200]
    return ImageError("a layer has a file below something that is no directory", why=where)


def _nothing(entry: Entry) -> ImageError:
    why = f"{entry.path[:120]!r} to {entry.target[:120]!r}"
    return ImageError("a layer has a hard link to nothing", why=why)
