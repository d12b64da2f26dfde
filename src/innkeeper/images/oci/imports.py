"""`inn image import`: an image of one layer from a root file system."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, cast

from innkeeper.base.errors import ImageError, NotFoundError
from innkeeper.images.oci.changes import write_union
from innkeeper.images.oci.commit import image_from_layer
from innkeeper.images.oci.content import ContentStore
from innkeeper.images.oci.documents import Platform
from innkeeper.images.oci.files import open_any, split
from innkeeper.images.oci.image import Image
from innkeeper.images.oci.layers import MAX_LAYER_BYTES
from innkeeper.images.oci.union import Union
from innkeeper.images.paths import storage_errors
from innkeeper.images.tarout import TarOut
from innkeeper.images.tarsafe import Entry, Kind, Readable, TarReader

STDIN = Path("-")


def import_rootfs(
    store: ContentStore,
    source: Path,
    name: str,
    *,
    platform: Platform,
    config: Mapping[str, Any] | None = None,
    compression: str = "gzip",
) -> Image:
    """Make an image of a folder, or of a tar archive (compressed or not), and keep it as `name`.

    `STDIN` is an archive on standard input.

    A folder's owners are taken as they are on this host. The archive is hostile: a path that
    leads out of it, or a name that a layer would take for a mark of deletion, is an error.
    """
    if source != STDIN and not source.exists():
        raise NotFoundError(f"{source} does not exist")
    write = _folder if source.is_dir() else _archive
    with storage_errors("import a root file system", source):
        return image_from_layer(
            store, name, lambda tar: write(source, tar), platform=platform, config=config,
            created_by=f"inn image import {source.name}", add=True, compression=compression,
        )  # fmt: skip


def _folder(source: Path, tar: TarOut) -> None:
    if any(
        name.startswith(".wh.") for _, names, files in os.walk(source) for name in names + files
    ):
        raise _whiteout(source)
    with Union([source]) as union:
        write_union(union, tar)


def _archive(source: Path, tar: TarOut) -> None:
    if source == STDIN:
        _copy(sys.stdin.buffer, "standard input", tar)
        return
    with source.open("rb") as file:
        _copy(file, source.name, tar)


def _copy(file: IO[bytes], name: str, tar: TarOut) -> None:
    stream = open_any(file, name=name, limit=MAX_LAYER_BYTES)
    for entry, data in TarReader(stream, name=name):
        copy_entry(entry, data, tar, name=name)


def copy_entry(entry: Entry, data: Readable, tar: TarOut, *, name: str, below: str = "") -> None:
    """Copy an entry of a hostile archive into a layer, if it may stand in one.

    With `below`, its paths have to begin with that folder, which they are then without.
    """
    path = _path(entry.path, name, below)
    if any(part.startswith(".wh.") for part in path.split("/")):
        raise _whiteout(name)
    target = _path(entry.target, name, below) if entry.kind is Kind.HARDLINK else entry.target
    tar.entry(replace(entry, path=path or ".", target=target), cast("IO[bytes]", data))


def _path(text: str, name: str, below: str) -> str:
    parts = split(text)
    if below and parts[:1] != [below]:
        raise ImageError(f"{name} has a file at a wrong place", why=repr(text[:200]))
    return "/".join(parts[1:] if below else parts)


def _whiteout(source: object) -> ImageError:
    return ImageError(
        f"{source} cannot become a layer",
        why="a file's name begins with .wh., which in a layer means that another is deleted",
        fix="rename it",
    )
