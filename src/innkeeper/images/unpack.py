"""Decompression of hostile input: streamed, with the output and the memory bounded."""

from __future__ import annotations

import io
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Protocol

from innkeeper.base.errors import ImageError

CHUNK_BYTES = 1 << 18
MAX_UNPACKED_BYTES = 16 << 30
MAX_LZMA_MEMORY_BYTES = 512 << 20
_ENDED_BADLY = (lzma.LZMAError, zlib.error, EOFError, ValueError, MemoryError)


class _Decompressor(Protocol):
    def feed(self, data: bytes, limit: int) -> bytes: ...
    @property
    def hungry(self) -> bool: ...
    @property
    def ended(self) -> bool: ...
    @property
    def rest(self) -> bytes: ...


class _Xz:
    def __init__(self) -> None:
        self._inner = lzma.LZMADecompressor(memlimit=MAX_LZMA_MEMORY_BYTES)

    def feed(self, data: bytes, limit: int) -> bytes:
        return self._inner.decompress(data, limit)

    @property
    def hungry(self) -> bool:
        return self._inner.needs_input

    @property
    def ended(self) -> bool:
        return self._inner.eof

    @property
    def rest(self) -> bytes:
        return self._inner.unused_data


class _Gzip:
    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)
        self._full = False

    def feed(self, data: bytes, limit: int) -> bytes:
        chunk = self._inner.decompress(self._inner.unconsumed_tail + data, limit)
        self._full = len(chunk) >= limit
        return chunk

    @property
    def hungry(self) -> bool:
        return not self._inner.unconsumed_tail and not self._full

    @property
    def ended(self) -> bool:
        return self._inner.eof

    @property
    def rest(self) -> bytes:
        return self._inner.unused_data


class Unpacked:
    """A readable stream of decompressed bytes; `name` says in errors what it comes from.

    `limit` bounds the output: a file that unpacks to more raises `ImageError`.
    """

    def __init__(self, chunks: Iterator[bytes], *, name: str, limit: int) -> None:
        self._chunks, self._name, self._left = chunks, name, limit
        self._buffer = bytearray()

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes; fewer only at the end."""
        while len(self._buffer) < size:
            chunk = self._next()
            if not chunk:
                break
            self._buffer += chunk
        piece = bytes(self._buffer[:size])
        del self._buffer[:size]
        return piece

    def _next(self) -> bytes:
        try:
            chunk = next(self._chunks, b"")
        except Exception as error:
            if not isinstance(error, (*_ENDED_BADLY, *_zstd_errors())):
                raise
            raise ImageError(
                f"{self._name} cannot be decompressed", why=str(error) or "it is damaged"
            ) from error
        self._left -= len(chunk)
        if self._left < 0:
            raise ImageError(f"{self._name} unpacks to more than it may", why="a limit was reached")
        return chunk


def open_unpacked(
    file: IO[bytes], *, suffix: str, name: str, limit: int = MAX_UNPACKED_BYTES
) -> Unpacked:
    """Decompress `file` by the compression that `suffix` names (`.xz`, `.gz`, `.zst`, none)."""
    if suffix == "":
        return Unpacked(iter(lambda: file.read(CHUNK_BYTES), b""), name=name, limit=limit)
    if suffix in (".xz", ".lzma"):
        return Unpacked(_stream(file, _Xz), name=name, limit=limit)
    if suffix == ".gz":
        return Unpacked(_stream(file, _Gzip), name=name, limit=limit)
    if suffix == ".zst":
        return Unpacked(_zstd_stream(file, name), name=name, limit=limit)
    raise ImageError(f"{name} is compressed in an unknown way", why=repr(suffix))


def decompress_all(path: Path, *, suffix: str, limit: int) -> bytes:
    """Return the whole decompressed content of a file, at most `limit` bytes."""
    try:
        with path.open("rb") as file:
            stream = open_unpacked(file, suffix=suffix, name=path.name, limit=limit)
            return stream.read(limit + 1)
    except OSError as error:
        raise ImageError(f"cannot read {path}", why=error.strerror or str(error)) from error


def decompress_bytes(data: bytes, *, suffix: str, name: str, limit: int) -> bytes:
    """Return decompressed `data`, at most `limit` bytes."""
    stream = open_unpacked(io.BytesIO(data), suffix=suffix, name=name, limit=limit)
    return stream.read(limit + 1)


def _stream(file: IO[bytes], make: Callable[[], _Decompressor]) -> Iterator[bytes]:
    """Yield output of one or more concatenated compressed streams."""
    state = make()
    data = file.read(CHUNK_BYTES)
    while True:
        chunk = state.feed(data, CHUNK_BYTES)
        data = b""
        if chunk:
            yield chunk
        if state.ended:
            data = (state.rest or file.read(CHUNK_BYTES)).lstrip(b"\0")
            if not data:
                return
            state = make()
        elif state.hungry:
            data = file.read(CHUNK_BYTES)
            if not data:
                raise EOFError("it ends too early")


def _zstd_stream(file: IO[bytes], name: str) -> Iterator[bytes]:
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        try:
            import zstandard
        except ImportError as error:
            raise ImageError(
                f"{name} is compressed with zstd, which this Python does not know",
                fix="pip install 'innkeeper[zstd]' (or use Python 3.14)",
            ) from error
        reader = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(
            file, read_across_frames=True
        )
        yield from iter(lambda: reader.read(CHUNK_BYTES), b"")
        return
    with zstd.ZstdFile(file) as reader:
        yield from iter(lambda: reader.read(CHUNK_BYTES), b"")


def _zstd_errors() -> tuple[type[Exception], ...]:
    found: list[type[Exception]] = []
    for module, name in (("compression.zstd", "ZstdError"), ("zstandard", "ZstdError")):
        if module in sys.modules:
            found.append(getattr(sys.modules[module], name))
    return tuple(found)
