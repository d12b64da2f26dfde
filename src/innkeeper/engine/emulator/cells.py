"""Cell pages: which RAM pages have been decoded, and decoding one instruction into its cell.

A cell page belongs to a RAM page. Writing to that page gives the cell page back, so whatever is
fetched afterwards is decoded anew; a hart that runs in it meanwhile may finish what it had
decoded, which is what the architecture allows before FENCE.I (Unprivileged 7). A cell page that was
given back is used again only when no hart can be in it any more.
"""

from __future__ import annotations

from innkeeper.engine.emulator.decoding import decode_at, fill_cell
from innkeeper.engine.emulator.fill import code_entry, enter_code
from innkeeper.engine.emulator.hart import (
    CELL_BYTES,
    CELL_PAGE_CELLS,
    NO_PAGE,
    PAGE_CELLS,
    PARKED,
    Code,
    EmuHart,
)
from innkeeper.engine.emulator.regions.drop import drop_all_regions, drop_regions, empty_pool
from innkeeper.engine.emulator.regions.install import look_for_region
from innkeeper.engine.emulator.sync import (
    await_pass,
    enter_guest,
    give,
    leave_guest,
    oldest_epoch,
    relax,
    take,
)
from innkeeper.engine.emulator.tlb import (
    PAGE,
    bank_number,
    emu,
    flush_code,
    forget_fetchers,
    forget_own_writer,
    forget_writer,
    shared_code,
)
from innkeeper.isa.riscv.access import fetch_bits, in_ram
from innkeeper.isa.riscv.causes import INSTRUCTION_ACCESS_FAULT
from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.mmu import ACCESS_EXEC, pmp_permits, translate
from innkeeper.isa.riscv.ops import Trap
from innkeeper.native.intrinsics import (
    addr,
    atomic_load,
    atomic_rmw,
    atomic_store,
    fence,
    noinline,
    ptr_cast,
    ptr_offset,
    ref,
)
from innkeeper.native.types import Ptr, u32, u64


def cells_of(code: Code, number: u32) -> Ptr[Operands]:
    """Return the first cell of a cell page."""
    return code.pool + u64(number) * CELL_PAGE_CELLS


@noinline
def reset_code(h: Hart) -> None:
    """Give every cell page back; nobody is inside one, for this is done between slices."""
    code = shared_code(h)
    take(code, ref(code, "lock"))
    forget_code(h)
    give(ref(code, "lock"))


def forget_code(h: Hart) -> None:
    """Do `reset_code`, with the lock held."""
    code = shared_code(h)
    drop_all_regions(h)
    empty_pool(h)
    for n in range(code.used_pages):
        code.page_cells[code.cell_page_ram[n]] = u32(0)
    code.used_pages = u32(0)
    code.free_count = u32(0)
    code.resets = code.resets + 1
    for i in range(h.hart_count):
        flush_code(ptr_cast(Hart, h.harts[i]))


@noinline
def make_room(h: Hart) -> None:
    """Wait for the end of every hart's slice and give all cells back; the caller is parked."""
    code = shared_code(h)
    spins = u32(0)
    while atomic_load(ref(code, "reset_wanted")) != 0:
        take(code, ref(code, "lock"))
        if code.reset_wanted != 0 and oldest_epoch(h) == PARKED:
            forget_code(h)
            atomic_store(ref(code, "reset_wanted"), u32(0))
        give(ref(code, "lock"))
        spins = relax(code, spins)


def take_number(h: Hart) -> u32:
    """Return 1 + the number of a cell page that no hart can be in, 0 if there is none."""
    code = shared_code(h)
    if code.free_count != 0:
        number = code.free[code.free_first]
        if code.given_back[number] <= oldest_epoch(h):
            code.free_first = (code.free_first + 1) % code.pool_pages
            code.free_count = code.free_count - 1
            return number + 1
    if code.used_pages == code.pool_pages:
        return u32(0)
    code.used_pages = code.used_pages + 1
    return code.used_pages


