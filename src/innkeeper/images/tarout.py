"""Writing tar archives that come out the same each time (POSIX.1-2017 pax)."""

from __future__ import annotations

import io
import tarfile
from typing import IO, Protocol, Self

from innkeeper.images.tarsafe import Entry, Kind

_TYPES = {
    Kind.FILE: tarfile.REGTYPE,
    Kind.DIR: tarfile.DIRTYPE,
    Kind.SYMLINK: tarfile.SYMTYPE,
    Kind.HARDLINK: tarfile.LNKTYPE,
    Kind.CHAR: tarfile.CHRTYPE,
    Kind.BLOCK: tarfile.BLKTYPE,
    Kind.FIFO: tarfile.FIFOTYPE,
}


class Writable(Protocol):
    """Anything with `write`."""

    def write(self, data: bytes, /) -> object: ...


class TarOut:
    """A tar archive on its way out, without names of users and with the times that are given."""

    def __init__(self, out: IO[bytes]) -> None:
        self._tar = tarfile.open(  # noqa: SIM115
            fileobj=out, mode="w|", format=tarfile.PAX_FORMAT, encoding="utf-8",
            errors="surrogateescape",
        )  # fmt: skip

    def entry(self, entry: Entry, data: IO[bytes] | None = None) -> None:
        """Write one file; `data` has `entry.size` bytes when it is a regular one."""
        info = tarfile.TarInfo(entry.path)
        info.type, info.linkname, info.size = _TYPES[entry.kind], entry.target, entry.size
        info.mode, info.uid, info.gid, info.mtime = entry.mode, entry.uid, entry.gid, entry.mtime
        info.devmajor, info.devminor = entry.device
        info.pax_headers = {
            f"SCHILY.xattr.{key}": value.decode("utf-8", "surrogateescape")
            for key, value in sorted(entry.xattrs.items())
        }
        self._tar.addfile(info, data if entry.kind is Kind.FILE else None)

    def file(self, path: str, data: bytes, *, mode: int = 0o644, mtime: int = 0) -> None:
        """Write a small file of root's."""
        self.stream(path, io.BytesIO(data), size=len(data), mode=mode, mtime=mtime)

    def stream(
        self, path: str, data: IO[bytes], *, size: int, mode: int = 0o644, mtime: int = 0
    ) -> None:
        """Write a file of root's from a stream."""
        self.entry(Entry(path, Kind.FILE, mode, 0, 0, mtime, size=size), data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()
        else:  # else its destructor would write an end to what has none
            self._tar.fileobj.closed = True  # type: ignore[union-attr, attr-defined, unused-ignore]

    def close(self) -> None:
        """Write the archive's end."""
        self._tar.close()
