"""Putting regions into cells, and finding hot code. All of it native.

A region is installed by writing its entries' addresses into cells; operands stay. It is taken out
when a page that it was made from is written (`cells.drop_cells`), when a breakpoint changes, or
when all cells are given back. Another page of a region is checked at every transition into it: it
must still be mapped at the same distance and be the same cell page.
"""

from __future__ import annotations

from innkeeper.engine.emulator.cells import decode_at
from innkeeper.engine.emulator.fill import find_atomic, find_load, find_store
from innkeeper.engine.emulator.hart import CODE_ENTRIES, Code
from innkeeper.engine.emulator.regions.drop import (
    CELL_PAGE_BYTES,
    first_cell,
    is_region,
    traffic_of,
)
from innkeeper.engine.emulator.regions.layout import (
    MAX_REGION_PAGES,
    REGION_INSTALLED,
    RING_SLOTS,
    SAMPLE_SLOTS,
    Region,
)
from innkeeper.engine.emulator.sync import give, take
from innkeeper.engine.emulator.tlb import PAGE, bank_number, emu, shared_code
from innkeeper.isa.riscv.access import in_ram, ram_read, ram_write, rw_pointer_slow, store_slow
from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.mmu import ACCESS_READ, ACCESS_WRITE, translate
from innkeeper.isa.riscv.ops import Trap
from innkeeper.native.intrinsics import (
    addr,
    atomic_load,
    atomic_store,
    is_null,
    noinline,
    ptr_cast,
    ptr_offset,
    ref,
)
from innkeeper.native.types import Ptr, u8, u32, u64

LEAVE_REGION = 62
"""The trap cause, one that no hart has, by which a region gives an instruction to tier 0."""

MAX_LINK_FAILURES = 16
"""A page that keeps being another one is left by a jump from then on."""


@noinline
def holds_code(h: Hart, r: Region, page: u32, ram_page: u64) -> bool:
    """Tell whether a RAM page holds the code that a region was made from."""
    for n in range(r.range_count):
        one = r.ranges[n]
        if one.page == page:
            offset = (ram_page << 12) + u64(one.first)
            if offset + u64(one.size) > h.ram_size:
                return False
            for k in range(one.size):
                have = ptr_offset(h.ram, u8, offset + u64(k))[0]
                if have != ptr_cast(Ptr[u8], r.rx + u64(one.at))[k]:
                    return False
    return True


@noinline
def is_broken(code: Code, r: Region) -> bool:
    """Tell whether a breakpoint may lie in a region: at the same place of any page."""
    for n in range(code.breakpoint_count):
        at = u32(code.breakpoints[n] & 0xFFF)
        for k in range(r.range_count):
            one = r.ranges[k]
            if at >= one.first and at < one.first + one.size:
                return True
    return False


def join_page(code: Code, r: Region, page: u32, number: u32) -> None:
    """Note that a region has code in a cell page."""
    r.cells[page] = addr(first_cell(code, number))
    r.following[page] = code.page_regions[number]
    code.page_regions[number] = addr(r)


@noinline
def install(h: Hart, r: Region) -> bool:
    """Put a region into the cells of its page, if that still holds the same code."""
    code = shared_code(h)
    t = traffic_of(h)
    has_cells = code.page_cells[r.ram_page] != 0 and code.making_page != r.ram_page
    if code.block_mode != 0 or r.state == REGION_INSTALLED or not has_cells:
        return False
    if not holds_code(h, r, u32(0), r.ram_page) or is_broken(code, r):
        return False
    number = code.page_cells[r.ram_page] - 1
    cells = first_cell(code, number)
    for page in range(u32(1), u32(MAX_REGION_PAGES)):
        r.cells[page] = u64(0)
    r.link_failures = u32(0)
    put = False
    for k in range(r.entry_count):
        cell = cells[r.entry_at[k] >> 1]
        if not is_region(t, cell.handler) and settle(h, r, cell, r.entry_at[k]):
            if not put:
                join_page(code, r, u32(0), number)
                r.state = u32(REGION_INSTALLED)
            put = True
            r.entry_kept[k] = cell.handler
            atomic_store(ref(cell, "handler"), r.rx + u64(r.entry_code[k]))
    if put:
        t.stat_installed = t.stat_installed + 1
    return put


@noinline
def settle(h: Hart, r: Region, cell: Operands, at: u32) -> bool:
    """Decode a cell that has not been reached; tell whether it holds an ordinary instruction."""
    code = shared_code(h)
    if cell.handler == code.handler_decode:
        decode_at(h, cell, (r.ram_page << 12) + u64(at), u64(at))
    known = cell.handler
    special = known == code.handler_break or known == code.handler_illegal
    return not special and known != code.handler_cross


@noinline
def look_at_compiler(h: Hart) -> None:
    """Install what the compiler has finished; called between slices."""
    t = traffic_of(h)
    code = shared_code(h)
    if t.waits != 0 and atomic_load(ref(t, "asked")) != t.taken:
        code.compile_now(addr(h))
    if atomic_load(ref(t, "finished")) == t.installed:
        return
    take(code, ref(code, "lock"))
    while t.installed != atomic_load(ref(t, "finished")):
        if not install(h, ptr_cast(Region, t.ready[t.installed & (RING_SLOTS - 1)])):
            t.stat_refused = t.stat_refused + 1
        t.installed = t.installed + 1
    give(ref(code, "lock"))


