"""Archives of `docker save` (Docker image-spec v1.2, "Combined Image JSON + Filesystem Changeset").

`manifest.json` lists images by configuration, names and layers; layers are plain tar archives.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from innkeeper.base.errors import ImageError, IntegrityError
from innkeeper.images.oci.content import ContentStore
from innkeeper.images.oci.digest import Digest
from innkeeper.images.oci.documents import (
    CONFIG,
    LAYER,
    LAYER_GZIP,
    LAYER_ZSTD,
    MANIFEST,
    MAX_CONFIG_BYTES,
    MAX_LAYERS,
    MAX_MANIFEST_BYTES,
    Config,
    Descriptor,
    Manifest,
    Text,
    decode,
    encode,
)
from innkeeper.images.oci.files import Files
from innkeeper.images.oci.image import Image
from innkeeper.images.oci.layers import open_layer, uncompressed_digest
from innkeeper.images.oci.reference import Reference
from innkeeper.images.paths import storage_errors
from innkeeper.images.tarout import TarOut

MANIFEST_FILE = "manifest.json"
MAX_IMAGES = 1000
_CHUNK_BYTES = 1 << 20
_KINDS = ((b"\x1f\x8b", LAYER_GZIP), (b"\x28\xb5\x2f\xfd", LAYER_ZSTD))


class _Item(Struct, rename="pascal"):
    config: Text
    layers: Annotated[list[Text], Meta(max_length=MAX_LAYERS)]
    repo_tags: Annotated[list[Text], Meta(max_length=1000)] | None = None


def load(store: ContentStore, files: Files, *, name: str) -> list[str]:
    """Take every image of an archive into the store, and return their names.

    Each layer must be what the configuration says (`rootfs.diff_ids`). `name` is for an image
    that has none.
    """
    data = files.read(MANIFEST_FILE, limit=MAX_MANIFEST_BYTES)
    kind = Annotated[list[_Item], Meta(min_length=1, max_length=MAX_IMAGES)]
    try:
        items = msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ImageError(f"the archive's {MANIFEST_FILE} is damaged", why=str(error)) from error
    loader = _Loader(store, files)
    names = []
    for item in items:
        target = loader.image(item)
        for text in item.repo_tags or [name]:
            tagged = Reference.parse(text).tagged
            store.tag(tagged, target)
            names.append(tagged)
    return names


class _Loader:
    """Images of one archive; a layer that several of them have is taken once."""

    def __init__(self, store: ContentStore, files: Files) -> None:
        self._store, self._files = store, files
        self._layers: dict[str, tuple[Descriptor, str]] = {}

    def image(self, item: _Item) -> Descriptor:
        text = self._files.read(item.config, limit=MAX_CONFIG_BYTES)
        config = decode(text, Config, what=f"the configuration {item.config[:120]}")
        diff_ids = config.diff_ids()
        if len(diff_ids) != len(item.layers):
            why = f"{len(item.layers)} layers, {len(diff_ids)} of them in its config"
            raise ImageError("an image of the archive is inconsistent", why=why)
        layers = []
        for path, wanted in zip(item.layers, diff_ids, strict=True):
            descriptor, found = self._layer(path)
            if found != wanted:
                raise IntegrityError(f"the layer {path[:120]} is not the one that its image names",
                                     why=f"its digest is {found}, not {wanted}")  # fmt: skip
            layers.append(descriptor)
        manifest = Manifest(
            schema_version=2,
            media_type=MANIFEST,
            config=self._store.put(text, media_type=CONFIG),
            layers=layers,
        )
        return self._store.put(encode(manifest), media_type=MANIFEST)

    def _layer(self, path: str) -> tuple[Descriptor, str]:
        if path not in self._layers:
            with self._store.staging() as folder:
                file = self._files.take(path, folder)
                with storage_errors("read a layer", file), file.open("rb") as start:
                    magic = start.read(4)
                media = next((m for mark, m in _KINDS if magic.startswith(mark)), LAYER)
                descriptor = self._store.adopt(file, media_type=media)
            self._layers[path] = (descriptor, uncompressed_digest(self._store, descriptor))
        return self._layers[path]


def save(images: list[tuple[list[str], Image]], tar: TarOut, staging: Path) -> None:
    """Write images with their names in the form that `docker load` reads."""
    written: set[str] = set()
    items = []
    for names, image in images:
        paths = []
        for layer, diff_id in image.layers():
            path = f"{diff_id.encoded}.tar"
            paths.append(path)
            if path not in written:
                _write_layer(image.store, layer, diff_id, path, tar, staging)
                written.add(path)
        config = f"{Digest(image.id).encoded}.json"
        if config not in written:
            tar.file(config, image.store.read(image.manifest.config, limit=MAX_CONFIG_BYTES))
            written.add(config)
        items.append({"Config": config, "RepoTags": names, "Layers": paths})
    tar.file(MANIFEST_FILE, msgspec.json.encode(items))


def _write_layer(
    store: ContentStore, layer: Descriptor, diff_id: Digest, path: str, tar: TarOut, staging: Path
) -> None:
    """Write a layer without its compression: its size must be known before it is written."""
    with _plain(store, layer, diff_id, staging) as file, file.open("rb") as data:
        tar.stream(path, data, size=os.fstat(data.fileno()).st_size)


@contextmanager
def _plain(
    store: ContentStore, layer: Descriptor, diff_id: Digest, staging: Path
) -> Iterator[Path]:
    if layer.digest == diff_id:
        yield store.path(layer.digest)
        return
    target = staging / diff_id.encoded
    hasher = diff_id.hasher()
    with (
        storage_errors("unpack a layer", target),
        target.open("wb") as out,
        open_layer(store, layer) as stream,
    ):
        while chunk := stream.read(_CHUNK_BYTES):
            hasher.update(chunk)
            out.write(chunk)
    if hasher.hexdigest() != diff_id.encoded:
        raise IntegrityError(f"the layer {layer.digest} is damaged", why="its diff_id is another")
    yield target
    target.unlink(missing_ok=True)
