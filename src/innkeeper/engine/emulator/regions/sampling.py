"""Finding hot code: where slices end is where time goes."""

from __future__ import annotations

from innkeeper.engine.emulator.hart import CODE_ENTRIES
from innkeeper.engine.emulator.regions.drop import CELL_PAGE_BYTES, is_region, traffic_of
from innkeeper.engine.emulator.regions.layout import (
    SAMPLE_PATIENCE,
    SAMPLE_SLOTS,
    SAMPLE_TAKEN,
    Region,
    Traffic,
)
from innkeeper.engine.emulator.tlb import PAGE, bank_number, emu, shared_code
from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.native.intrinsics import addr, atomic_rmw, noinline, ptr_cast, ref
from innkeeper.native.types import Ptr, u32, u64


@noinline
def is_covered(r: Region, cells: u64, at: u32) -> bool:
    """Tell whether a place in a cell page is part of a region."""
    for n in range(r.range_count):
        part = r.ranges[n]
        if r.cells[part.page] == cells and at >= part.first and at < part.first + part.size:
            return True
    return False


@noinline
def sample(h: Hart) -> None:
    """Count where a slice has ended; ask for a region where that happens again.

    A slice that a region had too little budget left for ends in tier 0 all the same. That counts
    only outside that region: what was left for such code had no entry of any on its way.
    """
    e = emu(h)
    code = shared_code(h)
    t = traffic_of(h)
    punted = e.punted
    e.punted = u64(0)
    bank = bank_number(h)
    entry = e.banks[bank].code[(h.pc >> 12) & (CODE_ENTRIES - 1)]
    if entry.tag != (h.pc & PAGE):
        return
    cell = ptr_cast(Ptr[Operands], entry.cells)[(h.pc & 0xFFF) >> 1]
    inside = is_region(t, cell.handler)
    if punted != 0 and not inside:
        r = ptr_cast(Region, punted + (t.rw_first - t.rx_first))
        inside = is_covered(r, entry.cells, u32(h.pc & 0xFFF))
    if inside:
        t.stat_in_regions = t.stat_in_regions + 1
        return
    t.stat_samples = t.stat_samples + 1
    number = (entry.cells - addr(code.pool)) // CELL_PAGE_BYTES
    place = u64(code.cell_page_ram[number]) << 12 | (h.pc & 0xFFF)
    one = t.samples[((place >> 1) ^ (place >> 13)) & (SAMPLE_SLOTS - 1)]
    if one.place != place:
        if one.count > 1 and one.count < SAMPLE_TAKEN:
            one.count = one.count - 1
            return
        one.place = place
        one.count = u32(0)
    if one.count >= SAMPLE_TAKEN:
        one.count = one.count + 1
        if one.count > SAMPLE_TAKEN + SAMPLE_PATIENCE:
            one.count = u32(0)
    else:
        one.va = h.pc
        one.bank = bank
        one.hart = h.hart_id
        one.count = one.count + 1
        if one.count == t.threshold:
            ask(h)


@noinline
def ask(h: Hart) -> None:
    """Wake the compiler: a place is hot enough."""
    t = traffic_of(h)
    atomic_rmw("add", ref(t, "asked"), u32(1))
    if t.waits == 0:
        h.timespec[0] = u64(1)
        shared_code(h).write_fd(u64(t.wake_fd), addr(h.timespec), u64(8))


@noinline
def hottest(t: Traffic, at_least: u32) -> u32:
    """Return 1 + the number of the sample that counts most, and mark it as taken; 0 for none."""
    best = u32(0)
    count = at_least
    for n in range(u32(SAMPLE_SLOTS)):
        one = t.samples[n]
        if one.count >= count and one.count < SAMPLE_TAKEN:
            best = n + 1
            count = one.count + 1
    if best != 0:
        t.samples[best - 1].count = SAMPLE_TAKEN
    return best
