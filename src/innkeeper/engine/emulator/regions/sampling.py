"""Finding hot code: where slices end, and where regions are left for what is in none."""

from __future__ import annotations

from innkeeper.engine.emulator.hart import CODE_ENTRIES
from innkeeper.engine.emulator.regions.drop import CELL_PAGE_BYTES, is_region, traffic_of
from innkeeper.engine.emulator.regions.install import look_for_region, region_of
from innkeeper.engine.emulator.regions.layout import (
    ASK_EVERY,
    LARGE,
    LATE_SLICES,
    MOST_GROWTH,
    REGION_INSTALLED,
    RESTART_SLICES,
    SAMPLE_PATIENCE,
    SAMPLE_SLOTS,
    SAMPLE_TAKEN,
    SLICE_WEIGHT,
    SMALL,
    WARM,
    WARM_SHIFT,
    Region,
    Sample,
    Traffic,
)
from innkeeper.engine.emulator.sync import give, take
from innkeeper.engine.emulator.tlb import PAGE, bank_number, emu, shared_code
from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.native.intrinsics import addr, atomic_rmw, noinline, ptr_cast, ref
from innkeeper.native.types import Ptr, u32, u64


@noinline
def sample(h: Hart) -> None:
    """Count where a slice has ended; ask for a region where that happens again.

    A slice that a region had too little budget left for ends in tier 0 all the same, which says
    nothing: what lies between regions is counted where they are left (`note`).
    """
    e = emu(h)
    t = traffic_of(h)
    punted = e.punted
    entry = e.banks[bank_number(h)].code[(h.pc >> 12) & (CODE_ENTRIES - 1)]
    if entry.tag != (h.pc & PAGE):
        return
    cell = ptr_cast(Ptr[Operands], entry.cells)[(h.pc & 0xFFF) >> 1]
    if punted != 0 or is_region(t, cell.handler):
        t.stat_in_regions = t.stat_in_regions + 1
        if punted != 0:
            warm(h, ptr_cast(Region, punted + (t.rw_first - t.rx_first)))
        return
    t.stat_samples = t.stat_samples + 1
    count_place(h, entry.cells, h.pc, u32(SLICE_WEIGHT))


def warm(h: Hart, r: Region) -> None:
    """Count a slice that ended in a region; ask for a larger one where that happens often."""
    t = traffic_of(h)
    if r.heat == 0:
        r.warm_since = slices(t)
    r.heat = r.heat + 1
    if r.partial == 0 or r.heat < WARM:
        return
    if u64(r.heat) << WARM_SHIFT < slices(t) - r.warm_since:
        r.heat = u32(0)
        return
    r.partial = u32(0)
    code = shared_code(h)
    take(code, ref(code, "lock"))
    if r.state == REGION_INSTALLED and r.level < LARGE and not is_widened(h, r):
        widen(h, r)
    give(ref(code, "lock"))


