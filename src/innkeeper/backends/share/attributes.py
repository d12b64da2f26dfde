"""9P2000.L requests on attributes: getattr, setattr and extended attributes.

Privileges are not for a guest to give out on the host: it cannot set the set-user-ID bit, nor the
set-group-ID bit of a file, nor any extended attribute outside `user.` (file capabilities live in
`security.`).
"""

from __future__ import annotations

import errno
import os
import stat
import time

from innkeeper.backends.share.owners import UNCHANGED
from innkeeper.backends.share.session import (
    MAX_XATTR_FIDS,
    MODE_BITS,
    Fid,
    Session,
    XattrRead,
    XattrWrite,
)
from innkeeper.backends.share.tree import reopen
from innkeeper.backends.share.wire import MAX_NAME_BYTES, Reader, refuse

GETATTR_BASIC = 0x7FF  # mode ... blocks; birth time, generation and data version are not kept
SET_MODE, SET_UID, SET_GID, SET_SIZE = 0x1, 0x2, 0x4, 0x8
SET_ATIME, SET_MTIME, SET_ATIME_TO, SET_MTIME_TO = 0x10, 0x20, 0x80, 0x100
NSEC = 1_000_000_000
MAX_XATTR_BYTES = 65536  # XATTR_SIZE_MAX
XATTR_SPACE = b"user."
_U64 = (1 << 64) - 1
Times = tuple[int, int, int, int]


def refuse_new_privileges(mode: int, *, had: int, is_directory: bool) -> None:
    """Refuse set-ID bits that a file does not have yet; set-group-ID on a directory is fine."""
    gained = mode & ~had
    if gained & stat.S_ISUID or (gained & stat.S_ISGID and not is_directory):
        raise refuse(errno.EPERM)


def with_exact_mode(fd: int, mode: int) -> int:
    """Undo the host's umask on a file just created: the client has applied the guest's."""
    try:
        if stat.S_IMODE(os.fstat(fd).st_mode) != mode:
            os.fchmod(fd, mode)
    except OSError:
        os.close(fd)
        raise
    return fd


def getattr_(session: Session, request: Reader) -> bytes:
    """Describe a fid's inode."""
    fid, wanted = session.fid(request.u32()), request.u64()
    status = fid.status()
    owners = (session.owners.shown_uid(status.st_uid), session.owners.shown_gid(status.st_gid))
    words = (status.st_mode, *owners)
    longs = (status.st_nlink, status.st_rdev, status.st_size, status.st_blksize, status.st_blocks)
    stamps = (status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns, 0)
    times = [part for stamp in stamps for part in divmod(stamp, NSEC)]
    return b"".join(
        (
            (wanted & GETATTR_BASIC).to_bytes(8, "little"),
            session.tree.qid(status).pack(),
            *(word.to_bytes(4, "little") for word in words),
            *((long & _U64).to_bytes(8, "little") for long in (*longs, *times, 0, 0)),
        )
    )


def setattr_(session: Session, request: Reader) -> bytes:
    """Change size, owner, mode and times, in the order that lets each take effect."""
    fid, valid, mode = session.fid(request.u32()), request.u32(), request.u32()
    uid, gid, size_bytes = request.u32(), request.u32(), request.u64()
    times = (request.u64(), request.u64(), request.u64(), request.u64())
    session.writable()
    if valid & SET_SIZE:
        _truncate(fid, size_bytes)
    if valid & (SET_UID | SET_GID):
        _chown(session, fid, uid if valid & SET_UID else None, gid if valid & SET_GID else None)
    if valid & SET_MODE:
        _chmod(fid, mode & MODE_BITS)
    if valid & (SET_ATIME | SET_MTIME):
        _set_times(fid, valid, times)
    return b""


def _truncate(fid: Fid, size_bytes: int) -> None:
    mode = fid.status().st_mode
    if stat.S_ISDIR(mode):
        raise refuse(errno.EISDIR)
    if not stat.S_ISREG(mode):
        raise refuse(errno.EINVAL)
    if size_bytes >= 1 << 63:
        raise refuse(errno.EFBIG)
    if fid.is_open:  # an open file may be shortened whatever its mode has become since
        try:
            os.ftruncate(fid.fd, size_bytes)
            return
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EBADF):  # as for one open to be read
                raise
    os.truncate(fid.path, size_bytes)


