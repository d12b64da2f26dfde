"""Layers as streams: decompressed within bounds, their digest checked (image-spec 1.1 layer.md)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from innkeeper.base.errors import ImageError, IntegrityError
from innkeeper.images.oci.content import ContentStore
from innkeeper.images.oci.digest import Digest
from innkeeper.images.oci.documents import LAYERS, Descriptor
from innkeeper.images.oci.files import open_any
from innkeeper.images.unpack import Unpacked

MAX_LAYER_BYTES = 64 << 30
MAX_EXPANSION = 200
"""How much larger than its compressed form a layer may be, above `FREE_BYTES`. Real ones reach
about 20; deflate itself ends at 1032."""

FREE_BYTES = 256 << 20
_CHUNK_BYTES = 1 << 20


@contextmanager
def open_layer(store: ContentStore, layer: Descriptor) -> Iterator[Unpacked]:
    """Open a layer's archive, decompressed; `ImageError` when it unpacks to more than it may.

    The first bytes say how it is compressed: the digest vouches for them, not for the media type.
    """
    if layer.is_foreign():
        raise ImageError(
            f"the layer {layer.digest} may not be distributed",
            why=f"its type is {layer.media_type}",
            fix="use an image that has all of its layers",
        )
    if layer.media_type not in LAYERS:
        raise ImageError(f"the layer {layer.digest} is of an unknown type", why=layer.media_type)
    with store.open(layer) as file:
        limit = min(MAX_LAYER_BYTES, FREE_BYTES + MAX_EXPANSION * layer.size)
        yield open_any(file, name=f"the layer {layer.digest}", limit=limit)


class Hashed:
    """A layer's archive that is hashed while it is read."""

    def __init__(self, stream: Unpacked, algorithm: str = "sha256") -> None:
        import hashlib

        self._stream, self._hash = stream, hashlib.new(algorithm)

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes."""
        data = self._stream.read(size)
        self._hash.update(data)
        return data

    def finish(self, wanted: Digest, *, layer: str) -> None:
        """Read to the end; `IntegrityError` unless the whole is what the image says it is."""
        while self.read(_CHUNK_BYTES):
            pass
        if self._hash.hexdigest() != wanted.encoded:
            raise IntegrityError(
                f"the layer {layer} is not the one that its image names",
                why=f"unpacked, its digest is {self._hash.hexdigest()}, not {wanted.encoded}",
                fix="the image is broken or forged: do not use it",
            )


def uncompressed_digest(store: ContentStore, layer: Descriptor) -> Digest:
    """Return the digest of a layer's archive without its compression: its diff_id."""
    import hashlib

    found = hashlib.sha256()
    with open_layer(store, layer) as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            found.update(chunk)
    return Digest(f"sha256:{found.hexdigest()}")
