"""The `ar` archive that a `.deb` is (ar(5), deb(5)), read as a stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from innkeeper.base.errors import ImageError

MAX_MEMBERS = 64
_MAGIC = b"!<arch>\n"
_HEADER_BYTES = 60


@dataclass(frozen=True)
class Member:
    """One member: its data are `size` bytes at `offset` of the file."""

    name: str
    offset: int
    size: int


def members(file: IO[bytes], *, name: str, size: int) -> Iterator[Member]:
    """Yield the members of a seekable archive of `size` bytes."""
    file.seek(0)
    if file.read(len(_MAGIC)) != _MAGIC:
        raise ImageError(f"{name} is not an ar archive")
    offset = len(_MAGIC)
    for _ in range(MAX_MEMBERS):
        if offset >= size:
            return
        file.seek(offset)
        header = file.read(_HEADER_BYTES)
        member = _parse(header, offset + _HEADER_BYTES, name)
        if member.offset + member.size > size:
            raise ImageError(f"{name} is cut short", why=f"in its member {member.name!r}")
        yield member
        offset = member.offset + member.size + (member.size & 1)
    raise ImageError(f"{name} has too many members", why=f"more than {MAX_MEMBERS}")


class Slice:
    """A readable window on a part of a file."""

    def __init__(self, file: IO[bytes], offset: int, size: int) -> None:
        self._file, self._offset, self._left = file, offset, size

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes of what is left of the window."""
        self._file.seek(self._offset)
        data = self._file.read(self._left if size < 0 else min(size, self._left))
        self._offset += len(data)
        self._left -= len(data)
        return data


def _parse(header: bytes, offset: int, name: str) -> Member:
    digits = header[48:58].rstrip(b" ")
    if len(header) < _HEADER_BYTES or header[58:60] != b"`\n" or not digits.isdigit():
        raise ImageError(f"{name} is damaged", why=f"a bad ar header before byte {offset}")
    title = header[:16].decode("ascii", "replace").rstrip(" ").removesuffix("/")
    return Member(title, offset, int(digits))