def is_widened(h: Hart, r: Region) -> bool:
    """Tell whether a larger region has the cell that a region begins with."""
    code = shared_code(h)
    number = u32((r.cells[0] - addr(code.pool)) // CELL_PAGE_BYTES)
    handler = ptr_cast(Ptr[Operands], r.cells[0])[r.entry_at[0] >> 1].handler
    at = region_of(code, number, handler) if is_region(traffic_of(h), handler) else u64(0)
    return at != 0 and ptr_cast(Region, at).level == LARGE


def widen(h: Hart, r: Region) -> None:
    """Ask for a larger region where one begins, if that page is mapped for fetching now."""
    t = traffic_of(h)
    for n in range(u32(CODE_ENTRIES)):
        entry = emu(h).banks[bank_number(h)].code[n]
        if entry.cells == r.cells[0] and entry.tag & ~PAGE == 0:
            place = (r.ram_page << 12) | u64(r.entry_at[0])
            one = t.samples[sample_slot(place | 1)]
            one.place = place | 1
            note_state(h, one, entry.tag | u64(r.entry_at[0]), u32(LARGE))
            one.count, one.since = r.heat, slices(t)
            ask(h)
            return


def note_state(h: Hart, one: Sample, va: u64, level: u32) -> None:
    """Note what is to be compiled at a place, and the state of the hart that met it."""
    one.va, one.level = va, level
    one.bank, one.hart = bank_number(h), h.hart_id
    one.width = h.v_whole
    one.registers = h.v_count if h.v_whole != 0 else u32(0)


def sample_slot(place: u64) -> u64:
    """Return where a place is counted."""
    return ((place >> 1) ^ (place >> 13)) & (SAMPLE_SLOTS - 1)


@noinline
def note(h: Hart, cell: Ptr[Operands]) -> None:
    """Count a place that is in no region, for which regions have been left 256 times."""
    t = traffic_of(h)
    code = shared_code(h)
    number = (addr(cell) - addr(code.pool)) // CELL_PAGE_BYTES
    if t.enabled != 0 and number < u64(code.used_pages):
        t.stat_met = t.stat_met + 1
        pc = (addr(cell) >> 3) + emu(h).bias
        count_place(h, addr(code.pool) + number * CELL_PAGE_BYTES, pc, u32(1))


def count_place(h: Hart, cells: u64, pc: u64, weight: u32) -> None:
    """Count a place in a cell page; ask for a region when it has become hot."""
    t = traffic_of(h)
    code = shared_code(h)
    place = u64(code.cell_page_ram[(cells - addr(code.pool)) // CELL_PAGE_BYTES]) << 12
    place = place | (pc & 0xFFF)
    one = t.samples[sample_slot(place)]
    if one.place != place:
        if one.count > weight and one.count < SAMPLE_TAKEN:
            one.count = one.count - weight
            return
        one.place = place
        one.count = u32(0)
    if one.count == 0 or falls_behind(t, one):
        one.since = slices(t)
        one.count = u32(0)
    if one.count >= SAMPLE_TAKEN:
        one.count = one.count + weight
        if one.count > SAMPLE_TAKEN + SAMPLE_PATIENCE:
            one.count = u32(0)
    else:
        note_state(h, one, pc, u32(SMALL))
        before = one.count
        one.count = before + weight
        hot = hot_from(t, one)
        if one.count >= hot and (before < hot or one.count // ASK_EVERY != before // ASK_EVERY):
            if before < hot and is_known(h, place):
                one.count = u32(0)
            else:
                ask(h)


def is_known(h: Hart, place: u64) -> bool:
    """Install a region that is known to begin at a hot place; False if there is none.

    It was looked for when the instruction was decoded, but may have been taken out since, because
    another of its pages was written.
    """
    code = shared_code(h)
    take(code, ref(code, "lock"))
    found = look_for_region(h, place)
    give(ref(code, "lock"))
    return found


def slices(t: Traffic) -> u64:
    """Return how many slices have ended."""
    return t.stat_samples + t.stat_in_regions


def share(t: Traffic, one: Sample) -> u64:
    """Return what a place would count since it was met if it had the least share of the time."""
    return ((slices(t) - one.since) * u64(t.growth)) >> 11


def hot_from(t: Traffic, one: Sample) -> u32:
    """Return how much a place must count to be compiled: the more, the longer that takes.

    A place that has had a tiny share of the time would not pay for its compilation, and there are
    many: each run would find a few of them that the last one had not. In the end it does pay, and
    what was met long ago and still is will be met again.
    """
    least = share(t, one)
    late = slices(t) - one.since > LATE_SLICES
    base = t.late_threshold if late else t.threshold
    return base + u32(least if least < MOST_GROWTH else u64(MOST_GROWTH))


def falls_behind(t: Traffic, one: Sample) -> bool:
    """Tell whether a place has had so little time since it was met that it may count anew.

    Else what a guest comes to late, but then often, would have to make up for all that time.
    """
    far = slices(t) - one.since > RESTART_SLICES and one.count < SAMPLE_TAKEN
    return far and u64(one.count) * 8 < share(t, one)


@noinline
def ask(h: Hart) -> None:
    """Wake the compiler: a place is hot enough."""
    t = traffic_of(h)
    atomic_rmw("add", ref(t, "asked"), u32(1))
    if t.waits == 0:
        h.timespec[0] = u64(1)
        shared_code(h).write_fd(u64(t.wake_fd), addr(h.timespec), u64(8))


@noinline
def hottest(t: Traffic) -> u32:
    """Return 1 + the number of the sample that counts most, and mark it as taken; 0 for none."""
    best = u32(0)
    count = u32(0)
    for n in range(u32(SAMPLE_SLOTS)):
        one = t.samples[n]
        if one.count >= count and one.count < SAMPLE_TAKEN and one.count >= hot_from(t, one):
            best = n + 1
            count = one.count + 1
    if best != 0:
        t.samples[best - 1].count = SAMPLE_TAKEN
    return best


@noinline
def forget(t: Traffic, place: u64, size: u64) -> None:
    """Count anew in a stretch of a page that a region was just made of: it may be entered now."""
    for n in range(u32(SAMPLE_SLOTS)):
        one = t.samples[n]
        if one.place - place < size and one.count < SAMPLE_TAKEN and one.level != LARGE:
            one.count = u32(0)
