"""Finding hot code: short ways between regions, places that a region covers by now, the threshold."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from innkeeper.engine.emulator.hart import BANK_MACHINE
from innkeeper.engine.emulator.regions import service as service_file
from innkeeper.engine.emulator.regions.layout import (
    INDEX_ROOM,
    LATE_SLICES,
    MOST_GROWTH,
    RESTART_SLICES,
    SLICE_WEIGHT,
    Sample,
)
from innkeeper.engine.emulator.regions.service import Found
from tests.engine.harness import RAM_BASE, Tier0, program

ROUNDS = 20_000
BETWEEN = f"""
_start:
    li s0, {ROUNDS}
    la s1, leaf
loop:
    addi s2, s2, 1
    jalr s1
back:
    addi s0, s0, -1
    bnez s0, loop
done: j done
.align 12
leaf:
    addi s3, s3, 3
    ret
"""
"""What is between two regions here is two instructions: no slice ends there but by chance."""


def samples(machine: Tier0) -> dict[int, int]:
    """Return what places in RAM count."""
    raw = machine.emulator.regions.traffic.raw
    return {one.place + RAM_BASE: one.count for one in raw.samples if one.count}


def handler(machine: Tier0, va: int) -> int:
    """Return the handler of the cell of a place in RAM."""
    emulator = machine.emulator
    number = emulator.page_cells[(va - RAM_BASE) >> 12] - 1
    at = emulator.code.raw.pool + (number * 2052 + (va & 0xFFF) // 2) * 16
    return int(ctypes.c_uint64.from_address(at).value)


def run(machine: Tier0, source: str) -> dict[str, int]:
    """Run a program to its label `done`; return its symbols."""
    text = program(source)
    machine.load(text.image, text.entry)
    machine.emulator.run(20 * ROUNDS)
    assert machine.hart.pc == text.symbols["done"]
    return dict(text.symbols)


def forget_ways(machine: Tier0) -> None:
    """Forget where computed jumps have gone."""
    ways = machine.emulator.raw[0].ways
    ctypes.memset(ctypes.addressof(ways), 0, ctypes.sizeof(ways))


def test_what_is_short_between_regions_becomes_hot(machine: Tier0) -> None:
    """A leaf that is called by an address has its region, though the slices end elsewhere."""
    traffic = machine.emulator.regions.traffic
    traffic.threshold, traffic.growth, traffic.slice = 2, 0, 1000
    at = run(machine, BETWEEN)
    assert machine.hart.x[19] == 3 * ROUNDS
    assert traffic.stat_met > 0
    for name in ("back", "leaf"):
        assert traffic.rx_first <= handler(machine, at[name]) < traffic.rx_last, name


def test_ways_out_are_counted_by_where_they_lead(machine: Tier0) -> None:
    """Each 256th one counts 1, whatever the slices say."""
    service = machine.emulator.regions
    traffic = service.traffic
    traffic.threshold, traffic.slice = 1 << 20, 1000
    at = run(machine, BETWEEN)
    assert traffic.stat_met == 0  # there is no region that could be left
    forget_ways(machine)  # else the leaf is part of the region
    service._compile(Found(at["loop"] - RAM_BASE, at["loop"], BANK_MACHINE, 0))
    ctypes.memset(ctypes.addressof(traffic.raw.samples), 0, ctypes.sizeof(traffic.raw.samples))
    text = program(BETWEEN)
    machine.load(text.image, text.entry, keep_code=True)
    machine.emulator.run(20 * ROUNDS)
    assert machine.hart.x[19] == 3 * ROUNDS
    met = int(traffic.stat_met)
    assert ROUNDS * 9 // 10 // 256 < met <= ROUNDS // 256
    assert samples(machine)[at["leaf"]] == met


def test_the_threshold_grows_with_the_time_that_has_passed(machine: Tier0) -> None:
    """A place must have had a share of all slices."""
    traffic = machine.emulator.regions.traffic
    slot = traffic.raw.samples[7]
    hottest = machine.emulator.loaded.function("sampling.hottest", ctypes.c_uint32, ctypes.c_uint64)
    traffic.threshold, traffic.growth = 6 * SLICE_WEIGHT, 3
    slot.count = 6 * SLICE_WEIGHT + 3
    traffic.stat_in_regions, traffic.stat_samples = 2048, 2048
    assert hottest(traffic.address) == 0
    traffic.stat_in_regions = 0
    assert hottest(traffic.address) == 8
    assert hottest(traffic.address) == 0  # it was taken


def test_the_threshold_of_one_place_depends_on_when_it_was_met(machine: Tier0) -> None:
    """It grows by what has passed since, up to a bound; what was met long ago needs less."""
    traffic = machine.emulator.regions.traffic
    slot = traffic.raw.samples[7]
    hottest = machine.emulator.loaded.function("sampling.hottest", ctypes.c_uint32, ctypes.c_uint64)
    traffic.threshold, traffic.late_threshold, traffic.growth = 108, 36, 8
    now = 1_000_000
    traffic.stat_in_regions = now

    def is_hot(count: int, age: int) -> bool:
        slot.count, slot.since = count, now - age
        return bool(hottest(traffic.address) == 8)

    for age, least in (
        (0, 108),
        (2048, 108 + 8),
        (LATE_SLICES, 108 + 8 * LATE_SLICES // 2048),
        (LATE_SLICES + 2048, 36 + 8 * (LATE_SLICES // 2048 + 1)),
        (now, 36 + MOST_GROWTH),
    ):
        assert not is_hot(least - 1, age), age
        assert is_hot(least, age), age


LATE = f"""
_start:
    li s0, {ROUNDS}
    la s1, leaf
    la s2, seldom
