"""Putting regions into cells: those just compiled, and those known by their code. All native.

A region is installed by writing its entries' addresses into cells; operands stay. It is taken out
when a page that it was made from is written (`cells.drop_cells`), when a breakpoint changes, or
when all cells are given back. Another page of a region is checked at every transition into it: it
must still be mapped at the same distance and be the same cell page.
"""

from __future__ import annotations

from innkeeper.engine.emulator.decoding import decode_at
from innkeeper.engine.emulator.hart import CODE_ENTRIES, Code
from innkeeper.engine.emulator.regions.drop import (
    CELL_PAGE_BYTES,
    first_cell,
    is_region,
    page_index,
    traffic_of,
)
from innkeeper.engine.emulator.regions.layout import (
    FILTER_WORDS,
    INDEX_ROOM,
    LARGE,
    MAX_REGION_PAGES,
    REGION_INSTALLED,
    RING_SLOTS,
    SMALL,
    Region,
    Slot,
    Traffic,
)
from innkeeper.engine.emulator.sync import give, take
from innkeeper.engine.emulator.tlb import PAGE, bank_number, emu, shared_code
from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.native.intrinsics import (
    addr,
    atomic_load,
    atomic_store,
    is_null,
    noinline,
    ptr_cast,
    ptr_offset,
    ref,
    rotl,
)
from innkeeper.native.types import Ptr, u8, u16, u32, u64

MAX_LINK_FAILURES = 16
"""A page that keeps being another one is left by a jump from then on."""


@noinline
def holds_code(h: Hart, r: Region, image: u64, page: u32, ram_page: u64) -> bool:
    """Tell whether a RAM page holds the code that the region in an image was made from."""
    for n in range(r.range_count):
        one = r.ranges[n]
        if one.page == page:
            offset = (ram_page << 12) + u64(one.first)
            if offset + u64(one.size) > h.ram_size:
                return False
            for k in range(one.size):
                have = ptr_offset(h.ram, u8, offset + u64(k))[0]
                if have != ptr_cast(Ptr[u8], image + u64(one.at))[k]:
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
    if not holds_code(h, r, r.rx, u32(0), r.ram_page) or is_broken(code, r):
        return False
    number = code.page_cells[r.ram_page] - 1
    cells = first_cell(code, number)
    for page in range(u32(1), u32(MAX_REGION_PAGES)):
        r.cells[page] = u64(0)
    r.link_failures = u32(0)
    put = False
    for k in range(r.entry_count):
        cell = cells[r.entry_at[k] >> 1]
        if may_take(h, r, k, cell):
            if not put:
                join_page(code, r, u32(0), number)
                r.state = u32(REGION_INSTALLED)
            put = True
            atomic_store(ref(cell, "handler"), r.rx + u64(r.entry_code[k]))
    if put:
        t.stat_installed = t.stat_installed + 1
    return put


@noinline
def may_take(h: Hart, r: Region, k: u32, cell: Operands) -> bool:
    """Tell whether a region may have the cell of its entry `k`, and keep what was there before.

    A larger region takes a smaller one's; what is kept is tier 0's handler in any case.
    """
    code = shared_code(h)
    if is_region(traffic_of(h), cell.handler):
        at = region_of(code, code.page_cells[r.ram_page] - 1, cell.handler)
        r.entry_kept[k] = cell.handler
        if at == 0:
            return False
        other = ptr_cast(Region, at)
        for n in range(other.entry_count):
            if other.entry_at[n] == r.entry_at[k]:
                r.entry_kept[k] = other.entry_kept[n]
        return other.level < r.level
    settled = settle(h, r, cell, r.entry_at[k])
    r.entry_kept[k] = cell.handler
    return settled


@noinline
def region_of(code: Code, number: u32, handler: u64) -> u64:
    """Return the address of the region that a handler in a cell page enters; 0 for none."""
    at = code.page_regions[number]
    while at != 0:
        one = ptr_cast(Region, at)
        if one.cells[0] == addr(first_cell(code, number)):
            for k in range(one.entry_count):
                if one.rx + u64(one.entry_code[k]) == handler:
                    return at
        at = one.following[page_index(one, addr(first_cell(code, number)))]
    return u64(0)


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
    if t.waits != 0 and atomic_load(ref(t, "asked")) != 0:
        t.asked = u32(0)
        code.compile_now(addr(h))
    if atomic_load(ref(t, "finished")) == t.installed:
        return
    take(code, ref(code, "lock"))
    while t.installed != atomic_load(ref(t, "finished")):
        one = t.ready[t.installed & (RING_SLOTS - 1)]
        slot = enter_slot(t, one.key, one.source, one.size, one.record)
        if is_null(slot) or not install_from(h, slot[0], one.ram_page):
            t.stat_refused = t.stat_refused + 1
        atomic_store(ref(t, "installed"), t.installed + 1)
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
    same = holds_code(h, r, r.rx, page, u64(code.cell_page_ram[number]))
    if r.cells[page] != 0 or not same:
        r.link_failures = r.link_failures + 1
        return False
    join_page(code, r, page, number)
    traffic_of(h).stat_links = traffic_of(h).stat_links + 1
    return True


