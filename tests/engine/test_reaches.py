"""Loads and stores that share one look at the TLB, where sharing goes wrong."""

from __future__ import annotations

import random

import pytest

from tests.engine.paging import AD, PAGE, A, R, W
from tests.engine.spaces import ADUE, DATA, VA, Space, Two, at, leaf

ECALL_S, LOAD_FAULT, STORE_FAULT = 9, 13, 15
PATTERN = bytes(range(1, 256)) * 33


def space(body: str, *, second: int = R | W | AD, offset: int = PAGE) -> Space:
    """Map two pages in a row; what follows the first one lies elsewhere in RAM."""
    made = Space(body)
    made.map(VA, DATA, R | W | AD)
    if second:
        made.map(VA + PAGE, DATA + 4 * PAGE, second)
    made.put(DATA, PATTERN[:PAGE])
    made.put(DATA + 4 * PAGE, PATTERN[7 : PAGE + 7])
    return made


@pytest.mark.parametrize("start", [0, 8, 4000, 4056, 4060, 4064, 4071, 4088, 4095])
def test_a_frame_across_two_pages(start: int) -> None:
    end = space(f"""
    li t0, {start}
    add sp, s0, t0
    addi sp, sp, 48
    addi sp, sp, -48
    sd s0, 40(sp)
    sd t0, 32(sp)
    sw t0, 28(sp)
    sb t0, 7(sp)
    lbu a0, 7(sp)
    ld a1, 32(sp)
    lw a2, 28(sp)
    ld a3, 40(sp)
    ld a4, 0(sp)
    addi sp, sp, 48
    """).run()
    assert (end.mcause, end.x(10), end.x(11), end.x(12)) == (ECALL_S, start & 0xFF, start, start)


@pytest.mark.parametrize("start", [4064, 4072, 4080, 4088])
def test_a_fault_within_a_reach_is_precise(start: int) -> None:
    """What is before the fault is done, what is behind it is not."""
    end = space(f"""
    li t0, {start}
    add a0, s0, t0
    li a1, 1
    sd a1, 0(a0)
    li a1, 2
    sd a1, 8(a0)
    li a1, 3
    sd a1, 16(a0)
    li a1, 4
    sd a1, 24(a0)
    li a1, 5
    ld a2, 32(a0)
    li a1, 6
    """, second=0).run()  # fmt: skip
    done = (PAGE - start) // 8
    assert (end.mcause, end.x(11)) == (STORE_FAULT if done < 4 else LOAD_FAULT, done + 1)
    assert end.u64(DATA + start) == 1


def test_a_page_that_may_only_be_read() -> None:
    """A load before a store that faults is done; so are loads of blocks that never store."""
    made = Space("""
    ld a0, 0(s0)
    ld a1, 8(s0)
    beqz zero, past
    sd a1, 16(s0)
    past:
    ld a2, 24(s0)
    ld a3, 32(s0)
    sd a3, 40(s0)
    li a4, 1
    """)
    made.map(VA, DATA, R | AD)
    made.put(DATA, PATTERN[:PAGE])
    end = made.run()
    assert (end.mcause, end.x(14)) == (STORE_FAULT, 0)
    assert end.x(13) == int.from_bytes(PATTERN[32:40], "little")


def test_a_page_gets_dirty_by_its_store_only() -> None:
    """A load and a store share a look; the PTE that lies between them is clean yet."""
    two = Two(f"""
    li s6, {at(VA)}
    ld a0, 0(s0)
    ld a1, 0(s6)
    sd a1, 8(s0)
    ld a2, 0(s6)
    """)
    where = two.space.map(VA, DATA, R | W | A)
    two.show_tables()
    end = two.space.run(menvcfg=ADUE)
    assert (end.x(11), end.x(12)) == (leaf(DATA, R | W | A), leaf(DATA, R | W | AD))
    assert end.u64(where) == leaf(DATA, R | W | AD)


