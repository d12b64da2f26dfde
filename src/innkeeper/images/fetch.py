"""Downloads that resume, are checked while they arrive, and are kept by content hash."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from innkeeper.base.errors import DownloadError, IntegrityError
from innkeeper.images.locks import locked
from innkeeper.images.mirror import redact
from innkeeper.images.paths import cache_dir, make_dir, storage_errors
from innkeeper.images.progress import SILENT, Progress, Silent
from innkeeper.images.transfer import Transfer, persist
from innkeeper.images.transport import NotOnMirror, request

__all__ = ["Fetcher", "NotOnMirror", "Progress", "Silent", "Wanted"]

MAX_FILE_BYTES = 4 << 30
MAX_SMALL_BYTES = 16 << 20
T = TypeVar("T")


@dataclass(frozen=True)
class Wanted:
    """A file whose size and SHA-256 are already known from something signed."""

    url: str
    sha256: str
    size: int
    label: str = ""


@dataclass
class Fetcher:
    """Download into the cache; `proxy` is as in `transport.request`."""

    cache: Path = field(default_factory=lambda: cache_dir() / "downloads")
    progress: Progress = SILENT
    proxy: str | None = None
    timeout_s: float = 30.0
    wait: Callable[[float], None] = time.sleep

    def fetch(self, wanted: Wanted) -> Path:
        """Return the path of `wanted` in the cache, downloading what is missing of it.

        `IntegrityError` when the mirror's file is not the one that was asked for,
        `DownloadError` when it cannot be had, `StorageError` when the disk is full.
        """
        if not 0 <= wanted.size <= MAX_FILE_BYTES:
            raise IntegrityError(f"{_name(wanted)} has a size of {wanted.size} bytes")
        folder = make_dir(self.cache / "sha256" / wanted.sha256[:2])
        path = folder / wanted.sha256
        if _matches(path, wanted):
            return path
        with locked(folder / f"{wanted.sha256}.lock"):
            if not _matches(path, wanted):
                self._download(wanted, path)
        return path

    def fetch_small(self, url: str, *, limit: int = MAX_SMALL_BYTES) -> bytes:
        """Return the present content of `url`: something signed, whose hash nobody knows yet."""

        def attempt() -> bytes:
            content = bytearray()
            with request(url, proxy=self.proxy, timeout_s=self.timeout_s) as answer:
                for chunk in answer.chunks():
                    content += chunk
                    if len(content) > limit:
                        raise DownloadError(
                            f"{redact(url)} is too large", why=f"more than {limit} bytes"
                        )
            return bytes(content)

        return self._persist(attempt)

    def _download(self, wanted: Wanted, path: Path) -> None:
        part = path.with_name(f"{path.name}.part")
        token = self.progress.start(_name(wanted), wanted.size)
        transfer = Transfer(
            ask=lambda start: request(
                wanted.url, start=start, proxy=self.proxy, timeout_s=self.timeout_s
            ),
            part=part,
            size=wanted.size,
            digest=f"sha256:{wanted.sha256}",
            what=redact(wanted.url),
            show=lambda amount: self.progress.advance(token, amount),
        )
        try:
            self._persist(transfer.run)
        finally:
            self.progress.finish(token)
        with storage_errors("keep a download", path):
            os.replace(part, path)

    def _persist(self, attempt: Callable[[], T]) -> T:
        return persist(attempt, self.wait)


def _matches(path: Path, wanted: Wanted) -> bool:
    """Tell whether the cache has the file; a damaged one counts as missing."""
    try:
        if path.stat().st_size != wanted.size:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == wanted.sha256
    except OSError:
        return False


def _name(wanted: Wanted) -> str:
    return wanted.label or redact(wanted.url).rpartition("/")[2]
