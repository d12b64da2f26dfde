"""An image of the store by name, digest or id, for one platform."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from innkeeper.base.errors import ImageError, NotFoundError, UsageError
from innkeeper.base.record import record
from innkeeper.images.oci.content import ContentStore
from innkeeper.images.oci.digest import Digest, is_digest
from innkeeper.images.oci.documents import (
    INDICES,
    MANIFEST,
    MANIFESTS,
    MAX_CONFIG_BYTES,
    Config,
    Descriptor,
    Index,
    Manifest,
    Platform,
    decode,
    decode_manifest,
)
from innkeeper.images.oci.platforms import choose, describe, host_platform, normalise
from innkeeper.images.oci.reference import Reference, default_registry

MIN_ID_CHARS = 6
MAX_INDEX_DEPTH = 4
_HEX = frozenset("0123456789abcdef")


@record(kw_only=True)
class Image:
    """One image of one platform, its documents read and checked."""

    name: str
    descriptor: Descriptor
    manifest: Manifest
    config: Config
    store: ContentStore

    @property
    def platform(self) -> Platform:
        """What the image says it runs on."""
        config = self.config
        return normalise(Platform(config.architecture, config.os or "linux", config.variant))

    @property
    def id(self) -> str:
        """The image's id, as the field has it: the digest of its configuration."""
        return self.manifest.config.digest

    def layers(self) -> list[tuple[Descriptor, Digest]]:
        """Return each layer with the digest of its uncompressed archive, bottom first."""
        diff_ids = self.config.diff_ids()
        if len(diff_ids) != len(self.manifest.layers):
            raise ImageError(
                f"image {self.name} is inconsistent",
                why=f"{len(self.manifest.layers)} layers, {len(diff_ids)} of them in its config",
            )
        return list(zip(self.manifest.layers, diff_ids, strict=True))

    def missing(self) -> list[Descriptor]:
        """Return the contents that are not on this host."""
        return [d for d in (self.manifest.config, *self.manifest.layers) if not self.store.has(d)]


def find_image(store: ContentStore, text: str, platform: Platform | None = None) -> Image:
    """Return the image that `text` names, for `platform` (this host's when None).

    `text` is a name (`latest` when it has no tag, and with the configured registry when it is
    not here without), a name with a digest, or the beginning of an id. `NotFoundError` says how to
    get the image, or which platforms of it there are.
    """
    name, target = find_target(store, text)
    if target.media_type in MANIFESTS:
        image = read_image(store, name, target)
        if platform is not None and choose([_as_entry(image)], platform) is None:
            raise _not_for(name, platform, describe(image.platform))
        return image
    entries = [d for d in manifests_of(store, target) if store.has(d)]
    wanted = platform or host_platform()
    chosen = choose(entries, wanted)
    if chosen is None and platform is None and len(entries) == 1:
        chosen = entries[0]
    if chosen is None:
        raise _not_for(name, wanted, ", ".join(describe(d.platform) for d in entries) or "none")
    return read_image(store, name, chosen)


def find_target(store: ContentStore, text: str) -> tuple[str, Descriptor]:
    """Return the name that `text` is short for, and the descriptor it means."""
    by_id = _by_id(store, text)
    if by_id is not None:
        return by_id
    reference = Reference.parse(text)
    for candidate in _candidates(reference):
        if reference.digest is None:
            found = store.lookup(candidate.tagged)
            if found is not None:
                return candidate.tagged, found
        else:
            for known in store.names():
                if Reference.parse(known.name).name != candidate.name:
                    continue
                for entry in [known.target, *manifests_of(store, known.target)]:
                    if entry.digest == reference.digest and store.has(entry):
                        return f"{candidate.name}@{reference.digest}", entry
    where = reference.registry or default_registry()
    raise NotFoundError(
        f"image {reference} is not on this host",
        fix=f"inn image pull {reference}"
        if where
        else f"inn image pull REGISTRY/{reference}, inn image load FILE, or inn image ls",
    )


def manifests_of(store: ContentStore, target: Descriptor, depth: int = 0) -> list[Descriptor]:
    """Return the image manifests below a descriptor; of an image, itself.

    An entry without a platform (an attestation, say) is no image to run and is left out of an
    index that has others. What is not here is named all the same.
    """
    if target.media_type not in INDICES:
        return [target]
    if not store.has(target) or depth >= MAX_INDEX_DEPTH:
        return []
    index = decode_manifest(
        store.read(target), what=f"index {target.digest}", media_type=target.media_type
    )
    assert isinstance(index, Index)
    found: list[Descriptor] = []
    for entry in index.manifests:
        if entry.media_type in INDICES:
            found += manifests_of(store, entry, depth + 1)
        elif entry.media_type in MANIFESTS:
            found.append(entry)
    runnable = [d for d in found if d.platform and d.platform.os != "unknown"]
    return runnable or found


def read_image(store: ContentStore, name: str, descriptor: Descriptor) -> Image:
    """Read the documents of one image."""
    what = f"the manifest of {name}"
    manifest = decode_manifest(store.read(descriptor), what=what, media_type=descriptor.media_type)
    if not isinstance(manifest, Manifest):
        raise ImageError(f"{what} is an index")
    data = store.read(manifest.config, limit=MAX_CONFIG_BYTES)
    config = decode(data, Config, what=f"the configuration of {name}")
    return Image(name=name, descriptor=descriptor, manifest=manifest, config=config, store=store)


def images_of(store: ContentStore) -> Iterator[tuple[str, list[Image]]]:
    """Yield each name with the images of it that are here, those of an index included."""
    for known in store.names():
        found = []
        for descriptor in manifests_of(store, known.target):
            # An entry whose documents are not here belongs to a platform nobody asked for.
            with suppress(NotFoundError):
                found.append(read_image(store, known.name, descriptor))
        yield known.name, found


def _candidates(reference: Reference) -> list[Reference]:
    from innkeeper.base.record import replace

    registry = None if reference.registry else default_registry()
    return [reference, *([replace(reference, registry=registry)] if registry else [])]


def _by_id(store: ContentStore, text: str) -> tuple[str, Descriptor] | None:
    """Find an image by the beginning of its id or its manifest's digest, if `text` can be one."""
    start = text.removeprefix("sha256:")
    whole = is_digest(text)
    if not whole and not (MIN_ID_CHARS <= len(start) <= 64 and set(start) <= _HEX):
        return None
    if not whole and store.lookup(f"{text}:latest"):
        return None
    found: dict[str, tuple[str, Descriptor]] = {}
    for name, images in images_of(store):
        for image in images:
            digests = (image.id, image.descriptor.digest)
            if any(d == text or Digest(d).encoded.startswith(start) for d in digests):
                found.setdefault(image.descriptor.digest, (name, image.descriptor))
    if len(found) > 1:
        raise UsageError(f"{text} is the beginning of {len(found)} images' ids", fix="give more")
    return next(iter(found.values()), None)


def _as_entry(image: Image) -> Descriptor:
    return Descriptor(MANIFEST, image.descriptor.digest, 0, platform=image.platform)


def _not_for(name: str, platform: Platform, here: str) -> NotFoundError:
    return NotFoundError(
        f"image {name} is not on this host for {describe(platform)}",
        why=f"here for: {here}",
        fix=f"inn image pull --platform {describe(platform)} {name}",
    )
