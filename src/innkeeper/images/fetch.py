"""Downloads that resume, are checked while they arrive, and are kept by content hash."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TypeVar

from innkeeper.base.errors import DownloadError, IntegrityError, StorageError
from innkeeper.images.locks import locked
from innkeeper.images.mirror import redact
from innkeeper.images.paths import cache_dir, make_dir, storage_errors
from innkeeper.images.progress import SILENT, Progress, Silent
from innkeeper.images.transport import (
    CHUNK_BYTES,
    Interrupted,
    NotOnMirror,
    Unsatisfiable,
    request,
)

__all__ = ["Fetcher", "NotOnMirror", "Progress", "Silent", "Wanted"]

MAX_FILE_BYTES = 4 << 30
MAX_SMALL_BYTES = 16 << 20
_TRIES = 4
_FIRST_WAIT_S = 0.5
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
        transfer = _Transfer(self, wanted, part, token)
        try:
            self._persist(transfer.run)
        finally:
            self.progress.finish(token)
        with storage_errors("keep a download", path):
            os.replace(part, path)

    def _persist(self, attempt: Callable[[], T]) -> T:
        for number in range(_TRIES - 1):
            try:
                return attempt()
            except Interrupted:
                self.wait(_FIRST_WAIT_S * 2**number)
        return attempt()


@dataclass
class _Transfer:
    """One file on its way into its `.part`, which outlives us if we are killed."""

    fetcher: Fetcher
    wanted: Wanted
    part: Path
    token: int
    _shown: int = 0

    def run(self) -> None:
        have = self.part.stat().st_size if self.part.exists() else 0
        resumed = 0 < have <= self.wanted.size
        try:
            self._receive(have if resumed else 0)
        except (IntegrityError, Unsatisfiable):
            # The kept part may be from another file, or damaged: the whole of it, once more.
            if not resumed:
                raise
            self._receive(0)

    def _receive(self, start: int) -> None:
        wanted, digest = self.wanted, hashlib.sha256()
        try:
            # Network failures arrive as `InnError`: an `OSError` in here is the host's disk.
            with storage_errors("keep a download", self.part), self._open(start) as file:
                if start and start == wanted.size:
                    have = _rehash(file, digest.update, start)
                    self._show(have)
                else:
                    have = self._pull(file, digest.update, start)
                file.flush()
                os.fsync(file.fileno())
        except StorageError:
            self.part.unlink(missing_ok=True)
            raise
        self._judge(have, digest.hexdigest())

    def _open(self, start: int) -> IO[bytes]:
        return self.part.open("r+b" if start else "w+b")

    def _pull(self, file: IO[bytes], update: Callable[[bytes], object], start: int) -> int:
        """Append what the mirror sends; return the length reached, at most a chunk too much."""
        url, fetcher = self.wanted.url, self.fetcher
        with request(url, start=start, proxy=fetcher.proxy, timeout_s=fetcher.timeout_s) as answer:
            if answer.start not in (0, start):
                raise Unsatisfiable(f"{redact(url)} answered with the wrong range")
            have = _rehash(file, update, answer.start)
            file.seek(have)
            file.truncate(have)
            self._show(have)
            for chunk in answer.chunks():
                have += len(chunk)
                if have > self.wanted.size:
                    break
                file.write(chunk)
                update(chunk)
                self._show(have)
        return have

    def _judge(self, have: int, sha256: str) -> None:
        wanted = self.wanted
        if have < wanted.size:
            raise Interrupted(
                f"cannot download {redact(wanted.url)}",
                why=f"the connection ended after {have} of {wanted.size} bytes",
                fix="run it again: what has arrived is kept",
            )
        if have > wanted.size or sha256 != wanted.sha256:
            self.part.unlink(missing_ok=True)
            raise IntegrityError(
                f"{redact(wanted.url)} is not the file that the release names",
                why=f"its SHA-256 is {sha256}, not {wanted.sha256}"
                if have == wanted.size
                else f"it is longer than {wanted.size} bytes",
                fix="try again later: the mirror may be in the middle of an update",
            )

    def _show(self, have: int) -> None:
        self.fetcher.progress.advance(self.token, have - self._shown)
        self._shown = have


def _rehash(file: IO[bytes], update: Callable[[bytes], object], length: int) -> int:
    """Feed the first `length` bytes to `update`; return how many there were."""
    done = 0
    while done < length and (chunk := file.read(min(CHUNK_BYTES, length - done))):
        update(chunk)
        done += len(chunk)
    return done


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
