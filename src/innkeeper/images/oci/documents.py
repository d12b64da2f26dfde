"""The documents an image is made of, as hostile input (OCI image-spec 1.1; Docker schema 2).

Unknown fields are let through, as the specification asks; known ones must have their type and be
within bounds. A document that could be read as two kinds is refused (CVE-2021-41190).
"""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Struct

from innkeeper.base.errors import ImageError
from innkeeper.images.oci.digest import Digest, is_digest

MAX_MANIFEST_BYTES = 4 << 20
MAX_CONFIG_BYTES = 8 << 20
MAX_BLOB_BYTES = 64 << 30
MAX_LAYERS = 127
MAX_INDEX_ENTRIES = 1000

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = LAYER + "+gzip"
LAYER_ZSTD = LAYER + "+zstd"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER_PLAIN = "application/vnd.docker.image.rootfs.diff.tar"
MANIFESTS = (MANIFEST, DOCKER_MANIFEST)
INDICES = (INDEX, DOCKER_LIST)
LAYERS = (LAYER, LAYER_GZIP, LAYER_ZSTD, DOCKER_LAYER, DOCKER_LAYER_PLAIN)
REF_NAME = "org.opencontainers.image.ref.name"
_FOREIGN = ("nondistributable", "rootfs.foreign")
_MEDIA_TYPE = re.compile(r"[a-zA-Z0-9][\w!#$&^.+-]{0,126}/[a-zA-Z0-9][\w!#$&^.+-]{0,126}", re.ASCII)

Text = Annotated[str, Meta(max_length=64 << 10)]
Texts = Annotated[list[Text], Meta(max_length=10_000)]
TextMap = Annotated[dict[Text, Text], Meta(max_length=10_000)]
Size = Annotated[int, Meta(ge=0, le=MAX_BLOB_BYTES)]


class Platform(Struct, frozen=True, omit_defaults=True):
    """What an image runs on (image-index.md)."""

    architecture: Text
    os: Text
    variant: Text = ""


class Descriptor(Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A content by type, digest and size (descriptor.md)."""

    media_type: Text
    digest: Text
    size: Size
    urls: Texts | None = None
    annotations: TextMap | None = None
    artifact_type: Text = ""
    platform: Platform | None = None

    def __post_init__(self) -> None:
        if not is_digest(self.digest):
            Digest(self.digest)  # says why not
        if not _MEDIA_TYPE.fullmatch(self.media_type):
            raise ImageError("a descriptor has no media type", why=repr(self.media_type[:80]))

    def is_foreign(self) -> bool:
        """Tell whether the layer may not be distributed (layer.md "Non-Distributable Layers")."""
        return any(part in self.media_type for part in _FOREIGN)


class Manifest(Struct, frozen=True, omit_defaults=True, rename="camel", kw_only=True):
    """One image: its configuration and its layers, bottom first (manifest.md)."""

    schema_version: Annotated[int, Meta(ge=2, le=2)]
    media_type: Text = ""
    artifact_type: Text = ""
    config: Descriptor
    layers: Annotated[list[Descriptor], Meta(max_length=MAX_LAYERS)]
    annotations: TextMap | None = None


class Index(Struct, frozen=True, omit_defaults=True, rename="camel", kw_only=True):
    """Images of several platforms under one name (image-index.md)."""

    schema_version: Annotated[int, Meta(ge=2, le=2)]
    media_type: Text = ""
    manifests: Annotated[list[Descriptor], Meta(max_length=MAX_INDEX_ENTRIES)]
    annotations: TextMap | None = None


class RootFs(Struct, frozen=True):
    """The digests of the layers' uncompressed archives, bottom first (config.md `rootfs`)."""

    type: Text = "layers"
    diff_ids: Annotated[list[Text], Meta(max_length=MAX_LAYERS)] | None = None


class Execution(Struct, frozen=True, omit_defaults=True, rename="pascal"):
    """What a container made from the image is started with (config.md `config`)."""

    user: Text | None = None
    exposed_ports: dict[Text, Any] | None = None
    env: Texts | None = None
    entrypoint: Texts | None = None
    cmd: Texts | None = None
    volumes: dict[Text, Any] | None = None
    working_dir: Text | None = None
    labels: TextMap | None = None
    stop_signal: Text | None = None
    healthcheck: dict[Text, Any] | None = None


class Config(Struct, frozen=True, omit_defaults=True):
    """An image's configuration (config.md)."""

    architecture: Text = ""
    os: Text = ""
    variant: Text = ""
    created: Text | None = None
    author: Text | None = None
    config: Execution | None = None
    rootfs: RootFs = RootFs()

    @property
    def execution(self) -> Execution:
        """The execution parameters; empty ones when the image has none."""
        return self.config or Execution()

    def diff_ids(self) -> list[Digest]:
        """Return the layers' uncompressed digests, each checked."""
        if self.rootfs.type != "layers":
            raise ImageError("an image's rootfs is not made of layers", why=self.rootfs.type[:80])
        return [Digest(text) for text in self.rootfs.diff_ids or ()]


T = TypeVar("T", Manifest, Index, Config)


def decode(data: bytes, kind: type[T], *, what: str) -> T:
    """Read a document; `ImageError` that names `what` and the field at fault."""
    limit = MAX_CONFIG_BYTES if kind is Config else MAX_MANIFEST_BYTES
    if len(data) > limit:
        raise ImageError(f"{what} is too large", why=f"more than {limit} bytes")
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ImageError(
            f"{what} is not a sound {kind.__name__.lower()}", why=str(error)[:300]
        ) from error


def decode_manifest(data: bytes, *, what: str, media_type: str = "") -> Manifest | Index:
    """Read a manifest or an index, whichever it is; both at once, or neither, is an error."""
    shape = _shape(data, what)
    stated = {name for name in (media_type, shape.media_type) if name}
    kinds = {Index for name in stated if name in INDICES}
    wanted: set[type[Manifest] | type[Index]] = kinds | {
        Manifest for name in stated if name in MANIFESTS
    }
    if not wanted and not stated:
        wanted = {Index} if shape.manifests is not msgspec.UNSET else {Manifest}
    if len(wanted) != 1:
        raise ImageError(
            f"{what} is neither an image nor an index of images",
            why=" and ".join(sorted(stated))[:200],
        )
    both = shape.manifests is not msgspec.UNSET and (
        shape.layers is not msgspec.UNSET or shape.config is not msgspec.UNSET
    )
    if both:
        raise ImageError(f"{what} could be read as an image and as an index", why="it has both")
    return decode(data, Index, what=what) if Index in wanted else decode(data, Manifest, what=what)


class _Shape(Struct, rename="camel"):
    media_type: Text = ""
    manifests: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    layers: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    config: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


def _shape(data: bytes, what: str) -> _Shape:
    if len(data) > MAX_MANIFEST_BYTES:
        raise ImageError(f"{what} is too large", why=f"more than {MAX_MANIFEST_BYTES} bytes")
    try:
        return msgspec.json.decode(data, type=_Shape)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ImageError(f"{what} is not a sound manifest", why=str(error)[:300]) from error


def encode(document: Manifest | Index | Config | dict[str, Any]) -> bytes:
    """Write a document as JSON, the same bytes each time."""
    return msgspec.json.encode(document, enc_hook=str)  # a `Digest` is one
