"""Read a flattened device tree that anyone may have written."""

from __future__ import annotations

import struct

from innkeeper.base.errors import LoadError
from innkeeper.base.units import MIB, align_up
from innkeeper.firmware.fdt import (
    BEGIN_NODE,
    END,
    END_NODE,
    HEADER,
    LAST_COMPATIBLE_VERSION,
    MAGIC,
    NOP,
    PROP,
    RESERVE_ENTRY,
    VERSION,
    Node,
)

MAX_BLOB_BYTES = 2 * MIB
MAX_DEPTH = 64
MAX_NODES = 1 << 16
MAX_RESERVED = 1 << 10
MAX_NAME_BYTES = 255
"""Longer than the specification's 31, which trees in the field exceed."""


def unflatten(blob: bytes) -> Node:
    """Return the root of the tree in `blob` (Devicetree Specification 0.4, chapter 5).

    Every property comes back as one `bytes` value. Anything the format forbids is a `LoadError`; so
    are trees over the limits named above.
    """
    return _Reader(blob).tree()


def reserved_ranges(blob: bytes) -> list[tuple[int, int]]:
    """Return the (address, size) pairs of the memory reservation block of `blob`."""
    reader = _Reader(blob)
    ranges: list[tuple[int, int]] = []
    offset = reader.reserve_at
    while offset + RESERVE_ENTRY.size <= len(reader.blob) and len(ranges) < MAX_RESERVED:
        address, size = RESERVE_ENTRY.unpack_from(reader.blob, offset)
        if not address and not size:
            return ranges
        ranges.append((address, size))
        offset += RESERVE_ENTRY.size
    raise _bad("its memory reservation block does not end")


def _bad(why: str) -> LoadError:
    return LoadError("this is not a device tree blob", why=why)


class _Reader:
    def __init__(self, blob: bytes) -> None:
        if len(blob) < HEADER.size:
            raise _bad(f"it has {len(blob)} bytes, fewer than a header")
        (magic, total, block_at, strings_at, self.reserve_at, version, oldest,
         _boot_hart, strings_size, block_size) = HEADER.unpack_from(blob)  # fmt: skip
        if magic != MAGIC:
            raise _bad(f"it begins with {magic:#x}, not {MAGIC:#x}")
        if version < VERSION or not oldest <= VERSION or oldest < LAST_COMPATIBLE_VERSION:
            raise _bad(f"it is of version {version}, compatible to {oldest}; 17 is read here")
        if not HEADER.size <= total <= min(len(blob), MAX_BLOB_BYTES):
            raise _bad(f"it says it has {total} bytes and there are {len(blob)}")
        self.blob = bytes(blob[:total])
        self.block = self._part(block_at, block_size, "structure block")
        self.strings = self._part(strings_at, strings_size, "strings block")
        if block_at % 4 or self.reserve_at % 8 or self.reserve_at > total:
            raise _bad("its blocks are not aligned")
        self.at = 0

    def _part(self, offset: int, size: int, name: str) -> bytes:
        if offset + size > len(self.blob):
            raise _bad(f"its {name} reaches past the end")
        return self.blob[offset : offset + size]

    def tree(self) -> Node:
        holder = Node()
        stack = [holder]
        nodes = 0
        while True:
            token = self._cell()
            if token == BEGIN_NODE:
                nodes += 1
                if len(stack) > MAX_DEPTH or nodes > MAX_NODES:
                    raise _bad(f"it has over {MAX_NODES} nodes, or is over {MAX_DEPTH} deep")
                stack.append(self._begin(stack, first=nodes == 1))
            elif token == PROP and len(stack) > 1:
                self._property(stack[-1])
            elif token == END_NODE and len(stack) > 1:
                stack.pop()
            elif token == END and len(stack) == 1 and nodes:
                return holder.children[""]
            elif token != NOP:
                raise _bad(f"token {token} is out of place")

    def _begin(self, stack: list[Node], *, first: bool) -> Node:
        name = self._name()
        parent = stack[-1]
        if (len(stack) == 1) != first or first != (name == "") or name in parent.children:
            raise _bad(f"node name {name!r} is out of place")
        child = parent.children[name] = Node(name)
        return child

    def _property(self, node: Node) -> None:
        size, name_at = self._cell(), self._cell()
        name = _text(self.strings, name_at)
        data = self.block[self.at : self.at + size]
        if len(data) != size:
            raise _bad(f"property {name!r} reaches past the structure block")
        if name in node.properties or node.children:
            raise _bad(f"property {name!r} is out of place")
        self.at = align_up(self.at + size, 4)
        node.properties[name] = (data,)

    def _cell(self) -> int:
        if self.at + 4 > len(self.block):
            raise _bad("its structure block does not end")
        (cell,) = struct.unpack_from(">I", self.block, self.at)
        self.at += 4
        return int(cell)

    def _name(self) -> str:
        name = _text(self.block, self.at)
        self.at = align_up(self.at + len(name) + 1, 4)
        return name


def _text(data: bytes, at: int) -> str:
    end = data.find(b"\0", at, at + MAX_NAME_BYTES + 1)
    if end < 0:
        raise _bad("a name does not end")
    try:
        return data[at:end].decode("ascii")
    except UnicodeDecodeError:
        raise _bad("a name is not ASCII") from None
