"""A container's files from outside: changes, a new image, copies.

The container may run and be hostile meanwhile: its paths are resolved inside its root by the kernel
(openat2(2) RESOLVE_IN_ROOT), and below that name by name, following no link.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from innkeeper.base.errors import NotFoundError, StorageError, UsageError
from innkeeper.containers.kernel import open_in_root
from innkeeper.images.oci.content import ContentStore
from innkeeper.images.oci.copying import copy_data
from innkeeper.images.oci.mounting import unmount
from innkeeper.images.oci.rootfs import remount_rootfs

if TYPE_CHECKING:
    from innkeeper.guests.containers.records import Record
    from innkeeper.images.oci.changes import Change
    from innkeeper.images.oci.image import Image

MAX_DEPTH = 256
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def changes(record: Record) -> list[Change]:
    """Return what a container has changed in its root file system."""
    from innkeeper.images.oci.commit import diff

    return diff(record.folder, ContentStore())


def commit(record: Record, name: str, config: Mapping[str, Any]) -> Image:
    """Make the image `name` of a container; `config` replaces fields of its configuration."""
    from innkeeper.images.oci import commit as commits

    return commits.commit(record.folder, name, store=ContentStore(), changes=config)


def copy_out(record: Record, path: str, target: str) -> None:
    """Copy a file or a folder of a container to the host."""
    with _root(record) as root:
        source, name = _parent(root, path)
        try:
            if os.path.isdir(target):
                folder, new = os.open(target, _DIRECTORY), name
            else:
                folder, new = _host_folder(target)
            with _closing(folder):
                _copy(source, name, folder, new, path)
        finally:
            os.close(source)


def copy_in(record: Record, source: str, path: str) -> None:
    """Copy a file or a folder of the host into a container; it belongs to the container's root."""
    from_folder, name = _host_folder(source)
    with _closing(from_folder), _root(record) as root:
        try:
            folder, new = open_in_root(root, path, _DIRECTORY), name
        except OSError:
            folder, new = _parent(root, path)
        with _closing(folder):
            _copy(from_folder, name, folder, new, source)


@contextmanager
def _root(record: Record) -> Iterator[int]:
    """Open a container's root, mounted for as long as this takes when it does not run."""
    place = record.folder / "rootfs"
    mounts = record.take()  # nobody attends to it
    try:
        if mounts:
            remount_rootfs(record.folder, ContentStore())
        root = os.open(place, _DIRECTORY)
        with _closing(root):
            yield root
    finally:
        if mounts:
            unmount(place)
            record.release()


@contextmanager
def _closing(fd: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(fd)


def _parent(root: int, path: str) -> tuple[int, str]:
    head, _, name = path.rstrip("/").rpartition("/")
    if name in ("", ".", ".."):
        raise UsageError(f"{path!r} does not name a file", fix="end it with a name")
    try:
        return open_in_root(root, head or "/", _DIRECTORY), name
    except OSError as error:
        raise NotFoundError(f"{path} in the container", why=error.strerror or "") from None


def _host_folder(path: str) -> tuple[int, str]:
    head, name = os.path.split(os.path.abspath(path))
    try:
        return os.open(head, _DIRECTORY), name
    except OSError as error:
        raise NotFoundError(path, why=error.strerror or "") from None


def _copy(source: int, name: str, target: int, new: str, shown: str, depth: int = 0) -> None:
    """Copy one name from an open folder to another, with its mode."""
    if depth > MAX_DEPTH:
        raise StorageError(f"{shown} is nested too deeply", why=f"more than {MAX_DEPTH} folders")
    try:
        status = os.stat(name, dir_fd=source, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            _copy_folder(source, name, target, new, shown, depth)
        elif stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), new, dir_fd=target)
        elif stat.S_ISREG(status.st_mode):
            _copy_file(source, name, target, new)
        else:
            raise StorageError(f"{shown}/{name} is not copied", why="it is no file, folder or link")
    except FileNotFoundError as error:
        raise NotFoundError(shown, why=error.strerror or "") from None
    except OSError as error:
        raise StorageError(f"cannot copy {shown}", why=f"{name}: {error.strerror}") from None


def _copy_folder(source: int, name: str, target: int, new: str, shown: str, depth: int) -> None:
    opened = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=source)
    with _closing(opened):
        if not _is_folder(target, new):
            os.mkdir(new, stat.S_IMODE(os.fstat(opened).st_mode) & 0o777, dir_fd=target)
        made = os.open(new, _DIRECTORY | os.O_NOFOLLOW, dir_fd=target)
        with _closing(made):
            for each in sorted(os.listdir(opened)):
                _copy(opened, each, made, each, shown, depth + 1)


def _is_folder(folder: int, name: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _copy_file(source: int, name: str, target: int, new: str) -> None:
    quietly = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    opened = os.open(name, quietly, dir_fd=source)
    with _closing(opened):
        status = os.fstat(opened)
        if not stat.S_ISREG(status.st_mode):  # swapped meanwhile
            raise StorageError(f"{name} is not copied", why="it is no file any more")
        # Never through a link: a new file takes the name's place (and no set-user-id bit).
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            made = os.open(new, flags, 0o600, dir_fd=target)
        except FileExistsError:
            os.unlink(new, dir_fd=target)
            made = os.open(new, flags, 0o600, dir_fd=target)
        with _closing(made):
            copy_data(opened, made)
            os.fchmod(made, stat.S_IMODE(status.st_mode) & 0o777)
