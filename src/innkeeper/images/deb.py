"""Debian binary packages (deb(5)): an ar archive of two tar archives."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from innkeeper.base.errors import ImageError
from innkeeper.images.ar import Slice, members
from innkeeper.images.tarsafe import Kind, TarReader
from innkeeper.images.unpack import MAX_UNPACKED_BYTES, open_unpacked

MAX_CONTROL_BYTES = 64 << 20
MAX_CONTROL_FILE_BYTES = 16 << 20


@contextmanager
def open_data(path: Path) -> Iterator[TarReader]:
    """Open the files that a package installs."""
    with _open(path, "data.tar", MAX_UNPACKED_BYTES) as reader:
        yield reader


def read_control(path: Path) -> dict[str, tuple[int, bytes]]:
    """Return the control files of a package: name to (mode, content)."""
    found: dict[str, tuple[int, bytes]] = {}
    with _open(path, "control.tar", MAX_CONTROL_BYTES) as reader:
        for entry, data in reader:
            name = entry.path.removeprefix("./")
            if entry.kind is not Kind.FILE or not name or "/" in name or name.startswith("."):
                continue
            if entry.size > MAX_CONTROL_FILE_BYTES:
                raise ImageError(f"{path.name} has a control file of {entry.size} bytes")
            found[name] = (entry.mode, data.read(entry.size))
    if "control" not in found:
        raise ImageError(f"{path.name} has no control file")
    return found


@contextmanager
def _open(path: Path, stem: str, limit: int) -> Iterator[TarReader]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise ImageError(f"cannot read {path}", why=error.strerror or str(error)) from error
    with file:
        size = path.stat().st_size
        found = list(members(file, name=path.name, size=size))
        if not found or found[0].name != "debian-binary":
            raise ImageError(f"{path.name} is not a Debian package")
        if not Slice(file, found[0].offset, found[0].size).read(2).startswith(b"2."):
            raise ImageError(f"{path.name} is a Debian package of an unknown format")
        for member in found[1:]:
            if member.name == stem or member.name.startswith(stem + "."):
                name = f"{path.name}: {member.name}"
                window = cast("IO[bytes]", Slice(file, member.offset, member.size))
                suffix = member.name.removeprefix(stem)
                yield TarReader(
                    open_unpacked(window, suffix=suffix, name=name, limit=limit), name=name
                )
                return
        raise ImageError(f"{path.name} has no {stem}")
