"""Compression of layers that are made here (image-spec layer.md "+gzip", "+zstd")."""

from __future__ import annotations

import hashlib
import zlib
from typing import IO, Any, Protocol

from innkeeper.base.errors import ImageError, UsageError
from innkeeper.images.oci.documents import LAYER, LAYER_GZIP, LAYER_ZSTD

GZIP_LEVEL, ZSTD_LEVEL = 6, 3
MEDIA_TYPES = {"gzip": LAYER_GZIP, "zstd": LAYER_ZSTD, "none": LAYER}


class Compressor(Protocol):
    """What the standard library's and other compressors have in common."""

    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class Compressed:
    """A writer that compresses, the same bytes each time, and knows the plain digest."""

    def __init__(self, out: IO[bytes], compression: str) -> None:
        self._out, self._hash = out, hashlib.sha256()
        self._inner = compressor(compression)

    def write(self, data: bytes) -> int:
        """Take plain bytes."""
        self._hash.update(data)
        self._out.write(self._inner.compress(data))
        return len(data)

    def finish(self) -> str:
        """Write what is left; return the digest of the plain bytes (config.md `diff_ids`)."""
        self._out.write(self._inner.flush())
        return f"sha256:{self._hash.hexdigest()}"


class _Plain:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


def compressor(compression: str) -> Compressor:
    """Return a compressor for `gzip` (RFC 1952, without a time), `zstd` (RFC 8878) or `none`."""
    if compression not in MEDIA_TYPES:
        raise UsageError(
            f"there is no compression {compression!r}",
            fix=f"give one of: {', '.join(MEDIA_TYPES)}",
        )
    if compression == "zstd":
        return _zstd()
    return zlib.compressobj(GZIP_LEVEL, wbits=31) if compression == "gzip" else _Plain()


def _zstd() -> Compressor:
    made: Any
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]

        made = zstd.ZstdCompressor(level=ZSTD_LEVEL)
    except ImportError:
        try:
            import zstandard
        except ImportError as error:
            raise ImageError(
                "layers cannot be compressed with zstd, which this Python does not know",
                fix="pip install 'innkeeper[zstd]' (or use Python 3.14), or --compression gzip",
            ) from error
        made = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compressobj()
    found: Compressor = made
    return found
