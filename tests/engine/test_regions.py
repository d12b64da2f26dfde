"""Regions: what invalidates them, precise traps, interrupts, budgets; agreement is `harness.both`'s.

Every program here runs in the reference, in tier 0 and twice with regions (`check`), so that a region
is there when it matters.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from innkeeper.engine.emulator.emulator import Exit
from innkeeper.isa.riscv.profiles import instructions
from innkeeper.isa.riscv.random_program import generate
from tests.engine import harness
from tests.engine.harness import FS_DIRTY, RAM_BASE, Tier0, check, program, with_regions
from tests.engine.paging import AD, RWX, PageTables, R, W

SCRATCH = RAM_BASE + 0x10_0000


def installed() -> int:
    """Return how many regions the shared emulator has installed so far."""
    return int(with_regions().emulator.regions.traffic.stat_installed)


# ---- what a region is made of


def test_what_only_tier_0_can_do() -> None:
    """Every other instruction can be part of a region: a description that cannot is noticed."""
    from innkeeper.engine.emulator.build import emulator_code
    from innkeeper.engine.emulator.module import engine_module
    from innkeeper.engine.emulator.regions.template import make_template

    module = engine_module()
    numbers = {name: n for n, name in enumerate(sorted(emulator_code().symbols))}
    left = {
        one.name
        for one in instructions()
        if make_template(module, one, numbers.__getitem__) is None
    }
    assert left == {
        "ecall", "ebreak", "c.ebreak", "mret", "sret", "vmsbf.m", "vmsif.m", "vmsof.m",
    }  # fmt: skip


def test_what_regions_do_without_calls() -> None:
    """The plain instructions are inlined: none of them calls a slow path where it is quick."""
    from innkeeper.engine.emulator.module import engine_module
    from innkeeper.engine.emulator.regions.template import make_template

    module = engine_module()
    plain = ("I", "M", "A", "F", "D", "Zba", "Zbb", "Zbs", "Zicond", "C")
    left = {
        one.name
        for one in instructions()
        if one.extension in plain and make_template(module, one) is None
    }
    assert left == {"fclass.s", "fclass.d", "c.ebreak"}


@pytest.mark.parametrize("seed", range(100, 112))
def test_loops_of_random_instructions(seed: int) -> None:
    """A random body run many times: the second run is inside a region almost all the time."""
    rng = random.Random(seed)
    made = generate(rng, count=60, base=RAM_BASE, scratch=SCRATCH)
    before = installed()

    def setup(raw: Any) -> None:
        raw.mstatus, raw.fp_ready, raw.frm = FS_DIRTY, 1, 0
        for n in range(32):
            raw.x[n], raw.f[n] = made.x[n], made.f[n]

    harness.both(made.code, made.base, (made.end,), setup)
    assert installed() > before


# ---- code that changes


SELF = """
_start:
    li s2, 40
    la s0, slot
    la s1, other
loop:
    addi s3, s3, 1
slot: addi s4, s4, 1
    andi t0, s2, 7
    bnez t0, same
    lw t1, 0(s0)
    lw t2, 0(s1)
    sw t2, 0(s0)
    sw t1, 0(s1)
    fence.i
same:
    addi s2, s2, -1
    bnez s2, loop
    j done
{gap}
other: addi s4, s4, 100
done: nop
"""


@pytest.mark.parametrize("gap", ["", ".align 12"])
def test_a_loop_that_patches_itself(gap: str) -> None:
    """The instruction changes while the region that holds it runs, from its own page."""
    before = installed()
    end = check(SELF.format(gap=gap))
    assert end.x(19) == 40
    assert installed() > before


PAIR = """
_start:
    li s2, 60
    la s3, near
    addi s3, s3, -{offset}
loop:
    andi t0, s2, 3
    mv t1, s3
    beqz t0, jump
    auipc t1, 0
jump:
    jalr ra, {offset}(t1)
    addi s4, s4, 3
    addi s2, s2, -1
    bnez s2, loop
    j done
near: addi s5, s5, 1
    ret
{gap}
.align 4
    j jump
.space {space}
far: addi s6, s6, 1
    ret
done: nop
"""


@pytest.mark.parametrize("offset", [0x7F0, 0x7F1])
def test_a_call_by_a_pair_of_instructions(offset: int) -> None:
    """AUIPC and JALR go to a known place, but JALR is also jumped to with another base."""
    made = program(PAIR.format(offset=offset, gap="", space=0))
    pair = made.symbols["jump"] - 4
    behind = pair + 0x7F0 - made.symbols["far"]
    end = check(PAIR.format(offset=offset, gap="", space=behind))
    assert (end.x(20), end.x(21), end.x(22)) == (180, 15, 45)


def test_calls_into_more_pages_than_a_region_has() -> None:
    """Calls and branches that leave for another page take along what was just written."""
    calls = "\n".join(f"jal f{n}" for n in range(7))
    pages = "\n".join(
        f""".align 12
    f{n}: addi s4, s4, {n + 1}
    mv s5, ra
    andi t0, s4, 1
    addi s6, s6, 1
    bnez t0, f{n}x
    addi s7, s7, 1
    f{n}x: ret"""
        for n in range(7)
    )
    end = check(f"""
