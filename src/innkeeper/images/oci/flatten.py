"""An image's layers applied to one tree in memory: owners and devices as they are, no privileges.

The rules are layer.md's, as in `apply.py`: a mark of deletion counts for the layers below it only,
wherever in its own layer it stands.
"""

from __future__ import annotations

from dataclasses import replace

from innkeeper.base.errors import ImageError
from innkeeper.images.oci.attributes import kept_xattr
from innkeeper.images.oci.files import split
from innkeeper.images.oci.image import Image
from innkeeper.images.oci.layers import Hashed, open_layer
from innkeeper.images.oci.whiteouts import AUFS, OPAQUE_WHITEOUT, WHITEOUT
from innkeeper.images.progress import SILENT, Progress
from innkeeper.images.tarsafe import Entry, Kind, Readable, TarReader
from innkeeper.images.tree import MAX_DEPTH, MAX_LINKS_FOLLOWED, Node, Tree


def flatten(image: Image, tree: Tree, *, progress: Progress = SILENT) -> None:
    """Fill `tree` with what a container of `image` would see; every layer's digest is checked."""
    token = progress.start(f"unpacking {image.name}", sum(d.size for d in image.manifest.layers))
    try:
        for layer, diff_id in image.layers():
            with open_layer(image.store, layer) as stream:
                hashed = Hashed(stream, diff_id.algorithm)
                one = _Layer(tree)
                for entry, data in TarReader(hashed, name=f"the layer {layer.digest}"):
                    one.add(entry, data)
                hashed.finish(diff_id, layer=layer.digest)
            progress.advance(token, layer.size)
    finally:
        progress.finish(token)


class _Layer:
    """One layer on its way into the tree; `_fresh` is what it has brought itself."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._fresh: set[Node] = set()

    def add(self, entry: Entry, data: Readable) -> None:
        """Apply one entry."""
        parts = split(entry.path)
        if not parts:
            if entry.kind is Kind.DIR:
                self._tree.unpack_entry(entry, data)
            return
        name = parts[-1]
        # Once, and first: what is removed to make room may be the very link that leads there.
        folder = self._real(parts[:-1])
        path = "/".join([*folder, name])
        if name.startswith(WHITEOUT):
            self._whiteout("/".join(folder), name)
            return
        if entry.kind is Kind.CHAR and entry.device == (0, 0):
            raise ImageError("a layer has a device that cannot be", why=f"{path[:200]!r} is 0:0")
        target = entry.target
        if entry.kind is Kind.HARDLINK:
            *above, last = split(target) or [""]
            target = "/".join([*self._real(above), last])
            if self._tree.find(target, follow=False) is None:
                raise ImageError("a layer has a hard link to nothing", why=repr(target[:200]))
            if target == path:
                return
        self._make_room(path, entry)
        xattrs = {key: value for key, value in entry.xattrs.items() if kept_xattr(key)}
        self._tree.unpack_entry(replace(entry, path=path, target=target, xattrs=xattrs), data)
        made = self._tree.find(path, follow=False)
        if made is not None:
            self._fresh.add(made)

    def _real(self, parts: list[str]) -> list[str]:
        """Return where a folder's path leads with its links followed, as `Union.resolve` does."""
        trail: list[str] = []
        nodes = [self._tree.root]
        todo, budget = list(reversed(parts)), MAX_LINKS_FOLLOWED
        while todo:
            name = todo.pop()
            if name == "..":
                del trail[-1:]
                nodes = nodes[: len(trail) + 1]
                continue
            node = nodes[-1].children.get(name) or Node(Kind.DIR)
            if node.kind is not Kind.SYMLINK:
                trail.append(name)
                nodes.append(node)
                continue
            budget -= 1
            if budget < 0 or len(todo) > MAX_DEPTH * 4:
                raise ImageError("a path has too many links", why="/".join(parts)[:200])
            if node.target.startswith("/"):
                trail, nodes = [], [self._tree.root]
            todo += [part for part in reversed(node.target.split("/")) if part not in ("", ".")]
        return trail

    def _make_room(self, path: str, entry: Entry) -> None:
        """Remove what an entry replaces: only a directory over a directory stays."""
        old = self._tree.find(path, follow=False)
        both = old is not None and old.kind is Kind.DIR and entry.kind is Kind.DIR
        if old is not None and not both:
            self._tree.remove(path)

    def _whiteout(self, folder: str, name: str) -> None:
        if name != OPAQUE_WHITEOUT and name.startswith(AUFS):
            return
        victim = name.removeprefix(WHITEOUT)
        if victim in ("", ".", ".."):
            raise ImageError("a whiteout names nothing", why=repr(name[:80]))
        parent = self._tree.find(folder)
        if parent is None or parent.kind is not Kind.DIR:
            return
        for child in list(parent.children) if name == OPAQUE_WHITEOUT else [victim]:
            if child in parent.children:
                self._strip(parent, child)

    def _strip(self, parent: Node, name: str) -> None:
        """Remove a name, but for what this layer has brought at or below it."""
        node = parent.children[name]
        for child in list(node.children):
            self._strip(node, child)
        if node not in self._fresh and not node.children:
            del parent.children[name]
