"""A file tree in memory, with its contents in one spool file.

Owners, modes and devices come from archives, not from the host's file system, so a tree of
root's files is built by anyone. Paths are resolved inside the tree: no link leads out of it.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

from innkeeper.base.errors import ImageError
from innkeeper.images.paths import make_dir, storage_errors
from innkeeper.images.tarsafe import Entry, Kind, Readable, TarReader

CHUNK_BYTES = 1 << 18
MAX_NODES = 2_000_000
MAX_DEPTH = 256
MAX_NAME_BYTES = 255
MAX_LINKS_FOLLOWED = 40


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a file's content is in the spool."""

    offset: int
    size: int


@dataclass(eq=False, slots=True)
class Node:
    """One file. A hard-linked file is one node under several names."""

    kind: Kind
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    mtime: int = 0
    target: str = ""
    device: tuple[int, int] = (0, 0)
    content: Extent = Extent(0, 0)
    xattrs: dict[str, bytes] = field(default_factory=dict)
    children: dict[str, Node] = field(default_factory=dict)


class Spool:
    """An anonymous file that contents are appended to; the host frees it when we end."""

    def __init__(self, folder: Path) -> None:
        self._where = make_dir(folder)
        with storage_errors("make a temporary file", folder):
            self._file: IO[bytes] = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        self._end = 0

    def add(self, data: Readable) -> Extent:
        """Append a whole stream."""
        start = self._end
        with storage_errors("keep unpacked files", self._where):
            self._file.seek(start)
            while chunk := data.read(CHUNK_BYTES):
                self._file.write(chunk)
                self._end += len(chunk)
        return Extent(start, self._end - start)

    def chunks(self, extent: Extent) -> Iterator[bytes]:
        """Yield a content in pieces."""
        done = 0
        while done < extent.size:
            with storage_errors("read unpacked files", self._where):
                self._file.seek(extent.offset + done)
                chunk = self._file.read(min(CHUNK_BYTES, extent.size - done))
            if not chunk:
                raise ImageError("a temporary file was cut short")
            done += len(chunk)
            yield chunk

    def read(self, extent: Extent) -> bytes:
        """Return a content as a whole."""
        return b"".join(self.chunks(extent))

    def close(self) -> None:
        """Give the space back."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Tree:
    """A root directory with its files."""

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.root = Node(Kind.DIR)
        self._nodes = 1

    def find(self, path: str, *, follow: bool = True) -> Node | None:
        """Return the node at `path`, or None; `follow` says whether a final link is followed."""
        return self._walk(_split(path), follow=follow, budget=[MAX_LINKS_FOLLOWED])

    def read(self, path: str) -> bytes:
        """Return a file's content; `ImageError` when it is not there."""
        node = self.find(path)
        if node is None or node.kind is not Kind.FILE:
            raise ImageError(f"the system has no file {path}")
        return self.spool.read(node.content)

    def add(self, path: str, node: Node) -> Node:
        """Put `node` at `path`, making its folders, and return the node that is there now.

        As dpkg does: a directory over a directory, or over a link to one, leaves the link and
        takes over the metadata; anything but a directory replaces what is not a directory.
        """
        parts = _split(path)
        if not parts:
            if node.kind is Kind.DIR:
                _take_over(self.root, node)
            return self.root
        parent = self._folder(parts[:-1])
        name = parts[-1]
        old = parent.children.get(name)
        if old is not None and node.kind is Kind.DIR:
            real = self.find(path) if old.kind is Kind.SYMLINK else old
            if real is not None and real.kind is Kind.DIR:
                if real is old:
                    _take_over(old, node)
                return real
        if old is not None and old.kind is Kind.DIR:
            if node.kind is Kind.SYMLINK and self._same_place(parts, node, old):
                return old
            raise ImageError(f"{path} is a directory and something else", why=node.kind.value)
        self._count(old)
        parent.children[name] = node
        return node

    def link(self, path: str, target: str) -> None:
        """Give the file at `target` the further name `path`."""
        node = self.find(target, follow=False)
        if node is None or node.kind is Kind.DIR:
            raise ImageError(f"{path} is a hard link to nothing", why=target)
        self.add(path, node)

    def write(self, path: str, data: bytes, *, mode: int = 0o644) -> Node:
        """Make a file of root's."""
        content = self.spool.add(io.BytesIO(data))
        return self.add(path, Node(Kind.FILE, mode=mode, content=content))

    def folder(self, path: str, *, mode: int = 0o755) -> Node:
        """Make a directory of root's."""
        return self.add(path, Node(Kind.DIR, mode=mode))

    def symlink(self, path: str, target: str) -> None:
        """Make a symbolic link of root's."""
        self.add(path, Node(Kind.SYMLINK, mode=0o777, target=target))

    def device(self, path: str, kind: Kind, *, device: tuple[int, int], mode: int) -> None:
        """Make a device node of root's."""
        self.add(path, Node(kind, mode=mode, device=device))

    def unpack(self, reader: TarReader) -> list[str]:
        """Add everything in an archive; return the paths, absolute, as the archive has them."""
        paths = []
        for entry, data in reader:
            parts = _split(entry.path)
            paths.append("/" + "/".join(parts))
            self.unpack_entry(entry, data)
        return paths

    def unpack_entry(self, entry: Entry, data: Readable) -> None:
        """Add one entry of an archive."""
        if entry.kind is Kind.HARDLINK:
            self.link(entry.path, entry.target)
            return
        content = self.spool.add(data) if entry.kind is Kind.FILE else Extent(0, 0)
        node = Node(
            entry.kind, entry.mode, entry.uid, entry.gid, entry.mtime,
            target=entry.target, device=entry.device, content=content, xattrs=entry.xattrs,
        )  # fmt: skip
        self.add(entry.path, node)

    def remove(self, path: str) -> None:
        """Remove a name with all below it; nothing happens when it is not there."""
        parts = _split(path)
        parent = self._walk(parts[:-1], follow=True, budget=[MAX_LINKS_FOLLOWED])
        if parts and parent is not None:
            parent.children.pop(parts[-1], None)

    def walk(self) -> Iterator[tuple[str, Node]]:
        """Yield `(path, node)`, parents first and names in order; the root's path is empty."""
        stack: list[tuple[str, Node]] = [("", self.root)]
        while stack:
            path, node = stack.pop()
            yield path, node
            for name in sorted(node.children, reverse=True):
                stack.append((f"{path}/{name}" if path else name, node.children[name]))

    def _folder(self, parts: list[str]) -> Node:
        """Return the directory at `parts`, making what is missing of it."""
        node = self.root
        for depth, name in enumerate(parts):
            child = node.children.get(name)
            if child is None:
                self._count(None)
                child = node.children[name] = Node(Kind.DIR)
            elif child.kind is Kind.SYMLINK:
                found = self._walk(parts[: depth + 1], follow=True, budget=[MAX_LINKS_FOLLOWED])
                if found is None or found.kind is not Kind.DIR:
                    raise ImageError(f"/{'/'.join(parts)} is below a link that leads nowhere")
                child = found
            if child.kind is not Kind.DIR:
                raise ImageError(f"/{'/'.join(parts)} is below something that is no directory")
            node = child
        return node

    def _walk(self, parts: list[str], *, follow: bool, budget: list[int]) -> Node | None:
        trail = [self.root]
        todo = list(reversed(parts))
        while todo:
            name = todo.pop()
            if name == "..":
                trail = trail[:-1] or [self.root]
                continue
            node = trail[-1].children.get(name)
            if node is None:
                return None
            if node.kind is Kind.SYMLINK and (todo or follow):
                budget[0] -= 1
                if budget[0] < 0:
                    return None
                if node.target.startswith("/"):
                    trail = [self.root]
                todo += [p for p in reversed(node.target.split("/")) if p not in ("", ".")]
                continue
            if todo and node.kind is not Kind.DIR:
                return None
            trail.append(node)
        return trail[-1]

    def _same_place(self, parts: list[str], link: Node, old: Node) -> bool:
        """Tell whether `link` would lead from its place to the directory `old` itself."""
        start = [] if link.target.startswith("/") else parts[:-1]
        steps = start + [p for p in link.target.split("/") if p not in ("", ".")]
        return self._walk(steps, follow=True, budget=[MAX_LINKS_FOLLOWED]) is old

    def _count(self, old: Node | None) -> None:
        self._nodes += old is None
        if self._nodes > MAX_NODES:
            raise ImageError("too many files", why=f"more than {MAX_NODES}")


def _split(path: str) -> list[str]:
    """Split an archive's path; `..` is refused, as no honest archive has it."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in path:
        raise ImageError("a path leads out of its archive", why=repr(path[:200]))
    if len(parts) > MAX_DEPTH:
        raise ImageError("a path is too deep", why=repr(path[:200]))
    if any(len(part.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES for part in parts):
        raise ImageError("a file's name is too long", why=repr(path[:200]))
    return parts


def _take_over(old: Node, new: Node) -> None:
    old.mode, old.uid, old.gid, old.mtime = new.mode, new.uid, new.gid, new.mtime
    old.xattrs = new.xattrs
