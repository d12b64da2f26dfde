"""9P2000.L requests on directory entries: make, link, rename, remove, and read a link."""

from __future__ import annotations

import errno
import os
import stat

from innkeeper.backends.share.attributes import refuse_new_privileges
from innkeeper.backends.share.session import MODE_BITS, Fid, Session, join, split
from innkeeper.backends.share.tree import host_path
from innkeeper.backends.share.wire import Reader, pack_text, refuse

UNLINK_DIRECTORY = 0x200  # P9_DOTL_AT_REMOVEDIR
MAX_LINK_BYTES = 4095  # PATH_MAX without its NUL


def symlink(session: Session, request: Reader) -> bytes:
    """Make a symbolic link; its text is kept as it is and never followed by the host."""
    fid = session.directory(request.u32())
    name, target = request.name(), request.text()
    session.writable()
    if not target or b"\0" in target:
        raise refuse(errno.EINVAL)
    if len(target) > MAX_LINK_BYTES:
        raise refuse(errno.ENAMETOOLONG)
    os.symlink(target, name, dir_fd=fid.fd)
    return _qid_of(session, fid, name)


def readlink(session: Session, request: Reader) -> bytes:
    """Return the text of a symbolic link."""
    fid = session.fid(request.u32())
    if not stat.S_ISLNK(fid.status().st_mode):
        raise refuse(errno.EINVAL)
    return pack_text(os.readlink(b"", dir_fd=fid.fd))


def mknod(session: Session, request: Reader) -> bytes:
    """Make a FIFO, a socket or an empty file. Host device nodes are refused, even to root."""
    fid = session.directory(request.u32())
    name, mode = request.name(), request.u32()
    session.writable()
    kind = stat.S_IFMT(mode) or stat.S_IFREG
    if kind in (stat.S_IFCHR, stat.S_IFBLK):
        raise refuse(errno.EPERM)
    if kind not in (stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK):
        raise refuse(errno.EINVAL)
    refuse_new_privileges(mode, had=0, is_directory=False)
    os.mknod(name, kind | mode & MODE_BITS, dir_fd=fid.fd)
    _apply_mode(session, fid, name, mode & MODE_BITS)
    return _qid_of(session, fid, name)


def mkdir(session: Session, request: Reader) -> bytes:
    """Make a directory."""
    fid = session.directory(request.u32())
    name, mode = request.name(), request.u32() & MODE_BITS
    session.writable()
    refuse_new_privileges(mode, had=0, is_directory=True)
    os.mkdir(name, mode, dir_fd=fid.fd)
    _apply_mode(session, fid, name, mode)
    return _qid_of(session, fid, name)


def _apply_mode(session: Session, fid: Fid, name: bytes, mode: int) -> None:
    """Undo the host's umask on what was just made; a set-group-ID bit it inherited stays."""
    made = session.tree.open_child(fid.fd, name)
    try:
        now = os.fstat(made).st_mode
        if not stat.S_ISLNK(now) and stat.S_IMODE(now) & ~stat.S_ISGID != mode & ~stat.S_ISGID:
            os.chmod(host_path(made), mode | now & stat.S_ISGID)
    finally:
        os.close(made)


def link(session: Session, request: Reader) -> bytes:
    """Give a fid's inode a second name."""
    directory, fid = session.directory(request.u32()), session.fid(request.u32())
    name = request.name()
    session.writable()
    if stat.S_ISDIR(fid.status().st_mode):
        raise refuse(errno.EPERM)
    os.link(fid.path, name, dst_dir_fd=directory.fd)
    return b""


def rename(session: Session, request: Reader) -> bytes:
    """Move what a fid names into a directory under a new name."""
    fid, directory = session.fid(request.u32()), session.directory(request.u32())
    name = request.name()
    session.writable()
    where = join(directory.where, name)
    parent = session.parent_fd(fid)
    try:
        os.rename(split(fid.where)[1], name, src_dir_fd=parent, dst_dir_fd=directory.fd)
    finally:
        os.close(parent)
    session.moved(fid.where, where)
    return b""


def renameat(session: Session, request: Reader) -> bytes:
    """Move an entry of one directory to another."""
    old, old_name = session.directory(request.u32()), request.name()
    new, new_name = session.directory(request.u32()), request.name()
    session.writable()
    source, target = join(old.where, old_name), join(new.where, new_name)
    os.rename(old_name, new_name, src_dir_fd=old.fd, dst_dir_fd=new.fd)
    session.moved(source, target)
    return b""


def unlinkat(session: Session, request: Reader) -> bytes:
    """Remove an entry: a directory if the flag says so, else anything but one."""
    fid, name, flags = session.directory(request.u32()), request.name(), request.u32()
    session.writable()
    if flags & ~UNLINK_DIRECTORY:
        raise refuse(errno.EINVAL)
    remove = os.rmdir if flags else os.unlink
    remove(name, dir_fd=fid.fd)
    return b""


def _qid_of(session: Session, fid: Fid, name: bytes) -> bytes:
    return session.tree.qid(os.stat(name, dir_fd=fid.fd, follow_symlinks=False)).pack()
