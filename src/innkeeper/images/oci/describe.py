"""What `inn image inspect` says of an OCI image."""

from __future__ import annotations

from typing import Any

import msgspec

from innkeeper.images.oci.content import ContentStore
from innkeeper.images.oci.documents import INDICES, MAX_CONFIG_BYTES, Platform
from innkeeper.images.oci.image import find_image, find_target, manifests_of
from innkeeper.images.oci.platforms import describe


def describe_image(store: ContentStore, name: str, platform: Platform | None) -> dict[str, Any]:
    """Return the facts of one image, its documents as they are, and its name's other platforms."""
    image = find_image(store, name, platform)
    _, target = find_target(store, name)
    config = msgspec.json.decode(store.read(image.manifest.config, limit=MAX_CONFIG_BYTES))
    facts = {
        "kind": "oci",
        "name": image.name,
        "digest": image.descriptor.digest,
        "id": image.id,
        "media_type": image.descriptor.media_type,
        "platform": describe(image.platform),
        "size_bytes": sum(d.size for d in (image.manifest.config, *image.manifest.layers)),
        "missing": [d.digest for d in image.missing()],
        "layers": [
            {**_facts(layer), "diff_id": str(diff_id), "path": str(store.path(layer.digest))}
            for layer, diff_id in image.layers()
        ],
        "config": config,
    }
    if target.media_type in INDICES:
        facts["index"] = target.digest
        facts["platforms"] = [
            {**_facts(entry), "platform": describe(entry.platform), "here": store.has(entry)}
            for entry in manifests_of(store, target)
        ]
    return facts


def _facts(descriptor: Any) -> dict[str, Any]:
    return {
        "digest": descriptor.digest,
        "size": descriptor.size,
        "media_type": descriptor.media_type,
    }
