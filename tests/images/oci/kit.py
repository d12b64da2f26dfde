"""Images and layers that the tests make themselves, byte by byte where they must be hostile."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from innkeeper.images.oci.content import ContentStore
from innkeeper.images.oci.documents import (
    CONFIG,
    LAYER,
    LAYER_GZIP,
    MANIFEST,
    Descriptor,
    Manifest,
    encode,
)
from innkeeper.images.oci.image import Image, read_image

Item = tuple[str, str, Any]
"""`(kind, path, detail)`: file with its content, dir with its mode, link and hard with a target,
char with (major, minor), fifo, gone (a whiteout), opaque."""


def tar_of(items: Sequence[Item], **common: Any) -> bytes:
    """Return a layer's archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for item in items:
            info, data = _member(*item)
            for key, value in common.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _member(kind: str, path: str, detail: Any) -> tuple[tarfile.TarInfo, bytes]:
    info, data = tarfile.TarInfo(path), b""
    info.mode, info.mtime = 0o644, 1_700_000_000
    if kind == "file":
        data = detail
        info.size = len(data)
    elif kind == "dir":
        info.type, info.mode = tarfile.DIRTYPE, detail
    elif kind in ("link", "hard"):
        info.type = tarfile.SYMTYPE if kind == "link" else tarfile.LNKTYPE
        info.linkname = detail
    elif kind == "char":
        info.type, (info.devmajor, info.devminor) = tarfile.CHRTYPE, detail
    elif kind == "fifo":
        info.type = tarfile.FIFOTYPE
    elif kind == "gone":
        folder, _, name = path.rpartition("/")
        info.name = f"{folder}/.wh.{name}".lstrip("/")
    elif kind == "opaque":
        info.name = f"{path}/.wh..wh..opq".lstrip("/")
    else:
        raise AssertionError(kind)
    return info, data


def add_layer(store: ContentStore, data: bytes, *, packed: bool = True) -> tuple[Descriptor, str]:
    """Keep an archive as a layer; return it with its diff_id."""
    diff_id = "sha256:" + hashlib.sha256(data).hexdigest()
    if not packed:
        return store.put(data, media_type=LAYER), diff_id
    return store.put(gzip.compress(data, 6, mtime=0), media_type=LAYER_GZIP), diff_id


def make_image(
    store: ContentStore,
    *archives: bytes,
    name: str = "one:latest",
    arch: str = "amd64",
    diff_ids: Sequence[str] | None = None,
    config: dict[str, Any] | None = None,
    tag: bool = True,
) -> Image:
    """Keep an image of these layers, bottom first."""
    layers = [add_layer(store, data) for data in archives]
    document = {
        "architecture": arch, "os": "linux", "config": config or {},
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids or [d for _, d in layers])},
    }  # fmt: skip
    manifest = Manifest(
        schema_version=2, media_type=MANIFEST, layers=[d for d, _ in layers],
        config=store.put(encode(document), media_type=CONFIG),
    )  # fmt: skip
    target = store.put(encode(manifest), media_type=MANIFEST)
    if tag:
        store.tag(name, target)
    return read_image(store, name, target)


def listing(root: Path) -> dict[str, str]:
    """Return what is below a folder: path to kind, and content or target."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = f"-> {os.readlink(path)}"
        elif path.is_dir():
            found[name] = "/"
        elif path.is_file():
            found[name] = path.read_bytes().decode("latin-1")
        else:
            found[name] = "special"
    return found
