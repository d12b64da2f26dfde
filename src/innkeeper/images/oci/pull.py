"""`inn image pull`: images from a registry (distribution-spec 1.1 "Pull")."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from innkeeper.base.errors import DownloadError, ImageError, IntegrityError, NotFoundError
from innkeeper.images.oci.content import ContentStore, check
from innkeeper.images.oci.digest import Digest, is_digest
from innkeeper.images.oci.documents import (
    INDICES,
    MANIFESTS,
    MAX_CONFIG_BYTES,
    MAX_MANIFEST_BYTES,
    Config,
    Descriptor,
    Index,
    Manifest,
    Platform,
    decode,
    decode_manifest,
)
from innkeeper.images.oci.image import MAX_INDEX_DEPTH
from innkeeper.images.oci.parallel import Stop, each
from innkeeper.images.oci.platforms import choose, describe, host_platform
from innkeeper.images.oci.reference import Reference
from innkeeper.images.oci.registry import PULL, Registry
from innkeeper.images.progress import SILENT, Progress
from innkeeper.images.transfer import persist
from innkeeper.images.transport import Answer, Unsatisfiable, content_range

ACCEPT = ", ".join((*INDICES, *MANIFESTS))
_OLD = "application/vnd.docker.distribution.manifest.v1"


@dataclass
class Puller:
    """A pull of one reference, whose registry must be known."""

    store: ContentStore
    registry: Registry
    reference: Reference
    progress: Progress = SILENT
    wait: Callable[[float], None] = time.sleep
    _scopes: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        self._scopes = (f"repository:{self.reference.repository}:{PULL}",)

    def run(
        self, platform: Platform | None = None, *, every: bool = False
    ) -> tuple[str, Descriptor]:
        """Pull and name the image; return its name and what it means.

        Of an index the image for `platform` (this host's when None) is taken, or `every` one. A
        name is given only to what is here as a whole. `IntegrityError` when a content is not what
        its digest says, `NotFoundError` when there is none for the platform.
        """
        reference = self.reference
        name = str(reference) if reference.digest else reference.tagged
        with self.store.in_use():
            target, data = self._manifest(reference.remote)
            manifests = self._select(target, data, platform, every=every)
            missing: dict[str, Descriptor] = {}
            for manifest in manifests:
                for part in (manifest.config, *manifest.layers):
                    if part.is_foreign():
                        raise ImageError(
                            f"image {reference} has a layer that may not be distributed",
                            why=part.media_type, fix="use an image that has all of its layers",
                        )  # fmt: skip
                    missing.setdefault(part.digest, part)
            each(self._blob, [part for part in missing.values() if not self.store.has(part)])
            self.store.tag(name, target)
        return name, target

    def _select(
        self, target: Descriptor, data: bytes, platform: Platform | None, *, every: bool,
        depth: int = 0,
    ) -> list[Manifest]:  # fmt: skip
        """Return the image manifests to pull, all documents on the way to them kept."""
        what = f"the manifest of {self.reference}"
        document = decode_manifest(data, what=what, media_type=target.media_type)
        self.store.put(
            data, media_type=target.media_type, algorithm=Digest(target.digest).algorithm
        )
        if isinstance(document, Manifest):
            if platform is not None and depth == 0:
                self._check_platform(document, platform)
            return [document]
        if depth >= MAX_INDEX_DEPTH:
            raise ImageError(f"{what} is an index of indices", why="nested too deeply")
        found: list[Manifest] = []
        for entry in self._entries(document, platform, every=every):
            child, text = self._manifest(entry.digest, entry)
            found += self._select(child, text, platform, every=every, depth=depth + 1)
        return found

    def _entries(self, index: Index, platform: Platform | None, *, every: bool) -> list[Descriptor]:
        known = [d for d in index.manifests if d.media_type in (*MANIFESTS, *INDICES)]
        if every:
            return known
        wanted = platform or host_platform()
        chosen = choose(known, wanted)
        if chosen is None and len(known) == 1 and platform is None:
            chosen = known[0]
        if chosen is None:
            there = ", ".join(describe(d.platform) for d in known if d.platform) or "none"
            raise NotFoundError(
                f"image {self.reference} does not exist for {describe(wanted)}",
                why=f"it exists for: {there[:400]}",
                fix="give one of them with --platform",
            )
        return [chosen]

    def _check_platform(self, manifest: Manifest, platform: Platform) -> None:
        """Refuse an image of another platform than the one that was asked for."""
        self._blob(manifest.config, Stop())
        name = str(self.reference)
        data = self.store.read(manifest.config, limit=MAX_CONFIG_BYTES)
        config = decode(data, Config, what=f"the configuration of {name}")
        found = Platform(config.architecture, config.os or "linux", config.variant)
        if (
            choose([Descriptor(MANIFESTS[0], manifest.config.digest, 0, platform=found)], platform)
            is None
        ):
            raise NotFoundError(
                f"image {name} does not exist for {describe(platform)}",
                why=f"it exists for: {describe(found)}",
            )

    def _manifest(
        self, reference: str, expected: Descriptor | None = None
    ) -> tuple[Descriptor, bytes]:
        """Fetch a manifest by tag or digest (distribution-spec "Pulling manifests")."""

        def attempt() -> tuple[str, str, bytes]:
            url = self.registry.url(f"{self.reference.repository}/manifests/{reference}")
            with self.registry.request(
                "GET", url, scopes=self._scopes, expect=(200,), headers={"Accept": ACCEPT},
                what=f"image {self.reference}",
            ) as reply:  # fmt: skip
                kind = reply.headers.get_content_type()
                stated = reply.headers.get("Docker-Content-Digest", "")
                return kind, stated, _read(reply.body.read, self.reference)

        kind, stated, data = persist(attempt, self.wait)
        if kind.startswith(_OLD):
            raise ImageError(
                f"image {self.reference} is of a form that is no longer used",
                why="Docker manifest schema 1",
                fix="push it with a newer tool",
            )
        wanted = reference if is_digest(reference) else ""
        algorithm = Digest(wanted).algorithm if wanted else "sha256"
        if expected is None:
            shape = decode_manifest(data, what=f"the manifest of {self.reference}", media_type="")
            media = shape.media_type or kind
            if media not in (*MANIFESTS, *INDICES):
                media = INDICES[0] if isinstance(shape, Index) else MANIFESTS[0]
            expected = Descriptor(media, wanted or str(Digest.of(data, algorithm)), len(data))
        check(data, expected)
        if is_digest(stated) and Digest.of(data, Digest(stated).algorithm) != stated:
            raise IntegrityError(f"registry {self.registry.name} sends another manifest",
                                 why=f"it says {stated}")  # fmt: skip
        return Descriptor(expected.media_type, expected.digest, expected.size), data

    def _blob(self, part: Descriptor, stop: Stop) -> None:
        """Fetch a content unless it is here (distribution-spec "Pulling blobs")."""
        token = self.progress.start(part.digest[7:19], part.size)

        def show(amount: int) -> None:
            stop.check()
            self.progress.advance(token, amount)

        def attempt() -> bool:
            stop.check()
            what = f"{part.digest} of {self.registry.name}"
            return self.store.fetch(part, self._ask(part), what=what, show=show)

        try:
            persist(attempt, self.wait)
        finally:
            self.progress.finish(token)

    def _ask(self, part: Descriptor) -> Callable[[int], AbstractContextManager[Answer]]:
        url = self.registry.url(f"{self.reference.repository}/blobs/{part.digest}")

        @contextmanager
        def ask(start: int) -> Iterator[Answer]:
            headers = {"Range": f"bytes={start}-"} if start else {}
            with self.registry.request(
                "GET", url, scopes=self._scopes, expect=(200, 206, 416), headers=headers,
                what=f"the content {part.digest}",
            ) as reply:  # fmt: skip
                if reply.status == 416:
                    raise Unsatisfiable(f"{self.registry.name} cannot go on with {part.digest}")
                begin = 0
                if reply.status == 206:
                    begin = content_range(reply.headers.get("Content-Range", ""), reply.url)
                yield Answer(begin, reply.body, reply.url)

        return ask


def pull(
    store: ContentStore,
    reference: Reference,
    *,
    platform: Platform | None = None,
    every: bool = False,
    insecure: bool = False,
    progress: Progress = SILENT,
) -> tuple[str, Descriptor]:
    """Pull `reference` (with its registry) into the store; see `Puller.run`."""
    assert reference.registry is not None
    registry = Registry(reference.registry, insecure=insecure)
    return Puller(store, registry, reference, progress).run(platform, every=every)


def _read(read: Callable[[int], bytes], reference: Reference) -> bytes:
    parts, left = [], MAX_MANIFEST_BYTES + 1
    try:
        while left and (chunk := read(left)):
            parts.append(chunk)
            left -= len(chunk)
    except (OSError, ValueError) as error:
        raise DownloadError(f"the manifest of {reference} broke off", why=str(error)) from error
    if not left:
        raise ImageError(
            f"the manifest of {reference} is too large", why=f"over {MAX_MANIFEST_BYTES} bytes"
        )
    return b"".join(parts)