_start:
    li s2, 80
    loop:
    {calls}
    addi s2, s2, -1
    bnez s2, loop
    j done
    {pages}
    done: nop
    """)
    assert (end.x(20), end.x(22)) == (80 * 28, 80 * 7)


FAR = """
_start:
    li s2, 60
    la s0, callee
loop:
    call callee
    addi s2, s2, -1
    li t0, 30
    bne s2, t0, loop2
    li t1, {patch}
    sw t1, 0(s0)
    fence.i
loop2:
    bnez s2, loop
    j done
.align 12
callee: addi s4, s4, 1
    ret
done: nop
"""


def test_another_page_of_a_region_is_patched() -> None:
    """The callee lies in the next page and is part of the caller's region until it changes."""
    add_100 = 100 << 20 | 20 << 15 | 20 << 7 | 0x13
    assert check(FAR.format(patch=hex(add_100))).x(20) == 30 + 30 * 100


# ---- precise traps


ACCESSES = """
_start:
    la t0, handler
    csrw mtvec, t0
    la s0, data
    li s2, 12
loop:
{body}
    addi s2, s2, -1
    bnez s2, loop
    j done
.align 2
handler:
    csrr t0, mcause
    csrr t1, mepc
    csrr t2, mtval
    slli s6, s6, 1
    xor s6, s6, t0
    xor s6, s6, t1
    xor s6, s6, t2
    xor s6, s6, s3
    addi s7, s7, 1
    addi t1, t1, 4
    csrw mepc, t1
    mret
.align 3
data: .zero 128
done: nop
"""
POSITIONS = 10


@pytest.mark.parametrize("position", range(POSITIONS))
@pytest.mark.parametrize("kind", ["load", "store", "atomic"])
def test_a_trap_at_every_position(position: int, kind: str) -> None:
    """One access of the loop leaves RAM from its seventh turn on; registers are exact in the trap."""
    lines = []
    for n in range(POSITIONS):
        if n == position:
            # s4 is the data until the seventh turn, then nothing
            lines += ["    slti t3, s2, 7", "    neg t3, t3", "    li t4, 0x40000000",
                      "    and t3, t3, t4", "    sub s4, s0, t3"]  # fmt: skip
            one = {"load": "ld t5, 8(s4)", "store": "sd s3, 8(s4)",
                   "atomic": "amoadd.d t5, s3, (s4)"}  # fmt: skip
            lines.append(f"    {one[kind]}")
        else:
            lines.append(f"    sd s3, {8 * n}(s0)" if n % 2 else f"    ld t6, {8 * n}(s0)")
        lines.append("    addi s3, s3, 3")
    end = check(ACCESSES.format(body="\n".join(lines)))
    assert end.x(23) == 6


def test_device_accesses_in_a_region() -> None:
    """Each is made once, in order."""
    end = check(
        """
_start:
    li s0, DEVICE
    li s2, 20
loop:
    lw t0, 4(s0)
    add s3, s3, t0
    sw s3, 8(s0)
    addi s2, s2, -1
    bnez s2, loop
    j done
done: nop
"""
    )
    assert len(end.writes) == 20


# ---- pages


REMAP = """
_start:
    li s2, 60
    la s0, pte
    ld s0, 0(s0)
    la s1, fresh
    ld s1, 0(s1)
loop:
    jal ra, far
    addi s2, s2, -1
    li t0, 30
    bne s2, t0, on
    sd s1, 0(s0)
    sfence.vma
on: bnez s2, loop
    j done
done: nop
.align 3
pte: .dword {pte}
fresh: .dword {fresh}
.align 12
far: addi s4, s4, {step}
    ret
"""


@pytest.mark.parametrize("same", [False, True])
def test_a_page_remapped_under_a_region(same: bool) -> None:
    """The second page of the region comes to be another page, with other code or the same."""
    code, new = RAM_BASE, RAM_BASE + 0x8000
    image = bytearray(0x40000)
    tables = PageTables(image, RAM_BASE, RAM_BASE + 0x20000)
    slots = {}
    for page in range(16):
        slots[page] = tables.map(code + page * 4096, code + page * 4096, RWX | AD)
    for page in range(0x20, 0x28):
        tables.map(code + page * 4096, code + page * 4096, R | W | AD)
    fresh = new >> 12 << 10 | RWX | AD | 1
    texts = [
        program(REMAP.format(pte=hex(slots[1]), fresh=hex(fresh), step=step))
        for step in (1, 1 if same else 100)
    ]
    image[: len(texts[0].image)] = texts[0].image
    far = texts[1].image[0x1000:]
    image[0x8000 : 0x8000 + len(far)] = far

    def setup(raw: Any) -> None:
        raw.priv, raw.satp = 1, tables.satp

    end = harness.both(bytes(image), RAM_BASE, (texts[0].symbols["done"],), setup)
    assert end.x(20) == (60 if same else 30 + 30 * 100)


