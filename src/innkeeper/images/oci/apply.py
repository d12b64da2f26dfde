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
from innkeeper.images.oci.copying import copy_entry
from innkeeper.images.oci.files import split
from innkeeper.images.oci.layers import MAX_LAYER_BYTES
from innkeeper.images.oci.places import Places
from innkeeper.images.oci.union import MAX_DEPTH, Parts, is_whiteout
from innkeeper.images.oci.whiteouts import WHITEOUT, Whiteouts
from innkeeper.images.tarsafe import Entry, Kind, Readable, TarReader

MAX_NAME_BYTES = 255
_CHUNK_BYTES = 1 << 18
_ZEROES = bytes(_CHUNK_BYTES)
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@record(kw_only=True)
class Applied:
    """What became of a layer; `skipped` are devices that could not be made without privileges."""

    entries: int
    bytes: int
    skipped: tuple[str, ...] = ()


class Applier:
    """Unpack one layer into the folder `top`, over the unpacked layers `lowers`, top first."""

    def __init__(self, top: Path, lowers: Sequence[Path], *, rootless: bool) -> None:
        self._places = Places(top, lowers, rootless=rootless)
        self._whiteouts = Whiteouts(self._places)
        self._entries = self._bytes = 0
        self._skipped: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._places.close()

    def apply(self, reader: TarReader) -> Applied:
        """Unpack every entry; `ImageError` names the one that is at fault."""
        for entry, data in reader:
            self._entries += 1
            self._bytes += entry.size
            if self._bytes > MAX_LAYER_BYTES:
                raise ImageError("a layer has too much in it", why=f"over {MAX_LAYER_BYTES} bytes")
            self._entry(entry, data)
        self._places.set_root()
        self._whiteouts.finish()
        for parts in sorted(self._places.folders, key=len, reverse=True):
            self._places.finish(parts)
        return Applied(entries=self._entries, bytes=self._bytes, skipped=tuple(self._skipped))

    def _entry(self, entry: Entry, data: Readable) -> None:
        parts = tuple(split(entry.path))
        if len(parts) > MAX_DEPTH:
            raise ImageError("a path is too deep", why=repr(entry.path[:200]))
        if any(len(os.fsencode(part)) > MAX_NAME_BYTES for part in parts):
            raise ImageError("a file's name is too long", why=repr(entry.path[:200]))
        if not parts:
            if entry.kind is Kind.DIR:
                self._places.folders[()] = entry
            return
        name = parts[-1]
        if name.startswith(WHITEOUT):
            self._whiteouts.mark(self._places.parent(parts[:-1]), name)
            return
        parent = self._places.parent(parts[:-1])
        folder = self._places.ensure(parent)
        if entry.kind is Kind.DIR:
            self._directory((*parent, name), folder, entry)
        elif entry.kind is Kind.HARDLINK:
            self._hardlink((*parent, name), folder, entry)
        else:
            self._remove((*parent, name), folder)
            self._create(folder, name, entry, data)

    # Entries

    def _directory(self, parts: Parts, folder: int, entry: Entry) -> None:
        name = parts[-1]
        try:
            status = os.lstat(name, dir_fd=folder)
        except FileNotFoundError:
            self._places.changed(parts)
            os.mkdir(name, 0o700, dir_fd=folder)
        else:
            if not stat.S_ISDIR(status.st_mode):
                self._places.changed(parts)
                os.unlink(name, dir_fd=folder)
                os.mkdir(name, 0o700, dir_fd=folder)
                # What the layers below have here was replaced by what is removed now.
                self._places.union.opaque.add(parts)
        self._places.folders[parts] = entry

    def _remove(self, parts: Parts, folder: int) -> None:
        """Remove what this layer itself has at a name, to make it anew."""
        name = parts[-1]
        self._places.changed(parts)
        try:
            os.unlink(name, dir_fd=folder)
        except FileNotFoundError:
            return
        except IsADirectoryError:
            shutil.rmtree(name, dir_fd=folder)
            self._places.folders = {
                p: e for p, e in self._places.folders.items() if p[: len(parts)] != parts
            }
            self._places.union.opaque = {
                p for p in self._places.union.opaque if p[: len(parts)] != parts
            }

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
                self._places.owners.set_open(out.fileno(), entry)
            return
        if entry.kind is Kind.SYMLINK:
            if not entry.target:
                raise ImageError("a symbolic link leads nowhere", why=repr(entry.path[:200]))
            os.symlink(entry.target, name, dir_fd=folder)
        elif not self._special(folder, name, entry):
            return
        self._places.owners.set_named(folder, name, entry, link=entry.kind is Kind.SYMLINK)

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
        source = (*self._places.parent(target[:-1]), target[-1])
        if "/".join(target) in self._skipped:
            self._skipped.append("/".join(split(entry.path)))
            return
        kept = os.dup(self._places.ensure(source[:-1]))
        try:
            self._copy_up(source, kept, entry)
            if source == parts:
                return
            folder = self._places.ensure(parts[:-1])
            self._remove(parts, folder)
            folder = self._places.ensure(parts[:-1])
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
            lower = self._places.lower(source[:-1])
            if lower is not None:
                with lower:
                    found = lower.stat(source[-1])
                    if found is not None and not stat.S_ISDIR(found[0].st_mode):
                        below = lower.fds[lower.levels.index(found[1])]
                        copy_entry(below, folder, source[-1], rootless=self._places.rootless)
                        return
            raise _nothing(entry) from None
        if stat.S_ISDIR(status.st_mode) or is_whiteout(status):
            raise _nothing(entry)


def _nothing(entry: Entry) -> ImageError:
    why = f"{entry.path[:120]!r} to {entry.target[:120]!r}"
    return ImageError("a layer has a hard link to nothing", why=why)
