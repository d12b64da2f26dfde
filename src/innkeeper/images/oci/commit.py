"""New images from what containers have changed, and from root file systems."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, cast

import msgspec

from innkeeper.base.errors import ImageError, NotFoundError
from innkeeper.base.record import replace
from innkeeper.images.oci.changes import Change, Differ, write_changes, write_union
from innkeeper.images.oci.compress import MEDIA_TYPES, Compressed
from innkeeper.images.oci.content import ContentStore
from innkeeper.images.oci.documents import (
    CONFIG,
    DOCKER_LAYER,
    INDEX,
    LAYER_GZIP,
    MANIFEST,
    MAX_CONFIG_BYTES,
    Config,
    Descriptor,
    Index,
    Manifest,
    Platform,
    decode,
    encode,
)
from innkeeper.images.oci.image import Image, manifests_of, read_image
from innkeeper.images.oci.platforms import choose
from innkeeper.images.oci.reference import Reference
from innkeeper.images.oci.rootfs import COPY, RootfsRecord, open_rootfs
from innkeeper.images.oci.union import Union
from innkeeper.images.paths import storage_errors
from innkeeper.images.tarout import TarOut


def diff(container_dir: Path, store: ContentStore) -> list[Change]:
    """Return what a container has changed in its root file system."""
    return list(_differ(container_dir, store)[0].changes())


def commit(
    container_dir: Path,
    name: str,
    *,
    store: ContentStore,
    changes: Mapping[str, Any] | None = None,
    author: str = "",
    comment: str = "",
    compression: str = "gzip",
) -> Image:
    """Make an image of a container: its image with one layer more, kept as `name`.

    `changes` replaces fields of the image's `config` (config.md: `Cmd`, `Env` and so on).
    """
    reference = Reference.parse(name)
    differ, source, record = _differ(container_dir, store)
    with store.in_use():
        base = read_image(store, record.image, _descriptor(record))
        layer, diff_id = make_layer(
            store,
            lambda tar: write_changes(differ.changes(), source, tar),
            compression=compression,
        )
        config = _config_of(base)
        config.setdefault("rootfs", {"type": "layers"})
        config["rootfs"]["diff_ids"] = [*base.config.diff_ids(), diff_id]
        config["config"] = {**(config.get("config") or {}), **(changes or {})}
        _note(config, author=author, comment=comment, created_by="inn commit")
        layers = [*base.manifest.layers, layer]
        return keep_image(store, reference.tagged, config, [_plain(d) for d in layers])


def export(container_dir: Path, store: ContentStore, out: IO[bytes]) -> None:
    """Write a container's whole root file system as one tar archive."""
    with TarOut(out) as tar:
        export_into(container_dir, store, tar)


def export_into(container_dir: Path, store: ContentStore, tar: TarOut) -> None:
    """Write a container's whole root file system into an archive."""
    record, found = open_rootfs(container_dir, store)
    roots = [found.path] if record.kind == COPY else [cast("Path", found.upper), *found.lower]
    with storage_errors("export a container", container_dir), Union(roots) as union:
        write_union(union, tar)


def image_of(container_dir: Path, store: ContentStore) -> Image:
    """Return the image that a container was made from; it needs no name any more."""
    record = open_rootfs(container_dir, store)[0]
    return read_image(store, record.image, _descriptor(record))


def image_from_layer(
    store: ContentStore,
    name: str,
    write: Callable[[TarOut], object],
    *,
    platform: Platform,
    config: Mapping[str, Any] | None = None,
    created_by: str = "",
    annotations: Mapping[str, str] | None = None,
    add: bool = False,
    compression: str = "gzip",
) -> Image:
    """Make an image of one layer, written by `write`, and keep it as `name`.

    With `add`, images of other platforms under that name stay, beside this one in an index.
    """
    reference = Reference.parse(name)
    with store.in_use():
        document, layer = _one_layer(
            store, write, platform, config or {}, created_by, compression=compression
        )
        return keep_image(
            store, reference.tagged, document, [layer], annotations=annotations, add=add
        )


def nameless_image(
    store: ContentStore,
    name: str,
    write: Callable[[TarOut], object],
    *,
    platform: Platform,
    config: Mapping[str, Any],
    created_by: str,
) -> Image:
    """Make an image of one layer that no name leads to; its own is `name@DIGEST`.

    So it is never taken for the image that has that name here. `prune` removes it unless something
    holds on to it before the caller gives `store.in_use()` back.
    """
    document, layer = _one_layer(store, write, platform, config, created_by)
    made = _put_image(store, name, document, [layer])
    return replace(made, name=f"{name}@{made.descriptor.digest}")