loop:
    jalr s1
    addi s0, s0, -1
    bnez s0, loop
    jalr s2
done: j done
.align 12
leaf:
    addi s3, s3, 3
    ret
seldom:
    addi s4, s4, 1
    li s5, 900
1:  addi s5, s5, -1
    bnez s5, 1b
    ret
"""


def test_what_is_met_late_counts_anew(machine: Tier0) -> None:
    """A place that was hardly met in a long time has not to make up for that time."""
    traffic = machine.emulator.regions.traffic
    traffic.threshold, traffic.growth, traffic.slice = 1 << 20, 2048, 100
    at = run(machine, LATE)
    counted = {one.place + RAM_BASE: one for one in traffic.raw.samples if one.count}
    here = min(va for va in counted if at["seldom"] <= va < at["seldom"] + 20)
    passed = traffic.stat_samples + traffic.stat_in_regions
    counted[here].count, counted[here].since = SLICE_WEIGHT, passed
    traffic.stat_samples += RESTART_SLICES + 1
    text = program(LATE)
    machine.load(text.image, at["seldom"], keep_code=True)
    machine.hart.x[1] = at["done"]
    machine.emulator.run(20_000)
    assert machine.hart.x[21] == 0
    assert counted[here].since > passed + RESTART_SLICES


def test_places_of_a_new_region_count_anew(machine: Tier0) -> None:
    """They may have been met only because the region was not there yet."""
    traffic = machine.emulator.regions.traffic
    places = [0x4FFE, 0x5000, 0x500E, 0x5010]
    for n, place in enumerate(places):
        traffic.raw.samples[n].place, traffic.raw.samples[n].count = place, 9
    forget = machine.emulator.loaded.function("sampling.forget", None, *[ctypes.c_uint64] * 3)
    forget(traffic.address, 0x5000, 0x10)
    assert [traffic.raw.samples[n].count for n in range(4)] == [9, 0, 0, 9]
    assert ctypes.sizeof(Sample.CTYPE) % 8 == 0


@pytest.mark.parametrize("has_core", [True, False])
def test_regions_on_disk_raise_the_threshold(
    tmp_path: Path, machine: Tier0, monkeypatch: pytest.MonkeyPatch, *, has_core: bool
) -> None:
    """What earlier runs have not found hot is not compiled for an accident of this one.

    Where the harts need all of the host's cores that holds for good.
    """
    monkeypatch.setattr(service_file.RegionService, "_has_core", lambda _self: has_core)
    assert machine.emulator.regions.traffic.threshold == service_file.THRESHOLD
    machine.emulator.regions.traffic.threshold = 1
    run(machine, BETWEEN)
    machine.emulator.regions.close()
    again = Tier0(regions="on").emulator.regions
    times = service_file.KNOWN_FACTOR
    assert again.traffic.index_count > 0
    assert again.traffic.threshold == service_file.THRESHOLD * times
    assert again.traffic.late_threshold == service_file.THRESHOLD * (1 if has_core else times)
    assert again.traffic.growth == service_file.GROWTH * (1 if has_core else times)
    again.close()


def test_nothing_is_compiled_that_could_not_be_known(machine: Tier0) -> None:
    """A guest that makes new code for ever does not fill the host's memory with regions."""
    traffic = machine.emulator.regions.traffic
    traffic.threshold, traffic.growth, traffic.slice = 2, 0, 1000
    traffic.index_count = INDEX_ROOM
    run(machine, BETWEEN)
    assert machine.hart.x[19] == 3 * ROUNDS
    assert machine.emulator.regions.made == []
    traffic.index_count = 0
    run(machine, BETWEEN)
    assert machine.emulator.regions.made != []


