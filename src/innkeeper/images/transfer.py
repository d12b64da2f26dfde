"""One file on its way to us: resumed where it stopped, and checked while it arrives."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from innkeeper.base.errors import IntegrityError, StorageError
from innkeeper.images.paths import storage_errors
from innkeeper.images.transport import CHUNK_BYTES, Answer, Interrupted, Unsatisfiable

_TRIES = 4
_FIRST_WAIT_S = 0.5
T = TypeVar("T")


def persist(attempt: Callable[[], T], wait: Callable[[float], None]) -> T:
    """Call `attempt` again, after a longer wait each time, when it is `Interrupted`."""
    for number in range(_TRIES - 1):
        try:
            return attempt()
        except Interrupted:
            wait(_FIRST_WAIT_S * 2**number)
    return attempt()


@dataclass
class Transfer:
    """A download into `part`, which outlives us if we are killed.

    `ask` opens the source from a byte on; `digest` is `ALGORITHM:HEX`; `what` names the file in
    errors and `named_by` what promised the digest; `keep_part` says whether a full disk keeps
    what has arrived.
    """

    ask: Callable[[int], AbstractContextManager[Answer]]
    part: Path
    size: int
    digest: str
    what: str
    show: Callable[[int], object]
    keep_part: bool = False
    named_by: str = "the release"
    _shown: int = 0

    def run(self) -> None:
        """Receive the file; `IntegrityError`, `Interrupted` or `StorageError` when it fails."""
        have = self.part.stat().st_size if self.part.exists() else 0
        resumed = 0 < have <= self.size
        try:
            self._receive(have if resumed else 0)
        except (IntegrityError, Unsatisfiable):
            # The kept part may be from another file, or damaged: the whole of it, once more.
            if not resumed:
                raise
            self._receive(0)

    def _receive(self, start: int) -> None:
        digest = hashlib.new(self.digest.partition(":")[0])
        try:
            # Network failures arrive as `InnError`: an `OSError` in here is the host's disk.
            with storage_errors("keep a download", self.part), self._open(start) as file:
                if start and start == self.size:
                    have = _rehash(file, digest.update, start)
                    self._show(have)
                else:
                    have = self._pull(file, digest.update, start)
                file.flush()
                os.fsync(file.fileno())
        except StorageError:
            if not self.keep_part:
                self.part.unlink(missing_ok=True)
            raise
        self._judge(have, digest.hexdigest())

    def _open(self, start: int) -> IO[bytes]:
        return self.part.open("r+b" if start else "w+b")

    def _pull(self, file: IO[bytes], update: Callable[[bytes], object], start: int) -> int:
        """Append what the source sends; return the length reached, at most a chunk too much."""
        with self.ask(start) as answer:
            if answer.start not in (0, start):
                raise Unsatisfiable(f"{self.what} answered with the wrong range")
            have = _rehash(file, update, answer.start)
            file.seek(have)
            file.truncate(have)
            self._show(have)
            for chunk in answer.chunks():
                have += len(chunk)
                if have > self.size:
                    break
                file.write(chunk)
                update(chunk)
                self._show(have)
        return have

    def _judge(self, have: int, found: str) -> None:
        if have < self.size:
            raise Interrupted(
                f"cannot download {self.what}",
                why=f"the connection ended after {have} of {self.size} bytes",
                fix="run it again: what has arrived is kept",
            )
        algorithm, _, wanted = self.digest.partition(":")
        if have > self.size or found != wanted:
            self.part.unlink(missing_ok=True)
            name = "SHA-256" if algorithm == "sha256" else algorithm
            raise IntegrityError(
                f"{self.what} is not the file that {self.named_by} names",
                why=f"its {name} is {found}, not {wanted}"
                if have == self.size
                else f"it is longer than {self.size} bytes",
                fix="try again later: the server may be in the middle of an update",
            )

    def _show(self, have: int) -> None:
        self.show(have - self._shown)
        self._shown = have


def _rehash(file: IO[bytes], update: Callable[[bytes], object], length: int) -> int:
    """Feed the first `length` bytes to `update`; return how many there were."""
    done = 0
    while done < length and (chunk := file.read(min(CHUNK_BYTES, length - done))):
        update(chunk)
        done += len(chunk)
    return done
