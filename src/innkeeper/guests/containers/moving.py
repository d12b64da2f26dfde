"""A container on its way to another host: one stream, what it is and then its files.

A tar archive (pax), not the one of `docker export`, which has files only:

    innkeeper-container.json   what it was asked to be, its image's configuration, its platform
    rootfs/...                 its files, the image's and its own together
    innkeeper-end.json         how many files there were: without it the stream was cut short

Not in it: what runs or is in memory (a tmpfs, the image's volumes), what is the host's (`-v`), its
log.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any

from innkeeper.base.errors import MachineError, StorageError
from innkeeper.guests.containers import roots
from innkeeper.images.paths import storage_errors
from innkeeper.images.tarout import TarOut

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from innkeeper.guests.containers.records import Record
    from innkeeper.images.oci.image import Image
    from innkeeper.images.tarsafe import Entry

FORMAT, VERSION = "innkeeper-container", 1
HEAD, FILES, END = "innkeeper-container.json", "rootfs", "innkeeper-end.json"
MAX_HEAD_BYTES = 4 << 20


class _Below(TarOut):
    """An archive whose files are put into one folder of it."""

    def __init__(self, out: IO[bytes]) -> None:
        super().__init__(out)
        self.count = 0

    def entry(self, entry: Entry, data: IO[bytes] | None = None) -> None:
        from innkeeper.images.tarsafe import Kind

        target = f"{FILES}/{entry.target}" if entry.kind is Kind.HARDLINK else entry.target
        self.count += 1
        super().entry(replace(entry, path=f"{FILES}/{entry.path}", target=target), data)

    def document(self, name: str, content: dict[str, Any]) -> None:
        """Write a document beside that folder."""
        from io import BytesIO

        from innkeeper.images.tarsafe import Entry, Kind

        text = json.dumps(content, indent=1).encode()
        now = int(time.time())
        super().entry(Entry(name, Kind.FILE, 0o600, 0, 0, now, size=len(text)), BytesIO(text))


def export(record: Record, fd: int) -> None:
    """Write a container to a descriptor, to be made again by `arriving.take`."""
    from innkeeper.images.oci.commit import export_into, image_of
    from innkeeper.images.oci.content import ContentStore

    if "request" not in record.data or "command" not in record.data:
        raise MachineError(
            f"container {record.name} cannot be moved", why="an older inn has made it",
            fix=f"inn commit {record.name} IMAGE, and inn image save",
        )  # fmt: skip

    def work() -> None:
        store = ContentStore()
        with _writer(fd) as out, _Below(out) as tar:
            tar.document(HEAD, _head(record, image_of(record.folder, store)))
            export_into(record.folder, store, tar)
            tar.document(END, {"files": tar.count})

    roots.as_root(roots.maps_of(record), work)


def export_rootfs(record: Record, fd: int) -> None:
    """Write a container's files alone, as `docker export` does."""
    from innkeeper.images.oci.commit import export as write
    from innkeeper.images.oci.content import ContentStore

    def work() -> None:
        with _writer(fd) as out:
            write(record.folder, ContentStore(), out)

    roots.as_root(roots.maps_of(record), work)


@contextmanager
def _writer(fd: int) -> Iterator[IO[bytes]]:
    """Write to a descriptor; that nobody reads it any more is not the disk's fault."""
    try:
        with os.fdopen(fd, "wb", closefd=False) as out:
            yield out
    except StorageError as error:
        if isinstance(error.__cause__, BrokenPipeError):
            raise error.__cause__ from None
        raise


def _head(record: Record, image: Image) -> dict[str, Any]:
    import msgspec

    platform = image.platform
    return {
        "format": FORMAT,
        "version": VERSION,
        "name": record.data.get("name", ""),
        "image": image.name.partition("@")[0],
        "platform": msgspec.to_builtins(platform),
        "config": msgspec.to_builtins(image.config.execution),
        "request": record.data["request"],
    }


def write_file(path: Path, write: Callable[[int], None]) -> None:
    """Let something be written to a file, whole or not at all."""
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    with storage_errors("write a file", path):
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            write(fd)
            os.fsync(fd)
            os.replace(new, path)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
        finally:
            os.close(fd)