def test_a_region_that_was_taken_out_is_found_again(machine: Tier0) -> None:
    """Its instructions stay decoded, so nothing looks for it there until the place is hot."""
    service = machine.emulator.regions
    traffic = service.traffic
    traffic.threshold, traffic.growth, traffic.slice = 2, 0, 1000
    at = run(machine, BETWEEN)
    made = len(service.made)
    drop = machine.emulator.loaded.function("drop.drop_all_regions", None, ctypes.c_uint64)
    drop(machine.emulator.harts[0].address)
    assert not traffic.rx_first <= handler(machine, at["leaf"]) < traffic.rx_last
    ctypes.memset(ctypes.addressof(traffic.raw.samples), 0, ctypes.sizeof(traffic.raw.samples))
    found = int(traffic.stat_found)
    text = program(BETWEEN)
    machine.load(text.image, text.entry, keep_code=True)
    machine.emulator.run(20 * ROUNDS)
    assert machine.hart.x[19] == 3 * ROUNDS
    assert traffic.stat_found > found
    assert len(service.made) == made
    assert traffic.rx_first <= handler(machine, at["back"]) < traffic.rx_last


ACROSS = f"""
_start:
    li s0, {ROUNDS}
    la s1, fields
loop:
    addi s2, s2, 1
across:
    ld t0, -8(s1)
    ld t1, 0(s1)
    addi s0, s0, -1
    bnez s0, loop
done: j done
.align 12
fields:
    nop
"""


def test_what_never_lies_in_one_page_gets_a_region_of_its_own(machine: Tier0) -> None:
    """The region around the loop is left before the first of two loads that share one look.

    No slice ends there, for no branch goes there.
    """
    traffic = machine.emulator.regions.traffic
    traffic.threshold, traffic.growth, traffic.slice = 2, 0, 1000
    at = run(machine, ACROSS)
    assert machine.hart.x[18] == ROUNDS
    assert traffic.rx_first <= handler(machine, at["across"]) < traffic.rx_last
    traffic.stat_met = 0
    text = program(ACROSS)
    machine.load(text.image, text.entry, keep_code=True)
    machine.emulator.run(20 * ROUNDS)
    assert machine.hart.x[18] == ROUNDS
    assert traffic.stat_met <= 1  # but for where slices end, nothing is left for tier 0