def test_execute_permission_taken_away() -> None:
    """The callee's page loses X while the loop that calls it is a region: a fetch fault, at once."""
    image = bytearray(0x40000)
    tables = PageTables(image, RAM_BASE, RAM_BASE + 0x20000)
    slots = [tables.map(RAM_BASE + n * 4096, RAM_BASE + n * 4096, RWX | AD) for n in range(16)]
    for page in range(0x20, 0x28):
        tables.map(RAM_BASE + page * 4096, RAM_BASE + page * 4096, R | W | AD)
    fresh = (RAM_BASE + 4096) >> 12 << 10 | R | W | AD | 1
    made = program(REMAP.format(pte=hex(slots[1]), fresh=hex(fresh), step=1))
    image[: len(made.image)] = made.image

    def setup(raw: Any) -> None:
        raw.priv, raw.satp = 1, tables.satp
        raw.mtvec = made.symbols["done"]

    end = harness.both(bytes(image), RAM_BASE, (made.symbols["done"],), setup)
    assert (end.mcause, end.mepc, end.x(20)) == (12, RAM_BASE + 4096, 30)


# ---- interrupts and budgets


LONG = """
_start:
    la t0, handler
    csrw mtvec, t0
    li s0, {turns}
loop:
    add s1, s1, s0
    xor s2, s2, s1
    addi s0, s0, -1
    bnez s0, loop
    j done
.align 2
handler:
    csrr s5, minstret
    csrw stimecmp, s7
    addi s6, s6, 1
    mret
done: nop
"""
TURNS = 200_000


def test_an_interrupt_during_a_long_loop() -> None:
    """A timer that is due inside a region is taken within a slice, and the loop goes on."""
    due, slice_ = 300_000, 10_000
    made = program(LONG.format(turns=TURNS))
    machine = Tier0(regions="eager")
    machine.emulator.regions.traffic.slice = slice_

    def setup(raw: Any) -> None:
        raw.mie, raw.mstatus, raw.menvcfg = 1 << 5, 1 << 3, 1 << 63
        raw.stimecmp, raw.x[23] = due, (1 << 64) - 1

    machine.load(made.image, made.entry, setup)
    end = machine.run(made.symbols["done"])
    assert end.x(22) == 1
    assert due <= end.x(21) <= due + slice_ + 100
    assert end.x(9) == sum(range(1, TURNS + 1)) & ((1 << 64) - 1)
    assert machine.emulator.regions.traffic.stat_installed > 0


@pytest.mark.parametrize("limit", [1, 9_999, 50_001, 123_457, 400_003])
def test_a_run_of_exactly_so_many_instructions(limit: int) -> None:
    """A limit stops at the same instruction with regions as without."""
    made = program(LONG.format(turns=TURNS))
    seen = []
    for regions in ("off", "eager"):
        machine = Tier0(regions=regions)
        machine.load(made.image, made.entry)
        assert machine.emulator.run(limit) is Exit.COUNT
        state = machine.state()
        seen.append((state.pc, state.instret, state.x(8), state.x(9), state.x(18)))
        assert state.instret == limit
    assert seen[0] == seen[1]


@pytest.mark.parametrize("slice_", [1_000, 7_001, 50_000])
def test_slices_end_at_the_same_instruction(slice_: int) -> None:
    """When an interrupt is taken does not depend on what was compiled (`--icount` relies on it)."""
    made = program(LONG.format(turns=TURNS))
    taken = []

    def setup(raw: Any) -> None:
        raw.mie, raw.mstatus, raw.menvcfg = 1 << 5, 1 << 3, 1 << 63
        raw.stimecmp, raw.x[23] = 123_456, (1 << 64) - 1

    for regions in ("off", "eager"):
        machine = Tier0(regions=regions)
        machine.emulator.regions.traffic.slice = slice_
        machine.load(made.image, made.entry, setup)
        taken.append(machine.run(made.symbols["done"]).x(21))
    assert taken[0] == taken[1] >= 123_456


def test_a_breakpoint_inside_a_region() -> None:
    """A breakpoint that comes while a region runs is met."""
    made = program(LONG.format(turns=TURNS))
    machine = Tier0(regions="eager")
    machine.load(made.image, made.entry)
    assert machine.emulator.run(200_000) is Exit.COUNT
    assert machine.emulator.regions.traffic.stat_installed > 0
    inside = made.symbols["loop"] + 4
    assert machine.emulator.stops.add_breakpoint(inside)
    assert machine.emulator.run(10_000) is Exit.BREAK
    assert machine.hart.pc == inside


def test_a_full_pool_is_emptied_and_filled_again() -> None:
    """Regions go when there is no room; the program does not notice."""
    made = program(LONG.format(turns=TURNS))
    machine = Tier0(regions="eager")
    traffic = machine.emulator.regions.traffic
    machine.load(made.image, made.entry)
    traffic.pool_used = traffic.pool_bytes
    end = machine.run(made.symbols["done"])
    assert end.x(9) == sum(range(1, TURNS + 1)) & ((1 << 64) - 1)
    assert 0 < traffic.pool_used < traffic.pool_bytes
    assert traffic.stat_installed > 0
