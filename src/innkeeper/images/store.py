"""Images kept by content: blobs named by their SHA-256, and one small manifest for each image.

    blobs/sha256/ab/abcd...   immutable content (kernel, initramfs, disk, modules)
    images/NAME_SUITE_ARCH.json, kernels/KEY.json
    locks/, tmp/

Everything appears by rename after `fsync`, so a killed build leaves nothing but a folder in
`tmp/`, which the next `prune` takes away.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import IO, TypeVar

import msgspec

from innkeeper.base.errors import ImageError, NotFoundError, UsageError
from innkeeper.images.paths import data_dir, make_dir, storage_errors
from innkeeper.images.shelf import Shelf, sync_folder

MAX_MANIFEST_BYTES = 16 << 20
_CHUNK_BYTES = 1 << 20
_NAME = re.compile(r"[a-z0-9][a-z0-9.+-]{0,62}", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Blob(msgspec.Struct, frozen=True):
    """A content in the store."""

    sha256: str
    size: int


class PackageRecord(msgspec.Struct, frozen=True):
    """A package that went into an image."""

    name: str
    version: str
    arch: str
    sha256: str


class ModuleRecord(msgspec.Struct, frozen=True):
    """A kernel module in its load order; `path` is below `lib/modules/RELEASE/`."""

    name: str
    path: str
    needs: tuple[str, ...]
    blob: Blob


class Kernel(msgspec.Struct, frozen=True, kw_only=True):
    """What was picked out of a kernel package."""

    release: str
    package: PackageRecord
    image: Blob
    modules: tuple[ModuleRecord, ...] = ()
    builtin: Blob | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """An image: what to boot, and what it was made of.

    `state` is `ready`, or `unpacked` while the second stage of installation has yet to run.
    `disk_format` is `ext4`, or `empty` for a disk that the guest's first stage formats itself.
    """

    version: int = 1
    name: str
    suite: str
    arch: str
    created: str
    kernel: Blob
    kernel_release: str
    initrd: Blob
    disk: Blob | None = None
    disk_format: str = ""
    setup_initrd: Blob | None = None
    cmdline: str = ""
    state: str = "ready"
    include: tuple[str, ...] = ()
    packages: tuple[PackageRecord, ...] = ()

    def blobs(self) -> list[Blob]:
        """Return every content the image needs."""
        return [b for b in (self.kernel, self.initrd, self.disk, self.setup_initrd) if b]


T = TypeVar("T", Manifest, Kernel)


class Store(Shelf):
    """The images of one user; `root` is `XDG_DATA_HOME/innkeeper` unless given."""

    def __init__(self, root: Path | None = None) -> None:
        super().__init__(root or data_dir())

    def blob_path(self, blob: Blob) -> Path:
        """Return the file of a content, which must never be written to."""
        if not _HASH.fullmatch(blob.sha256):
            raise ImageError("a manifest names a content badly", why=repr(blob.sha256[:80]))
        return self.root / "blobs/sha256" / blob.sha256[:2] / blob.sha256

    def has(self, blob: Blob) -> bool:
        """Tell whether a content is there in its full length."""
        try:
            return self.blob_path(blob).stat().st_size == blob.size
        except OSError:
            return False

    def adopt(self, path: Path) -> Blob:
        """Move a finished file from a `staging` folder into the store."""
        with storage_errors("keep an image", self.root):
            with path.open("rb") as file:
                digest = sparse_digest(file)
                os.fsync(file.fileno())
            blob = Blob(digest, path.stat().st_size)
            target = self.blob_path(blob)
            if self.has(blob):
                path.unlink()
                return blob
            path.chmod(0o444)
            make_dir(target.parent)
            os.replace(path, target)
            sync_folder(target.parent)
        return blob

    def put(self, data: bytes) -> Blob:
        """Keep a small content."""
        blob = Blob(hashlib.sha256(data).hexdigest(), len(data))
        if not self.has(blob):
            with self.staging() as folder:
                with storage_errors("keep an image", folder):
                    (folder / "blob").write_bytes(data)
                self.adopt(folder / "blob")
        return blob

    def save(self, manifest: Manifest) -> None:
        """Write (or replace) an image's manifest."""
        self._save("images", image_key(manifest.name, manifest.suite, manifest.arch), manifest)

    def find(self, name: str, *, suite: str, arch: str) -> Manifest | None:
        """Return an image whose contents are all there, or None."""
        manifest = self._load("images", image_key(name, suite, arch), Manifest)
        return manifest if manifest and all(map(self.has, manifest.blobs())) else None

    def get(self, name: str, *, suite: str, arch: str) -> Manifest:
        """Return an image, or raise `NotFoundError`."""
        manifest = self.find(name, suite=suite, arch=arch)
        if manifest is None:
            raise NotFoundError(
                f"image {name} ({suite}, {arch}) does not exist",
                fix=f"inn image build {name} --suite {suite} --arch {arch}",
            )
        return manifest

    def images(self) -> list[Manifest]:
        """Return every image, by name; a damaged manifest raises `ImageError`."""
        return [
            m for m in (self.read_manifest(p, Manifest) for p in self.manifest_paths("images")) if m
        ]

    def remove(self, name: str, *, suite: str, arch: str) -> None:
        """Forget an image; its contents go with the next `prune`."""
        path = self._path("images", image_key(name, suite, arch))
        with storage_errors("remove an image", path):
            try:
                path.unlink()
            except FileNotFoundError:
                raise NotFoundError(f"image {name} ({suite}, {arch}) does not exist") from None

    def save_kernel(self, key: str, kernel: Kernel) -> None:
        """Remember what was picked out of a kernel package."""
        self._save("kernels", key, kernel)

    def find_kernel(self, key: str) -> Kernel | None:
        """Return what was picked out before, if all of it is still there."""
        kernel = self._load("kernels", key, Kernel)
        return kernel if kernel and all(map(self.has, kernel_blobs(kernel))) else None

    def _save(self, folder: str, key: str, value: Manifest | Kernel) -> None:
        text = msgspec.json.format(msgspec.json.encode(value), indent=2)
        self.write(self._path(folder, key), text)

    def _load(self, folder: str, key: str, kind: type[T]) -> T | None:
        return self.read_manifest(self._path(folder, key), kind)

    def read_manifest(self, path: Path, kind: type[T]) -> T | None:
        try:
            with path.open("rb") as file:
                data = file.read(MAX_MANIFEST_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ImageError(f"cannot read {path}", why=error.strerror or "") from error
        try:
            return msgspec.json.decode(data, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ImageError(
                f"{path} is damaged", why=str(error), fix=f"rm {path}, and build the image again"
            ) from error

    def _path(self, folder: str, key: str) -> Path:
        return self.root / folder / f"{key}.json"

    def manifest_paths(self, folder: str) -> list[Path]:
        try:
            return sorted(p for p in (self.root / folder).iterdir() if p.suffix == ".json")
        except FileNotFoundError:
            return []


def image_key(name: str, suite: str, arch: str) -> str:
    """Return the file name of an image's manifest; `UsageError` for what cannot be one."""
    for part, what in ((name, "name"), (suite, "suite"), (arch, "architecture")):
        if not _NAME.fullmatch(part):
            raise UsageError(
                f"{part!r} is not an image's {what}",
                fix="use lower-case letters, digits, dots, plus and minus signs",
            )
    return f"{name}_{suite}_{arch}"


def kernel_blobs(kernel: Kernel) -> list[Blob]:
    """Return every content of a kernel."""
    extra = [kernel.builtin] if kernel.builtin else []
    return [kernel.image, *extra, *(module.blob for module in kernel.modules)]


def sparse_digest(file: IO[bytes]) -> str:
    """Return the SHA-256 of a file, without reading the holes of a sparse one."""
    digest, offset = hashlib.sha256(), 0
    zeroes = bytes(_CHUNK_BYTES)
    fd, end = file.fileno(), os.fstat(file.fileno()).st_size
    while offset < end:
        try:
            start = os.lseek(fd, offset, os.SEEK_DATA)
            stop = os.lseek(fd, start, os.SEEK_HOLE)
        except OSError:  # ENXIO: only a hole is left
            start = stop = end
        for at in range(offset, start, _CHUNK_BYTES):
            digest.update(zeroes[: min(_CHUNK_BYTES, start - at)])
        offset = start
        while offset < stop and (chunk := os.pread(fd, min(_CHUNK_BYTES, stop - offset), offset)):
            digest.update(chunk)
            offset += len(chunk)
        if offset < stop:
            raise ImageError("a file was cut short while it was read")
    return digest.hexdigest()
