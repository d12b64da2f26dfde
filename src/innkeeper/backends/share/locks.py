"""POSIX record locks between the clients of one share (9P2000.L Tlock and Tgetlock).

The table is the server's own: it arbitrates between the mounts and processes of the guest that
this server serves. Host processes and other guests on the same directory are not seen.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from dataclasses import dataclass, replace

from innkeeper.backends.share.wire import refuse

READ_LOCK, WRITE_LOCK, UNLOCK = 0, 1, 2
MAX_LOCKS = 4096
LAST_OFFSET = (1 << 63) - 1
File = tuple[int, int]  # device, inode


@dataclass(frozen=True, slots=True)
class Lock:
    """One locked range; `last` is inclusive. `owner` is the client's name and process number."""

    kind: int
    start: int
    last: int
    owner: tuple[bytes, int]
    fid: int

    def overlaps(self, other: Lock) -> bool:
        """Tell whether the two share a byte."""
        return self.start <= other.last and other.start <= self.last


def make_lock(kind: int, *, start: int, length: int, owner: tuple[bytes, int], fid: int) -> Lock:
    """Check a guest's range (length 0 reaches the end of any file) and make a lock of it."""
    if kind not in (READ_LOCK, WRITE_LOCK, UNLOCK) or start > LAST_OFFSET:
        raise refuse(errno.EINVAL)
    last = LAST_OFFSET if length == 0 else start + length - 1
    if last > LAST_OFFSET:
        raise refuse(errno.EOVERFLOW)
    return Lock(kind, start, last, owner, fid)


class LockTable:
    """All locks held, by file."""

    def __init__(self) -> None:
        self._held: dict[File, list[Lock]] = {}
        self._count = 0

    def conflict(self, file: File, wanted: Lock) -> Lock | None:
        """Return a lock of somebody else's that keeps `wanted` from being granted."""
        for held in self._held.get(file, ()):
            exclusive = WRITE_LOCK in (held.kind, wanted.kind)
            if exclusive and held.owner != wanted.owner and held.overlaps(wanted):
                return held
        return None

    def apply(self, file: File, wanted: Lock) -> bool:
        """Lock or unlock a range, replacing what the owner held there; False if somebody has it."""
        if wanted.kind != UNLOCK and self.conflict(file, wanted) is not None:
            return False
        kept = [rest for held in self._held.get(file, ()) for rest in _without(held, wanted)]
        if wanted.kind != UNLOCK:
            kept.append(wanted)
        grown = self._count + len(kept) - len(self._held.get(file, ()))
        if grown > MAX_LOCKS and grown > self._count:
            raise refuse(errno.ENOLCK)
        self._replace(file, kept)
        return True

    def drop_fid(self, fid: int) -> None:
        """Release what was locked through a fid that is gone."""
        for file in list(self._held) if self._count else ():
            self._replace(file, [held for held in self._held[file] if held.fid != fid])

    def clear(self) -> None:
        """Release everything."""
        self._held.clear()
        self._count = 0

    def _replace(self, file: File, locks: list[Lock]) -> None:
        self._count += len(locks) - len(self._held.pop(file, ()))
        if locks:
            self._held[file] = locks


def _without(held: Lock, wanted: Lock) -> Iterator[Lock]:
    """Yield what is left of `held` once its owner has asked for `wanted`."""
    if held.owner != wanted.owner or not held.overlaps(wanted):
        yield held
        return
    if held.start < wanted.start:
        yield replace(held, last=wanted.start - 1)
    if held.last > wanted.last:
        yield replace(held, start=wanted.last + 1)