def begin_cells(h: Hart, page: u64) -> bool:
    """Give a RAM page undecoded cells, not to be used yet; False if it has some or none are left.

    The lock is held.
    """
    code = shared_code(h)
    if code.page_cells[page] != 0:
        return False
    number = take_number(h)
    if number == 0:
        code.reset_wanted = u32(1)
        return False
    code.cell_page_ram[number - 1] = u32(page)
    code.page_regions[number - 1] = u64(0)
    cells = cells_of(code, number - 1)
    for k in range(u64(PAGE_CELLS)):
        cells[k].handler = code.handler_decode
    cells[u64(PAGE_CELLS)].handler = code.handler_page_end
    code.making_page = page
    code.page_cells[page] = number
    return True


@noinline
def make_cells(h: Hart, page: u64) -> None:
    """Give a RAM page cells, if there is room; `h` must look everything up anew afterwards.

    From the moment the page has cells no TLB gets a write tag for it. Stores that went by an
    earlier tag are over before the first cell is decoded, so every later one is noticed.
    """
    code = shared_code(h)
    leave_guest(h)
    take(code, ref(code, "making"))
    take(code, ref(code, "lock"))
    begun = begin_cells(h, page)
    give(ref(code, "lock"))
    if begun:
        fence("seq_cst")
        for i in range(h.hart_count):
            other = ptr_cast(EmuHart, h.harts[i])
            if addr(other) == addr(h):
                forget_own_writer(h, page)
            elif forget_writer(other, page) or other.hazard == page:
                await_pass(h, other)
        take(code, ref(code, "lock"))
        code.making_page = u64(NO_PAGE)
        give(ref(code, "lock"))
    give(ref(code, "making"))
    enter_guest(h)


@noinline
def drop_cells(h: Hart, page: u64) -> None:
    """Give back the cells of a RAM page that has been written."""
    code = shared_code(h)
    take(code, ref(code, "lock"))
    if code.page_cells[page] != 0 and code.making_page != page:
        number = code.page_cells[page] - 1
        code.page_cells[page] = u32(0)
        drop_regions(h, number)
        forget_fetchers(h, addr(cells_of(code, number)))
        code.given_back[number] = atomic_rmw("add", ref(code, "epoch"), u64(1)) + 1
        code.free[(code.free_first + code.free_count) % code.pool_pages] = number
        code.free_count = code.free_count + 1
    give(ref(code, "lock"))


def written(h: Hart, pa: u64) -> None:
    """Note a store to RAM that came the long way: if the page got cells before, they go."""
    page = (pa - h.ram_base) >> 12
    if h.hart_count > 1:
        fence("seq_cst")
    if shared_code(h).page_cells[page] != 0:
        drop_cells(h, page)


def claimed(h: Hart, pa: u64) -> None:
    """Note that an atomic instruction is about to store: whoever makes cells there waits for it."""
    emu(h).hazard = (pa - h.ram_base) >> 12
    written(h, pa)


@noinline
def written_range(h: Hart, pa: u64, size: u64) -> None:
    """Note that a device has written to RAM."""
    if size == 0 or not in_ram(h, pa, u32(1)):
        return
    fence("seq_cst")
    first = (pa - h.ram_base) >> 12
    last = (pa - h.ram_base + size - 1) >> 12
    while first <= last and first < (h.ram_size >> 12):
        if shared_code(h).page_cells[first] != 0:
            drop_cells(h, first)
        first = first + 1


def map_cells(h: Hart, n: u32, va: u64, page_pa: u64) -> bool:
    """Let fetches from a page go to its RAM page's cells; False if it has none to use yet."""
    code = shared_code(h)
    page = (page_pa - h.ram_base) >> 12
    take(code, ref(code, "lock"))
    found = code.page_cells[page] != 0 and code.making_page != page
    if found:
        enter_code(h, n, va, page_pa, addr(cells_of(code, code.page_cells[page] - 1)))
    give(ref(code, "lock"))
    return found


