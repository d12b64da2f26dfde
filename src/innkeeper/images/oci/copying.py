"""Copying files with all that belongs to them; contents are shared where the host's disk can."""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from innkeeper.images.oci.attributes import OWNER_XATTR, noted_owner, read_xattrs
from innkeeper.images.oci.union import Parts, Union

FICLONE = 0x40049409  # Linux include/uapi/linux/fs.h: _IOW(0x94, 9, int)
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NOT_HERE = (errno.EXDEV, errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.ENOTTY, errno.EPERM)


def copy_data(source: int, target: int) -> None:
    """Copy the content of one open file to another: by reference where possible, holes kept."""
    try:
        fcntl.ioctl(target, FICLONE, source)
        return
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise
    end, offset = os.fstat(source).st_size, 0
    while offset < end:
        try:
            start = os.lseek(source, offset, os.SEEK_DATA)
            offset = os.lseek(source, start, os.SEEK_HOLE)
        except OSError:  # ENXIO: only a hole is left
            break
        os.lseek(target, start, os.SEEK_SET)
        while start < offset:
            count = os.sendfile(target, source, start, min(offset - start, 1 << 30))
            if not count:
                break
            start += count
    os.ftruncate(target, end)


def copy_entry(source: int, target: int, name: str, *, rootless: bool) -> bool:
    """Copy the file `name` (no directory) from one open folder to another.

    False when it is a device that cannot be made without privileges.
    """
    status = os.lstat(name, dir_fd=source)
    times = (status.st_atime_ns, status.st_mtime_ns)
    if stat.S_ISREG(status.st_mode):
        old = os.open(name, _OPEN, dir_fd=source)
        try:
            new = os.open(name, _NEW, 0o600, dir_fd=target)
            try:
                copy_data(old, new)
                copy_attributes(old, new, rootless=rootless)
            finally:
                os.close(new)
        finally:
            os.close(old)
        return True
    if stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
    else:
        try:
            os.mknod(name, status.st_mode, status.st_rdev, dir_fd=target)
        except PermissionError:
            return False
    if not rootless:
        os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=target)
    for key, value in read_xattrs(f"/proc/self/fd/{source}/{name}").items():
        os.setxattr(f"/proc/self/fd/{target}/{name}", key, value, follow_symlinks=False)
    os.utime(name, ns=times, dir_fd=target, follow_symlinks=False)
    return True


def copy_attributes(source: int, target: int, *, rootless: bool) -> None:
    """Copy owner, mode, attributes and times between two open files."""
    status = os.fstat(source)
    if not rootless:
        os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    for name, value in read_xattrs(source).items():
        os.setxattr(target, name, value)
    owner = noted_owner(source)
    if owner is not None:
        os.setxattr(target, OWNER_XATTR, b"%d:%d" % owner)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


class UnionCopy:
    """Copy all that a union shows into an open, empty folder; hard links stay hard links."""

    def __init__(self, union: Union, target: int, *, rootless: bool) -> None:
        self._union, self._root, self._rootless = union, target, rootless
        self._links: dict[tuple[int, int], Parts] = {}

    def run(self) -> None:
        """Copy everything."""
        self._folder((), self._root)

    def _folder(self, parts: Parts, target: int) -> None:
        place = self._union.open(parts)
        assert place is not None
        with place:
            for name in place.names():
                found = place.stat(name)
                assert found is not None
                if stat.S_ISDIR(found[0].st_mode):
                    self._below((*parts, name), target)
                else:
                    source = place.fds[place.levels.index(found[1])]
                    self._file((*parts, name), found[0], source, target)
            copy_attributes(place.fds[0], target, rootless=self._rootless)

    def _below(self, parts: Parts, target: int) -> None:
        os.mkdir(parts[-1], 0o700, dir_fd=target)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        inner = os.open(parts[-1], flags, dir_fd=target)
        try:
            self._folder(parts, inner)
        finally:
            os.close(inner)

    def _file(self, parts: Parts, status: os.stat_result, source: int, target: int) -> None:
        key, name = (status.st_dev, status.st_ino), parts[-1]
        first = self._links.get(key)
        if first is not None:
            # The copy is ours alone until it is done: no name on this way is a link.
            os.link("/".join(first), name, src_dir_fd=self._root, dst_dir_fd=target,
                    follow_symlinks=False)  # fmt: skip
        elif copy_entry(source, target, name, rootless=self._rootless) and status.st_nlink > 1:
            self._links[key] = parts
