"""Sparse files in tar archives (GNU tar manual, "Storing Sparse Files"): GNU, pax 0.1 and 1.0."""

from __future__ import annotations

from collections.abc import Callable

from innkeeper.base.errors import ImageError

MAX_PIECES = 1_000_000
_BLOCK_BYTES = 512
Pieces = list[tuple[int, int]]
_ZEROES = bytes(1 << 18)


def old_map(header: bytes, block: Callable[[], bytes]) -> tuple[Pieces, int]:
    """Read the map of an old GNU sparse header and its extensions, and the file's real size."""
    pieces: Pieces = []
    _collect(header[386:482], pieces)
    size, more = _octal(header[483:495]), header[482]
    while more:
        extension = block()
        if len(extension) != _BLOCK_BYTES:
            raise _bad("it is cut short")
        _collect(extension[:504], pieces)
        more = extension[504]
    return pieces, size


def pax_map(pax: dict[str, bytes], take: Callable[[int], bytes]) -> tuple[Pieces, int]:
    """Read the map from the extended header (0.1), or from the start of the data (1.0)."""
    if "GNU.sparse.map" in pax:
        numbers = [_decimal(text) for text in pax["GNU.sparse.map"].split(b",")]
        size = _decimal(pax.get("GNU.sparse.size", b""))
    elif pax.get("GNU.sparse.major") == b"1":
        numbers = _leading_numbers(take)
        size = _decimal(pax.get("GNU.sparse.realsize", b""))
    else:
        raise _bad("its form (pax 0.0) is not known")
    if len(numbers) % 2 or len(numbers) > 2 * MAX_PIECES:
        raise _bad("its map is malformed")
    return list(zip(numbers[::2], numbers[1::2], strict=True)), size


def check(pieces: Pieces, size: int, stored: int) -> None:
    """Refuse a map whose pieces overlap, leave the file, or are more than what is stored."""
    end = total = 0
    for offset, length in pieces:
        if offset < end or offset + length > size:
            raise _bad("its map is out of order")
        end, total = offset + length, total + length
    if total > stored:
        raise _bad("its map has more than is there")


class Sparse:
    """The whole file as a stream: pieces from the archive, zeroes between them."""

    def __init__(self, pieces: Pieces, size: int, take: Callable[[int], bytes]) -> None:
        self._pieces = [piece for piece in reversed(pieces) if piece[1]]
        self._size, self._take, self._at = size, take, 0

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; fewer only at the end."""
        parts = []
        while size > 0 and self._at < self._size:
            part = self._next(size)
            parts.append(part)
            self._at += len(part)
            size -= len(part)
        return b"".join(parts)

    def _next(self, size: int) -> bytes:
        start, length = self._pieces[-1] if self._pieces else (self._size, 0)
        if self._at < start:
            return _ZEROES[: min(size, start - self._at, len(_ZEROES))]
        data = self._take(min(size, start + length - self._at))
        if self._at + len(data) == start + length:
            self._pieces.pop()
        return data


def _collect(table: bytes, pieces: Pieces) -> None:
    for at in range(0, len(table), 24):
        if not table[at]:
            return
        pieces.append((_octal(table[at : at + 12]), _octal(table[at + 12 : at + 24])))
        if len(pieces) > MAX_PIECES:
            raise _bad(f"more than {MAX_PIECES} pieces")


def _leading_numbers(take: Callable[[int], bytes]) -> list[int]:
    buffer, numbers, wanted = b"", list[int](), -1
    while wanted < 0 or len(numbers) < wanted:
        line, newline, rest = buffer.partition(b"\n")
        if not newline:
            if len(line) > 24:
                raise _bad("its map is malformed")
            buffer += take(_BLOCK_BYTES)
            continue
        buffer = rest
        if wanted < 0:
            wanted = 2 * _decimal(line)
            if wanted > 2 * MAX_PIECES:
                raise _bad(f"more than {MAX_PIECES} pieces")
        else:
            numbers.append(_decimal(line))
    return numbers


def _octal(raw: bytes) -> int:
    if raw[0] & 0x80:
        return int.from_bytes(bytes([raw[0] & 0x7F]) + raw[1:], "big")
    text = raw.split(b"\0", 1)[0].strip(b" ")
    if text.strip(b"01234567"):
        raise _bad("a number of it is malformed")
    return int(text or b"0", 8)


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19:
        raise _bad("a number of it is malformed")
    return int(text)


def _bad(why: str) -> ImageError:
    return ImageError("a sparse file in a tar archive is damaged", why=why)
