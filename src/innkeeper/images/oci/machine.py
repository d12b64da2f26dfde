"""An OCI image as the disk of a machine: its files on ext4, with a kernel of Debian's.

What is made is an image of a machine like any other, kept under the OCI image's digest, and not
listed; it goes when the OCI image goes.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from innkeeper.base.errors import ImageError
from innkeeper.images import ext4
from innkeeper.images.oci.content import ContentStore
from innkeeper.images.oci.digest import Digest
from innkeeper.images.oci.flatten import flatten
from innkeeper.images.oci.image import Image, images_of
from innkeeper.images.progress import SILENT, Progress
from innkeeper.images.store import Blob, Manifest, Store
from innkeeper.images.tree import Spool, Tree

SUITE = "oci"
MIN_DISK_BYTES = 1 << 30
_NAME_CHARS = 40
_CMDLINE = "console=ttyS0 root=/dev/vda rw"
# What the guest agent mounts something on, and every program counts on.
_FOLDERS = (("proc", 0o555), ("sys", 0o555), ("dev", 0o755), ("run", 0o755), ("tmp", 0o1777))


def machine_of(
    image: Image, kernel: Manifest, *, store: Store, progress: Progress = SILENT
) -> Manifest:
    """Return a machine's image with the files of `image` and the kernel of another one's.

    It is made the first time; two processes make it once. `ImageError` when this host cannot make
    ext4.
    """
    name, arch = name_of(image), kernel.arch
    with store.in_use(), store.lock(f"{name}-{arch}"):
        found = store.find(name, suite=SUITE, arch=arch)
        if found is not None and found.kernel == kernel.kernel and found.initrd == kernel.initrd:
            return found
        disk = found.disk if found is not None and found.disk else None
        made = msgspec.structs.replace(
            kernel,
            name=name,
            suite=SUITE,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            disk=disk or _disk(image, store, progress),
            disk_format="ext4",
            cmdline=_CMDLINE,
            packages=(),
        )
        store.save(made)
        return made


def name_of(image: Image) -> str:
    """Return the name that a machine's image made of `image` is kept under."""
    return f"oci-{Digest(image.descriptor.digest).encoded[:_NAME_CHARS]}"


def forget_stale(store: Store, content: ContentStore) -> None:
    """Forget the machines' images whose OCI image is no longer there; `prune` then frees them."""
    kept = {name_of(image) for _, images in images_of(content) for image in images}
    for made in store.images():
        if made.suite == SUITE and made.name not in kept:
            store.remove(made.name, suite=SUITE, arch=made.arch)


def _disk(image: Image, store: Store, progress: Progress) -> Blob:
    if not ext4.available():
        raise ImageError(
            "an OCI image needs a disk to run in a machine, and this host cannot make one",
            why="there is no mke2fs and debugfs",
            fix="install e2fsprogs, or use --engine container",
        )
    with store.staging() as staging, Spool(staging) as spool:
        tree = Tree(spool)
        flatten(image, tree, progress=progress)
        for folder, mode in _FOLDERS:
            if tree.find(folder) is None:
                tree.folder(folder, mode=mode)
        workdir = image.config.execution.working_dir
        if workdir and tree.find(workdir) is None:
            tree.folder(workdir)
        return _format(tree, staging, store, progress)


def _format(tree: Tree, staging: Path, store: Store, progress: Progress) -> Blob:
    size = sum(node.content.size for _, node in tree.walk())
    token = progress.start("making the root disk")
    try:
        target = staging / "disk"
        ext4.make(tree, target, size=MIN_DISK_BYTES + 2 * size, staging=staging)
        return store.adopt(target)
    finally:
        progress.finish(token)
