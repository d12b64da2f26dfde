"""9P2000.L requests on record locks: lock and getlock."""

from __future__ import annotations

import errno
import os

from innkeeper.backends.share.files import open_fd
from innkeeper.backends.share.locks import LAST_OFFSET, UNLOCK, make_lock
from innkeeper.backends.share.session import Session
from innkeeper.backends.share.wire import Reader, pack_text, refuse

MAX_CLIENT_ID_BYTES = 255
LOCK_SUCCESS, LOCK_BLOCKED = 0, 1


def _owner(request: Reader) -> tuple[bytes, int]:
    process, client = request.u32(), request.text()
    if len(client) > MAX_CLIENT_ID_BYTES:
        raise refuse(errno.ENAMETOOLONG)
    return client, process


def lock(session: Session, request: Reader) -> bytes:
    """Take or give back a record lock; the client asks again while the answer is "blocked"."""
    fid = session.fid(number := request.u32())
    kind = request.u8()
    request.u32()  # flags: blocking is done by the client
    start, length = request.u64(), request.u64()
    wanted = make_lock(kind, start=start, length=length, owner=_owner(request), fid=number)
    status = os.fstat(open_fd(fid))
    granted = session.locks.apply((status.st_dev, status.st_ino), wanted)
    return bytes([LOCK_SUCCESS if granted else LOCK_BLOCKED])


def getlock(session: Session, request: Reader) -> bytes:
    """Say who would keep a lock from being granted, or that nobody would."""
    fid = session.fid(number := request.u32())
    kind, start, length = request.u8(), request.u64(), request.u64()
    wanted = make_lock(kind, start=start, length=length, owner=_owner(request), fid=number)
    status = os.fstat(open_fd(fid))
    held = session.locks.conflict((status.st_dev, status.st_ino), wanted)
    if held is None:
        kind, owner = UNLOCK, wanted.owner
    else:
        kind, start, owner = held.kind, held.start, held.owner
        length = 0 if held.last == LAST_OFFSET else held.last - held.start + 1
    head = bytes([kind]) + start.to_bytes(8, "little") + length.to_bytes(8, "little")
    return head + owner[1].to_bytes(4, "little") + pack_text(owner[0])
