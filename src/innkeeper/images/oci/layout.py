"""OCI image layouts, as a folder or a tar archive (OCI image-spec 1.1 image-layout.md)."""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from innkeeper.base.errors import ImageError, NotFoundError, UsageError
from innkeeper.images.oci.content import ContentStore
from innkeeper.images.oci.digest import Digest
from innkeeper.images.oci.documents import (
    INDEX,
    INDICES,
    MANIFESTS,
    MAX_MANIFEST_BYTES,
    REF_NAME,
    Descriptor,
    Index,
    decode,
    decode_manifest,
    encode,
)
from innkeeper.images.oci.files import Files
from innkeeper.images.oci.image import MAX_INDEX_DEPTH
from innkeeper.images.oci.reference import Reference
from innkeeper.images.paths import make_dir, storage_errors
from innkeeper.images.tarout import TarOut

LAYOUT_FILE = "oci-layout"
INDEX_FILE = "index.json"
IMAGE_NAME = "io.containerd.image.name"
_VERSION = "1.0.0"
_MARK = b'{"imageLayoutVersion":"1.0.0"}'
_MAX_MARK_BYTES = 64 << 10


def load(store: ContentStore, files: Files, *, name: str) -> list[str]:
    """Take every image of a layout into the store, and return their names.

    `name` is used for what the layout itself calls only by a tag, or not at all.
    """
    try:
        mark = msgspec.json.decode(files.read(LAYOUT_FILE, limit=_MAX_MARK_BYTES), type=dict)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ImageError(f"the layout's {LAYOUT_FILE} is damaged", why=str(error)) from error
    if mark.get("imageLayoutVersion") != _VERSION:
        found = str(mark.get("imageLayoutVersion"))[:40]
        raise ImageError("the layout is of an unknown version", why=found)
    data = files.read(INDEX_FILE, limit=MAX_MANIFEST_BYTES)
    index = decode(data, Index, what=f"the layout's {INDEX_FILE}")
    if not index.manifests:
        raise ImageError("the layout has no image in it")
    nameless = [d for d in index.manifests if not _own_name(d)]
    names = []
    if len(nameless) > 1:  # the layout's index is the image's own, of several platforms
        joined = Index(schema_version=2, media_type=INDEX, manifests=nameless)
        for entry in nameless:
            take(store, files, entry)
        target = store.put(encode(joined), media_type=INDEX)
        names.append(_tag(store, Reference.parse(name).tagged, target))
        nameless = []
    for entry in index.manifests:
        if _own_name(entry) or entry in nameless:
            take(store, files, entry)
            plain = Descriptor(entry.media_type, entry.digest, entry.size, platform=entry.platform)
            names.append(_tag(store, _full_name(_own_name(entry), name), plain))
    return names


def take(store: ContentStore, files: Files, descriptor: Descriptor, depth: int = 0) -> None:
    """Take a content, and what it leads to, into the store; every digest is checked.

    An index may lead to images that are not in the layout; an image may not lack its parts.
    """
    if depth > MAX_INDEX_DEPTH:
        raise ImageError("an index is nested too deeply", why=descriptor.digest)
    if not store.has(descriptor):
        path = blob_path(descriptor)
        with store.staging() as folder:
            found = store.adopt(
                files.take(path, folder),
                media_type=descriptor.media_type,
                digest=descriptor.digest,
            )
        if found.size != descriptor.size:
            raise ImageError(
                f"the content {descriptor.digest} has a wrong size",
                why=f"{found.size} bytes, and its descriptor says {descriptor.size}",
            )
    if descriptor.media_type not in (*INDICES, *MANIFESTS):
        return
    what = f"the manifest {descriptor.digest}"
    document = decode_manifest(store.read(descriptor), what=what, media_type=descriptor.media_type)
    if isinstance(document, Index):
        for entry in document.manifests:
            if store.has(entry) or files.has(blob_path(entry)):
                take(store, files, entry, depth + 1)
        return
    for part in (document.config, *document.layers):
        take(store, files, part, depth + 1)


def blob_path(descriptor: Descriptor) -> str:
    """Return the path of a content in a layout."""
    digest = Digest(descriptor.digest)
    return f"blobs/{digest.algorithm}/{digest.encoded}"


def save_folder(store: ContentStore, images: list[tuple[str, Descriptor]], target: Path) -> None:
    """Write images as a layout folder, which must be new or empty."""
    if target.exists() and (not target.is_dir() or os.listdir(target)):
        raise UsageError(f"{target} is there already", fix="give a new or an empty folder")
    with storage_errors("write an image layout", target):
        make_dir(target)
        for descriptor in _contents(store, images):
            path = (
                make_dir((target / blob_path(descriptor)).parent) / Path(blob_path(descriptor)).name
            )
            with store.open(descriptor) as source, path.open("wb") as out:
                while chunk := source.read(1 << 20):
                    out.write(chunk)
        (target / INDEX_FILE).write_bytes(_index(images))
        # Last: without it the folder is no layout, and a copy that was cut short is not one.
        (target / LAYOUT_FILE).write_bytes(_MARK)


def save_archive(store: ContentStore, images: list[tuple[str, Descriptor]], tar: TarOut) -> None:
    """Write images as a layout in a tar archive."""
    tar.file(LAYOUT_FILE, _MARK)
    tar.file(INDEX_FILE, _index(images))
    for descriptor in _contents(store, images):
        with store.open(descriptor) as source:
            tar.stream(blob_path(descriptor), source, size=descriptor.size)


def _contents(store: ContentStore, images: list[tuple[str, Descriptor]]) -> list[Descriptor]:
    """List what the images lead to, each once; an index's images that are not here are left out."""
    found: dict[str, Descriptor] = {}

    def walk(descriptor: Descriptor, needed: bool, depth: int) -> None:
        if descriptor.digest in found or depth > MAX_INDEX_DEPTH:
            return
        if not store.has(descriptor):
            if needed:
                raise NotFoundError(f"the content {descriptor.digest} is not on this host",
                                    fix="pull the image again")  # fmt: skip
            return
        found[descriptor.digest] = descriptor
        if descriptor.media_type in (*INDICES, *MANIFESTS):
            document = decode_manifest(
                store.read(descriptor), what="a manifest", media_type=descriptor.media_type
            )
            if isinstance(document, Index):
                for entry in document.manifests:
                    walk(entry, False, depth + 1)
            else:
                for part in (document.config, *document.layers):
                    walk(part, True, depth + 1)

    for _, descriptor in images:
        walk(descriptor, True, 0)
    return list(found.values())


def _index(images: list[tuple[str, Descriptor]]) -> bytes:
    entries = []
    for name, target in images:
        tag = Reference.parse(name).tag or ""
        notes = {REF_NAME: tag, IMAGE_NAME: name} if tag else None
        entries.append(msgspec.structs.replace(target, annotations=notes))
    return encode(Index(schema_version=2, media_type=INDEX, manifests=entries))


def _own_name(entry: Descriptor) -> str:
    notes = entry.annotations or {}
    return notes.get(IMAGE_NAME) or notes.get(REF_NAME) or ""


def _full_name(own: str, fallback: str) -> str:
    """Return a name for an image that its layout calls `own`: a reference, a tag, or nothing."""
    base = Reference.parse(fallback)
    if not own:
        return base.tagged
    if re.fullmatch(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", own):
        return f"{base.name}:{own}"
    return Reference.parse(own).tagged


def _tag(store: ContentStore, name: str, target: Descriptor) -> str:
    store.tag(name, target)
    return name
