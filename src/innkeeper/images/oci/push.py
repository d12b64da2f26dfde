"""`inn image push`: images to a registry (distribution-spec 1.1 "Push")."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote

from innkeeper.base.errors import DownloadError, ImageError, IntegrityError, NotFoundError
from innkeeper.images.oci.content import ContentStore
from innkeeper.images.oci.documents import Descriptor, Index, Manifest, decode_manifest
from innkeeper.images.oci.image import MAX_INDEX_DEPTH, images_of
from innkeeper.images.oci.parallel import Stop, each
from innkeeper.images.oci.reference import Reference
from innkeeper.images.oci.registry import PULL, PUSH, Registry
from innkeeper.images.oci.upload import OCTETS, Upload
from innkeeper.images.progress import SILENT, Progress
from innkeeper.images.transfer import persist

CHUNK_BYTES = 16 << 20


@dataclass
class Pusher:
    """A push to one reference, whose registry must be known."""

    store: ContentStore
    registry: Registry
    reference: Reference
    progress: Progress = SILENT
    chunk_bytes: int = CHUNK_BYTES
    wait: Callable[[float], None] = time.sleep
    uploaded: list[str] = field(default_factory=list)
    mounted: list[str] = field(default_factory=list)

    @property
    def scope(self) -> str:
        """The scope that every request of the push needs."""
        return f"repository:{self.reference.repository}:{PUSH}"

    def run(self, target: Descriptor) -> str:
        """Push what `target` means, contents first, and return its digest in the registry.

        What is there already is not sent; what another repository of the registry has is mounted.
        """
        with self.store.in_use():
            manifests, parts = self._collect(target)
            elsewhere = self._elsewhere(set(parts))
            each(lambda part, stop: self._blob(part, elsewhere, stop), list(parts.values()))
            for child in manifests:
                self._manifest(child, child.digest)
            return self._manifest(target, self.reference.tag or target.digest)

    def _collect(
        self, target: Descriptor, depth: int = 0
    ) -> tuple[list[Descriptor], dict[str, Descriptor]]:
        """Return the manifests below `target`, children first, and all contents of theirs."""
        if not self.store.has(target) or depth > MAX_INDEX_DEPTH:
            raise NotFoundError(
                f"image {self.reference} is not here as a whole",
                why=f"{target.digest} is missing",
                fix="push one platform with --platform, or pull the others with --all-platforms",
            )
        document = decode_manifest(
            self.store.read(target), what=f"the manifest {target.digest}",
            media_type=target.media_type,
        )  # fmt: skip
        if isinstance(document, Manifest):
            parts = {part.digest: part for part in (document.config, *document.layers)}
            self._check(parts)
            return [], parts
        assert isinstance(document, Index)
        manifests: list[Descriptor] = []
        found: dict[str, Descriptor] = {}
        for entry in document.manifests:
            below, parts = self._collect(entry, depth + 1)
            manifests += [*below, entry]
            found |= parts
        return manifests, found

    def _check(self, parts: dict[str, Descriptor]) -> None:
        for part in parts.values():
            if part.is_foreign():
                raise ImageError(
                    "a layer of the image may not be distributed",
                    why=part.media_type,
                    fix="push an image without such layers",
                )
            if not self.store.has(part):
                raise NotFoundError(f"the content {part.digest} is not on this host",
                                    fix="pull or load the image again")  # fmt: skip

    def _elsewhere(self, digests: set[str]) -> dict[str, str]:
        """Return which contents other repositories of the registry are known to have."""
        found: dict[str, str] = {}
        for name, images in images_of(self.store):
            known = Reference.parse(name)
            if known.registry == self.reference.registry and known.name != self.reference.name:
                for image in images:
                    for part in (image.manifest.config, *image.manifest.layers):
                        if part.digest in digests:
                            found.setdefault(part.digest, known.repository)
        return found

    # Contents

    def _blob(self, part: Descriptor, elsewhere: dict[str, str], stop: Stop) -> None:
        token = self.progress.start(part.digest[7:19], part.size)
        try:
            if not self._is_there(part) and not self._mount(part, elsewhere.get(part.digest)):
                Upload(self, part, token, stop).run()
                self.uploaded.append(part.digest)
        finally:
            self.progress.finish(token)

    def _is_there(self, part: Descriptor) -> bool:
        """Ask for a content by HEAD (distribution-spec "Checking if content exists")."""

        def attempt() -> bool:
            with self.registry.request(
                "HEAD", self.url(f"blobs/{part.digest}"), scopes=(self.scope,), expect=(200, 404),
                what=f"to tell whether it has {part.digest}",
            ) as reply:  # fmt: skip
                return reply.status == 200

        return persist(attempt, self.wait)

    def _mount(self, part: Descriptor, source: str | None) -> bool:
        """Ask for a content of another repository (distribution-spec "Mounting a blob")."""
        if source is None:
            return False
        query = f"mount={quote(part.digest)}&from={quote(source, safe='')}"
        scopes = (self.scope, f"repository:{source}:{PULL}")
        try:
            with self.registry.request(
                "POST", self.url(f"blobs/uploads/?{query}"), scopes=scopes, expect=(201, 202),
                length=0, headers=OCTETS, what=f"to take {part.digest} from {source}",
            ) as reply:  # fmt: skip
                if reply.status == 201:
                    self.mounted.append(part.digest)
                return reply.status == 201
        except (DownloadError, NotFoundError):
            return False  # not ours to read there, or gone: it is uploaded

    def url(self, path: str) -> str:
        """Return the URL of a path of the repository."""
        return self.registry.url(f"{self.reference.repository}/{path}")

    # Manifests

    def _manifest(self, target: Descriptor, name: str) -> str:
        """Put a manifest (distribution-spec "Pushing manifests"); return its digest there."""
        data = self.store.read(target)

        def attempt() -> str:
            with self.registry.request(
                "PUT", self.url(f"manifests/{name}"), scopes=(self.scope,), expect=(200, 201, 202),
                headers={"Content-Type": target.media_type}, body=lambda: io.BytesIO(data),
                length=len(data), what=f"the manifest of {self.reference}",
            ) as reply:  # fmt: skip
                return reply.headers.get("Docker-Content-Digest", "")

        stated = persist(attempt, self.wait)
        if stated and stated != target.digest and stated.startswith(target.digest[:7]):
            raise IntegrityError(f"registry {self.registry.name} has kept another manifest",
                                 why=f"it says {stated}, not {target.digest}")  # fmt: skip
        return target.digest


def push(
    store: ContentStore,
    target: Descriptor,
    reference: Reference,
    *,
    insecure: bool = False,
    progress: Progress = SILENT,
) -> str:
    """Push what `target` means to `reference` (with its registry); see `Pusher.run`."""
    assert reference.registry is not None
    registry = Registry(reference.registry, insecure=insecure)
    return Pusher(store, registry, reference, progress).run(target)
