"""The content of OCI images, kept by digest, and the names that lead to it.

    XDG_DATA_HOME/innkeeper/oci/
        blobs/ALGORITHM/ENCODED    immutable content (image-layout.md "Blobs")
        partial/                   what has arrived of contents that are on their way
        names/NAME.json            one file a name: what it is called, and the descriptor it means
        layers/ layers-user/       unpacked layers (layer_store.py)
        ready/                     what containers start from (ready.py)
        leases/                    which container holds on to which layers (rootfs.py)
        locks/ tmp/

A name may mean an index of which only some platforms are here. Everything appears by rename.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import msgspec

from innkeeper.base.errors import ImageError, IntegrityError, NotFoundError
from innkeeper.images.oci.digest import Digest
from innkeeper.images.oci.documents import MAX_MANIFEST_BYTES, Descriptor
from innkeeper.images.oci.ready import name_path
from innkeeper.images.paths import data_dir, make_dir, storage_errors
from innkeeper.images.shelf import Shelf, sync_folder
from innkeeper.images.transfer import Transfer
from innkeeper.images.transport import Answer

_CHUNK_BYTES = 1 << 20


class Name(msgspec.Struct, frozen=True):
    """A name, and the manifest or index that it means."""

    name: str
    target: Descriptor
    created: str = ""


class ContentStore(Shelf):
    """The OCI images of one user; `root` is `XDG_DATA_HOME/innkeeper/oci` unless given."""

    def __init__(self, root: Path | None = None) -> None:
        super().__init__(root or data_dir() / "oci")

    # Content

    def path(self, digest: str) -> Path:
        """Return the file of a content, which must never be written to."""
        checked = Digest(digest)
        return self.root / "blobs" / checked.algorithm / checked.encoded

    def has(self, descriptor: Descriptor) -> bool:
        """Tell whether a content is there in its full length."""
        try:
            return self.path(descriptor.digest).stat().st_size == descriptor.size
        except OSError:
            return False

    @contextmanager
    def open(self, descriptor: Descriptor) -> Iterator[IO[bytes]]:
        """Open a content; `NotFoundError` when it is not here, `ImageError` at a wrong length."""
        path = self.path(descriptor.digest)
        try:
            file = path.open("rb")
        except OSError as error:
            raise NotFoundError(
                f"the content {descriptor.digest} is not on this host",
                why=error.strerror or "",
                fix="pull or load the image again",
            ) from error
        with file:
            if os.fstat(file.fileno()).st_size != descriptor.size:
                raise ImageError(f"the content {descriptor.digest} has a wrong size")
            yield file

    def read(self, descriptor: Descriptor, *, limit: int = MAX_MANIFEST_BYTES) -> bytes:
        """Return a small content, its digest checked."""
        if descriptor.size > limit:
            raise ImageError(
                f"the content {descriptor.digest} is too large",
                why=f"{descriptor.size} bytes, of at most {limit}",
            )
        with self.open(descriptor) as file:
            data = file.read(limit)
        check(data, descriptor)
        return data

    def put(self, data: bytes, *, media_type: str, algorithm: str = "sha256") -> Descriptor:
        """Keep a small content and return its descriptor."""
        descriptor = Descriptor(media_type, str(Digest.of(data, algorithm)), len(data))
        if not self.has(descriptor):
            with self.staging() as folder:
                with storage_errors("keep an image", folder):
                    (folder / "blob").write_bytes(data)
                self._adopt(folder / "blob", Digest(descriptor.digest))
        return descriptor

    def adopt(self, path: Path, *, media_type: str, digest: str | None = None) -> Descriptor:
        """Move a finished file from a `staging` folder into the store.

        Its digest is computed; `IntegrityError` when it is not the `digest` that was promised.
        """
        wanted = Digest(digest) if digest else None
        with storage_errors("keep an image", path), path.open("rb") as file:
            found = hashlib.file_digest(file, wanted.algorithm if wanted else "sha256")
            size = os.fstat(file.fileno()).st_size
        name = Digest(f"{found.name}:{found.hexdigest()}")
        if wanted is not None and name != wanted:
            raise IntegrityError(f"the content {wanted} is damaged", why=f"its digest is {name}")
        self._adopt(path, name)
        return Descriptor(media_type, str(name), size)

    def fetch(
        self,
        descriptor: Descriptor,
        ask: Callable[[int], AbstractContextManager[Answer]],
        *,
        what: str,
        show: Callable[[int], object],
    ) -> bool:
        """Receive a content unless it is here, going on where a killed download stopped.

        Two processes (or threads) that want the same content fetch it once. Returns whether
        anything was asked for. A full disk keeps what has arrived.
        """
        if self.has(descriptor):
            return False
        digest = Digest(descriptor.digest)
        with self.lock(f"blob-{digest.encoded[:64]}"):
            if self.has(descriptor):
                return False
            part = make_dir(self.root / "partial") / f"{digest.algorithm}-{digest.encoded}"
            Transfer(
                ask=ask, part=part, size=descriptor.size, digest=digest, what=what, show=show,
                keep_part=True, named_by="its digest",
            ).run()  # fmt: skip
            self._adopt(part, digest)
        return True

    def _adopt(self, path: Path, digest: Digest) -> None:
        target = self.path(digest)
        make_dir(target.parent)
        with storage_errors("keep an image", target), path.open("rb") as file:
            os.fsync(file.fileno())
            path.chmod(0o444)
            os.replace(path, target)
            sync_folder(target.parent)

    # Names

    def tag(self, name: str, target: Descriptor) -> None:
        """Let `name` (with its tag) mean `target` from now on."""
        created = datetime.now(UTC).isoformat(timespec="seconds")
        record = Name(name, target, created)
        self.write(self._name_path(name), msgspec.json.encode(record))

    def untag(self, name: str) -> None:
        """Forget a name; the content goes with the next prune."""
        path = self._name_path(name)
        with storage_errors("remove an image", path):
            try:
                path.unlink()
            except FileNotFoundError:
                raise NotFoundError(f"image {name} does not exist") from None

    def lookup(self, name: str) -> Descriptor | None:
        """Return what a name (with its tag) means, or None."""
        found = self._read_name(self._name_path(name))
        return found.target if found else None

    def names(self) -> list[Name]:
        """Return every name, in order; a damaged file raises `ImageError`."""
        try:
            paths = [p for p in (self.root / "names").iterdir() if p.suffix == ".json"]
        except FileNotFoundError:
            return []
        found = [record for record in map(self._read_name, paths) if record]
        return sorted(found, key=lambda record: record.name)

    def _read_name(self, path: Path) -> Name | None:
        try:
            with path.open("rb") as file:
                return msgspec.json.decode(file.read(MAX_MANIFEST_BYTES), type=Name)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ImageError(
                f"{path} is damaged", why=str(error), fix=f"rm {path}, and pull the image again"
            ) from error

    def _name_path(self, name: str) -> Path:
        return name_path(self.root, name)


def check(data: bytes, descriptor: Descriptor) -> None:
    """Raise `IntegrityError` unless `data` is what `descriptor` says (descriptor.md)."""
    digest = Digest(descriptor.digest)
    if len(data) != descriptor.size or Digest.of(data, digest.algorithm) != digest:
        raise IntegrityError(
            f"the content {digest} is damaged",
            why=f"{len(data)} bytes of {descriptor.size}, or other ones than it should have",
            fix="remove the image and pull or load it again",
        )
