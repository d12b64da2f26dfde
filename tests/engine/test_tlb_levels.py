"""Superpages, and what the second level of the TLB may not grant (Privileged 3.7, 4.2.1, 4.3.2)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine.harness import RAM_BASE, Tier0, both
from tests.engine.paging import AD, PAGE, RWX, A, D, R, V, W
from tests.engine.spaces import (
    CONFLICT,
    DATA,
    FENCES,
    ONES,
    REGION,
    SECOND_CONFLICT,
    TWOS,
    VA,
    Space,
    Two,
    at,
    leaf,
)
from tests.engine.test_virtual_memory import (
    ADUE,
    ALL,
    ECALL_S,
    LOAD_FAULT,
    NAPOT,
    STORE_ACCESS,
    STORE_FAULT,
    napot,
)

# ---- superpages


@pytest.mark.parametrize("fence", FENCES)
@pytest.mark.parametrize(("level", "mode"), [(1, 8), (2, 8), (2, 9), (3, 9), (3, 10), (4, 10)])
def test_a_superpage_goes_as_a_whole(level: int, mode: int, fence: str) -> None:
    """Any address of it will do, not only the one that was used (4.2.1)."""
    size = PAGE << 9 * level
    base, inside = 3 * size, RAM_BASE % size
    body = f"""
    li s5, {1 << 63 | 1 << 16 | 1}
    li s6, {base + inside + (DATA - RAM_BASE)}
    li s0, {base + inside + (DATA - RAM_BASE) + 5 * PAGE}
    ld a0, 0(s6)
    ld a1, 0(s0)
    li t2, {at(base, 0, level)}
    sd x0, 0(t2)
    {fence}
    ld a2, 0(s6)
    """
    two = Two(body, mode=mode)
    two.space.map(base, RAM_BASE - inside, R | AD, level=level)
    two.show_tables(base, level=level)
    end = two.space.run()
    assert (end.mcause, end.mtval, end.x(10)) == (
        LOAD_FAULT,
        base + inside + (DATA - RAM_BASE),
        ONES,
    )


@pytest.mark.parametrize("fence", FENCES)
def test_a_superpage_that_is_split(fence: str) -> None:
    """A leaf becomes a pointer: its PTE is the leaf PTE of the address that is fenced."""
    base = 300 * REGION
    table = DATA + 8 * PAGE
    body = f"""
    li s5, {1 << 63 | 1 << 16 | 1}
    li s0, {base + DATA - RAM_BASE}
    ld a0, 0(s0)
    li t1, {table >> 12 << 10 | V}
    li t2, {at(base, 0, 1)}
    sd t1, 0(t2)
    {fence}
    ld a1, 0(s0)
    ld a2, 8(s0)
    """
    two = Two(body)
    two.space.map(base, RAM_BASE, R | AD, level=1)
    two.show_tables(base, level=1)
    two.space.tables.write(table + ((DATA - RAM_BASE) >> 12) * 8, leaf(DATA + PAGE, R | AD))
    end = two.space.run()
    assert (end.mcause, end.x(10), end.x(11), end.x(12)) == (ECALL_S, ONES, TWOS, TWOS)


@pytest.mark.parametrize("fence", ["sfence.vma", "sfence.vma x0, s3"])
def test_another_table_takes_a_fence_of_all_addresses(fence: str) -> None:
    table = DATA + 8 * PAGE
    body = f"""
    ld a0, 0(s0)
    li t1, {table >> 12 << 10 | V}
    li t2, {at(VA, 0, 1)}
    sd t1, 0(t2)
    {fence}
    ld a1, 0(s0)
    """
    two = Two(body)
    two.space.map(VA, DATA, R | AD)
    two.show_tables(VA, level=1)
    two.space.tables.write(table + (VA >> 12 & 511) * 8, leaf(DATA + PAGE, R | AD))
    end = two.space.run()
    assert (end.mcause, end.x(10), end.x(11)) == (ECALL_S, ONES, TWOS)


# ---- what the second level may not grant


def test_dirty_bits_after_the_first_level_has_forgotten() -> None:
    body = f"""
    li s6, {VA + CONFLICT}
    ld a0, 0(s0)
    ld a1, 0(s6)
    sd a1, 8(s0)
    ld a1, 0(s6)
    sd a1, 16(s0)
    li t2, {at(VA)}
    li t1, {leaf(DATA, R | W)}
    sd t1, 0(t2)
    sfence.vma s0
    ld a0, 0(s0)
    ld a3, 0(t2)
    sd a0, 0(s0)
    """
    two = Two(body)
    where = two.space.map(VA, DATA, R | W)
    two.space.map(VA + CONFLICT, DATA + PAGE, R | AD)
    two.show_tables()
    end = two.space.run(menvcfg=ADUE)
    assert (end.mcause, end.x(13) & AD, end.u64(where) & AD) == (ECALL_S, A, A | D)
    assert end.u64(DATA + 8) == end.u64(DATA + 16) == TWOS
    two.space.map(VA, DATA, R | W | A)
    assert two.space.run().mcause == STORE_FAULT


def test_protected_memory_is_not_opened_by_the_second_level() -> None:
    """One page that may only be read, among pages that may be written (3.7.1)."""
    body = f"""
    li s6, {VA + CONFLICT}
    ld a0, 0(s0)
    ld a1, 0(s6)
    sd a1, 0(s6)
    ld a2, 0(s0)
    sd a2, 0(s0)
    """
    space = Space(body)
    space.map(VA, DATA, R | W | AD)
    space.map(VA + CONFLICT, DATA + PAGE, R | W | AD)
    space.put(DATA, bytes([1]) * 8 + bytes(PAGE - 8) + bytes([2]) * 8)

    def setup(raw: Any) -> None:
        for name, value in space.fields.items():
            setattr(raw, name, value)
        raw.pmp_count = 4
        raw.pmpcfg[0], raw.pmpaddr[0] = NAPOT | 1, napot(DATA, PAGE)
        raw.pmpcfg[1], raw.pmpaddr[1] = ALL

    end = both(bytes(space.image), space.made.entry, (space.made.symbols["done"],), setup)
    assert (end.mcause, end.mtval) == (STORE_ACCESS, VA)
    assert (end.x(10), end.x(11), end.x(12)) == (ONES, TWOS, ONES)


@pytest.mark.parametrize("distance", [CONFLICT, SECOND_CONFLICT, CONFLICT * 64])
@pytest.mark.parametrize("mode", [8, 9])
def test_pages_that_share_a_place(distance: int, mode: int) -> None:
    body = f"""
    li s6, {VA + distance}
    li s7, 20
