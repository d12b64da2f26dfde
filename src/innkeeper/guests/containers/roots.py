"""A container's root file system: made for it, mounted where it runs, looked at from outside.

Root mounts the overlay on the host. Without privileges only the root of the container's own user
namespace may (Linux 5.11, overlayfs.rst "User xattr"), so its first process does it, in its mount
namespace: there is no mount on the host, and none to be left behind. Where that does not work the
layers are copied.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeVar

from innkeeper.base.errors import InnError, NotFoundError
from innkeeper.guests.containers.records import Record, read_json
from innkeeper.guests.containers.subids import (
    IdMaps,
    is_rootless,
    own_maps,
    read_maps,
)
from innkeeper.images.oci.ready import find_ready
from innkeeper.images.oci.removal import remove_tree
from innkeeper.images.oci.rootfs import (
    OVERLAY,
    RootfsMount,
    open_rootfs,
    prepare_rootfs,
    remount_rootfs,
)
from innkeeper.images.paths import data_dir

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from innkeeper.guests.containers.request import ContainerRequest
    from innkeeper.images.oci.image import Image
    from innkeeper.images.oci.ready import ReadyImage
    from innkeeper.images.progress import Progress

    ShowProgress = Callable[[], AbstractContextManager[Progress]]

T = TypeVar("T")
TRIAL = "trial"
_GO_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}  # as images/oci/platforms.py has them
_BUILT = ("busybox", "debian")


def make_root(
    request: ContainerRequest, record: Record, show: ShowProgress, given: Image | None = None
) -> tuple[Image | ReadyImage, RootfsMount]:
    """Return the image for this host and its root; progress is shown of what takes long.

    `given` is the image, when the request's name does not lead to it.
    """
    machine, rootless = os.uname().machine, is_rootless()
    mapped = rootless and own_maps().several
    arch = _GO_NAMES.get(machine, machine)
    ready = None
    if given is None:
        ready = find_ready(request.image, arch=arch, rootless=rootless, mapped=mapped)
    image: Image | ReadyImage
    if given is not None or ready is not None:
        image = given or ready  # type: ignore[assignment]
    else:
        with show() as progress:
            image = _find_or_build(request.image, progress)
    if rootless:
        return image, _make_rootless(image, record.folder, None if ready else show)
    volatile = not request.keep
    return image, _prepare(image, record.folder, None if ready else show, volatile=volatile)


def mounter(record: Record) -> Callable[[], None] | None:
    """Return what mounts the root in the namespaces of its container, or None when nothing is to.

    What is written to a container that is not kept need not outlast it.
    """
    if not is_rootless():
        return None
    found = root_of(record)
    if found.kind != OVERLAY:
        return None
    return lambda: mount_here(record.folder, found, volatile=not record.data.get("keep"))


def mount_here(folder: Path, found: RootfsMount, *, volatile: bool = False) -> None:
    """Mount a rootless overlay in the mount namespace of this process."""
    from innkeeper.images.oci.mounting import mount_overlay

    assert found.upper is not None and found.work is not None
    lower = found.lower or (folder / "empty",)
    mount_overlay(lower, found.upper, found.work, found.path, user=True, volatile=volatile)


def mount_again(record: Record) -> None:
    """Mount what is mounted on the host, for a container that is to be started once more."""
    if not is_rootless():
        from innkeeper.images.oci.content import ContentStore

        remount_rootfs(record.folder, ContentStore())


def shown(found: RootfsMount) -> list[Path]:
    """Return the folders that a root shows, top first: itself, where it is mounted or a copy."""
    if found.kind != OVERLAY or found.mounted or found.upper is None:
        return [found.path]
    return [found.upper, *found.lower]


def shown_of(record: Record) -> list[Path]:
    """Return the folders that the root of a container shows."""
    return shown(root_of(record))


def root_of(record: Record) -> RootfsMount:
    """Return the root of a container, mounted or not."""
    return open_rootfs(record.folder, _content())[1]


def maps_of(record: Record) -> IdMaps:
    """Return the maps of a rootless container.

    One that was not finished has no bundle: its files are as they are made today.
    """
    bundle = read_json(record.folder / "config.json") or {}
    return read_maps(bundle.get("linux")) or own_maps()


def _content() -> Path:
    return data_dir() / "oci"


def _prepare(
    image: Image | ReadyImage, folder: Path, show: ShowProgress | None, *,
    overlay: bool | None = None, mount: bool = True, volatile: bool = False,
) -> RootfsMount:  # fmt: skip
    rootless = is_rootless() or not mount
    if show is None:
        return prepare_rootfs(
            image, folder, rootless=rootless, overlay=overlay, mount=mount, volatile=volatile
        )
    with show() as progress:
        return prepare_rootfs(
            image, folder, rootless=rootless, overlay=overlay, mount=mount, volatile=volatile,
            progress=progress,
        )  # fmt: skip


def _make_rootless(
    image: Image | ReadyImage, folder: Path, show: ShowProgress | None
) -> RootfsMount:
    """Make an overlay that the container will mount, or else a copy, as the container's root.

    Files may be closed to the user himself, or belong to users of /etc/subuid.
    """

    def work() -> RootfsMount:
        made = _prepare(image, folder, show, overlay=True, mount=False)
        if _can_mount(folder, made):
            return made
        for name in ("upper", "work"):
            remove_tree(folder / name)
        return _prepare(image, folder, show, overlay=False, mount=False)

    return as_root(own_maps(), work, mounts=True)


def as_root(maps: IdMaps, work: Callable[[], T], *, mounts: bool = False) -> T:
    """Call `work` as the root of rootless containers, who has all rights over their files."""
    if not is_rootless():
        return work()
    from innkeeper.guests.containers.inside import call_as_root

    return call_as_root(maps, work, mounts=mounts)


def as_owner(work: Callable[[], T]) -> T:
    """Call `work` as somebody who may remove all unpacked layers of this user."""
    maps = own_maps() if is_rootless() else None
    return as_root(maps, work) if maps and maps.several else work()


def _can_mount(folder: Path, made: RootfsMount) -> bool:
    """Tell whether this kernel mounts these layers here, and can hide what is in them.

    Tried in earnest, over the layers and beside the container's folder of writes.
    """
    from innkeeper.images.oci.mounting import unmount

    trial = folder / TRIAL
    try:
        return _try_overlay(trial, made)
    except (InnError, OSError):
        return False
    finally:
        unmount(trial / "root")
        remove_tree(trial)


def _try_overlay(trial: Path, made: RootfsMount) -> bool:
    from innkeeper.images.oci.mounting import mount_overlay

    lower, upper, work, root = (trial / name for name in ("lower", "upper", "work", "root"))
    for each in (lower / TRIAL, upper, work, root):
        each.mkdir(parents=True)
    mount_overlay((lower, *made.lower), upper, work, root, user=True)
    (root / TRIAL).rmdir()  # a whiteout
    (root / TRIAL).mkdir()  # an opaque folder
    return True


def _find_or_build(name: str, progress: Progress) -> Image:
    """Return an image; those that packages make are built the first time."""
    from innkeeper.images.oci.content import ContentStore
    from innkeeper.images.oci.image import find_image
    from innkeeper.images.oci.platforms import host_platform

    try:
        return find_image(ContentStore(), name, host_platform())
    except NotFoundError:
        if name not in _BUILT:
            raise
    from innkeeper.guests.containers.build import build_oci_image

    return build_oci_image(name, arch=host_platform().architecture, progress=progress)
