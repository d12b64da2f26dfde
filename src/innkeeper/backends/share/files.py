"""9P2000.L requests on what a fid names: open, create, read, write, list, flush to disk."""

from __future__ import annotations

import errno
import os
import stat

from innkeeper.backends.share import attributes
from innkeeper.backends.share.locks import LAST_OFFSET
from innkeeper.backends.share.session import MODE_BITS, Fid, Session, XattrRead, XattrWrite, join
from innkeeper.backends.share.tree import reopen
from innkeeper.backends.share.wire import IO_HEADER_BYTES, Qid, Reader, pack_text, refuse

MIN_DIRENT_BUFFER = 512  # getdents64 must have room for one entry of the longest name
ACCESS_MASK = 3
# The open flags as 9P2000.L fixes them (the generic Linux numbers), and the host's own. What is not
# here is dropped: creation and O_NOFOLLOW are the server's business, O_DIRECT and O_NONBLOCK the
# client's.
DOTL_EXCL, DOTL_TRUNC = 0o200, 0o1000
_OPEN_FLAGS = {
    DOTL_TRUNC: os.O_TRUNC,
    0o2000: os.O_APPEND,
    0o10000: os.O_DSYNC,
    0o200000: os.O_DIRECTORY,
    0o4000000: os.O_SYNC,
}
_DIRENT_QID = {4: 0x80, 10: 0x02}  # DT_DIR, DT_LNK to the kind in a qid


def lopen(session: Session, request: Reader) -> bytes:
    """Open a fid's file or directory; a host device, FIFO or socket stays shut."""
    fid, flags = session.fid(request.u32()), request.u32()
    if fid.is_open or fid.xattr is not None:
        raise refuse(errno.EBUSY)
    status = fid.status()
    opened = _open_inode(session, fid.fd, status, flags)
    fid.close()
    fid.fd, fid.is_open = opened, True
    return session.tree.qid(fid.status()).pack() + bytes(4)  # iounit 0: as the message size allows


def _open_inode(session: Session, fd: int, status: os.stat_result, flags: int) -> int:
    access = flags & ACCESS_MASK
    if access == ACCESS_MASK:
        raise refuse(errno.EINVAL)
    changes = access != os.O_RDONLY or flags & DOTL_TRUNC
    if changes:
        session.writable()
    if stat.S_ISLNK(status.st_mode):
        raise refuse(errno.ELOOP)
    if stat.S_ISDIR(status.st_mode):
        if changes:
            raise refuse(errno.EISDIR)
    elif not stat.S_ISREG(status.st_mode):
        raise refuse(errno.ENXIO)
    return reopen(fd, _host_flags(flags))


def _host_flags(flags: int) -> int:
    host = flags & ACCESS_MASK
    for bit, flag in _OPEN_FLAGS.items():
        if flags & bit:
            host |= flag
    return host


def lcreate(session: Session, request: Reader) -> bytes:
    """Create a file in a directory fid, which then stands for the file, open."""
    fid = session.directory(request.u32())
    name, flags, mode = request.name(), request.u32(), request.u32() & MODE_BITS
    session.writable()
    if fid.is_open or fid.xattr is not None:
        raise refuse(errno.EBUSY)
    where = join(fid.where, name)
    opened = _create(session, fid, name, flags, mode)
    fid.close()
    fid.fd, fid.is_open, fid.where = opened, True, where
    return session.tree.qid(fid.status()).pack() + bytes(4)


def _create(session: Session, fid: Fid, name: bytes, flags: int, mode: int) -> int:
    """Make the file, or open the one that is there unless the client wants its own."""
    if flags & ACCESS_MASK == ACCESS_MASK:
        raise refuse(errno.EINVAL)
    attributes.refuse_new_privileges(mode, had=0, is_directory=False)
    making = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY
    try:
        fd = os.open(name, _host_flags(flags) | making, mode, dir_fd=fid.fd)
    except FileExistsError:
        if flags & DOTL_EXCL:
            raise
    else:
        return attributes.with_exact_mode(fd, mode)
    there = session.tree.open_child(fid.fd, name)
    try:
        return _open_inode(session, there, os.fstat(there), flags)
    finally:
        os.close(there)


def read(session: Session, request: Reader) -> bytes:
    """Read a file, or an extended attribute, at an offset (read(5))."""
    fid, offset = session.fid(request.u32()), request.u64()
    count = min(request.u32(), session.msize - IO_HEADER_BYTES)
    if offset > LAST_OFFSET:
        raise refuse(errno.EINVAL)
    if isinstance(fid.xattr, XattrRead):
        data = fid.xattr.value[offset : offset + count]
    else:
        data = os.pread(open_fd(fid), count, offset)
    return len(data).to_bytes(4, "little") + data


def write(session: Session, request: Reader) -> bytes:
    """Write a file, or the next bytes of an extended attribute, at an offset (write(5))."""
    fid, offset = session.fid(request.u32()), request.u64()
    data = request.blob(request.u32())
    session.writable()
    if offset + len(data) > LAST_OFFSET:
        raise refuse(errno.EFBIG)
    if isinstance(fid.xattr, XattrWrite):
        written = attributes.write_xattr(fid.xattr, offset, data)
    else:
        written = os.pwrite(open_fd(fid), data, offset)
    return written.to_bytes(4, "little")


def open_fd(fid: Fid) -> int:
    if not fid.is_open or fid.xattr is not None:
        raise refuse(errno.EBADF)
    return fid.fd


def readdir(session: Session, request: Reader) -> bytes:
    """List a directory from an offset: 0, or one that an earlier entry carried."""
    fid, offset = session.directory(request.u32()), request.u64()
    count = min(request.u32(), session.msize - IO_HEADER_BYTES)
    fd = open_fd(fid)
    if offset > LAST_OFFSET:
        raise refuse(errno.EINVAL)
    status = fid.status()
    listed, room = bytearray(), count
    for entry in session.tree.entries(fd, offset, max(count, MIN_DIRENT_BUFFER)):
        # The parent of the root is not the guest's to know about.
        up_from_root = entry.name == b".." and session.tree.is_root(status)
        ino = status.st_ino if up_from_root else entry.ino
        qid = Qid(_DIRENT_QID.get(entry.kind, 0), 0, session.tree.qid_path(status.st_dev, ino))
        record = b"".join(
            (qid.pack(), entry.next_offset.to_bytes(8, "little"), bytes([entry.kind]))
        ) + pack_text(entry.name)
        if len(record) > room:
            if not listed:
                raise refuse(errno.EINVAL)  # not even one fits: an empty answer would mean the end
            break
        listed += record
        room -= len(record)
    return len(listed).to_bytes(4, "little") + bytes(listed)


def fsync(session: Session, request: Reader) -> bytes:
    """Bring a file's data (and attributes, unless only data is asked for) to the disk."""
    fd = open_fd(session.fid(request.u32()))
    if request.u32():
        os.fdatasync(fd)
    else:
        os.fsync(fd)
    return b""


def statfs(session: Session, request: Reader) -> bytes:
    """Describe the host file system that holds a fid; the type says 9P, as Linux knows it."""
    info = os.fstatvfs(session.fid(request.u32()).fd)
    head = (0x0102_1997, info.f_frsize)
    counts = (info.f_blocks, info.f_bfree, info.f_bavail, info.f_files, info.f_ffree, info.f_fsid)
    return b"".join(
        (
            *(number.to_bytes(4, "little") for number in head),
            *((number & LAST_OFFSET).to_bytes(8, "little") for number in counts),
            min(info.f_namemax, 255).to_bytes(4, "little"),
        )
    )