def _one_layer(
    store: ContentStore, write: Callable[[TarOut], object], platform: Platform,
    config: Mapping[str, Any], created_by: str, compression: str = "gzip",
) -> tuple[dict[str, Any], Descriptor]:  # fmt: skip
    """Return the configuration of an image of one layer, and the layer."""
    layer, diff_id = make_layer(store, write, compression=compression)
    document: dict[str, Any] = {
        "architecture": platform.architecture,
        "os": platform.os,
        **({"variant": platform.variant} if platform.variant else {}),
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    }
    _note(document, author="", comment="", created_by=created_by)
    return document, layer


def keep_image(
    store: ContentStore,
    name: str,
    config: dict[str, Any],
    layers: Sequence[Descriptor],
    *,
    annotations: Mapping[str, str] | None = None,
    add: bool = False,
) -> Image:
    """Keep an image of these layers under a name."""
    image = _put_image(store, name, config, layers, annotations)
    store.tag(name, _beside(store, image) if add else image.descriptor)
    return image


def _put_image(
    store: ContentStore, name: str, config: dict[str, Any], layers: Sequence[Descriptor],
    annotations: Mapping[str, str] | None = None,
) -> Image:  # fmt: skip
    text = encode(config)
    checked = decode(text, Config, what="the new image's configuration")
    manifest = Manifest(
        schema_version=2,
        media_type=MANIFEST,
        config=store.put(text, media_type=CONFIG),
        layers=list(layers),
        annotations=dict(annotations) if annotations else None,
    )
    target = store.put(encode(manifest), media_type=MANIFEST)
    return Image(name=name, descriptor=target, manifest=manifest, config=checked, store=store)


def make_layer(
    store: ContentStore, write: Callable[[TarOut], object], *, compression: str = "gzip"
) -> tuple[Descriptor, str]:
    """Let `write` fill a layer; return its descriptor and the digest of its plain archive."""
    with store.staging() as folder, storage_errors("make a layer", folder):
        path = folder / "layer"
        with path.open("wb") as file:
            out = Compressed(file, compression)
            tar = TarOut(cast("IO[bytes]", out))
            write(tar)
            tar.close()
            diff_id = out.finish()
        return store.adopt(path, media_type=MEDIA_TYPES[compression]), diff_id


def _beside(store: ContentStore, image: Image) -> Descriptor:
    """Return the index of the images of that name that are here, with this one in its place."""
    old = store.lookup(image.name)
    entries: list[Descriptor] = []
    for entry in manifests_of(store, old) if old else []:
        try:
            found = read_image(store, image.name, entry)
        except (ImageError, NotFoundError):
            continue
        plain = Descriptor(entry.media_type, entry.digest, entry.size, platform=found.platform)
        if choose([plain], image.platform) is None:
            entries.append(plain)
    if not entries:
        return image.descriptor
    own = image.descriptor
    entries.append(Descriptor(own.media_type, own.digest, own.size, platform=image.platform))
    index = Index(schema_version=2, media_type=INDEX, manifests=entries)
    return store.put(encode(index), media_type=INDEX)


def _differ(container_dir: Path, store: ContentStore) -> tuple[Differ, Path, RootfsRecord]:
    record, found = open_rootfs(container_dir, store)
    whole = record.kind == COPY
    source = found.path if whole else cast("Path", found.upper)
    return Differ(source, list(found.lower), whole=whole), source, record


def _descriptor(record: RootfsRecord) -> Descriptor:
    try:
        return msgspec.convert(record.manifest, Descriptor)
    except msgspec.ValidationError as error:
        raise ImageError("a container's record is damaged", why=str(error)) from error


def _config_of(image: Image) -> dict[str, Any]:
    """Return the configuration as it stands, with the fields that nobody here knows."""
    data = image.store.read(image.manifest.config, limit=MAX_CONFIG_BYTES)
    document: dict[str, Any] = msgspec.json.decode(data, type=dict)
    return document


def _note(config: dict[str, Any], *, author: str, comment: str, created_by: str) -> None:
    """Write down when, and by what, the image was made (config.md `created`, `history`)."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    config["created"] = now
    if author:
        config["author"] = author
    facts = {"created": now, "created_by": created_by, "author": author, "comment": comment}
    history = config.get("history")
    config["history"] = [
        *(history if isinstance(history, list) else []),
        {key: value for key, value in facts.items() if value},
    ]


def _plain(layer: Descriptor) -> Descriptor:
    """Return a layer with OCI's type for it: an OCI manifest does not mix with Docker's."""
    if layer.media_type == DOCKER_LAYER:
        return msgspec.structs.replace(layer, media_type=LAYER_GZIP)
    return layer
