"""What the TLB may keep and what it must forget (Privileged 4.1.11, 4.2.1, 4.3.2).

The reference keeps nothing, so it is always fresh: a program that fences as it must sees the same
on both sides. What may be kept, and is, shows in the counters.
"""

from __future__ import annotations

import pytest

from tests.engine.harness import State, tier0
from tests.engine.paging import AD, PAGE, RWX, A, G, R, U, W, X
from tests.engine.spaces import (
    ASID_SHIFT,
    CONFLICT,
    DATA,
    FENCES,
    ONES,
    OTHER_POOL,
    POOL,
    TWOS,
    VA,
    Space,
    Two,
    at,
    leaf,
)
from tests.engine.test_virtual_memory import (
    ECALL_S,
    FETCH_FAULT,
    LOAD_FAULT,
    STORE_FAULT,
)


@pytest.mark.parametrize("fence", FENCES)
@pytest.mark.parametrize(
    ("access", "before", "after", "cause"),
    [
        ("ld a0, 0(s0)", R | AD, 0, LOAD_FAULT), ("sd a0, 0(s0)", R | W | AD, R | AD, STORE_FAULT),
        ("jalr s0", RWX | AD, R | W | AD, FETCH_FAULT), ("ld a0, 0(s0)", R | AD, X | AD, LOAD_FAULT),
        ("ld a0, 0(s0)", R | AD, R | U | AD, LOAD_FAULT), ("ld a0, 0(s0)", R | AD, R, LOAD_FAULT),
        ("sd a0, 0(s0)", R | W | AD, R | W | A, STORE_FAULT),
        ("amoadd.d a0, a0, (s0)", R | W | AD, R | AD, STORE_FAULT),
    ],
)  # fmt: skip
def test_permissions_that_were_taken_away(
    fence: str, access: str, before: int, after: int, cause: int
) -> None:
    body = f"""
    li s5, {1 << 63 | 1 << 16 | 1}
    {access}
    li t1, {leaf(DATA, after)}
    li t2, {at(VA)}
    sd t1, 0(t2)
    {fence}
    {access}
    """
    two = Two(body)
    two.space.map(VA, DATA, before)
    two.space.put(DATA, (0x00008067).to_bytes(4, "little"))  # ret
    two.show_tables()
    end = two.space.run()
    assert (end.mcause, end.mtval) == (cause, VA)


@pytest.mark.parametrize("fence", FENCES)
def test_permissions_that_were_given(fence: str) -> None:
    body = f"""
    li s5, {1 << 63 | 1 << 16 | 1}
    ld a0, 0(s0)
    li t1, {leaf(DATA + PAGE, R | W | AD)}
    li t2, {at(VA)}
    sd t1, 0(t2)
    {fence}
    sd a0, 8(s0)
    ld a1, 0(s0)
    """
    two = Two(body)
    two.space.map(VA, DATA, R | AD)
    two.show_tables()
    end = two.space.run()
    assert (end.mcause, end.x(11), end.u64(DATA + PAGE + 8)) == (ECALL_S, TWOS, ONES)


@pytest.mark.parametrize(
    "fence", ["sfence.vma", "sfence.vma s0", "sfence.vma x0, s4", "sfence.vma s0, s4"]
)
@pytest.mark.parametrize("mode", [8, 9, 10])
def test_fencing_another_address_space(fence: str, mode: int) -> None:
    """Space 1 changes what space 2 has seen, and names it or everybody."""
    body = f"""
    csrw satp, s2
    ld a0, 0(s0)
    csrw satp, s1
    li t1, {leaf(DATA + 2 * PAGE, R | AD)}
    li t2, {at(VA, 1)}
    sd t1, 0(t2)
    {fence}
    ld a1, 0(s0)
    csrw satp, s2
    ld a2, 0(s0)
    """
    two = Two(body, mode=mode)
    two.space.map(VA, DATA, R | AD)
    two.other.map(VA, DATA + PAGE, R | AD)
    two.show_tables()
    end = two.space.run()
    threes = ONES * 3
    assert (end.mcause, end.x(10), end.x(11), end.x(12)) == (ECALL_S, TWOS, ONES, threes)


