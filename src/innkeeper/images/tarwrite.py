"""A tree written as a pax archive, with its owners, devices, hard links and attributes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from innkeeper.images.paths import storage_errors
from innkeeper.images.tarout import TarOut
from innkeeper.images.tarsafe import Entry, Kind
from innkeeper.images.tree import Node, Tree


def write(tree: Tree, target: Path) -> None:
    """Write `tree` to the file `target`; `StorageError` when the disk is full."""
    with storage_errors("write a root file system", target), target.open("wb") as out:
        tar = TarOut(out)
        write_entries(tree, tar)
        tar.close()


def write_entries(tree: Tree, tar: TarOut) -> None:
    """Write all of `tree` into an archive that is open."""
    for entry, node in _entries(tree):
        tar.entry(entry, cast("IO[bytes]", _Content(tree, node)))


def _entries(tree: Tree) -> Iterator[tuple[Entry, Node]]:
    first: dict[Node, str] = {}
    for path, node in tree.walk():
        kind, target, size = node.kind, node.target, 0
        name = f"./{path}"
        if node in first:
            kind, target = Kind.HARDLINK, first[node]
        elif node.kind is Kind.FILE:
            size = node.content.size
            first[node] = name
        yield (
            Entry(
                name, kind, node.mode, node.uid, node.gid, node.mtime, size=size, target=target,
                device=node.device, xattrs=node.xattrs,
            ),
            node,
        )  # fmt: skip


class _Content:
    """A file's content as `tarfile` wants to read it."""

    def __init__(self, tree: Tree, node: Node) -> None:
        self._chunks, self._rest = tree.spool.chunks(node.content), b""

    def read(self, size: int) -> bytes:
        while len(self._rest) < size and (chunk := next(self._chunks, b"")):
            self._rest += chunk
        data, self._rest = self._rest[:size], self._rest[size:]
        return data
