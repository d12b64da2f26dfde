"""The `newc` archive that Linux takes as an initramfs (Documentation: initramfs buffer format)."""

from __future__ import annotations

import io
from typing import IO

from innkeeper.base.errors import ImageError
from innkeeper.images.tarsafe import Kind
from innkeeper.images.tree import Node, Spool, Tree

MAX_FILE_BYTES = (1 << 32) - 1
PAD_BYTES = 512
_TRAILER = "TRAILER!!!"
_TYPE_BITS = {
    Kind.FILE: 0o100000,
    Kind.DIR: 0o040000,
    Kind.SYMLINK: 0o120000,
    Kind.CHAR: 0o020000,
    Kind.BLOCK: 0o060000,
    Kind.FIFO: 0o010000,
}


def write(tree: Tree, out: IO[bytes], *, mtime: int | None = None) -> int:
    """Write `tree` to `out` and return the length in bytes, a multiple of 512.

    The same tree gives the same bytes: names in order, inode numbers counted, and every time set
    to `mtime` if one is given. Archives may be concatenated: in the kernel the later one wins.
    """
    writer = _Writer(out, mtime)
    names: dict[Node, int] = {}
    for _, node in tree.walk():
        names[node] = names.get(node, 0) + 1
    left = dict(names)
    for path, node in tree.walk():
        if path:
            left[node] -= 1
            # Of a file with several names the last one carries the content.
            writer.node(path, node, names[node], tree.spool, with_content=not left[node])
    writer.header(_TRAILER, ino=0, mode=0, nlink=1)
    writer.pad(PAD_BYTES)
    return writer.length


def archive(tree: Tree, *, mtime: int | None = None) -> bytes:
    """Return a small `tree` as bytes; see `write`."""
    out = io.BytesIO()
    write(tree, out, mtime=mtime)
    return out.getvalue()


class _Writer:
    def __init__(self, out: IO[bytes], mtime: int | None) -> None:
        self._out, self._mtime = out, mtime
        self._inodes: dict[Node, int] = {}
        self.length = 0

    def node(self, path: str, node: Node, nlink: int, spool: Spool, *, with_content: bool) -> None:
        ino = self._inodes.setdefault(node, len(self._inodes) + 1)
        target = node.target.encode("utf-8", "surrogateescape")
        size = len(target) if node.kind is Kind.SYMLINK else 0
        if node.kind is Kind.FILE and with_content:
            size = node.content.size
        if size > MAX_FILE_BYTES:
            raise ImageError(f"/{path} is too large for an initramfs", why=f"{size} bytes")
        self.header(
            path,
            ino=ino,
            mode=_TYPE_BITS[node.kind] | node.mode,
            nlink=nlink,
            owner=(node.uid, node.gid),
            mtime=node.mtime if self._mtime is None else self._mtime,
            size=size,
            device=node.device,
        )
        if node.kind is Kind.SYMLINK:
            self._put(target)
        elif size:
            for chunk in spool.chunks(node.content):
                self._put(chunk)
        self.pad(4)

    def header(
        self,
        path: str,
        *,
        ino: int,
        mode: int,
        nlink: int,
        owner: tuple[int, int] = (0, 0),
        mtime: int = 0,
        size: int = 0,
        device: tuple[int, int] = (0, 0),
    ) -> None:
        name = path.encode("utf-8", "surrogateescape") + b"\0"
        fields = (ino, mode, *owner, nlink, mtime, size, 0, 0, *device, len(name), 0)
        self._put(b"070701" + b"".join(b"%08X" % (value & 0xFFFFFFFF) for value in fields) + name)
        self.pad(4)

    def pad(self, alignment: int) -> None:
        self._put(bytes(-self.length % alignment))

    def _put(self, data: bytes) -> None:
        self._out.write(data)
        self.length += len(data)