def _chown(session: Session, fid: Fid, uid: int | None, gid: int | None) -> None:
    status = fid.status()
    new_uid = status.st_uid if uid is None else session.owners.kept_uid(uid)
    new_gid = status.st_gid if gid is None else session.owners.kept_gid(gid)
    if UNCHANGED in (new_uid, new_gid):
        raise refuse(errno.EINVAL)
    if (new_uid, new_gid) != (status.st_uid, status.st_gid):
        os.chown(fid.path, new_uid, new_gid)


def _chmod(fid: Fid, mode: int) -> None:
    now = fid.status().st_mode
    if stat.S_ISLNK(now):
        raise refuse(errno.EOPNOTSUPP)
    refuse_new_privileges(mode, had=now, is_directory=stat.S_ISDIR(now))
    os.chmod(fid.path, mode)


def _set_times(fid: Fid, valid: int, times: Times) -> None:
    to_now = (
        valid & (SET_ATIME | SET_MTIME | SET_ATIME_TO | SET_MTIME_TO)
    ) == SET_ATIME | SET_MTIME
    if to_now:
        os.utime(fid.path)  # who may write a file may do this, even if it is not theirs
        return
    status, now = fid.status(), time.time_ns()
    atime, mtime = status.st_atime_ns, status.st_mtime_ns
    if valid & SET_ATIME:
        atime = _stamp(times[0], times[1]) if valid & SET_ATIME_TO else now
    if valid & SET_MTIME:
        mtime = _stamp(times[2], times[3]) if valid & SET_MTIME_TO else now
    os.utime(fid.path, ns=(atime, mtime))


def _stamp(seconds: int, nanoseconds: int) -> int:
    if nanoseconds >= NSEC:
        raise refuse(errno.EINVAL)
    signed = seconds - (1 << 64) if seconds >> 63 else seconds
    return signed * NSEC + nanoseconds


def _check_xattr_name(name: bytes) -> bytes:
    if not name.startswith(XATTR_SPACE):
        raise refuse(errno.EOPNOTSUPP)
    if b"\0" in name or len(name) == len(XATTR_SPACE):
        raise refuse(errno.EINVAL)
    if len(name) > MAX_NAME_BYTES:
        raise refuse(errno.ERANGE)
    return name


def xattrwalk(session: Session, request: Reader) -> bytes:
    """Bind a new fid to the value of an attribute, or to the list of names if none is given."""
    fid, number, name = session.fid(request.u32()), request.u32(), request.text()
    session.check_new(number)
    _check_room(session)
    if name:
        value = os.getxattr(fid.path, _check_xattr_name(name))
    else:
        names = [os.fsencode(each) for each in os.listxattr(fid.path)]
        value = b"".join(each + b"\0" for each in names if each.startswith(XATTR_SPACE))
    session.put(number, Fid(reopen(fid.fd, os.O_PATH), fid.where, xattr=XattrRead(value)))
    return len(value).to_bytes(8, "little")


def xattrcreate(session: Session, request: Reader) -> bytes:
    """Turn a fid into the place to write an attribute's value; it is set at the clunk."""
    fid, name = session.fid(request.u32()), request.text()
    size_bytes, flags = request.u64(), request.u32()
    session.writable()
    if fid.xattr is not None or fid.is_open:
        raise refuse(errno.EBUSY)
    if size_bytes > MAX_XATTR_BYTES:
        raise refuse(errno.E2BIG)
    if flags not in (0, os.XATTR_CREATE, os.XATTR_REPLACE):
        raise refuse(errno.EINVAL)
    _check_room(session)
    fid.xattr = XattrWrite(_check_xattr_name(name), size_bytes, flags, bytearray())
    return b""


def _check_room(session: Session) -> None:
    if session.xattr_fids() >= MAX_XATTR_FIDS:
        raise refuse(errno.EMFILE)


def write_xattr(xattr: XattrWrite, offset: int, data: memoryview) -> int:
    """Take the next piece of a value; pieces come in order and not beyond the size announced."""
    if offset != len(xattr.value) or offset + len(data) > xattr.size_bytes:
        raise refuse(errno.EINVAL)
    xattr.value += data
    return len(data)


def finish_xattr(fid: Fid, xattr: XattrWrite) -> None:
    """Set the attribute if its value has come whole.

    The protocol has no removal: v9fs asks to replace by nothing, and so nothing is what remains.
    """
    if len(xattr.value) != xattr.size_bytes:
        raise refuse(errno.EINVAL)
    if xattr.size_bytes == 0 and xattr.flags == os.XATTR_REPLACE:
        os.removexattr(fid.path, xattr.name)
    else:
        os.setxattr(fid.path, xattr.name, bytes(xattr.value), xattr.flags)