@pytest.mark.parametrize("fence", ["sfence.vma", "sfence.vma s0"])
def test_a_global_page_changes_for_all(fence: str) -> None:
    body = f"""
    ld a0, 0(s0)
    csrw satp, s2
    ld a1, 0(s0)
    li t1, {leaf(DATA + PAGE, R | G | AD)}
    li t2, {at(VA)}
    sd t1, 0(t2)
    li t2, {at(VA, 1)}
    sd t1, 0(t2)
    {fence}
    ld a2, 0(s0)
    csrw satp, s1
    ld a3, 0(s0)
    """
    two = Two(body)
    for tables in two.both:
        tables.map(VA, DATA, R | G | AD)
    two.show_tables()
    end = two.space.run()
    assert [end.x(n) for n in (10, 11, 12, 13)] == [ONES, ONES, TWOS, TWOS]


def test_a_private_page_in_the_place_of_a_global_one() -> None:
    body = f"""
    li s6, {VA + CONFLICT}
    ld a0, 0(s0)
    ld a1, 0(s6)
    csrw satp, s2
    ld a2, 0(s6)
    ld a3, 0(s0)
    csrw satp, s1
    ld a4, 0(s6)
    ld a5, 0(s0)
    """
    two = Two(body)
    for n, tables in enumerate(two.both):
        tables.map(VA, DATA, R | G | AD)
        tables.map(VA + CONFLICT, DATA + PAGE + n * PAGE, R | AD)
    end = two.space.run()
    assert [end.x(n) for n in range(10, 16)] == [ONES, TWOS, ONES * 3, ONES, TWOS, ONES]


def counted(two: Two) -> tuple[State, dict[str, int]]:
    """Run, and return what was counted meanwhile."""
    before = tier0().emulator.statistics()
    end = two.space.run()
    after = tier0().emulator.statistics()
    return end, {name: after[name] - before[name] for name in before}


def switching(flags: int) -> dict[str, int]:
    body = """
    li s6, 500
1:  ld a0, 0(s0)
    csrw satp, s2
    ld a1, 0(s0)
    csrw satp, s1
    addi s6, s6, -1
    bnez s6, 1b
    """
    two = Two(body)
    for tables in two.both:
        tables.map(VA, DATA, flags)
    end, counts = counted(two)
    assert (end.mcause, end.x(10), end.x(11)) == (ECALL_S, ONES, ONES)
    assert counts["switches"] >= 999
    return counts


def test_what_outlives_a_switch_of_address_space() -> None:
    """Global pages stay in the first level; private ones come back without a walk."""
    private, shared = switching(R | AD), switching(R | G | AD)
    assert private["refills"] >= 998 and private["walks"] < 40
    assert shared["misses"] < 20
    assert private["flushes"] < 10 and shared["flushes"] < 10


def test_a_fence_of_one_address_space_leaves_global_pages() -> None:
    two = Two("li s6, 500\n1:ld a0, 0(s0)\nsfence.vma x0, s3\naddi s6, s6, -1\nbnez s6, 1b")
    two.space.map(VA, DATA, R | G | AD)
    end, counts = counted(two)
    assert end.x(10) == ONES
    assert counts["asid_flushes"] >= 500 and counts["misses"] < 20


def test_satp_has_all_asid_bits() -> None:
    body = f"li t0, {8 << 60 | 0xFFFF << ASID_SHIFT | POOL >> 12}\ncsrw satp, t0\ncsrr a0, satp"
    space = Space(body)
    assert space.run().x(10) == 8 << 60 | 0xFFFF << ASID_SHIFT | POOL >> 12


def test_other_tables_for_the_same_address_space() -> None:
    """Without a fence: what fresh page tables say is seen although the ASID was used before."""
    two = Two(f"li s2, {8 << 60 | 1 << ASID_SHIFT | OTHER_POOL >> 12}\n"
              "ld a0, 0(s0)\ncsrw satp, s2\nld a1, 0(s0)\ncsrw satp, s1\nld a2, 0(s0)")  # fmt: skip
    for n, tables in enumerate(two.both):
        tables.map(VA, DATA + n * PAGE, R | AD)
    end = two.space.run()
    assert [end.x(n) for n in (10, 11, 12)] == [ONES, TWOS, ONES]


def test_bare_takes_effect_at_once() -> None:
    """Without a fence (4.2.1): a change of MODE to or from Bare."""
    two = Two(
        f"li s0, {DATA}\nld a0, 0(s0)\ncsrw satp, x0\nld a1, 0(s0)\ncsrw satp, s1\nld a2, 0(s0)"
    )
    two.space.map(DATA, DATA + PAGE, R | AD)
    end = two.space.run()
    assert [end.x(n) for n in (10, 11, 12)] == [TWOS, ONES, TWOS]
