"""A folder that several processes keep things in: staging, locks, and files that appear whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from innkeeper.images.locks import locked, try_lock
from innkeeper.images.paths import make_dir, storage_errors


class Shelf:
    """`root` with its `tmp/` and `locks/`; everything else on it appears by rename."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """Give a folder on the shelf's file system that is gone afterwards, come what may."""
        import shutil
        import tempfile

        parent = make_dir(self.root / "tmp")
        with storage_errors("make a temporary folder", parent):
            folder = Path(tempfile.mkdtemp(dir=parent))
            fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            try_lock(fd)  # the sign for `prune` that its maker is alive
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(fd)

    def lock(self, key: str) -> AbstractContextManager[None]:
        """Hold the lock of a thing being made, so that two processes make it once."""
        return locked(self.root / "locks" / f"{key}.lock")

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep `prune` away while things are made that nothing names yet."""
        with locked(self.root / "locks/prune.lock", shared=True):
            yield

    def pruning(self) -> AbstractContextManager[None]:
        """Wait for what is being made, and keep new makers waiting meanwhile."""
        return locked(self.root / "locks/prune.lock")

    def write(self, path: Path, data: bytes) -> None:
        """Write (or replace) a small file as a whole, so that it outlives a crash of the host."""
        make_dir(path.parent)
        with self.staging() as staging, storage_errors(f"write {path.name}", path):
            temporary = staging / "file"
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` last."""
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
