"""`inn image load` and `save`: images from files, and into files."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from innkeeper.base.errors import ImageError, NotFoundError, UsageError
from innkeeper.images.oci import docker_archive, layout
from innkeeper.images.oci.content import ContentStore
from innkeeper.images.oci.documents import Descriptor, Platform
from innkeeper.images.oci.files import ArchiveFiles, Files, FolderFiles
from innkeeper.images.oci.image import find_image, find_target
from innkeeper.images.paths import storage_errors
from innkeeper.images.tarout import TarOut

FORMATS = ("oci", "oci-dir", "docker")


def load(store: ContentStore, source: Path, *, name: str = "") -> list[str]:
    """Take the images of an OCI layout or a docker archive into the store; return their names.

    `source` is a folder or a tar archive, compressed or not. An archive that is both, as newer
    `docker save` writes it, is read as a layout.
    """
    if not source.exists():
        raise NotFoundError(f"{source} does not exist")
    fallback = name or _name_of(source)
    with store.in_use():
        if source.is_dir():
            return _load(store, FolderFiles(source), source, fallback)
        with store.staging() as folder:
            return _load(store, ArchiveFiles(source, folder), source, fallback)


def _load(store: ContentStore, files: Files, source: Path, name: str) -> list[str]:
    if files.has(layout.LAYOUT_FILE):
        return layout.load(store, files, name=name)
    if files.has(docker_archive.MANIFEST_FILE):
        return docker_archive.load(store, files, name=name)
    raise ImageError(
        f"{source} is neither an OCI layout nor an archive of docker save",
        why=f"it has neither {layout.LAYOUT_FILE} nor {docker_archive.MANIFEST_FILE}",
        fix="a plain root file system is taken by `inn image import`",
    )


def save(
    store: ContentStore,
    names: Sequence[str],
    *,
    target: Path | None,
    kind: str = "oci",
    platform: Platform | None = None,
    out: IO[bytes] | None = None,
) -> None:
    """Write images to `target` (or `out`) as `oci`, `oci-dir` or `docker`.

    Without `platform` an index is written with all of it that is here; `docker` takes one image.
    """
    if kind not in FORMATS:
        raise UsageError(f"{kind!r} is not a form of images", fix=f"give {', '.join(FORMATS)}")
    if kind == "oci-dir" and target is None:
        raise UsageError("a folder cannot be written to standard output", fix="give -o DIR")
    with store.in_use():
        if kind == "docker":
            images = [find_image(store, name, platform) for name in names]
            named = [([i.name] if "@" not in i.name else [], i) for i in images]
            with store.staging() as folder, _Output(target, out) as tar:
                docker_archive.save(named, tar, folder)
            return
        targets = [_target(store, name, platform) for name in names]
        if kind == "oci-dir":
            assert target is not None
            layout.save_folder(store, targets, target)
            return
        with _Output(target, out) as tar:
            layout.save_archive(store, targets, tar)


def _target(store: ContentStore, name: str, platform: Platform | None) -> tuple[str, Descriptor]:
    if platform is None:
        return find_target(store, name)
    image = find_image(store, name, platform)
    return image.name, image.descriptor


class _Output:
    """A tar archive that appears at `target` only when it is whole."""

    def __init__(self, target: Path | None, out: IO[bytes] | None) -> None:
        self._target, self._out = target, out
        self._part = target.with_name(f".{target.name}.{os.getpid()}") if target else None

    def __enter__(self) -> TarOut:
        if self._part is not None:
            with storage_errors("write an image", self._part):
                self._out = self._part.open("wb")
        assert self._out is not None
        self._tar = TarOut(self._out)
        return self._tar

    def __exit__(self, kind: type[BaseException] | None, error: object, _: object) -> None:
        if self._part is None or self._target is None:
            if kind is None:
                self._tar.close()
            return
        assert self._out is not None
        try:
            with storage_errors("write an image", self._target):
                if kind is None:
                    self._tar.close()
                self._out.close()
                if kind is None:
                    os.replace(self._part, self._target)
        finally:
            self._part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            with storage_errors("write an image", self._target):
                raise error


def _name_of(source: Path) -> str:
    """Make a name out of a file's: what is not allowed in one becomes a dash."""
    stem = source.resolve().name
    for ending in (".gz", ".xz", ".zst", ".tgz", ".tar", ".oci"):
        stem = stem.removesuffix(ending)
    return re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-") or "image"