1:  ld t0, 0(s0)
    addi t0, t0, 1
    sd t0, 0(s0)
    ld t1, 0(s6)
    add t1, t1, t0
    sd t1, 0(s6)
    sh t1, 14(s0)
    lhu t2, 14(s6)
    add a0, a0, t2
    addi s7, s7, -1
    bnez s7, 1b
    """
    space = Space(body, mode=mode)
    space.map(VA, DATA, R | W | AD)
    space.map(VA + distance, DATA + PAGE, R | W | AD)
    end = space.run()
    assert (end.u64(DATA), end.u64(DATA + PAGE)) == (20, 210)


def test_code_that_is_stored_to_by_way_of_another_page() -> None:
    """The page has cells, so no level lets a store pass unnoticed, by whichever address."""
    body = f"""
    li s6, {VA + CONFLICT}
    li s7, 5
    li t3, 0x00150513
1:  jalr s0
    fence.i
    ld t0, 0(s6)
    sw t3, 0(s6)
    fence.i
    jalr s0
    add a1, a1, a0
    li t3, 0x00250513
    ld t0, 0(s0)
    sw t3, 0(s0)
    fence.i
    addi s7, s7, -1
    bnez s7, 1b
    """
    space = Space(body)
    for va in (VA, VA + CONFLICT):
        space.map(va, DATA, RWX | AD)
    space.put(DATA, b"".join(c.to_bytes(4, "little") for c in (0x00150513, 0x00008067)))
    end = space.run()
    assert (end.mcause, end.x(10)) == (ECALL_S, 18)


def test_misaligned_accesses_within_a_page_and_across() -> None:
    lines = [f"l{kind} a{n}, {offset}(s0)\ns{kind} a{n}, {offset + 100}(s0)\nadd s8, s8, a{n}"
             for n, (kind, offset) in enumerate(
                 [("d", 1), ("w", 2), ("h", 3), ("d", 7), ("w", 13), ("d", 21)])]  # fmt: skip
    far = [
        f"li t0, {VA + PAGE - back}\nld t1, 0(t0)\nadd s8, s8, t1\nsd s8, 0(t0)"
        for back in (1, 4, 7)
    ]
    space = Space("\n".join(lines + far))
    space.map(VA, DATA + PAGE, R | W | AD)
    space.map(VA + PAGE, DATA, R | W | AD)
    space.put(DATA, bytes(range(200, 256)))
    space.put(DATA + PAGE, bytes(n * 7 & 255 for n in range(PAGE)))
    assert space.run().mcause == ECALL_S


@pytest.mark.parametrize(("level", "mode"), [(2, 8), (3, 9), (4, 10)])
@pytest.mark.parametrize("fence", FENCES)
def test_far_places_of_a_huge_page(level: int, mode: int, fence: str) -> None:
    """It is in the TLB in pieces of 2 MiB; a fence of one address is for all of them."""
    size = PAGE << 9 * level
    base, inside = 3 * size, RAM_BASE % size
    body = f"""
    li s5, {1 << 63 | 1 << 16 | 1}
    li s6, {base + inside + 2 * REGION + 5 * PAGE}
    li s0, {base + inside + (DATA - RAM_BASE)}
    ld a0, 0(s6)
    ld a1, 0(s0)
    li t2, {at(base, 0, level)}
    sd x0, 0(t2)
    {fence}
    ld a2, 0(s6)
    """
    two = Two(body, mode=mode)
    two.space.map(base, RAM_BASE - inside, R | AD, level=level)
    two.show_tables(base, level=level)

    def setup(raw: Any) -> None:
        for name, value in two.space.fields.items():
            setattr(raw, name, value)

    machine = Tier0(ram_bytes=3 * REGION)
    machine.load(bytes(two.space.image), two.space.made.entry, setup)
    end = machine.run(two.space.made.symbols["done"])
    assert (end.mcause, end.mtval) == (LOAD_FAULT, base + inside + 2 * REGION + 5 * PAGE)
    assert (end.x(10), end.x(11)) == (0, ONES)


@pytest.mark.parametrize("fence", FENCES)
def test_a_napot_page_goes_as_a_whole(fence: str) -> None:
    """Sixteen PTEs say one thing (Svnapot); a fence of one of its addresses is for all."""
    body = f"""
    li s5, {1 << 63 | 1 << 16 | 1}
    li s6, {VA + 5 * PAGE}
    ld a0, 0(s6)
    ld a1, 0(s0)
    li t2, {at(VA + 5 * PAGE)}
    sd x0, 0(t2)
    {fence}
    ld a2, 0(s6)
    """
    two = Two(body)
    for n in range(16):
        where = two.space.map(VA + n * PAGE, DATA + 8 * PAGE, R | AD)
        two.space.tables.write(where, two.space.tables.read(where) | 1 << 63)
    two.show_tables()
    end = two.space.run()
    assert (end.mcause, end.mtval) == (LOAD_FAULT, VA + 5 * PAGE)


@pytest.mark.parametrize(
    ("code", "cause"),
    [("amoadd.d a0, a0, (t0)", 6), ("amoswap.w a0, a0, (t0)", 6), ("lr.w a0, (t0)", 4)],
)
def test_misaligned_atomics_of_a_page_that_is_known(code: str, cause: int) -> None:
    space = Space(f"sd a0, 0(s0)\naddi t0, s0, 2\n{code}")
    space.map(VA, DATA, R | W | AD)
    end = space.run()
    assert (end.mcause, end.mtval) == (cause, VA + 2)