@pytest.mark.parametrize("step", [1, 2, 3, 8, 24, 100])
@pytest.mark.parametrize("second", [0, R | AD, R | W | AD])
def test_a_loop_that_walks_into_the_next_page(step: int, second: int) -> None:
    """Two reaches remember their pages; one of them misaligned now and then, one of two words."""
    end = space(f"""
    li t0, 3000
    add a0, s0, t0
    li t1, 40
    li a2, 0
    again:
    lw a3, 0(a0)
    add a2, a2, a3
    lhu a4, 1000(a0)
    lhu a5, 1006(a0)
    sh a4, 1006(a0)
    sub a2, a2, a5
    addi a0, a0, {step}
    addi t1, t1, -1
    bnez t1, again
    """, second=second).run()  # fmt: skip
    reaches = 3000 + 39 * step + 1008 > PAGE
    if second == R | W | AD or not reaches:
        assert end.mcause == ECALL_S
    else:
        assert end.mcause in (LOAD_FAULT, STORE_FAULT)


def test_a_remembered_page_loses_its_permission() -> None:
    """The page is taken away by the program itself, in the loop that reads it."""
    two = Two(f"""
    li s6, {at(VA)}
    li t1, 5
    again:
    ld a0, 0(s0)
    addi t1, t1, -1
    addi t2, t1, -2
    bnez t2, on
    sd zero, 0(s6)
    sfence.vma
    on:
    bnez t1, again
    """)
    two.space.map(VA, DATA, R | W | AD)
    two.show_tables()
    end = two.space.run()
    assert (end.mcause, end.x(6)) == (LOAD_FAULT, 2)


def test_a_loop_that_begins_with_a_look_that_fails() -> None:
    """Tier 0 does it each time, at an entry of regions that are made apart from each other."""
    apart = "addi a4, a4, 1\n" * 420
    end = space(f"""
    li t0, 4092
    add a1, s0, t0
    li s1, 3
    first:
    li s2, 90
    one:
    li a3, 2
    call walk
    addi s2, s2, -1
    bnez s2, one
    {apart}
    li s2, 90
    other:
    li a3, 3
    call walk
    xori a2, a2, 1
    addi s2, s2, -1
    bnez s2, other
    addi s1, s1, -1
    bnez s1, first
    j over
    walk:
    ld a0, 0(a1)
    add a2, a2, a0
    addi a3, a3, -1
    bnez a3, walk
    ret
    over:
    nop
    """).run()
    assert end.mcause == ECALL_S


@pytest.mark.parametrize("seed", range(24))
def test_random_accesses_off_few_registers(seed: int) -> None:
    """Bases move by constants, copies and loads; blocks follow one another; pages are crossed."""
    draw = random.Random(seed)
    lines = ["li t1, 12", f"li t2, {draw.choice((2000, 4050, 4096))}"]
    lines += ["add a0, s0, t2", "mv a1, a0", "mv a2, s0", "again:"]
    for n in range(40):
        base, other = draw.sample(("a0", "a1", "a2"), 2)
        value = draw.choice(("a3", "a4", "a5"))
        offset = draw.randrange(-40, 120)
        match draw.randrange(8):
            case 0:
                lines.append(f"addi {base}, {base}, {draw.randrange(-24, 25)}")
            case 1:
                lines.append(f"mv {base}, {other}")
            case 2:
                lines += [f"andi {value}, {value}, 1", f"beqz {value}, skip{n}"]
                lines += [f"sd {value}, {abs(offset)}({base})", f"skip{n}:"]
            case 3 | 4:
                op = draw.choice(("sb", "sh", "sw", "sd"))
                lines.append(f"{op} {value}, {abs(offset)}({base})")
            case _:
                op = draw.choice(("lb", "lbu", "lh", "lhu", "lw", "lwu", "ld"))
                lines.append(f"{op} {value}, {abs(offset)}({base})")
    lines += ["addi t1, t1, -1", "bnez t1, again"]
    end = space("\n".join(lines)).run()
    assert end.mcause in (ECALL_S, LOAD_FAULT, STORE_FAULT)
