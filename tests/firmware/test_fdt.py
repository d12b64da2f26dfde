"""The flattened device tree writer and reader."""

from __future__ import annotations

import shutil
import struct
import subprocess
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innkeeper.base.errors import LoadError, MachineError
from innkeeper.firmware import fdt_read
from innkeeper.firmware.fdt import END_NODE, MAGIC, U64, Node, flatten
from innkeeper.firmware.fdt_read import reserved_ranges, unflatten


def sample() -> Node:
    root = Node().set("#address-cells", 2).set("compatible", "acme,board", "generic")
    intc = root.add("intc", 0x1000).set("interrupt-controller").set("reg", U64(0x1000), U64(0x100))
    root.add("dev").set("interrupts-extended", intc, 5).set("blob", b"\1\2\3")
    return root


def as_data(node: Node) -> object:
    """A tree as plain data: what flattening and reading must keep."""
    properties = {name: node.raw(name) for name in node.properties}
    return node.name, properties, [as_data(child) for child in node.children.values()]


def test_a_tree_comes_back_as_it_was_written() -> None:
    root = unflatten(flatten(sample()))
    assert root.strings("compatible") == ("acme,board", "generic")
    assert root.find("/intc@1000").cells("reg") == (0, 0x1000, 0, 0x100)
    assert root.find("/intc@1000").raw("interrupt-controller") == b""
    assert root.find("/dev").raw("blob") == b"\1\2\3"


def test_a_reference_becomes_the_phandle_of_its_node() -> None:
    root = unflatten(flatten(sample()))
    (phandle,) = root.find("/intc@1000").cells("phandle")
    assert root.find("/dev").cells("interrupts-extended") == (phandle, 5)
    assert "phandle" not in root.find("/dev").properties


def test_a_phandle_given_by_hand_is_kept_and_not_given_twice() -> None:
    root = Node()
    first, second = root.add("a").set("phandle", 1), root.add("b")
    root.set("refs", first, second)
    assert unflatten(flatten(root)).cells("refs") == (1, 2)


def test_a_reference_outside_the_tree_is_an_error() -> None:
    with pytest.raises(MachineError, match="outside its tree"):
        flatten(Node().set("ref", Node("stranger")))


@pytest.mark.parametrize("name", ["", "a b", "x" * 32, "a/b", "näme"])
def test_names_that_the_specification_forbids_are_refused(name: str) -> None:
    with pytest.raises(MachineError):
        Node().add(name)
    with pytest.raises(MachineError):
        Node().set(name)


@pytest.mark.parametrize("value", [-1, 1 << 32, U64(1 << 64), U64(-1), "a\0b"])
def test_values_that_do_not_fit_are_refused(value: object) -> None:
    with pytest.raises(MachineError):
        flatten(Node().set("p", value))  # type: ignore[arg-type]


def test_a_node_cannot_be_there_twice() -> None:
    root = Node()
    root.add("cpu", 0)
    with pytest.raises(MachineError, match="twice"):
        root.add("cpu", 0)


def test_reservations_and_room_are_in_the_blob() -> None:
    tight = flatten(sample(), reserved=((0x8000_0000, 0x1000),))
    roomy = flatten(sample(), reserved=((0x8000_0000, 0x1000),), room=4096)
    assert reserved_ranges(tight) == [(0x8000_0000, 0x1000)]
    assert len(roomy) - len(tight) == 4096
    assert as_data(unflatten(roomy)) == as_data(unflatten(tight))


@pytest.mark.parametrize("cut", [0, 4, 39, 40, 60, -4])
def test_a_cut_blob_is_refused(cut: int) -> None:
    with pytest.raises(LoadError):
        unflatten(flatten(sample())[:cut])


def header_with(**changes: int) -> bytes:
    names = ["magic", "total", "block", "strings", "reserve", "version"]
    names += ["oldest", "boot", "strings_size", "block_size"]
    blob = bytearray(flatten(sample()))
    for name, value in changes.items():
        struct.pack_into(">I", blob, 4 * names.index(name), value)
    return bytes(blob)


@pytest.mark.parametrize(
    "changes",
    [
        {"magic": MAGIC + 1}, {"total": 0xFFFF_FFFF}, {"total": 8}, {"block": 0xFFFF_FFF0},
        {"block_size": 0xFFFF_FFFF}, {"block_size": 4}, {"strings": 0xFFFF_FFFF},
        {"strings_size": 0}, {"reserve": 0xFFFF_FFF8}, {"version": 16}, {"oldest": 18},
    ],
)  # fmt: skip
def test_a_lying_header_is_refused(changes: dict[str, int]) -> None:
    with pytest.raises(LoadError):
        unflatten(header_with(**changes))


def test_a_structure_block_that_closes_too_often_is_refused() -> None:
    blob = bytearray(flatten(sample()))
    (block,) = struct.unpack_from(">I", blob, 8)
    struct.pack_into(">I", blob, block, END_NODE)
    with pytest.raises(LoadError, match="out of place"):
        unflatten(bytes(blob))


def test_depth_and_count_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    deep = node = Node()
    for _ in range(fdt_read.MAX_DEPTH):
        node = node.add("n")
    with pytest.raises(LoadError, match="deep"):
        unflatten(flatten(deep))
    monkeypatch.setattr(fdt_read, "MAX_NODES", 2)
    with pytest.raises(LoadError, match="over 2 nodes"):
        unflatten(flatten(sample()))


_names = st.from_regex(r"[a-z][a-z0-9,._+-]{0,8}", fullmatch=True)
_properties = st.dictionaries(_names, st.binary(max_size=20), max_size=4)
_trees: st.SearchStrategy[Any] = st.recursive(
    st.tuples(_properties, st.just({})),
    lambda inner: st.tuples(_properties, st.dictionaries(_names, inner, max_size=3)),
    max_leaves=8,
)


def grow(node: Node, data: Any) -> Node:
    for name, value in data[0].items():
        node.set(name, value)
    for name, inner in data[1].items():
        grow(node.add(name), inner)
    return node


@settings(derandomize=True, max_examples=100, deadline=None)
@given(_trees)
def test_any_tree_survives_the_round_trip(data: Any) -> None:
    root = grow(Node(), data)
    blob = flatten(root)
    assert as_data(unflatten(blob)) == as_data(root)
    assert flatten(unflatten(blob)) == blob


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_blob_is_read_or_refused_and_nothing_else(data: st.DataObject) -> None:
    blob = bytearray(flatten(sample()))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(blob) - 1))
        blob[at] = data.draw(st.sampled_from([0, 1, 2, 3, 4, 9, 0x7F, 0xFF]))
    try:
        root = unflatten(bytes(blob))
        reserved_ranges(bytes(blob))
    except LoadError:
        return
    assert len(list(root.walk())) <= 3


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(LoadError):
        unflatten(MAGIC.to_bytes(4, "big") + noise)


def test_dtc_reads_what_we_write_and_we_read_what_dtc_writes() -> None:
    dtc = shutil.which("dtc")
    if dtc is None:
        pytest.skip("dtc is not installed")
    ours = flatten(sample())
    command = [dtc, "-q", "-I", "dtb", "-O", "dtb", "-"]
    theirs = subprocess.run(command, input=ours, capture_output=True, check=True).stdout
    assert as_data(unflatten(theirs)) == as_data(unflatten(ours))
