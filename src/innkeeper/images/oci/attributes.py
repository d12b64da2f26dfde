"""Owners, modes, times and extended attributes of files that a layer brings.

As root everything is set as the layer says. Without privileges files belong to the user, and who
they should belong to is kept in `user.innkeeper.owner`, so that a commit gives it back.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from innkeeper.base.record import record

if TYPE_CHECKING:
    from innkeeper.images.tarsafe import Entry

OWNER_XATTR = "user.innkeeper.owner"
MAX_XATTR_BYTES = 64 << 10
# overlayfs obeys its own attributes: one from an archive could point a file elsewhere.
_REFUSED = ("trusted.", "user.overlay.", "security.selinux", "security.ima", "security.evm")
_KEPT = ("user.", "security.capability", "system.posix_acl_")
_CANNOT = (errno.ENOTSUP, errno.EPERM, errno.EINVAL, errno.ENODATA)


def kept_xattr(name: str) -> bool:
    """Tell whether an extended attribute travels with an image."""
    return name.startswith(_KEPT) and not name.startswith(_REFUSED) and name != OWNER_XATTR


@record
class Owners:
    """Who unpacked files belong to; `rootless` when nothing can be given to others."""

    rootless: bool

    def set_open(self, fd: int, entry: Entry) -> None:
        """Set all attributes of an open file or directory."""
        if self.rootless:
            self._note(fd, entry)
        else:
            self._own(fd, entry)
        os.fchmod(fd, entry.mode)  # after chown, which clears set-user-ID
        self._xattrs(fd, entry, follow=True)
        os.utime(fd, (entry.mtime, entry.mtime))

    def set_named(self, folder: int, name: str, entry: Entry, *, link: bool) -> None:
        """Set all attributes of a file that cannot be opened: a link, a device, a pipe."""
        if not self.rootless:
            with suppress_unmapped():
                os.chown(name, entry.uid, entry.gid, dir_fd=folder, follow_symlinks=False)
        if not link:
            os.chmod(name, entry.mode, dir_fd=folder)
        self._xattrs(f"/proc/self/fd/{folder}/{name}", entry, follow=False)
        times = (entry.mtime, entry.mtime)
        os.utime(name, times, dir_fd=folder, follow_symlinks=False)

    def _own(self, fd: int, entry: Entry) -> None:
        try:
            os.fchown(fd, entry.uid, entry.gid)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            self._note(fd, entry)  # an id that this user namespace has not

    def _note(self, fd: int, entry: Entry) -> None:
        if (entry.uid, entry.gid) != (0, 0):
            _set(fd, OWNER_XATTR, f"{entry.uid}:{entry.gid}".encode(), follow=True)

    def _xattrs(self, target: int | str, entry: Entry, *, follow: bool) -> None:
        for name, value in entry.xattrs.items():
            if kept_xattr(name) and len(value) <= MAX_XATTR_BYTES:
                _set(target, name, value, follow=follow)


@contextmanager
def suppress_unmapped() -> Iterator[None]:
    """Let pass that a user namespace has not the owner's id."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise


def _set(target: int | str, name: str, value: bytes, *, follow: bool) -> None:
    """Set an attribute where the file system and our privileges allow it."""
    try:
        if follow:
            os.setxattr(target, name, value)
        else:
            os.setxattr(target, name, value, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise


def read_xattrs(path: int | str) -> dict[str, bytes]:
    """Return the attributes of a file that travel with an image; a link is not followed."""
    follow = isinstance(path, int)
    try:
        names = os.listxattr(path) if follow else os.listxattr(path, follow_symlinks=False)
        wanted = sorted(filter(kept_xattr, names))
        if follow:
            return {name: os.getxattr(path, name) for name in wanted}
        return {name: os.getxattr(path, name, follow_symlinks=False) for name in wanted}
    except OSError as error:
        if error.errno in _CANNOT:
            return {}
        raise


def noted_owner(path: int | str) -> tuple[int, int] | None:
    """Return the owner that a rootless unpacking noted down, or None."""
    try:
        if isinstance(path, int):
            value = os.getxattr(path, OWNER_XATTR)
        else:
            value = os.getxattr(path, OWNER_XATTR, follow_symlinks=False)
    except OSError:
        return None
    uid, _, gid = value.partition(b":")
    if uid.isdigit() and gid.isdigit() and len(uid) < 11 and len(gid) < 11:
        return int(uid), int(gid)
    return None
