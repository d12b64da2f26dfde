"""Layers made at random: on disk, in memory and to the kernel they must come to the same."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.base.errors import ImageError, InnError
from innkeeper.images.oci.apply import Applier
from innkeeper.images.oci.content import ContentStore
from innkeeper.images.oci.flatten import flatten
from innkeeper.images.oci.rootfs import prepare_rootfs, release_rootfs
from innkeeper.images.tarsafe import TarReader
from innkeeper.images.tree import Spool, Tree

from ..fuzzing import fuzz
from . import kit
from .test_machine import listing as tree_listing

ROOTLESS = os.geteuid() != 0
NAMES = ("a", "b", "c")
_path = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)
_target = st.lists(st.sampled_from([*NAMES, "..", "/"]), min_size=1, max_size=3).map("/".join)
_item = st.one_of(
    st.tuples(st.just("dir"), _path, st.just(0o755)),
    st.tuples(st.just("file"), _path, st.binary(max_size=3)),
    st.tuples(st.just("link"), _path, _target),
    st.tuples(st.just("hard"), _path, _path),
    st.tuples(st.just("gone"), _path, st.none()),
    st.tuples(st.just("opaque"), _path, st.none()),
)
_layers = st.lists(st.lists(_item, max_size=8), min_size=1, max_size=3)


@pytest.fixture(scope="module")
def can_mount(request: pytest.FixtureRequest) -> bool:
    try:
        request.getfixturevalue("overlay")
    except pytest.skip.Exception:
        return False
    return True


@given(_layers)
@fuzz(60)
def test_three_ways_agree(can_mount: bool, layers: list[list[kit.Item]]) -> None:
    folder = Path(tempfile.mkdtemp(prefix="inn-fuzz-"))
    try:
        store = ContentStore(folder / "oci")
        image = kit.make_image(store, *(kit.tar_of(items) for items in layers))
        try:
            copied = prepare_rootfs(image, folder / "copy", rootless=ROOTLESS, overlay=False)
        except ImageError:
            return
        found = kit.listing(copied.path)
        if can_mount:
            mounted = prepare_rootfs(image, folder / "over", rootless=False, overlay=True)
            assert kit.listing(mounted.path) == found
        with Spool(folder) as spool:
            tree = Tree(spool)
            flatten(image, tree)
            flat = tree_listing(tree)
            flat.pop("", None)
            assert flat == found
    finally:
        release_rootfs(folder / "over", folder / "oci")
        shutil.rmtree(folder)


@given(st.binary(max_size=2000), st.integers(0, 3000), st.binary(min_size=1, max_size=40))
@fuzz(60)
def test_damaged_archives_only_fail_with_our_errors(noise: bytes, at: int, patch: bytes) -> None:
    items: list[kit.Item] = [
        ("dir", "d", 0o755), ("file", "d/f", b"x" * 700), ("link", "l", "d"), ("hard", "h", "d/f"),
        ("gone", "d/g", None), ("fifo", "p", None),
    ]  # fmt: skip
    data = bytearray(kit.tar_of(items))
    data[at : at + len(patch)] = patch
    folder = Path(tempfile.mkdtemp(prefix="inn-fuzz-"))
    try:
        for content in (bytes(data), noise, _with_checksums(bytes(data))):
            top = Path(tempfile.mkdtemp(dir=folder))
            with Applier(top, [], rootless=True) as applier:
                try:
                    applier.apply(TarReader(_Stream(content), name="fuzz"))
                except InnError as error:
                    assert error.what
        assert {p.parent for p in folder.iterdir()} == {folder}
    finally:
        shutil.rmtree(folder)


def _with_checksums(data: bytes) -> bytes:
    """Make the checksum of every block right, so that damage gets past it."""
    blocks = []
    for start in range(0, len(data), 512):
        block = data[start : start + 512]
        if len(block) == 512 and block[257:262] == b"ustar":
            blank = block[:148] + b" " * 8 + block[156:]
            block = blank[:148] + b"%06o\0 " % sum(blank) + blank[156:]
        blocks.append(block)
    return b"".join(blocks)


class _Stream:
    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def read(self, size: int, /) -> bytes:
        piece = self._data[self._at : self._at + size]
        self._at += len(piece)
        return piece
