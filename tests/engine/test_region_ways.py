"""Where regions expect jumps to go, and what becomes of those that are small at first."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import pytest

from innkeeper.engine.emulator.hart import BANK_MACHINE
from innkeeper.engine.emulator.regions import service as service_file
from innkeeper.engine.emulator.regions.flow import MAX_INSTRUCTIONS, Flow, explore
from innkeeper.engine.emulator.regions.layout import LARGE, SMALL, WARM, Region
from innkeeper.engine.emulator.regions.reading import guesses, page_reader
from innkeeper.engine.emulator.regions.service import Found
from tests.engine.harness import RAM_BASE, Tier0, check, program
from tests.engine.test_region_sampling import handler

ROUNDS = 4000


def regions_at(machine: Tier0, va: int) -> list[Any]:
    """Return the records of the regions that have code in the page of an address."""
    emulator = machine.emulator
    number = emulator.page_cells[(va - RAM_BASE) >> 12] - 1
    code, found = emulator.code.raw, []
    at = (ctypes.c_uint64 * code.pool_pages).from_address(code.page_regions)[number]
    first = code.pool + number * 2052 * 16
    while at:
        found.append(Region.CTYPE.from_address(at))
        at = found[-1].following[list(found[-1].cells).index(first)]
    return found


def level_at(machine: Tier0, va: int) -> int:
    """Return the level of the region that is entered at an address; 0 for none."""
    there = handler(machine, va)
    for one in regions_at(machine, va):
        if there in [one.rx + one.entry_code[k] for k in range(one.entry_count)]:
            return int(one.level)
    return 0


def flow_at(machine: Tier0, va: int) -> Flow:
    """Return the control-flow graph that a region at an address would be made of."""
    found = Found(va - RAM_BASE, va, BANK_MACHINE, 0)
    pages = page_reader(machine.emulator, found, all_reached=True)
    compiler, guess = machine.emulator.regions.compiler(), guesses(machine.emulator, found)
    flow = explore(va & 0xFFF, lambda at: compiler.fetch(at, pages), guess, lambda _: False, 400)
    assert flow is not None
    return flow


# ---- computed jumps


def test_ways_are_ranked_by_how_often_they_were_taken(machine: Tier0) -> None:
    """A target of less than an eighth of all is not expected."""
    raw = machine.emulator.raw[0]
    u64 = ctypes.c_uint64
    way = machine.emulator.loaded.function("ways.way", u64, u64, u64, ctypes.c_uint32)
    counted = {0x8000_2000: 30, 0x8000_3000: 55, 0x8000_4000: 30, 0x8000_5000: 10}
    for n, (target, count) in enumerate(counted.items()):
        one = raw.ways[100 * n]
        one.site, one.target, one.count = 0x8000_1234, target, count
    raw.ways[7].site, raw.ways[7].target, raw.ways[7].count = 0x8000_1236, 0x8000_2000, 1
    ranked = [way(ctypes.addressof(raw), 0x8000_1234, n) for n in range(4)]
    assert ranked == [0x8000_3000, 0x8000_4000, 0x8000_2000, 0]
    assert way(ctypes.addressof(raw), 0x8000_1236, 0) == 0x8000_2000
    assert way(ctypes.addressof(raw), 0x8000_1238, 0) == 0


POINTERS = """
_start:
    li s0, ROUNDS
    la s1, table
    li s4, 0
loop:
    andi t0, s0, 1023
    sltiu t0, t0, 900
    sub t0, zero, t0
    andn t1, s0, t0
    andi t1, t1, 7
    slli t1, t1, 3
    add t1, t1, s1
    ld t1, 0(t1)
call:
    jalr t1
back:
    addi s0, s0, -1
    bnez s0, loop
done: j done
f0: addi s2, s2, 1
    ret
f1: addi s2, s2, 3
    ret
.align 12
f2: xor s2, s2, s0
    ret
f3: add s2, s2, s0
    ret
.align 12
table: .dword f0, f1, f2, f3, f0, f2, f1, f3
"""
"""A pointer that mostly leads to `f0`, and now and then to others, in two pages."""


def test_calls_by_pointer_go_where_they_must() -> None:
    """Expected or not; in the reference, in tier 0 and in regions."""
    check(POINTERS.replace("ROUNDS", "1000"))


def test_a_call_by_pointer_stays_in_the_region(machine: Tier0) -> None:
    """The function is part of the region, and its return goes back to the call."""
    traffic = machine.emulator.regions.traffic
    traffic.threshold, traffic.growth, traffic.slice = 2, 0, 1000
    text = program(POINTERS.replace("ROUNDS", str(ROUNDS)))
    machine.load(text.image, text.entry)
    machine.emulator.run(40 * ROUNDS)
    at = text.symbols
    assert machine.hart.pc == at["done"]
    flow = flow_at(machine, at["loop"])
    page = at["loop"] & -4096
    assert at["f0"] - page in flow.expected[at["call"] - page]
    assert flow.expected[at["f0"] + 4 - page] == (at["back"] - page,)


CALLS = """
_start:
    jal one
