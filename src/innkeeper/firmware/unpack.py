"""Byte streams that are peeked at, unwrapped and bounded: compressed kernels as hostile files.

A `ByteStream` is a source of chunks with a look-ahead. `decompress` makes one from another. Nothing
here holds more than a chunk and the look-ahead, and `read_all` stops at the limit it is given, so a
bomb costs its limit.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from innkeeper.base.errors import LoadError
from innkeeper.base.units import KIB, MIB

READ_CHUNK = 256 * KIB
OUTPUT_CHUNK = 4 * MIB
MAX_WINDOW_BYTES = 256 * MIB
"""The most memory for a decompressor's window (Linux's `zstd -22 --ultra` wants 128 MiB)."""

_MAX_WINDOW_LOG = 28
_MAGIC_BYTES = 16

MAGICS = {
    b"\x1f\x8b\x08": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\0": "xz",
    b"BZh": "bzip2",
    b"\x5d\0\0": "lzma",
    b"\x04\x22\x4d\x18": "lz4",
    b"\x02\x21\x4c\x18": "lz4",
    b"\x89LZO\0": "lzop",
}
"""What each compressed stream begins with. `lz4` and `lzop` are known by name only."""


class TooLarge(Exception):
    """A stream went past the limit its reader set."""


class ByteStream:
    """Chunks with a look-ahead."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._ahead = bytearray()

    def peek(self, count: int) -> bytes:
        """Return up to `count` bytes without taking them; fewer only at the end."""
        while len(self._ahead) < count:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._ahead += chunk
        return bytes(self._ahead[:count])

    def take(self) -> bytes:
        """Return the next piece, of any length; empty at the end."""
        if self._ahead:
            ahead, self._ahead = bytes(self._ahead), bytearray()
            return ahead
        return next(self._chunks, b"")

    def put_back(self, data: bytes) -> None:
        """Make `data` the next thing read."""
        self._ahead[:0] = data

    def chunks(self) -> Iterator[bytes]:
        """Yield everything that is left."""
        while chunk := self.take():
            yield chunk

    def slice(self, offset: int, size: int) -> ByteStream:
        """Return a stream of `size` bytes from `offset` on; it takes them from this one."""
        return ByteStream(self._slice(offset, size))

    def _slice(self, offset: int, size: int) -> Iterator[bytes]:
        for chunk in self.chunks():
            part = chunk[offset : offset + size]
            offset = max(0, offset - len(chunk))
            size -= len(part)
            if part:
                yield part
            if not size:
                return

    def read_all(self, limit: int) -> bytearray:
        """Return everything that is left; `TooLarge` as soon as it is more than `limit` bytes."""
        data = bytearray()
        for chunk in self.chunks():
            data += chunk
            if len(data) > limit:
                raise TooLarge
        return data


def open_stream(path: Path) -> ByteStream:
    """Return the bytes of the file at `path` as a stream; `LoadError` when it cannot be read."""

    def chunks() -> Iterator[bytes]:
        try:
            with path.open("rb") as file:
                while chunk := file.read(READ_CHUNK):
                    yield chunk
        except OSError as error:
            raise LoadError(f"{path} cannot be read", why=error.strerror or str(error)) from error

    return ByteStream(chunks())


def compression_of(head: bytes) -> str | None:
    """Name the compression that a stream beginning with `head` uses, or None."""
    for magic, name in MAGICS.items():
        if head.startswith(magic) and (name != "lzma" or _plausible_lzma(head)):
            return name
    return None


def _plausible_lzma(head: bytes) -> bool:
    """Tell an LZMA-alone header from chance: a power-of-two dictionary, a credible length."""
    dictionary = int.from_bytes(head[1:5], "little")
    length = int.from_bytes(head[5:13], "little")
    return (
        len(head) >= 13
        and dictionary & (dictionary - 1) == 0
        and (length == (1 << 64) - 1 or length < 1 << 40)
    )


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""

    @property
    def unused_data(self) -> bytes:
        """What of the data fed lies past the end."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what `data` decompresses to, in pieces of at most `OUTPUT_CHUNK`."""