@noinline
def fetch_cells(h: Hart, pc: u64) -> Ptr[Operands]:
    """Return the cell for `pc`, which becomes the current page; may raise a fetch fault.

    Null means to look again, at `h.pc`: what was looked up may hold no more.
    """
    e = emu(h)
    n = bank_number(h)
    entry = code_entry(h, n, pc)
    if entry.tag != (pc & PAGE):
        e.stat_fetch_misses = e.stat_fetch_misses + 1
        pa = translate(h, pc, ACCESS_EXEC, u32(2))
        page_pa = pa & PAGE
        if not in_ram(h, page_pa, u32(4096)):
            raise Trap(INSTRUCTION_ACCESS_FAULT, pc)
        if not pmp_permits(h, page_pa, u64(4096), u32(ACCESS_EXEC), h.priv):
            return decode_scratch(h, pc)  # PMP is finer than the page: check every instruction
        page = (page_pa - h.ram_base) >> 12
        if not map_cells(h, n, pc, page_pa):
            h.pc = pc
            make_cells(h, page)
            return ptr_cast(Ptr[Operands], u64(0))
    first = ptr_cast(Ptr[Operands], entry.cells)
    e.bias = entry.bias
    return first + ((pc & 0xFFF) >> 1)


@noinline
def redecode(h: Hart, va: u64) -> None:
    """Forget every cell at this place of a page: a breakpoint there has come or gone."""
    code = shared_code(h)
    drop_all_regions(h)
    for n in range(code.used_pages):
        cells_of(code, n)[(va & 0xFFF) >> 1].handler = code.handler_decode


@noinline
def decode_cell(h: Hart, cell: Ptr[Operands]) -> None:
    """Fill an undecoded cell, if no other hart has; the caller executes it afterwards.

    A cell is decoded once, so that no hart ever sees the handler of one instruction with the
    operands of another.
    """
    e = emu(h)
    code = shared_code(h)
    e.stat_decodes = e.stat_decodes + 1
    distance = addr(cell) - addr(code.pool)
    number = distance // (CELL_PAGE_CELLS * CELL_BYTES)
    index = (distance - number * (CELL_PAGE_CELLS * CELL_BYTES)) // CELL_BYTES
    pc = (addr(cell) >> 3) + e.bias
    out = cell[0]
    take(code, ref(code, "lock"))
    if out.handler == code.handler_decode:
        offset = (u64(code.cell_page_ram[number]) << 12) + index * 2
        decode_at(h, out, offset, pc)
        look_for_region(h, offset)
    give(ref(code, "lock"))


@noinline
def decode_scratch(h: Hart, pc: u64) -> Ptr[Operands]:
    """Decode one instruction apart from its page: one that crosses pages, or a single step."""
    e = emu(h)
    code = shared_code(h)
    bits = fetch_bits(h, pc)
    first = ptr_offset(e.bank, Operands, addr(e.scratch[0]) - addr(e.bank))
    fill_cell(h, e.scratch[0], bits, pc, False)
    set_after(h, code.handler_step_end if e.step != 0 else code.handler_cross_end)
    e.bias = pc - (addr(first) >> 3)
    return first


def set_after(h: Hart, handler: u64) -> None:
    """Say what follows the instruction that was decoded apart: one of 2 or of 4 bytes."""
    e = emu(h)
    e.scratch[1].handler = handler
    e.scratch[2].handler = handler


@noinline
def illegal_bits(h: Hart, pc: u64) -> u64:
    """Return what an illegal instruction trap puts into tval: the bits at `pc`."""
    bits = u32(0)
    try:
        bits = fetch_bits(h, pc)
    except Trap:
        bits = u32(0)
    return u64(bits)
