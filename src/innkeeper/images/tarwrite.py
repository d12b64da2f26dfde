"""A tree written as a pax archive, with its owners, devices, hard links and attributes."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from innkeeper.images.paths import storage_errors
from innkeeper.images.tarsafe import Kind
from innkeeper.images.tree import Node, Tree

_TYPES = {
    Kind.FILE: tarfile.REGTYPE,
    Kind.DIR: tarfile.DIRTYPE,
    Kind.SYMLINK: tarfile.SYMTYPE,
    Kind.CHAR: tarfile.CHRTYPE,
    Kind.BLOCK: tarfile.BLKTYPE,
    Kind.FIFO: tarfile.FIFOTYPE,
}


def write(tree: Tree, target: Path) -> None:
    """Write `tree` to the file `target`; `StorageError` when the disk is full."""
    with (
        storage_errors("write a root file system", target),
        tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for info, node in _entries(tree):
            content = cast("IO[bytes]", _Content(tree, node)) if info.isreg() else None
            tar.addfile(info, content)


def _entries(tree: Tree) -> Iterator[tuple[tarfile.TarInfo, Node]]:
    first: dict[Node, str] = {}
    for path, node in tree.walk():
        info = tarfile.TarInfo(f"./{path}")
        info.mode, info.uid, info.gid, info.mtime = node.mode, node.uid, node.gid, node.mtime
        info.type, info.linkname = _TYPES[node.kind], node.target
        info.devmajor, info.devminor = node.device
        if node in first:
            info.type, info.linkname = tarfile.LNKTYPE, first[node]
        elif node.kind is Kind.FILE:
            info.size = node.content.size
            first[node] = info.name
        info.pax_headers = {
            f"SCHILY.xattr.{key}": value.decode("utf-8", "surrogateescape")
            for key, value in node.xattrs.items()
        }
        yield info, node


class _Content:
    """A file's content as `tarfile` wants to read it."""

    def __init__(self, tree: Tree, node: Node) -> None:
        self._chunks, self._rest = tree.spool.chunks(node.content), b""

    def read(self, size: int) -> bytes:
        while len(self._rest) < size and (chunk := next(self._chunks, b"")):
            self._rest += chunk
        data, self._rest = self._rest[:size], self._rest[size:]
        return data
