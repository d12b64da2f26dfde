"""Cache-block operations: what they zero, what they check, and how they fault (RISC-V CMO 1.0)."""

from __future__ import annotations

import pytest

from innkeeper.isa.riscv.causes import ILLEGAL_INSTRUCTION, STORE_ACCESS_FAULT, STORE_PAGE_FAULT
from innkeeper.isa.riscv.codec import encode, standard_set
from innkeeper.isa.riscv.ops import Trap
from innkeeper.isa.riscv.status import (
    ENVCFG_ADUE,
    ENVCFG_CBCFE,
    ENVCFG_CBIE,
    ENVCFG_CBZE,
    PRIV_M,
    PRIV_S,
    PRIV_U,
)
from innkeeper.native.types import u32, u64
from tests.isa.bare import Bare

BASE = 0x8000_0000
ROOT = BASE + 0x10000
"""Where the tests put the root page table."""

FIELDS = {
    "cbo.inval": ENVCFG_CBIE,
    "cbo.clean": ENVCFG_CBCFE,
    "cbo.flush": ENVCFG_CBCFE,
    "cbo.zero": ENVCFG_CBZE,
}
MANAGEMENT = ("cbo.inval", "cbo.clean", "cbo.flush")
V, R, W, X, U, A, D = 1, 2, 4, 8, 16, 64, 128


def execute(m: Bare, name: str, address: int) -> None:
    m.hart.x[10] = u64(address)
    m.execute(encode(standard_set().by_name[name][0], {"rs1": 10}))


def trap(m: Bare, name: str, address: int) -> tuple[int, int]:
    with pytest.raises(Trap) as caught:
        execute(m, name, address)
    return caught.value.cause, caught.value.tval


def supervisor(permissions: int) -> Bare:
    """Return a machine in S-mode with RAM identity-mapped by one Sv39 gigapage."""
    m = Bare()
    m.write(ROOT + 2 * 8, ((BASE >> 12) << 10 | permissions).to_bytes(8, "little"))
    m.hart.satp = u64(8 << 60 | ROOT >> 12)
    m.hart.priv = u32(PRIV_S)
    m.hart.menvcfg = u64(ENVCFG_CBIE | ENVCFG_CBCFE | ENVCFG_CBZE)
    return m


def leaf(m: Bare) -> int:
    return int.from_bytes(m.read(ROOT + 2 * 8, 8), "little")


@pytest.mark.parametrize("offset", [0, 1, 63])
def test_zero_clears_exactly_the_block_around_the_address(offset: int) -> None:
    m = Bare()
    m.write(BASE, b"\xff" * 256)
    execute(m, "cbo.zero", BASE + 64 + offset)
    assert m.read(BASE, 256) == b"\xff" * 64 + bytes(64) + b"\xff" * 128


@pytest.mark.parametrize("name", MANAGEMENT)
def test_management_changes_no_memory(name: str) -> None:
    m = Bare()
    m.write(BASE, bytes(range(256)))
    execute(m, name, BASE + 70)
    assert m.read(BASE, 256) == bytes(range(256))


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize(
    ("priv", "menvcfg", "senvcfg", "allowed"),
    [
        (PRIV_M, False, False, True),
        (PRIV_S, False, True, False),
        (PRIV_S, True, False, True),
        (PRIV_U, True, False, False),
        (PRIV_U, False, True, False),
        (PRIV_U, True, True, True),
    ],
)
def test_environment_configuration(
    name: str, priv: int, menvcfg: bool, senvcfg: bool, allowed: bool
) -> None:
    m = Bare()
    m.hart.priv = u32(priv)
    m.hart.menvcfg = u64(FIELDS[name] if menvcfg else ~FIELDS[name])
    m.hart.senvcfg = u64(FIELDS[name] if senvcfg else ~FIELDS[name])
    if allowed:
        execute(m, name, BASE)
    else:
        assert trap(m, name, BASE) == (ILLEGAL_INSTRUCTION, 0)


@pytest.mark.parametrize("name", FIELDS)
def test_outside_ram_is_a_store_access_fault_at_the_given_address(name: str) -> None:
    assert trap(Bare(), name, 0x1000_0003) == (STORE_ACCESS_FAULT, 0x1000_0003)


def test_zero_on_a_read_only_page_is_a_store_page_fault_at_the_given_address() -> None:
    m = supervisor(V | R | A | D)
    m.write(BASE, b"\xff" * 64)
    assert trap(m, "cbo.zero", BASE + 5) == (STORE_PAGE_FAULT, BASE + 5)
    assert m.read(BASE, 64) == b"\xff" * 64


@pytest.mark.parametrize("name", MANAGEMENT)
def test_management_needs_only_what_a_load_needs(name: str) -> None:
    execute(supervisor(V | R | A), name, BASE)


@pytest.mark.parametrize("name", MANAGEMENT)
@pytest.mark.parametrize(
    "permissions", [V | X | A | D, R | W | A | D, V | R | W | U | A | D, V | R]
)
def test_management_faults_like_a_store(name: str, permissions: int) -> None:
    assert trap(supervisor(permissions), name, BASE + 9) == (STORE_PAGE_FAULT, BASE + 9)


@pytest.mark.parametrize(("name", "set_bits"), [("cbo.clean", A), ("cbo.zero", A | D)])
def test_accessed_and_dirty_bits(name: str, set_bits: int) -> None:
    m = supervisor(V | R | W)
    m.hart.menvcfg = u64(int(m.hart.menvcfg) | ENVCFG_ADUE)
    execute(m, name, BASE)
    assert leaf(m) & 0xFF == V | R | W | set_bits


@pytest.mark.parametrize("name", ["prefetch.i", "prefetch.r", "prefetch.w"])
def test_prefetches_never_fault(name: str) -> None:
    m = supervisor(0)
    execute(m, name, 3)
    assert m.hart.x[10] == 3
