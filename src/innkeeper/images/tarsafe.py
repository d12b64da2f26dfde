"""A reader for tar archives that nobody vouches for (POSIX.1-2017 pax, GNU and v7 formats).

Nothing is written here: an entry is a description and a stream. Every number is bounded, and
memory does not grow with what an archive claims.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Protocol

from innkeeper.base.errors import ImageError

BLOCK_BYTES = 512
MAX_ENTRIES = 2_000_000
MAX_PATH_BYTES = 4096
MAX_EXTENSION_BYTES = 1 << 20
MAX_FILE_BYTES = 64 << 30
_CHUNK_BYTES = 1 << 18
_MAX_ID = (1 << 32) - 2
_XATTR = "SCHILY.xattr."


class Kind(Enum):
    """What a file is."""

    FILE = "file"
    DIR = "directory"
    SYMLINK = "symbolic link"
    HARDLINK = "hard link"
    CHAR = "character device"
    BLOCK = "block device"
    FIFO = "named pipe"


_KINDS = {
    b"\0": Kind.FILE, b"0": Kind.FILE, b"7": Kind.FILE, b"1": Kind.HARDLINK,
    b"2": Kind.SYMLINK, b"3": Kind.CHAR, b"4": Kind.BLOCK, b"5": Kind.DIR, b"6": Kind.FIFO,
    b"S": Kind.FILE,
}  # fmt: skip
_EXTENSIONS = (b"L", b"K", b"x", b"g")


class Readable(Protocol):
    """Anything with `read`, which returns fewer bytes only at its end."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True)
class Entry:
    """One archived file; `path` and `target` are as stored, not to be trusted as host paths."""

    path: str
    kind: Kind
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int = 0
    target: str = ""
    device: tuple[int, int] = (0, 0)
    xattrs: dict[str, bytes] = field(default_factory=dict)