class _Zlib:
    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            yield self._inner.decompress(data, OUTPUT_CHUNK)
            data = self._inner.unconsumed_tail


class _Pulled:
    """bz2, lzma and compression.zstd share one manner: `max_length` in, `needs_input` out."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inner.unused_data)

    def feed(self, data: bytes) -> Iterator[bytes]:
        yield self._inner.decompress(data, OUTPUT_CHUNK)
        while not self._inner.eof and not self._inner.needs_input:
            yield self._inner.decompress(b"", OUTPUT_CHUNK)


class _Zstandard:
    """The `zstandard` package takes no output limit, so it is fed in steps that cannot give more.

    A block makes at most 128 KiB and takes at least 4 bytes (RFC 8878 3.1.1.2).
    """

    _STEP = OUTPUT_CHUNK // (128 * KIB) * 4

    def __init__(self, module: Any) -> None:
        self._inner = module.ZstdDecompressor(max_window_size=MAX_WINDOW_BYTES).decompressobj()
        self._left = b""

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self._inner.unused_data) + self._left

    def feed(self, data: bytes) -> Iterator[bytes]:
        for at in range(0, len(data), self._STEP):
            yield self._inner.decompress(data[at : at + self._STEP])
            if self._inner.eof:
                self._left = data[at + self._STEP :]
                return


def _bzip2() -> _Pulled:
    import bz2

    return _Pulled(bz2.BZ2Decompressor())


def _lzma_alone() -> _Pulled:
    import lzma

    return _Pulled(lzma.LZMADecompressor(format=lzma.FORMAT_ALONE, memlimit=MAX_WINDOW_BYTES))


def _xz() -> _Pulled:
    import lzma

    return _Pulled(lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=MAX_WINDOW_BYTES))


def _zstd() -> _Decompressor:
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return _zstandard()
    options = {zstd.DecompressionParameter.window_log_max: _MAX_WINDOW_LOG}
    return _Pulled(zstd.ZstdDecompressor(options=options))


def _zstandard() -> _Decompressor:
    try:
        import zstandard
    except ImportError:
        raise LoadError(
            "a zstd-compressed file cannot be read here",
            why="this Python has neither compression.zstd (3.14) nor the zstandard package",
            fix="pip install 'innkeeper[zstd]', or decompress the file with zstd -d",
        ) from None
    return _Zstandard(zstandard)


_MAKERS: dict[str, Callable[[], _Decompressor]] = {
    "gzip": _Zlib,
    "bzip2": _bzip2,
    "lzma": _lzma_alone,
    "xz": _xz,
    "zstd": _zstd,
}


def decompress(name: str, stream: ByteStream) -> ByteStream:
    """Return what `stream`, compressed as `name`, holds.

    Streams laid one after another are read as one; other bytes after the end are left alone, as
    kernels carry padding and a length there. `LoadError` for damage, for an early end, and for a
    `name` not read here.
    """
    make = _MAKERS.get(name)
    if make is None:
        raise LoadError(
            f"a {name}-compressed file is not read here",
            why=f"readable are {', '.join(_MAKERS)}",
            fix=f"decompress it first with {name} -d",
        )
    return ByteStream(_decompressed(name, make, stream))


def _decompressed(
    name: str, make: Callable[[], _Decompressor], stream: ByteStream
) -> Iterator[bytes]:
    decoder = make()
    while chunk := stream.take():
        try:
            yield from filter(None, decoder.feed(chunk))
        except Exception as error:
            # Each library has its own error class: zlib.error, LZMAError, OSError, ZstdError ...
            raise LoadError(f"the {name} data is damaged", why=str(error)) from error
        if decoder.eof:
            stream.put_back(decoder.unused_data)
            if compression_of(stream.peek(_MAGIC_BYTES)) != name:
                return
            decoder = make()
    if not decoder.eof:
        raise LoadError(f"the {name} data ends early", why="the file is truncated")
