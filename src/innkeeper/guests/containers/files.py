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
from innkeeper.guests.containers import roots
from innkeeper.guests.containers.subids import is_rootless
from innkeeper.images.oci.content import ContentStore
from innkeeper.images.oci.copying import copy_data
from innkeeper.images.oci.mounting import unmount
from innkeeper.images.oci.rootfs import OVERLAY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from innkeeper.guests.containers.records import Record
    from innkeeper.images.oci.changes import Change
    from innkeeper.images.oci.documents import Descriptor
    from innkeeper.images.oci.image import Image
    from innkeeper.images.oci.rootfs import RootfsMount

MAX_DEPTH = 256
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def changes(record: Record) -> list[Change]:
    """Return what a container has changed in its root file system."""
    from innkeeper.images.oci.commit import diff

    return roots.as_root(roots.maps_of(record), lambda: diff(record.folder, ContentStore()))


def commit(
    record: Record, name: str, config: Mapping[str, Any], *, compression: str = "gzip"
) -> Image:
    """Make the image `name` of a container; `config` replaces fields of its configuration."""
    from innkeeper.images.oci import commit as commits
    from innkeeper.images.oci.image import read_image

    def work() -> tuple[str, Descriptor]:
        made = commits.commit(
            record.folder, name, store=ContentStore(), changes=config, compression=compression
        )
        return made.name, made.descriptor

    return read_image(ContentStore(), *roots.as_root(roots.maps_of(record), work))


def copy_out(record: Record, path: str, target: str) -> None:
    """Copy a file or a folder of a container to the host."""

    def work(root: int) -> None:
        source, name = _parent(root, path)
        with _closing(source):
            if os.path.isdir(target):
                folder, new = os.open(target, _DIRECTORY), name
            else:
                folder, new = _host_folder(target)
            with _closing(folder):
                _copy(source, name, folder, new, path)

    _with_root(record, work)


def copy_in(record: Record, source: str, path: str) -> None:
    """Copy a file or a folder of the host into a container; it belongs to the container's root."""

    def work(root: int) -> None:
        from_folder, name = _host_folder(source)
        with _closing(from_folder):
            try:
                folder, new = open_in_root(root, path, _DIRECTORY), name
            except OSError:
                folder, new = _parent(root, path)
            with _closing(folder):
                _copy(from_folder, name, folder, new, source)

    _with_root(record, work)


def _with_root(record: Record, work: Callable[[int], None]) -> None:
    """Call `work` with a container's open root, mounted for as long as this takes if it is not."""
    place, alone = record.folder / "rootfs", record.take()  # alone: nobody attends to it
    try:
        if not is_rootless():
            _with_mounted_root(record, work, mount=alone)
        elif (found := roots.root_of(record)).kind != OVERLAY:
            roots.as_root(roots.maps_of(record), lambda: _with_folder(place, work))
        elif alone:
            _with_private_root(record, found, work)
        else:
            _with_running_root(record, work)
    finally:
        if alone:
            record.release()


def _with_mounted_root(record: Record, work: Callable[[int], None], *, mount: bool) -> None:
    place = record.folder / "rootfs"
    try:
        if mount:
            roots.mount_again(record)
        _with_folder(place, work)
    finally:
        if mount:
            unmount(place)


def _with_private_root(record: Record, found: RootfsMount, work: Callable[[int], None]) -> None:
    """Mount the overlay where only the process that does the work sees it."""

    def inside() -> None:
        roots.mount_here(record.folder, found)
        _with_folder(found.path, work)

    roots.as_root(roots.maps_of(record), inside, mounts=True)


def _with_running_root(record: Record, work: Callable[[int], None]) -> None:
    """Use the mount that the container has: an overlay must not be mounted twice."""
    from innkeeper.guests.containers.control import running
    from innkeeper.guests.containers.inside import call_within, open_root_of

    pid = running(record).pid
    with _closing(open_root_of(pid)) as root:
        call_within(pid, lambda: work(root))


def _with_folder(place: Path, work: Callable[[int], None]) -> None:
    with _closing(os.open(place, _DIRECTORY)) as root:
        work(root)


@contextmanager
def _closing(fd: int) -> Iterator[int]:
    try:
        yield fd
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