@noinline
def link(h: Hart, record: u64, va: u64, page: u64) -> u64:
    """Check another page of a running region; return 1 if it may go on there.

    The page must be executable where it is expected and hold the code the region was made from.
    """
    code = shared_code(h)
    take(code, ref(code, "lock"))
    t = traffic_of(h)
    found = look_at_page(h, ptr_cast(Region, record + (t.rw_first - t.rx_first)), va, u32(page))
    give(ref(code, "lock"))
    return u64(found)


def look_at_page(h: Hart, r: Region, va: u64, page: u32) -> bool:
    """Do `link`, with the lock held."""
    code = shared_code(h)
    if r.state != REGION_INSTALLED or r.link_failures >= MAX_LINK_FAILURES:
        return False
    entry = emu(h).banks[bank_number(h)].code[(va >> 12) & (CODE_ENTRIES - 1)]
    if entry.tag != (va & PAGE):
        return False  # leaving by a jump looks it up
    number = u32((entry.cells - addr(code.pool)) // CELL_PAGE_BYTES)
    same = holds_code(h, r, page, u64(code.cell_page_ram[number]))
    if r.cells[page] != 0 or not same:
        r.link_failures = r.link_failures + 1
        return False
    join_page(code, r, page, number)
    traffic_of(h).stat_links = traffic_of(h).stat_links + 1
    return True


@noinline
def sample(h: Hart) -> None:
    """Count where a slice has ended; ask for a region where that happens again."""
    e = emu(h)
    code = shared_code(h)
    t = traffic_of(h)
    if e.punted != 0:
        e.punted = u32(0)
        return
    bank = bank_number(h)
    entry = e.banks[bank].code[(h.pc >> 12) & (CODE_ENTRIES - 1)]
    if entry.tag != (h.pc & PAGE):
        return
    cell = ptr_cast(Ptr[Operands], entry.cells)[(h.pc & 0xFFF) >> 1]
    if is_region(t, cell.handler):
        return
    t.stat_samples = t.stat_samples + 1
    number = (entry.cells - addr(code.pool)) // (CELL_PAGE_BYTES)
    place = u64(code.cell_page_ram[number]) << 12 | (h.pc & 0xFFF)
    one = t.samples[((place >> 1) ^ (place >> 13)) & (SAMPLE_SLOTS - 1)]
    if one.place != place:
        if one.count > 1 and one.count < t.threshold:
            one.count = one.count - 1
            return
        one.place = place
        one.count = u32(0)
    one.va = h.pc
    one.bank = bank
    one.count = one.count + 1
    if one.count == t.threshold:
        ask(h, one.place, one.va, one.bank)


@noinline
def ask(h: Hart, place: u64, va: u64, bank: u32) -> None:
    """Ask the compiler for a region; one request too many is forgotten."""
    t = traffic_of(h)
    code = shared_code(h)
    take(code, ref(code, "lock"))
    room = t.asked - t.taken < RING_SLOTS
    if room:
        one = t.requests[t.asked & (RING_SLOTS - 1)]
        one.place, one.va, one.bank = place, va, bank
        one.count = h.hart_id
        atomic_store(ref(t, "asked"), t.asked + 1)
    give(ref(code, "lock"))
    if room and t.waits == 0:
        h.timespec[0] = u64(1)
        code.write_fd(u64(t.wake_fd), addr(h.timespec), u64(8))


@noinline
def reach(h: Hart, va: u64, size: u32, access: u32) -> Ptr[u8]:
    """Return where in RAM an access goes that is in one page; any other is given to tier 0."""
    pa = translate(h, va, access, size)
    if emu(h).watch_count != 0 or not in_ram(h, pa, size) or (va & 0xFFF) + u64(size) > 4096:
        raise Trap(LEAVE_REGION, va)
    return ptr_offset(h.ram, u8, pa - h.ram_base)


@noinline
def region_load(h: Hart, va: u64, size: u32) -> u64:
    """Load the long way from a region: from RAM, or give the instruction to tier 0."""
    p = find_load(h, va, size)
    if is_null(p):
        p = reach(h, va, size, u32(ACCESS_READ))
    if (va & (u64(size) - 1)) == 0:
        return ram_read(h, addr(p) - addr(h.ram), size)
    value = u64(0)
    for n in range(size):
        value = value | u64(p[n]) << (n * 8)
    return value


@noinline
def region_store(h: Hart, va: u64, value: u64, size: u32) -> None:
    """Store the long way from a region: to RAM, or give the instruction to tier 0."""
    p = find_store(h, va, size)
    if is_null(p):
        reach(h, va, size, u32(ACCESS_WRITE))
        store_slow(h, va, value, size)
    elif (va & (u64(size) - 1)) == 0:
        ram_write(h, addr(p) - addr(h.ram), value, size)
    else:
        for n in range(size):
            p[n] = u8(value >> (n * 8))


@noinline
def region_rw_pointer(h: Hart, va: u64, size: u32) -> Ptr[u8]:
    """Find an atomic's memory the long way from a region, or give the instruction to tier 0."""
    p = find_atomic(h, va, size)
    if not is_null(p):
        return p
    if emu(h).watch_count != 0:
        raise Trap(LEAVE_REGION, va)
    return rw_pointer_slow(h, va, size)


@noinline
def leaves(h: Hart) -> bool:
    """Tell whether the pending trap only gives an instruction to tier 0; it is over then."""
    if h.trap_cause != LEAVE_REGION:
        return False
    h.trap_pending = 0
    return True