@noinline
def code_key(page: Ptr[u8], at: u64) -> u64:
    """Return what a region that begins at an offset in a page of code is known by.

    It depends on where in the page that is and on the next bytes, 16 if the page has so many.
    """
    key = at * 0x9E3779B97F4A7C15
    end = at + 16 if at + 16 <= 4096 else u64(4096)
    while at < end:
        key = (key ^ u64(ptr_offset(page, u16, at)[0])) * 0xD6E8FEB86659FD93
        key = key ^ (key >> 32)
        at = at + 2
    return key if key != 0 else u64(1)


@noinline
def checksum(source: Ptr[u64], size: u32) -> u64:
    """Return a checksum of an image, against accidents; it is never 0. The size is in bytes."""
    total = u64(0x243F6A8885A308D3)
    for n in range(size // 8):
        total = (rotl(total, 23) ^ source[n]) * 0x9E3779B97F4A7C15
    return total | 1


@noinline
def enter_slot(t: Traffic, key: u64, source: u64, size: u32, record: u32) -> Ptr[Slot]:
    """Add a region to the index; null if that is full. The lock of `Code` is held."""
    if t.index_mask == 0 or t.index_count >= INDEX_ROOM:
        return ptr_cast(Ptr[Slot], u64(0))
    at = key & t.index_mask
    while t.index[at].key != 0:
        at = (at + 1) & t.index_mask
    slot = t.index[at]
    slot.source, slot.size, slot.record = source, size, record
    slot.instance = u64(0)
    slot.checksum = u64(0)
    word = (key >> 6) & (FILTER_WORDS - 1)
    t.filter[word] = t.filter[word] | u64(1) << (key & 63)
    slot.key = key
    t.index_count = t.index_count + 1
    return t.index + at


@noinline
def look_for_region(h: Hart, offset: u64) -> bool:
    """Install a known region that begins at an instruction, at this RAM offset; False for none.

    The lock of `Code` is held.
    """
    t = traffic_of(h)
    if t.index_count == 0 or h.ram_size - offset < 16:
        return False
    page = offset >> 12
    key = code_key(ptr_offset(h.ram, u8, page << 12), offset & 0xFFF)
    if ((t.filter[(key >> 6) & (FILTER_WORDS - 1)] >> (key & 63)) & 1) == 0:
        return False
    if find_and_install(h, key, page, u32(LARGE)) or find_and_install(h, key, page, u32(SMALL)):
        t.stat_found = t.stat_found + 1
        return True
    return False


def find_and_install(h: Hart, key: u64, page: u64, level: u32) -> bool:
    """Install a region of one level that is known by a key."""
    t = traffic_of(h)
    at = key & t.index_mask
    while t.index[at].key != 0:
        slot = t.index[at]
        pristine = ptr_cast(Region, slot.source + u64(slot.record))
        if slot.key == key and pristine.level == level and install_from(h, slot, page):
            return True
        at = (at + 1) & t.index_mask
    return False


def is_sound(t: Traffic, slot: Slot) -> bool:
    """Tell whether a slot's image is what was written to the cache; one that is not is forgotten.

    A slot is not emptied but loses its size, so that the search goes on behind it.
    """
    if slot.checksum != 0 and slot.size != 0:
        if checksum(ptr_cast(Ptr[u64], slot.source), slot.size) == slot.checksum:
            slot.checksum = u64(0)
        else:
            t.stat_damaged = t.stat_damaged + 1
            slot.size = u32(0)
    return slot.size != 0


@noinline
def install_from(h: Hart, slot: Slot, ram_page: u64) -> bool:
    """Install a known region for a RAM page that holds its code, in a copy of its own if need be.

    The lock of `Code` is held.
    """
    t = traffic_of(h)
    if not is_sound(t, slot):
        return False
    pristine = ptr_cast(Region, slot.source + u64(slot.record))
    if not holds_code(h, pristine, slot.source, u32(0), ram_page):
        return False
    if slot.instance == 0 or ptr_cast(Region, slot.instance).state == REGION_INSTALLED:
        if not copy_image(h, slot):
            return False
    r = ptr_cast(Region, slot.instance)
    r.ram_page = ram_page
    return install(h, r)


def copy_image(h: Hart, slot: Slot) -> bool:
    """Copy a pristine image into the pool; False, and a request to clear it, if it is full."""
    t = traffic_of(h)
    size = (u64(slot.size) + 63) & ~u64(63)
    if t.pool_bytes - t.pool_used < size:
        shared_code(h).reset_wanted = u32(1)
        return False
    at = t.pool_used
    t.pool_used = at + size
    source = ptr_cast(Ptr[u64], slot.source)
    copy = ptr_cast(Ptr[u64], t.rw_first + at)
    for n in range(slot.size // 8):
        copy[n] = source[n]
    slot.instance = t.rw_first + at + u64(slot.record)
    ptr_cast(Region, slot.instance).rx = t.rx_first + at
    return True