class TarReader:
    """Iterate over `(entry, data)`; `data` is valid until the next step and may go unread."""

    def __init__(self, stream: Readable, *, name: str) -> None:
        self._stream, self._name = stream, name
        self._left = 0

    def __iter__(self) -> Iterator[tuple[Entry, Readable]]:
        pax: dict[str, bytes] = {}
        common: dict[str, bytes] = {}
        for _ in range(MAX_ENTRIES):
            self._skip()
            header = self._stream.read(BLOCK_BYTES)
            if not header or header == bytes(BLOCK_BYTES):
                return
            self._check(header)
            kind = header[156:157]
            if kind in _EXTENSIONS:
                self._extend(kind, header, common if kind == b"g" else pax)
                continue
            found = {**common, **pax}
            pax = {}
            entry = self._entry(header, found)
            if kind == b"S" or any(key.startswith("GNU.sparse.") for key in found):
                yield self._sparse(entry, header, found)
                continue
            self._left = _padded(entry.size)
            yield entry, _Data(self, entry.size)
        raise self._bad(f"more than {MAX_ENTRIES} entries")

    def take(self, size: int) -> bytes:
        """Read `size` bytes of the present entry; `ImageError` when the archive ends in it."""
        data = self._stream.read(size)
        if len(data) != size:
            raise self._bad("it is cut short")
        self._left -= size
        return data

    def _sparse(self, entry: Entry, header: bytes, pax: dict[str, bytes]) -> tuple[Entry, Readable]:
        """Return a sparse file as it was before it was archived."""
        from innkeeper.images import tarsparse

        if header[156:157] == b"S":
            pieces, size = tarsparse.old_map(header, lambda: self._stream.read(BLOCK_BYTES))
            self._left = _padded(entry.size)
        else:
            self._left = _padded(entry.size)
            pieces, size = tarsparse.pax_map(pax, self.take)
        if size > MAX_FILE_BYTES or entry.kind is not Kind.FILE:
            raise self._bad("a sparse file that cannot be")
        path = pax.get("GNU.sparse.name", b"").decode("utf-8", "surrogateescape") or entry.path
        if len(path) > MAX_PATH_BYTES or "\0" in path:
            raise self._bad("a path that cannot be")
        tarsparse.check(pieces, size, self._left)
        return replace(entry, path=path, size=size), tarsparse.Sparse(pieces, size, self.take)

    def _skip(self) -> None:
        while self._left > 0:
            self.take(min(self._left, _CHUNK_BYTES))

    def _check(self, header: bytes) -> None:
        if len(header) != BLOCK_BYTES:
            raise self._bad("it is cut short")
        blanked = header[:148] + b" " * 8 + header[156:]
        if self._number(header[148:156], "checksum") != sum(blanked):
            raise self._bad("a header's checksum is wrong")

    def _extend(self, kind: bytes, header: bytes, into: dict[str, bytes]) -> None:
        size = self._number(header[124:136], "size")
        if size > MAX_EXTENSION_BYTES:
            raise self._bad(f"an extended header of {size} bytes")
        self._left = _padded(size)
        data = self.take(size)
        if kind in (b"L", b"K"):
            into["path" if kind == b"L" else "linkpath"] = data.split(b"\0", 1)[0]
        else:
            into.update(self._records(data))

    def _records(self, data: bytes) -> dict[str, bytes]:
        """Parse pax records `LENGTH KEY=VALUE\\n` (POSIX pax, "pax Extended Header")."""
        found: dict[str, bytes] = {}
        while data:
            digits, space, _ = data[:24].partition(b" ")
            length = int(digits) if digits.isdigit() and len(digits) < 9 else 0
            record = data[len(digits) + 1 : length - 1]
            key, equals, value = record.partition(b"=")
            whole = length <= len(data) and data[length - 1 : length] == b"\n"
            if not (space and equals and whole and length > len(digits) + 2):
                raise self._bad("a malformed extended header")
            found[key.decode("utf-8", "surrogateescape")] = value
            data = data[length:]
        return found

    def _entry(self, header: bytes, pax: dict[str, bytes]) -> Entry:
        kind = _KINDS.get(header[156:157])
        if kind is None:
            raise self._bad(f"an entry of unknown type {header[156:157]!r}")
        path, target = pax.get("path"), pax.get("linkpath")
        if path is None:
            prefix = _text(header[345:500]) if header[257:263] == b"ustar\0" else b""
            path = (prefix + b"/" if prefix else b"") + _text(header[:100])
        if target is None:
            target = _text(header[157:257])
        if max(len(path), len(target)) > MAX_PATH_BYTES or b"\0" in path + target or not path:
            raise self._bad("a path that cannot be")
        if kind is Kind.FILE and path.endswith(b"/"):
            kind = Kind.DIR  # as v7 archives mark a directory
        size = self._of(pax, "size", header[124:136], MAX_FILE_BYTES)
        return Entry(
            path=path.decode("utf-8", "surrogateescape"),
            kind=kind,
            mode=self._number(header[100:108], "mode") & 0o7777,
            uid=self._of(pax, "uid", header[108:116], _MAX_ID),
            gid=self._of(pax, "gid", header[116:124], _MAX_ID),
            mtime=self._of(pax, "mtime", header[136:148], (1 << 63) - 1),
            size=size if kind is Kind.FILE else 0,
            target=target.decode("utf-8", "surrogateescape"),
            device=self._device(header) if kind in (Kind.CHAR, Kind.BLOCK) else (0, 0),
            xattrs={k[len(_XATTR) :]: v for k, v in pax.items() if k.startswith(_XATTR)},
        )

    def _device(self, header: bytes) -> tuple[int, int]:
        major, minor = (
            self._number(header[329:337], "major"),
            self._number(header[337:345], "minor"),
        )
        if major >= 1 << 12 or minor >= 1 << 20:
            raise self._bad("a device number that cannot be")
        return major, minor

    def _of(self, pax: dict[str, bytes], key: str, raw: bytes, limit: int) -> int:
        if key in pax:
            text = pax[key].partition(b".")[0].removeprefix(b"-")
            value = int(text) if text.isdigit() and len(text) < 20 else -1
        else:
            value = self._number(raw, key)
        if not 0 <= value <= limit:
            raise self._bad(f"a {key} that cannot be")
        return value

    def _number(self, raw: bytes, what: str) -> int:
        """Read a number field: octal digits, or GNU's base 256 when the top bit is set."""
        if raw[0] & 0x80:
            return int.from_bytes(bytes([raw[0] & 0x7F]) + raw[1:], "big")
        text = raw.split(b"\0", 1)[0].strip(b" ")
        if text.strip(b"01234567"):
            raise self._bad(f"a malformed {what}")
        return int(text or b"0", 8)

    def _bad(self, why: str) -> ImageError:
        return ImageError(f"{self._name} is not a sound tar archive", why=why)


class _Data:
    """The bytes of one entry."""

    def __init__(self, reader: TarReader, size: int) -> None:
        self._reader, self._left = reader, size

    def read(self, size: int, /) -> bytes:
        size = min(size, self._left)
        data = self._reader.take(size) if size else b""
        self._left -= size
        return data


def _padded(size: int) -> int:
    return (size + BLOCK_BYTES - 1) // BLOCK_BYTES * BLOCK_BYTES


def _text(raw: bytes) -> bytes:
    return raw.split(b"\0", 1)[0]
