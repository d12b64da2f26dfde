"""A 9P2000.L server for one host directory, without I/O of its own: bytes in, bytes out."""

from __future__ import annotations

import errno
import resource
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from innkeeper.backends.share import attributes, fids, files, locking, names
from innkeeper.backends.share.fids import MIN_MSIZE
from innkeeper.backends.share.owners import OwnerMap
from innkeeper.backends.share.session import Session
from innkeeper.backends.share.tree import HostTree
from innkeeper.backends.share.wire import (
    HEADER,
    NO_TAG,
    Reader,
    T,
    pack_error,
    pack_message,
)
from innkeeper.base.errors import UsageError
from innkeeper.base.units import KIB, MIB

DEFAULT_MSIZE = 512 * KIB
MAX_MSIZE = 4 * MIB
MAX_FIDS = 32768
MIN_FIDS = 64

Handler = Callable[[Session, Reader], bytes]
HANDLERS: dict[int, Handler] = {
    T.STATFS: files.statfs,
    T.LOPEN: files.lopen,
    T.LCREATE: files.lcreate,
    T.SYMLINK: names.symlink,
    T.MKNOD: names.mknod,
    T.RENAME: names.rename,
    T.READLINK: names.readlink,
    T.GETATTR: attributes.getattr_,
    T.SETATTR: attributes.setattr_,
    T.XATTRWALK: attributes.xattrwalk,
    T.XATTRCREATE: attributes.xattrcreate,
    T.READDIR: files.readdir,
    T.FSYNC: files.fsync,
    T.LOCK: locking.lock,
    T.GETLOCK: locking.getlock,
    T.LINK: names.link,
    T.MKDIR: names.mkdir,
    T.RENAMEAT: names.renameat,
    T.UNLINKAT: names.unlinkat,
    T.VERSION: fids.version,
    T.AUTH: fids.auth,
    T.ATTACH: fids.attach,
    T.FLUSH: fids.flush,
    T.WALK: fids.walk,
    T.READ: files.read,
    T.WRITE: files.write,
    T.CLUNK: fids.clunk,
    T.REMOVE: fids.remove,
}


class NinePServer:
    """Export `root` to one 9P2000.L client, which is taken to be hostile.

    Nothing outside `root` can be named: symbolic links are handed to the client as text and never
    followed, `..` stops at the root, and only regular files and directories are opened. Everything
    a guest creates belongs to the user that runs Innkeeper, and that user's files look like the
    guest's root's (`owners`). A `read_only` share answers each change with `EROFS`.

    One message at a time: the caller does not call `handle` from two threads at once. Each fid
    holds one host descriptor; `max_fids` defaults to half of what the process may open.
    """

    def __init__(
        self,
        root: Path,
        *,
        read_only: bool = False,
        owners: OwnerMap | None = None,
        msize: int = DEFAULT_MSIZE,
        max_fids: int | None = None,
    ) -> None:
        if not MIN_MSIZE <= msize <= MAX_MSIZE:
            raise UsageError(
                f"9P message size {msize} is out of range",
                fix=f"choose between {MIN_MSIZE} and {MAX_MSIZE} bytes",
            )
        self._session = Session(
            HostTree(root),
            owners or OwnerMap.of_this_process(),
            read_only=read_only,
            max_msize=msize,
            max_fids=_default_max_fids() if max_fids is None else max_fids,
        )

    @property
    def msize(self) -> int:
        """The largest message this server takes or makes, before a smaller one is agreed on."""
        return self._session.max_msize

    @property
    def read_only(self) -> bool:
        """Whether changes are refused."""
        return self._session.read_only

    def handle(self, request: bytes | bytearray | memoryview) -> bytes:
        """Answer one message. Any bytes at all get an answer: what cannot be done is `Rlerror`.

        The reply is never longer than the message size agreed on.
        """
        data = memoryview(request).cast("B")
        if len(data) < HEADER.size:
            return pack_error(NO_TAG, errno.EPROTO)
        size_bytes, kind, tag = HEADER.unpack_from(data)
        if not HEADER.size <= size_bytes <= len(data):
            return pack_error(tag, errno.EPROTO)
        limit = self._session.msize or self._session.max_msize
        if size_bytes > limit:
            return pack_error(tag, errno.EMSGSIZE)
        try:
            body = self._answer(kind, Reader(data[HEADER.size : size_bytes]))
        except OSError as error:
            return pack_error(tag, error.errno or errno.EIO)
        except (ValueError, OverflowError):  # a number or name the host's own call does not take
            return pack_error(tag, errno.EINVAL)
        if HEADER.size + len(body) > limit:
            return pack_error(tag, errno.EMSGSIZE)
        return pack_message(kind + 1, tag, body)

    def _answer(self, kind: int, request: Reader) -> bytes:
        handler = HANDLERS.get(kind)
        if handler is None:
            raise OSError(errno.EOPNOTSUPP, "unknown message")
        if not self._session.msize and kind != T.VERSION:
            raise OSError(errno.EPROTO, "no version agreed on")
        return handler(self._session, request)

    def reset(self) -> None:
        """Forget the client, as when the device is reset."""
        self._session.reset(msize=0)

    def close(self) -> None:
        """Close every host descriptor."""
        self.reset()
        self._session.tree.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _default_max_fids() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MAX_FIDS
    return max(MIN_FIDS, min(MAX_FIDS, soft // 2))