a:  jal two
b:  jal one
c:  j done
one:
    addi s2, s2, 1
    ret
two:
    addi s3, s3, 1
    mv t2, ra
    jal one
d:  mv ra, t2
    ret
done: j done
"""


def test_returns_go_to_their_own_callers(machine: Tier0) -> None:
    """A return is expected only at the calls that lead to it."""
    text = program(CALLS)
    machine.load(text.image, text.entry)
    machine.emulator.run(100_000)
    assert machine.hart.pc == text.symbols["done"]
    assert (machine.hart.x[18], machine.hart.x[19]) == (3, 1)
    page = text.entry & -4096
    at = {name: value - page for name, value in text.symbols.items()}
    flow = flow_at(machine, text.entry)
    returns = {one: sorted(to) for one, to in flow.expected.items()}
    assert returns == {at["one"] + 4: [at["a"], at["c"], at["d"]], at["d"] + 4: [at["b"]]}


# ---- small and large regions

LONG = "\n".join(f"    addi s{2 + n % 8}, s{2 + n % 8}, {n + 1}" for n in range(150))
LOOP = f"""
_start:
    li s0, ROUNDS
loop:
{LONG}
    addi s0, s0, -1
    bnez s0, loop
done: j done
"""
SLICE = 1000
TURNS = (2 * WARM * SLICE) // 150


def run_long(machine: Tier0) -> int:
    """Run a loop that is longer than a small region until it is warm; return where it is."""
    traffic = machine.emulator.regions.traffic
    traffic.threshold, traffic.growth, traffic.slice = 2, 0, SLICE
    text = program(LOOP.replace("ROUNDS", str(TURNS)))
    machine.load(text.image, text.entry)
    machine.emulator.run(200 * TURNS)
    assert machine.hart.pc == text.symbols["done"]
    assert machine.hart.x[18] == TURNS * sum(n + 1 for n in range(150) if n % 8 == 0)
    return int(text.symbols["loop"])


def test_a_warm_region_is_made_again_larger(machine: Tier0) -> None:
    """What it could not hold becomes part of the second, which takes its cell."""
    assert MAX_INSTRUCTIONS[SMALL] < 150 < MAX_INSTRUCTIONS[LARGE]
    loop = run_long(machine)
    levels = {one.level for one in regions_at(machine, loop)}
    assert levels == {SMALL, LARGE}
    assert LARGE in {level_at(machine, loop + at) for at in range(0, 620, 2)}
    drop = machine.emulator.loaded.function("drop.drop_all_regions", None, ctypes.c_uint64)
    drop(machine.emulator.harts[0].address)
    first, last = machine.emulator.regions.pool.rx, machine.emulator.regions.traffic.rx_last
    left = {handler(machine, loop + at) for at in range(0, 620, 2)}
    assert not [one for one in left if first <= one < last]  # tier 0 has every cell again


def test_the_next_run_begins_with_the_larger_region(machine: Tier0) -> None:
    """Regions on disk know their level, and nothing is compiled again."""
    loop = run_long(machine)
    large = {loop + at for at in range(0, 620, 2) if level_at(machine, loop + at) == LARGE}
    machine.emulator.regions.close()
    again = Tier0(regions="wait")
    run_long(again)
    assert large == {at for at in large if level_at(again, at) == LARGE}
    assert again.emulator.regions.made == []
    again.emulator.regions.close()


def test_a_place_that_took_long_to_become_hot_keeps_to_itself(
    machine: Tier0, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its region ends where another begins, which is not compiled twice."""
    monkeypatch.setattr(service_file, "OLD_SLICES", -1)
    loop = run_long(machine)
    small = [one for one in regions_at(machine, loop) if one.level == SMALL]
    assert len(small) > 1
    entered = {one.entry_at[k] for one in small for k in range(one.entry_count)}
    for one in small:
        mine = {one.entry_at[k] for k in range(one.entry_count)}
        for n in range(one.range_count):
            code = one.ranges[n]
            assert not (entered - mine) & set(range(code.first, code.first + code.size))


def test_a_guest_that_waits_compiles_nothing_the_second_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `wait` what is compiled does not depend on the host's speed."""
    from innkeeper.engine.emulator.build import emulator_code

    emulator_code()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    counts = []
    for _ in range(3):
        one = Tier0(regions="wait")
        run_long(one)
        counts.append(len(one.emulator.regions.made))
        one.emulator.regions.close()
    assert counts[0] > 0
    assert counts[1:] == [0, 0]
