"""The files of an image archive or layout: a folder's, or a hostile tar archive's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Protocol, cast

from innkeeper.base.errors import ImageError, NotFoundError
from innkeeper.images.paths import storage_errors
from innkeeper.images.tarsafe import Kind, TarReader
from innkeeper.images.unpack import Unpacked, open_unpacked

MAX_ARCHIVE_BYTES = 128 << 30
MAX_LINKS_FOLLOWED = 10
_CHUNK_BYTES = 1 << 18
_MAGIC = ((b"\x1f\x8b", ".gz"), (b"\x28\xb5\x2f\xfd", ".zst"), (b"\xfd7zXZ\0", ".xz"))


class Files(Protocol):
    """What a layout or an image archive has in it, by relative path."""

    def has(self, path: str) -> bool: ...

    def take(self, path: str, folder: Path) -> Path:
        """Return a file of ours in `folder` with the content of `path`."""
        ...

    def read(self, path: str, *, limit: int) -> bytes: ...


class FolderFiles:
    """The files of a folder; no symbolic link is followed."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def has(self, path: str) -> bool:
        with suppress(ImageError, NotFoundError), self._open(path):
            return True
        return False

    def read(self, path: str, *, limit: int) -> bytes:
        with self._open(path) as file:
            return _bounded(file, path, limit)

    def take(self, path: str, folder: Path) -> Path:
        target = folder / f"file-{len(os.listdir(folder))}"
        with (
            self._open(path) as file,
            storage_errors("copy an image", target),
            target.open("wb") as out,
        ):
            while chunk := file.read(_CHUNK_BYTES):
                out.write(chunk)
        return target

    @contextmanager
    def _open(self, path: str) -> Iterator[IO[bytes]]:
        parts = split(path)
        try:
            fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            for number, part in enumerate(parts):
                last = number == len(parts) - 1
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
                above, fd = fd, -1
                try:
                    fd = os.open(part, flags | (0 if last else os.O_DIRECTORY), dir_fd=above)
                finally:
                    os.close(above)
        except FileNotFoundError:
            raise NotFoundError(f"{self._root} has no {path}") from None
        except OSError as error:
            raise ImageError(
                f"{self._root / path} cannot be read", why=error.strerror or ""
            ) from None
        with os.fdopen(fd, "rb") as file:
            yield file


class ArchiveFiles:
    """The files of a tar archive, unpacked under names of ours into `folder`."""

    def __init__(self, archive: Path, folder: Path) -> None:
        self._name = archive.name
        self._files: dict[str, Path] = {}
        self._links: dict[str, str] = {}
        with storage_errors("unpack an image", folder), archive.open("rb") as file:
            self._unpack(open_any(file, name=archive.name, limit=MAX_ARCHIVE_BYTES), folder)

    def _unpack(self, stream: Unpacked, folder: Path) -> None:
        for entry, data in TarReader(stream, name=self._name):
            path = "/".join(split(entry.path))
            if entry.kind is Kind.FILE:
                target = folder / f"member-{len(self._files)}"
                with target.open("wb") as out:
                    while chunk := data.read(_CHUNK_BYTES):
                        out.write(chunk)
                self._files[path] = target
                self._links.pop(path, None)
            elif entry.kind is Kind.SYMLINK:
                # Old `docker save` writes a layer that comes twice as a link to the first.
                self._links[path] = os.path.normpath(f"{os.path.dirname(path)}/{entry.target}")
            elif entry.kind is Kind.HARDLINK:
                self._links[path] = "/".join(split(entry.target))

    def has(self, path: str) -> bool:
        return self._real(path) in self._files

    def read(self, path: str, *, limit: int) -> bytes:
        with self._find(path).open("rb") as file:
            return _bounded(file, path, limit)

    def take(self, path: str, folder: Path) -> Path:
        target = folder / f"file-{len(os.listdir(folder))}"
        with storage_errors("unpack an image", target):
            os.link(self._find(path), target)  # it may be asked for again, by another path
        return target

    def _find(self, path: str) -> Path:
        found = self._files.get(self._real(path))
        if found is None:
            raise NotFoundError(f"{self._name} has no {path}")
        return found

    def _real(self, path: str) -> str:
        path = "/".join(split(path))
        for _ in range(MAX_LINKS_FOLLOWED):
            if path not in self._links:
                break
            path = self._links[path].lstrip("/")
        return path


def open_any(file: IO[bytes], *, name: str, limit: int) -> Unpacked:
    """Decompress `file`, a pipe for one, whatever of gzip, zstd, xz or nothing it begins as."""
    start = file.read(6)
    if file.seekable():
        file.seek(-len(start), os.SEEK_CUR)
    else:
        file = cast("IO[bytes]", _Rejoined(start, file))
    suffix = next((ending for magic, ending in _MAGIC if start.startswith(magic)), "")
    return open_unpacked(file, suffix=suffix, name=name, limit=limit)


class _Rejoined:
    """A stream whose first bytes were read already."""

    def __init__(self, start: bytes, rest: IO[bytes]) -> None:
        self._start, self._rest = start, rest

    def read(self, size: int, /) -> bytes:
        found, self._start = self._start[:size], self._start[size:]
        return found + self._rest.read(size - len(found)) if len(found) < size else found


def split(path: str) -> list[str]:
    """Split a relative path; `ImageError` for one that leads out."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if (not parts and path not in (".", "./")) or ".." in parts or "\0" in path:
        raise ImageError("a path leads out of its archive", why=repr(path[:200]))
    return parts


def _bounded(file: IO[bytes], path: str, limit: int) -> bytes:
    data = file.read(limit + 1)
    if len(data) > limit:
        raise ImageError(f"{path} is too large", why=f"more than {limit} bytes")
    return data
