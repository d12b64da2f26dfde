"""Give back the disk space that no image needs."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from innkeeper.images.locks import try_lock
from innkeeper.images.paths import cache_dir, storage_errors
from innkeeper.images.store import Kernel, Store, kernel_blobs


@dataclass(frozen=True)
class Pruned:
    """What was removed; `bytes` is disk space, so a sparse file counts what it occupied."""

    files: int
    bytes: int


def prune(store: Store, *, downloads: bool = True, cache: Path | None = None) -> Pruned:
    """Remove contents of no image, leftovers of killed builds and (if asked) the downloads.

    Waits for builds in progress, and keeps new ones waiting meanwhile.
    """
    tally = Tally()
    with store.pruning(), storage_errors("prune", store.root):
        images = store.images()
        kept = {blob.sha256 for image in images for blob in image.blobs()}
        kernels = {image.kernel.sha256 for image in images}
        for path in store.manifest_paths("kernels"):
            kernel = store.read_manifest(path, Kernel)
            if kernel is None or kernel.image.sha256 not in kernels:
                tally.unlink(path)
            else:
                kept |= {blob.sha256 for blob in kernel_blobs(kernel)}
        for path in (store.root / "blobs").rglob("*"):
            if path.is_file() and path.name not in kept:
                tally.unlink(path)
        sweep(store.root / "tmp", tally)
        if downloads:
            for path in (cache or cache_dir() / "downloads").rglob("*"):
                # Lock files stay: another process may be waiting on one.
                if path.is_file() and path.suffix != ".lock":
                    tally.unlink(path)
    return Pruned(tally.files, tally.bytes)


@dataclass
class Tally:
    """What has been removed so far."""

    files: int = 0
    bytes: int = 0

    def unlink(self, path: Path) -> None:
        """Remove a file, and count it if it was there."""
        try:
            occupied = path.lstat().st_blocks * 512
            path.unlink()
        except FileNotFoundError:
            return
        self.files += 1
        self.bytes += occupied


def sweep(folder: Path, tally: Tally) -> None:
    """Remove the staging folders whose makers are gone."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if not path.is_dir():
            tally.unlink(path)
            continue
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if try_lock(fd):
                for file in path.rglob("*"):
                    if file.is_file() and not file.is_symlink():
                        tally.unlink(file)
                shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(fd)
