"""What a 9P server remembers between messages: the size agreed on, the fids, the locks."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass

from innkeeper.backends.share.locks import LockTable
from innkeeper.backends.share.owners import OwnerMap
from innkeeper.backends.share.tree import HostTree, host_path
from innkeeper.backends.share.wire import NO_FID, check_name, refuse

MAX_XATTR_FIDS = 64  # each may hold XATTR_SIZE_MAX bytes
MODE_BITS = 0o7777
MAX_PATH_BYTES = 4095  # PATH_MAX without its NUL
LOST = b"\0"  # in place of a path that has grown too long to remember


def join(where: bytes, name: bytes) -> bytes:
    """Return the path of an entry below the root; `ENAMETOOLONG` past what a path may be."""
    path = where + b"/" + name if where else name
    if len(path) > MAX_PATH_BYTES:
        raise refuse(errno.ENAMETOOLONG)
    return path


def split(where: bytes) -> tuple[bytes, bytes]:
    """Return the path of the directory above and the name in it; the root is above itself."""
    if where == LOST:
        raise refuse(errno.ESTALE)
    above, _, name = where.rpartition(b"/")
    return above, name


@dataclass(slots=True)
class XattrRead:
    """The value of an attribute (or the list of names) that a fid gives out."""

    value: bytes


@dataclass(slots=True)
class XattrWrite:
    """An attribute being written through a fid; it is set when the fid is clunked."""

    name: bytes
    size_bytes: int
    flags: int
    value: bytearray


@dataclass(slots=True)
class Fid:
    """A client's handle on one inode.

    `fd` pins the inode: a path descriptor, or the open file once `is_open`. `where` is the
    path it was found by below the root (empty: the root); it is a hint, checked against the inode
    whenever it is used.
    """

    fd: int
    where: bytes
    is_open: bool = False
    xattr: XattrRead | XattrWrite | None = None

    @property
    def path(self) -> str:
        """A host path that leads to this inode and no other."""
        return host_path(self.fd)

    def status(self) -> os.stat_result:
        """Return the inode's attributes now."""
        return os.fstat(self.fd)

    def close(self) -> None:
        """Let go of the inode."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Session:
    """The state of one connection; `max_fids` bounds the host descriptors it can hold."""

    def __init__(
        self, tree: HostTree, owners: OwnerMap, *, read_only: bool, max_msize: int, max_fids: int
    ) -> None:
        self.tree = tree
        self.owners = owners
        self.read_only = read_only
        self.max_msize = max_msize
        self.max_fids = max_fids
        self.msize = 0  # none agreed on yet
        self.locks = LockTable()
        self._fids: dict[int, Fid] = {}

    def reset(self, *, msize: int) -> None:
        """Forget every fid and lock, as a Tversion asks (version(5))."""
        for fid in self._fids.values():
            fid.close()
        self._fids.clear()
        self.locks.clear()
        self.msize = msize

    def fid(self, number: int) -> Fid:
        """Return a fid that is in use; `EBADF` if it is not."""
        try:
            return self._fids[number]
        except KeyError:
            raise refuse(errno.EBADF) from None

    def directory(self, number: int) -> Fid:
        """Return a fid that names a directory; `ENOTDIR` if it names something else."""
        fid = self.fid(number)
        if not stat.S_ISDIR(fid.status().st_mode):
            raise refuse(errno.ENOTDIR)
        return fid

    def writable(self) -> None:
        """Refuse a change to a share that is read-only."""
        if self.read_only:
            raise refuse(errno.EROFS)

    def check_new(self, number: int) -> None:
        """Refuse a number that is taken, and more fids than the bound."""
        if number == NO_FID or number in self._fids:
            raise refuse(errno.EINVAL)
        if len(self._fids) >= self.max_fids:
            raise refuse(errno.EMFILE)

    def put(self, number: int, fid: Fid) -> None:
        """Bind a number to a fid, closing what it was bound to."""
        old = self._fids.get(number)
        self._fids[number] = fid
        if old is not None and old is not fid:
            old.close()

    def drop(self, number: int) -> None:
        """Unbind a number and close its fid."""
        self._fids.pop(number).close()
        self.locks.drop_fid(number)

    def xattr_fids(self) -> int:
        """Count the fids that hold an extended attribute."""
        return sum(fid.xattr is not None for fid in self._fids.values())

    def moved(self, old: bytes, new: bytes) -> None:
        """Correct what fids remember after a rename of `old` to `new`."""
        below = old + b"/"
        for fid in self._fids.values():
            if fid.where == old or fid.where.startswith(below):
                path = new + fid.where[len(old) :]
                fid.where = path if len(path) <= MAX_PATH_BYTES else LOST

    def parent_fd(self, fid: Fid) -> int:
        """Open the directory that still holds this fid under the name it was found by.

        `EBUSY` for the root, `ESTALE` if the name now stands for something else. The caller closes
        it.
        """
        above, name = split(fid.where)
        if not name:
            raise refuse(errno.EBUSY)
        parent = self.tree.open_directory(above)
        try:
            found = os.stat(check_name(name), dir_fd=parent, follow_symlinks=False)
            if not os.path.samestat(found, fid.status()):
                raise refuse(errno.ESTALE)
        except OSError:
            os.close(parent)
            raise
        return parent
