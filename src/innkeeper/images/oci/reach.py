"""Give back the disk space that no name, and no container, leads to."""

from __future__ import annotations

from pathlib import Path

import msgspec

from innkeeper.base.errors import ImageError
from innkeeper.images.oci.content import ContentStore
from innkeeper.images.oci.documents import (
    INDICES,
    MANIFESTS,
    Descriptor,
    Index,
    decode_manifest,
)
from innkeeper.images.oci.image import images_of
from innkeeper.images.paths import storage_errors
from innkeeper.images.prune import Pruned, Tally, sweep

MAX_LEASE_BYTES = 1 << 20


def reachable(store: ContentStore, roots: list[Descriptor]) -> set[str]:
    """Return the digests of everything that `roots` lead to, whether it is here or not.

    A document that is here but damaged raises: nothing is removed on the word of one.
    """
    found: set[str] = set()
    todo = list(roots)
    while todo:
        descriptor = todo.pop()
        if descriptor.digest in found:
            continue
        found.add(descriptor.digest)
        if descriptor.media_type not in (*INDICES, *MANIFESTS) or not store.has(descriptor):
            continue
        document = decode_manifest(
            store.read(descriptor),
            what=f"the manifest {descriptor.digest}",
            media_type=descriptor.media_type,
        )
        if isinstance(document, Index):
            todo += document.manifests
        else:
            todo += [document.config, *document.layers]
    return found


def prune(store: ContentStore) -> Pruned:
    """Remove contents, unpacked layers and partial downloads that nothing leads to.

    Waits for pulls and builds in progress, and keeps new ones waiting meanwhile.
    """
    from innkeeper.images.oci.layer_store import chain_ids, prune_layers
    from innkeeper.images.oci.ready import LAYER_FOLDERS

    tally = Tally()
    with store.pruning(), storage_errors("prune", store.root):
        leases = _live_leases(store, tally)
        roots = [name.target for name in store.names()] + [manifest for manifest, _ in leases]
        kept = reachable(store, roots)
        for path in (store.root / "blobs").glob("*/*"):
            if f"{path.parent.name}:{path.name}" not in kept:
                tally.unlink(path)
        for folder in ("partial", "ready"):
            for path in (store.root / folder).glob("*"):
                tally.unlink(path)
        layers = {chain for _, chains in leases for chain in chains}
        layers |= {c for _, images in images_of(store) for i in images for c in chain_ids(i)}
        for name in LAYER_FOLDERS:
            prune_layers(store.root / name, layers, tally)
        sweep(store.root / "tmp", tally)
    return Pruned(tally.files, tally.bytes)


def read_lease(path: Path) -> tuple[Path, Descriptor, tuple[str, ...]]:
    """Read what a container needs; `ImageError` when it is damaged."""
    try:
        with path.open("rb") as file:
            lease = msgspec.json.decode(file.read(MAX_LEASE_BYTES), type=_Lease)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ImageError(f"{path} is damaged", why=str(error)) from error
    return Path(lease.container), lease.manifest, lease.layers


class _Lease(msgspec.Struct, frozen=True):
    """As `rootfs.py` writes it."""

    container: str
    manifest: Descriptor
    layers: tuple[str, ...] = ()


def _live_leases(store: ContentStore, tally: Tally) -> list[tuple[Descriptor, tuple[str, ...]]]:
    leases = []
    for path in (store.root / "leases").glob("*.json"):
        container, manifest, layers = read_lease(path)
        if container.is_dir():
            leases.append((manifest, layers))
        else:
            tally.unlink(path)
    return leases
