"""Kernel modules: their own account of what they need."""

from __future__ import annotations

import contextlib
import gzip
import lzma

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.base.errors import ImageError
from innkeeper.images import modules

from .fuzzing import fuzz
from .mirror_kit import make_module

FILES = {
    "lib/modules/1/kernel/fs/top.ko.xz": lzma.compress(
        make_module(depends="mid_dle,low", softdep="pre: soft absent post: after")
    ),
    "lib/modules/1/kernel/fs/mid-dle.ko.gz": gzip.compress(make_module(depends="low")),
    "lib/modules/1/kernel/low.ko": make_module(depends=""),
    "lib/modules/1/kernel/soft.ko": make_module(depends="", softdep="pre: crypto-hash"),
    "lib/modules/1/kernel/after.ko": make_module(depends=""),
    "lib/modules/1/kernel/crypto/fast_hash.ko": make_module(alias="crypto-hash"),
    "lib/modules/1/kernel/crypto/hash_generic.ko": make_module(alias="crypto-hash"),
    "lib/modules/1/kernel/broken.ko": make_module(depends="nowhere"),
    "lib/modules/1/kernel/loop1.ko": make_module(depends="loop2"),
    "lib/modules/1/kernel/loop2.ko": make_module(depends="loop1"),
}
PATHS = {name: path for path in FILES if (name := modules.module_name(path))}


def order(*wanted: str, builtin: frozenset[str] = frozenset()) -> list[str]:
    found = modules.load_order(wanted, paths=PATHS, builtin=builtin, read=FILES.__getitem__)
    return [module.name for module in found]


def test_everything_needed_comes_first() -> None:
    assert order("top") == ["hash_generic", "soft", "low", "mid_dle", "top", "after"]


def test_names_with_either_dash() -> None:
    assert order("mid-dle") == order("mid_dle") == ["low", "mid_dle"]


def test_what_is_built_in_or_absent_is_left_out() -> None:
    assert order("mid_dle", "nonsense", builtin=frozenset({"low"})) == ["mid_dle"]


def test_a_missing_hard_dependency() -> None:
    with pytest.raises(ImageError, match="depends on nowhere"):
        order("broken")


def test_a_cycle_ends() -> None:
    assert sorted(order("loop1")) == ["loop1", "loop2"]


def test_paths_lose_their_compression() -> None:
    found = modules.load_order(
        ["mid_dle"], paths=PATHS, builtin=frozenset(), read=FILES.__getitem__
    )
    assert found[1].path == "lib/modules/1/kernel/fs/mid-dle.ko"
    assert found[1].needs == ("low",)
    assert found[1].content[:4] == b"\x7fELF"


def test_names() -> None:
    assert modules.module_name("a/virtio-rng.ko.xz") == "virtio_rng"
    assert modules.module_name("a/x.ko") == "x"
    assert modules.module_name("a/x.kobold") is None
    assert modules.module_name("a/modules.order") is None
    assert modules.parse_builtin("kernel/a/b-c.ko\n\n") == {"b_c"}


MODULE = make_module(depends="a,b", alias="x", softdep="pre: c")


@fuzz(300)
@given(
    st.lists(st.tuples(st.integers(0, len(MODULE) - 1), st.integers(0, 255)), max_size=5),
    st.integers(0, len(MODULE)),
)
def test_a_damaged_module_is_an_image_error(changes: list[tuple[int, int]], end: int) -> None:
    data = bytearray(MODULE)
    for at, value in changes:
        data[at] = value
    for elf in (bytes(data), bytes(data[:end])):
        with contextlib.suppress(ImageError):
            modules.parse_modinfo(elf)
