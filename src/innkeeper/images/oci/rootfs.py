"""A container's root file system: the image's shared layers, and the container's writes above.

    CONTAINER/rootfs.json   what it was made from, and how
    CONTAINER/rootfs/       the root: an overlay mount, or a copy
    CONTAINER/upper/ work/  the container's writes, when it is an overlay

Only what a start needs is imported here: unpacking, diff and commit come later, if at all.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from innkeeper.base.errors import ImageError, NotFoundError, StorageError
from innkeeper.base.record import record
from innkeeper.images.locks import locked
from innkeeper.images.oci.mounting import mount_overlay, overlay_data, unmount
from innkeeper.images.oci.ready import (
    MAPPED,
    ReadyImage,
    descriptor_dict,
    file_name,
    layer_path,
    layers_folder,
    note_ready,
    notes_owners,
)
from innkeeper.images.oci.removal import remove_tree
from innkeeper.images.paths import make_dir, storage_errors
from innkeeper.images.progress import SILENT, Progress

if TYPE_CHECKING:
    from innkeeper.images.oci.content import ContentStore
    from innkeeper.images.oci.image import Image

RECORD_FILE = "rootfs.json"
ROOT_FOLDERS = ("rootfs", "upper", "work", "empty")
OVERLAY, COPY = "overlay", "copy"
MAX_RECORD_BYTES = 1 << 20


@record(kw_only=True)
class RootfsRecord:
    """What a container's root file system was made from; `layers` are ChainIDs, bottom first.

    `manifest` is the image's descriptor as JSON has it; `mapped` is as for `ready.layers_folder`.
    """

    image: str
    manifest: dict[str, Any]
    layers: tuple[str, ...]
    kind: str
    rootless: bool
    mapped: bool | None = None


@record(kw_only=True)
class RootfsMount:
    """A root file system that is ready: `path` is what `root.path` of a bundle should be.

    With kind `overlay`, `lower` are the unpacked layers, top first, and `upper` has the container's
    writes. With `mounted` false (asked for, see `prepare_rootfs`) the caller mounts it, in the
    user and mount namespace of its choice: type `overlay`, data `options`.
    """

    path: Path
    kind: str
    lower: tuple[Path, ...] = ()
    upper: Path | None = None
    work: Path | None = None
    options: str = ""
    mounted: bool = False


def prepare_rootfs(
    image: Image | ReadyImage,
    container_dir: Path,
    *,
    rootless: bool,
    overlay: bool | None = None,
    mount: bool = True,
    volatile: bool = False,
    progress: Progress = SILENT,
) -> RootfsMount:
    """Make the root file system of a new container from `image`, unpacking what is not yet.

    `overlay` None takes overlayfs where this process may mount it (with `userxattr` when
    `rootless`, so inside a user namespace), and a copy, sharing contents where the disk can,
    anywhere else. `mount=False` prepares the overlay and leaves the mounting to the caller. What
    is made stays until `release_rootfs`, and keeps the image's layers from being pruned. What is
    written to a `volatile` one need not outlast its mount.
    """
    make_dir(container_dir)
    ready = _make_ready(image, container_dir, rootless=rootless, progress=progress)
    chosen: RootfsMount | None = None
    if overlay is not False:
        chosen = _overlay(
            container_dir,
            ready.lower,
            rootless=rootless,
            mount=mount,
            must=bool(overlay),
            volatile=volatile,
        )
    if chosen is None:
        chosen = _copy(container_dir, ready.lower, rootless=rootless)
    document = {
        "image": ready.name, "manifest": ready.manifest, "layers": list(ready.chains),
        "kind": chosen.kind, "rootless": rootless, "mapped": ready.mapped,
    }  # fmt: skip
    with storage_errors("keep a container", container_dir):
        (container_dir / RECORD_FILE).write_text(json.dumps(document))
    return chosen


def _make_ready(
    image: Image | ReadyImage, container_dir: Path, *, rootless: bool, progress: Progress
) -> ReadyImage:
    """Return the image with its layers unpacked, and held on to for the container."""
    if isinstance(image, ReadyImage):
        assert image.rootless == rootless
        with locked(image.root / "locks/prune.lock", shared=True):
            _hold(image, container_dir)
        if all(path.is_dir() for path in image.lower):  # not pruned before it was held
            return image
        raise NotFoundError(f"image {image.name} was removed meanwhile", fix="try again")
    from innkeeper.images.oci.layer_store import LayerStore, chain_ids
    from innkeeper.images.oci.ready import ReadyConfig

    with image.store.in_use():
        layers = LayerStore(image.store, rootless=rootless).unpack(image, progress=progress)
        chains = chain_ids(image)
        note_ready(image, chains, arch=image.platform.architecture, rootless=rootless)
        ready = ReadyImage(
            name=image.name, root=image.store.root, manifest=descriptor_dict(image.descriptor),
            chains=tuple(chains), lower=tuple(reversed(layers)), config=ReadyConfig(),
            rootless=rootless, mapped=layers_folder(rootless=rootless) == MAPPED,
        )  # fmt: skip
        _hold(ready, container_dir)
    return ready


def open_rootfs(
    container_dir: Path, store: ContentStore | Path
) -> tuple[RootfsRecord, RootfsMount]:
    """Return what `prepare_rootfs` made in a folder; `NotFoundError` when it made nothing.

    `store` is the content store or its folder.
    """
    made = _read_record(container_dir)
    folder = layers_folder(rootless=made.rootless, mapped=made.mapped)
    content = store if isinstance(store, Path) else store.root
    lower = tuple(layer_path(content, chain, folder) for chain in reversed(made.layers))
    root = container_dir / "rootfs"
    if made.kind == COPY:
        return made, RootfsMount(path=root, kind=COPY, lower=lower)
    upper, work = container_dir / "upper", container_dir / "work"
    options = overlay_data(lower or (container_dir / "empty",), upper, work, user=made.rootless)
    return made, RootfsMount(
        path=root, kind=OVERLAY, lower=lower, upper=upper, work=work, options=options,
        mounted=os.path.ismount(root),
    )  # fmt: skip


def _read_record(container_dir: Path) -> RootfsRecord:
    path = container_dir / RECORD_FILE
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(MAX_RECORD_BYTES))
        return RootfsRecord(**{**found, "layers": tuple(found["layers"])})
    except FileNotFoundError:
        raise NotFoundError(f"{container_dir} has no root file system of ours") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ImageError(f"{path} is damaged", why=str(error)) from error


def remount_rootfs(container_dir: Path, store: ContentStore) -> RootfsMount:
    """Mount a container's overlay again, as after a restart of the host."""
    made, found = open_rootfs(container_dir, store)
    if found.kind == OVERLAY and not found.mounted:
        assert found.upper is not None and found.work is not None
        lower = found.lower or (container_dir / "empty",)
        mount_overlay(lower, found.upper, found.work, found.path, user=made.rootless)
        return open_rootfs(container_dir, store)[1]
    return found


