"""Device trees in memory, and the flattened form they travel in.

The format is version 17 of the Devicetree Specification 0.4, chapter 5. `flatten` writes it here;
`fdt_read.unflatten` reads it back.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from innkeeper.base.errors import MachineError
from innkeeper.base.record import record
from innkeeper.base.units import align_up

MAGIC = 0xD00DFEED
VERSION = 17
LAST_COMPATIBLE_VERSION = 16
HEADER = struct.Struct(">10I")
RESERVE_ENTRY = struct.Struct(">QQ")
BEGIN_NODE, END_NODE, PROP, NOP, END = 1, 2, 3, 4, 9

MAX_NODE_NAME = 31
MAX_PROPERTY_NAME = 31
_NODE_NAME = re.compile(r"[0-9A-Za-z,._+-]{1,31}")
_PROPERTY_NAME = re.compile(r"[0-9A-Za-z,._+?#-]{1,31}")


@record
class U64:
    """A property value of two cells."""

    value: int


class Node:
    """A device tree node: properties in order, and children in order.

    A property is a sequence of values laid one after another: `int` is one 32-bit cell, `U64` two,
    `str` a NUL-terminated string, `bytes` themselves, and a `Node` the phandle of that node, which
    gets one when the tree is flattened. A property without values is a flag.
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.properties: dict[str, tuple[Value, ...]] = {}
        self.children: dict[str, Node] = {}

    def add(self, name: str, unit: int | None = None, /) -> Node:
        """Add a child `name`, or `name@unit` with the address in hexadecimal, and return it."""
        if not _NODE_NAME.fullmatch(name):
            raise MachineError(f"device tree node name {name!r} is not a legal one")
        full = name if unit is None else f"{name}@{unit:x}"
        if full in self.children:
            raise MachineError(f"device tree node {full!r} is there twice")
        child = self.children[full] = Node(full)
        return child

    def set(self, name: str, *values: Value) -> Node:
        """Set property `name` to `values` and return this node, so that calls chain."""
        if not _PROPERTY_NAME.fullmatch(name):
            raise MachineError(f"device tree property name {name!r} is not a legal one")
        self.properties[name] = values
        return self

    def walk(self) -> Iterator[Node]:
        """Yield this node and all below it, parents first."""
        stack = [self]
        while stack:
            node = stack.pop()
            yield node
            stack.extend(reversed(node.children.values()))

    def find(self, path: str) -> Node:
        """Return the node at `path` (`/soc/serial@10000000`); `KeyError` when there is none."""
        node = self
        for part in path.strip("/").split("/") if path.strip("/") else ():
            node = node.children[part]
        return node

    def raw(self, name: str) -> bytes:
        """Return the bytes of property `name`; it must hold no reference to another node."""
        return b"".join(_encode(value, {}) for value in self.properties[name])

    def cells(self, name: str) -> tuple[int, ...]:
        """Return property `name` as 32-bit cells; `ValueError` when it is not whole cells."""
        raw = self.raw(name)
        if len(raw) % 4:
            raise ValueError(f"property {name!r} has {len(raw)} bytes, not a multiple of 4")
        return struct.unpack(f">{len(raw) // 4}I", raw)

    def strings(self, name: str) -> tuple[str, ...]:
        """Return property `name` as its strings; `ValueError` when it is not terminated text."""
        raw = self.raw(name)
        if not raw.endswith(b"\0"):
            raise ValueError(f"property {name!r} is not a string list")
        return tuple(part.decode() for part in raw[:-1].split(b"\0"))


Value = int | str | bytes | U64 | Node


def flatten(
    root: Node, *, reserved: tuple[tuple[int, int], ...] = (), boot_hart: int = 0, room: int = 0
) -> bytes:
    """Return the tree under `root` as a version 17 blob.

    `reserved` holds (address, size) pairs for the memory reservation block; `room` is how many
    bytes to leave free at the end for firmware that edits the tree in place.
    """
    phandles = _assign_phandles(root)
    strings = _Strings()
    block = bytearray()
    _write_node(root, block, strings, phandles)
    block += END.to_bytes(4, "big")
    reserve = b"".join(RESERVE_ENTRY.pack(*entry) for entry in (*reserved, (0, 0)))
    reserve_at = align_up(HEADER.size, 8)
    block_at = reserve_at + len(reserve)
    strings_at = block_at + len(block)
    total = align_up(strings_at + len(strings.data) + room, 8)
    header = HEADER.pack(
        MAGIC, total, block_at, strings_at, reserve_at, VERSION, LAST_COMPATIBLE_VERSION,
        boot_hart, len(strings.data), len(block),
    )  # fmt: skip
    blob = header.ljust(reserve_at, b"\0") + reserve + bytes(block) + bytes(strings.data)
    return blob.ljust(total, b"\0")


class _Strings:
    """The strings block: each property name once."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._offsets: dict[str, int] = {}

    def offset(self, name: str) -> int:
        if name not in self._offsets:
            self._offsets[name] = len(self.data)
            self.data += name.encode("ascii") + b"\0"
        return self._offsets[name]


def _assign_phandles(root: Node) -> dict[Node, int]:
    """Number each node that another refers to, in tree order, keeping numbers already given."""
    nodes = list(root.walk())
    wanted = {
        v for node in nodes for vs in node.properties.values() for v in vs if isinstance(v, Node)
    }
    if not wanted <= set(nodes):
        raise MachineError("a device tree property refers to a node outside its tree")
    given = {node: node.cells("phandle")[0] for node in nodes if "phandle" in node.properties}
    taken, number = set(given.values()), 0
    for node in nodes:
        if node in wanted and node not in given:
            number += 1
            while number in taken:
                number += 1
            given[node] = number
    return given


def _write_node(node: Node, out: bytearray, strings: _Strings, phandles: dict[Node, int]) -> None:
    out += BEGIN_NODE.to_bytes(4, "big") + _padded(node.name.encode("ascii") + b"\0")
    properties = node.properties
    if node in phandles:
        properties = {**properties, "phandle": (phandles[node],)}
    for name, values in properties.items():
        data = b"".join(_encode(value, phandles) for value in values)
        out += struct.pack(">III", PROP, len(data), strings.offset(name)) + _padded(data)
    for child in node.children.values():
        _write_node(child, out, strings, phandles)
    out += END_NODE.to_bytes(4, "big")


def _padded(data: bytes) -> bytes:
    return data.ljust(align_up(len(data), 4), b"\0")


def _encode(value: Value, phandles: dict[Node, int]) -> bytes:
    match value:
        case bytes():
            return value
        case str():
            if "\0" in value:
                raise MachineError("a device tree string holds a NUL")
            return value.encode() + b"\0"
        case U64(number) if 0 <= number < 1 << 64:
            return number.to_bytes(8, "big")
        case int() if 0 <= value < 1 << 32:
            return value.to_bytes(4, "big")
        case Node():
            return phandles[value].to_bytes(4, "big")
    raise MachineError(f"device tree value {value!r} does not fit its cells")
