"""Unpacked layers, shared by all containers that have them (config.md "Layer ChainID").

    layers/CHAIN/root/         the layer in overlayfs's form
    layers/CHAIN/layer.json    what it is; written last

`CHAIN` is the beginning of the layer's ChainID, short since overlayfs takes all paths in one page.
`layers-user` has those unpacked without privileges, whose owners are noted, not set;
`layers-mapped` those of a user namespace with ids of its own.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from innkeeper.images.oci.content import ContentStore
from innkeeper.images.oci.digest import Digest
from innkeeper.images.oci.documents import Descriptor
from innkeeper.images.oci.image import Image
from innkeeper.images.oci.ready import (
    LAYER_NAME_CHARS,
    LAYER_RECORD,
    LAYER_ROOT,
    layer_path,
    layers_folder,
    notes_owners,
)
from innkeeper.images.oci.removal import remove_tree
from innkeeper.images.paths import make_dir, storage_errors
from innkeeper.images.progress import SILENT, Progress
from innkeeper.images.shelf import sync_folder

if TYPE_CHECKING:
    from innkeeper.images.prune import Tally


class LayerRecord(msgspec.Struct, frozen=True):
    """What a folder of the layer store has in it."""

    chain_id: str
    diff_id: str
    entries: int = 0
    bytes: int = 0
    skipped: tuple[str, ...] = ()


class LayerStore:
    """The unpacked layers of one content store."""

    def __init__(self, store: ContentStore, *, rootless: bool) -> None:
        self._store, self._rootless = store, rootless
        self._name = layers_folder(rootless=rootless)
        self.folder = store.root / self._name

    def path(self, chain_id: str) -> Path:
        """Return the root folder of an unpacked layer."""
        return layer_path(self._store.root, Digest(chain_id), self._name)

    def has(self, chain_id: str) -> bool:
        """Tell whether a layer is unpacked."""
        return (self.path(chain_id).parent / LAYER_RECORD).exists()

    def unpack(self, image: Image, *, progress: Progress = SILENT) -> list[Path]:
        """Return the image's unpacked layers, bottom first, unpacking those that are not yet.

        `IntegrityError` when a layer is not what the image's configuration says.
        """
        chains = chain_ids(image)
        if not all(map(self.has, chains)):
            with self._store.in_use():
                token = progress.start(
                    f"unpacking {image.name}", sum(d.size for d in image.manifest.layers)
                )
                try:
                    self._unpack(image, chains, progress, token)
                finally:
                    progress.finish(token)
        return [self.path(chain) for chain in chains]

    def _unpack(self, image: Image, chains: list[str], progress: Progress, token: int) -> None:
        for number, (layer, diff_id) in enumerate(image.layers()):
            chain = chains[number]
            with self._store.lock(f"layer-{Digest(chain).encoded[:LAYER_NAME_CHARS]}"):
                if not self.has(chain):
                    lowers = [self.path(c) for c in reversed(chains[:number])]
                    self._unpack_one(layer, diff_id, chain, lowers)
            progress.advance(token, layer.size)

    def _unpack_one(
        self, layer: Descriptor, diff_id: Digest, chain: str, lowers: Sequence[Path]
    ) -> None:
        from innkeeper.images.oci.apply import Applier
        from innkeeper.images.oci.layers import Hashed, open_layer
        from innkeeper.images.tarsafe import TarReader

        with self._store.staging() as staging:
            root = staging / "layer" / LAYER_ROOT
            try:
                with (
                    storage_errors("unpack a layer", root),
                    open_layer(self._store, layer) as stream,
                ):
                    root.mkdir(0o755, parents=True)
                    hashed = Hashed(stream, diff_id.algorithm)
                    noted = notes_owners(rootless=self._rootless)
                    with Applier(root, lowers, rootless=noted) as applier:
                        done = applier.apply(TarReader(hashed, name=f"the layer {layer.digest}"))
                    hashed.finish(diff_id, layer=layer.digest)
                record = LayerRecord(chain, str(diff_id), done.entries, done.bytes, done.skipped)
                self._keep(staging, record)
            finally:
                remove_tree(root)

    def _keep(self, staging: Path, record: LayerRecord) -> None:
        folder = self.path(record.chain_id).parent
        make_dir(self.folder)
        with storage_errors("keep a layer", folder):
            (staging / "layer" / LAYER_RECORD).write_bytes(msgspec.json.encode(record))
            if folder.exists():  # what a killed process left before it was whole
                remove_tree(folder)
            _sync_all(staging)
            os.replace(staging / "layer", folder)
            sync_folder(self.folder)


def prune_layers(folder: Path, kept: set[str], tally: Tally) -> None:
    """Remove the layers in `folder` whose chain is not among `kept`; what is not ours stays."""
    names = {Digest(chain).encoded[:LAYER_NAME_CHARS] for chain in kept}
    for path in folder.glob("*"):
        if path.name in names:
            continue
        files = [p.lstat() for p in path.rglob("*") if p.is_file() and not p.is_symlink()]
        remove_tree(path)
        if not path.exists():
            tally.files += len(files)
            tally.bytes += sum(status.st_blocks * 512 for status in files)


def chain_ids(image: Image) -> list[str]:
    """Return the ChainID of each of the image's layers, bottom first."""
    chains: list[str] = []
    for _, diff_id in image.layers():
        above = Digest.of(f"{chains[-1]} {diff_id}".encode()) if chains else diff_id
        chains.append(str(above))
    return chains


def _sync_all(folder: Path) -> None:
    """Write out the file system of `folder`, cheaper than each of a layer's files by itself."""
    import ctypes

    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        ctypes.CDLL(None).syncfs(fd)
    finally:
        os.close(fd)