def release_rootfs(container_dir: Path, store: ContentStore | Path) -> None:
    """Unmount and remove a container's root file system; nothing happens when there is none.

    `store` is the content store or its folder.
    """
    unmount(container_dir / "rootfs")
    for name in ROOT_FOLDERS:
        remove_tree(container_dir / name)
    (container_dir / RECORD_FILE).unlink(missing_ok=True)
    root = store if isinstance(store, Path) else store.root
    lease_path(root, container_dir).unlink(missing_ok=True)


def lease_path(root: Path, container_dir: Path) -> Path:
    """Return the file that says what a container needs of the content store at `root`."""
    return root / "leases" / f"{file_name(os.fspath(container_dir.absolute()))}.json"


def _hold(image: ReadyImage, container_dir: Path) -> None:
    """Say what the container needs, so that `prune` leaves it; it must not run meanwhile."""
    lease = {
        "container": str(container_dir.absolute()),
        "manifest": image.manifest,
        "layers": list(image.chains),
    }
    path = lease_path(image.root, container_dir)
    make_dir(path.parent)
    temporary = path.with_name(f"{os.getpid()}.new")
    with storage_errors("keep a container", path):
        temporary.write_text(json.dumps(lease))
        os.replace(temporary, path)


def _overlay(
    container_dir: Path, lower: tuple[Path, ...], *, rootless: bool, mount: bool, must: bool,
    volatile: bool,
) -> RootfsMount | None:  # fmt: skip
    """Set up the overlay; None when this process cannot mount it and does not have to."""
    root, upper, work = (container_dir / name for name in ("rootfs", "upper", "work"))
    with storage_errors("make a container", container_dir):
        for folder in (root, upper, work):
            folder.mkdir(mode=0o755, exist_ok=True)
        if not lower:  # an image without layers
            (container_dir / "empty").mkdir(exist_ok=True)
    below = lower or (container_dir / "empty",)
    _same_root(below[0], upper, rootless=rootless)
    if mount:
        try:
            mount_overlay(below, upper, work, root, user=rootless, volatile=volatile)
        except StorageError:
            if must:
                raise
            remove_tree(upper)
            remove_tree(work)
            return None
    return RootfsMount(
        path=root, kind=OVERLAY, lower=lower, upper=upper, work=work, mounted=mount,
        options=overlay_data(below, upper, work, user=rootless),
    )  # fmt: skip


def _same_root(lower: Path, upper: Path, *, rootless: bool) -> None:
    """Give the overlay's root the attributes of the image's: it takes those of the top."""
    from innkeeper.images.oci.copying import copy_attributes

    with storage_errors("make a container", upper):
        old = os.open(lower, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        new = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            copy_attributes(old, new, rootless=notes_owners(rootless=rootless))
        finally:
            os.close(old)
            os.close(new)


def _copy(container_dir: Path, lower: tuple[Path, ...], *, rootless: bool) -> RootfsMount:
    from innkeeper.images.oci.copying import UnionCopy
    from innkeeper.images.oci.union import Union

    root = container_dir / "rootfs"
    with storage_errors("copy a root file system", root):
        root.mkdir(mode=0o755, exist_ok=True)
        target = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if lower:
                with Union(lower) as union:
                    noted = notes_owners(rootless=rootless)
                    UnionCopy(union, target, rootless=noted).run()
        finally:
            os.close(target)
    return RootfsMount(path=root, kind=COPY, lower=lower)
