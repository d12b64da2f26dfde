"""9P2000.L requests that begin and end: the version, the root, walks, and the life of a fid."""

from __future__ import annotations

import errno
import os
import stat

from innkeeper.backends.share import attributes
from innkeeper.backends.share.session import Fid, Session, XattrWrite, join, split
from innkeeper.backends.share.tree import reopen
from innkeeper.backends.share.wire import (
    MAX_WALK_NAMES,
    NO_FID,
    VERSION,
    Qid,
    Reader,
    pack_text,
    refuse,
)

MIN_MSIZE = 4096


def version(session: Session, request: Reader) -> bytes:
    """Agree on the message size and the dialect; every fid is gone afterwards (version(5))."""
    msize = min(request.u32(), session.max_msize)
    name = request.text()
    known = name == VERSION and msize >= MIN_MSIZE
    session.reset(msize=msize if known else 0)
    return msize.to_bytes(4, "little") + pack_text(VERSION if known else b"unknown")


def auth(session: Session, request: Reader) -> bytes:
    """Refuse: no authentication is needed (attach(5))."""
    raise refuse(errno.EOPNOTSUPP)


def attach(session: Session, request: Reader) -> bytes:
    """Bind a fid to the root, which is the only tree there is."""
    number, auth_fid = request.u32(), request.u32()
    request.text()  # uname: the host user stands for everybody
    tree_name = request.text()
    if auth_fid != NO_FID:
        raise refuse(errno.EINVAL)
    if tree_name not in (b"", b"/"):
        raise refuse(errno.ENOENT)
    session.check_new(number)
    fid = Fid(session.tree.open_directory(b""), b"")
    session.put(number, fid)
    return session.tree.qid(fid.status()).pack()


def flush(session: Session, request: Reader) -> bytes:
    """Do nothing: each request is answered before the next is read (flush(5))."""
    request.u16()
    return b""


def walk(session: Session, request: Reader) -> bytes:
    """Follow names from a fid; the new fid is bound only if each was found (walk(5))."""
    fid, number = session.fid(old := request.u32()), request.u32()
    count = request.u16()
    if count > MAX_WALK_NAMES:
        raise refuse(errno.EINVAL)
    names = [request.text() for _ in range(count)]
    if number != old:
        session.check_new(number)
    elif fid.is_open or fid.xattr is not None:
        raise refuse(errno.EBUSY)
    found, qids, whole = _follow(session, fid, names)
    if whole:
        session.put(number, found)
    else:
        found.close()
    return len(qids).to_bytes(2, "little") + b"".join(qid.pack() for qid in qids)


def _follow(session: Session, fid: Fid, names: list[bytes]) -> tuple[Fid, list[Qid], bool]:
    """Walk names one by one. An error at the first is raised, at a later one ends the walk."""
    at = Fid(reopen(fid.fd, os.O_PATH), fid.where)
    qids: list[Qid] = []
    for name in names:
        try:
            fd, where = _step(session, at, name)
        except OSError:
            if qids:
                return at, qids, False
            at.close()
            raise
        at.close()
        at = Fid(fd, where)
        qids.append(session.tree.qid(at.status()))
    return at, qids, True


def _step(session: Session, at: Fid, name: bytes) -> tuple[int, bytes]:
    if name != b"..":
        where = join(at.where, name)
        return session.tree.open_child(at.fd, name), where
    if not stat.S_ISDIR(at.status().st_mode):
        raise refuse(errno.ENOTDIR)
    above, _ = split(at.where)
    return session.tree.open_directory(above), above


def clunk(session: Session, request: Reader) -> bytes:
    """Forget a fid, even if setting the attribute written through it fails (clunk(5))."""
    fid = session.fid(number := request.u32())
    try:
        if isinstance(fid.xattr, XattrWrite):
            attributes.finish_xattr(fid, fid.xattr)
    finally:
        session.drop(number)
    return b""


def remove(session: Session, request: Reader) -> bytes:
    """Remove what a fid names, and forget the fid even if that fails (remove(5))."""
    fid = session.fid(number := request.u32())
    try:
        session.writable()
        parent = session.parent_fd(fid)
        try:
            unlink = os.rmdir if stat.S_ISDIR(fid.status().st_mode) else os.unlink
            unlink(split(fid.where)[1], dir_fd=parent)
        finally:
            os.close(parent)
    finally:
        session.drop(number)
    return b""
