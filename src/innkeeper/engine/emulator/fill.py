"""Filling the first level of the TLB: from the second level, or by a walk.

`find_*` answer what missed the first level without a walk and without raising; `translate` does the
rest. Both leave the page in the bank if plain RAM is behind it.
"""

from __future__ import annotations

from innkeeper.engine.emulator.hart import (
    CODE_ENTRIES,
    DATA_ENTRIES,
    ENTRY_GLOBAL,
    ENTRY_LISTED,
    INVALID,
    Bank,
    CodeEntry,
)
from innkeeper.engine.emulator.tlb import bank_number, emu, shared_code
from innkeeper.engine.emulator.walks import PAGE, is_open, known_pte, open_around, remember_walk
from innkeeper.engine.emulator.watch import page_is_watched
from innkeeper.isa.riscv import status as st
from innkeeper.isa.riscv.hart import Hart
from innkeeper.isa.riscv.mmu import (
    ACCESS_EXEC,
    ACCESS_READ,
    ACCESS_WRITE,
    PTE_D,
    PTE_G,
    PTE_R,
    PTE_W,
    PTE_X,
    access_fault,
    effective_priv,
    pmp_permits,
    walk,
)
from innkeeper.native.intrinsics import addr, fence, inline, noinline, ptr_cast, ptr_offset
from innkeeper.native.types import Const, Ptr, u8, u16, u32, u64

WRITABLE = PTE_W | PTE_D


@inline
def has_cells(h: Hart, page: u64) -> bool:
    """Tell whether the page at an offset in RAM holds decoded instructions."""
    return shared_code(h).page_cells[page >> 12] != 0


@inline
def enter(h: Hart, bank: Bank, va: u64, page: u64, readable: bool, pte: u64) -> bool:
    """Put the page at offset `page` of RAM into a bank; tell whether it may be stored to there.

    Where harts run at once, one of them may be giving the page cells: it sees the tag, or we see
    the cells (`cells.make_cells`).
    """
    index = (va >> 12) & (DATA_ENTRIES - 1)
    entry = bank.data[index]
    if (entry.flags & ENTRY_LISTED) == 0:
        bank.data_used[bank.data_count] = u16(index)
        bank.data_count = bank.data_count + 1
    entry.flags = u32(ENTRY_LISTED) | (u32(ENTRY_GLOBAL) if (pte & PTE_G) != 0 else u32(0))
    entry.page = u32(page >> 12)
    entry.addend = addr(h.ram) + page - (va & PAGE)
    entry.read_tag = va & PAGE if readable else u64(INVALID)
    entry.write_tag = u64(INVALID)
    if not readable or (pte & WRITABLE) != WRITABLE or has_cells(h, page):
        return False
    entry.write_tag = va & PAGE
    if h.hart_count > 1:
        fence("seq_cst")
        if has_cells(h, page):
            entry.write_tag = INVALID
            return False
    return True


@inline
def find(h: Hart, va: u64, size: u32, write: Const) -> Ptr[u8]:
    """Return where in RAM an access within one page goes, null if that takes more than a PTE."""
    e = emu(h)
    nowhere = ptr_cast(Ptr[u8], u64(0))
    if (va & 0xFFF) + u64(size) > 4096:
        return nowhere
    bank = ptr_cast(Bank, e.bank)
    hit = bank.data[(va >> 12) & (DATA_ENTRIES - 1)]
    tag = hit.write_tag if write else hit.read_tag
    if tag == (va & PAGE):
        return ptr_cast(Ptr[u8], va + hit.addend)
    e.stat_misses = e.stat_misses + 1
    pte = known_pte(h, va)
    more = u64(WRITABLE if write else 0)
    if (pte & (bank.load_mask | more)) != (bank.load_wanted | more):
        return nowhere
    page = (((pte >> 10) & st.SATP_PPN) << 12) - h.ram_base
    if not is_open(e, page):
        return nowhere
    writable = enter(h, bank, va, page, True, pte)
    if write and not writable:
        return nowhere
    e.stat_refills = e.stat_refills + 1
    return ptr_offset(h.ram, u8, page + (va & 0xFFF))


@noinline
def find_load(h: Hart, va: u64, size: u32) -> Ptr[u8]:
    """Answer a load that missed the first level, if it can be done without a walk."""
    return find(h, va, size, False)


@noinline
def find_store(h: Hart, va: u64, size: u32) -> Ptr[u8]:
    """Answer a store that missed the first level, if it can be done without a walk."""
    return find(h, va, size, True)


@noinline
def find_atomic(h: Hart, va: u64, size: u32) -> Ptr[u8]:
    """Answer an atomic access that missed the first level; it must be aligned."""
    if (va & (u64(size) - 1)) != 0:
        return ptr_cast(Ptr[u8], u64(0))
    return find(h, va, size, True)


@noinline
def span(h: Hart, va: u64, access: u32) -> Ptr[u8]:
    """Return RAM from an address to the end of its page (replaces `isa.riscv.access.span`)."""
    if access == ACCESS_WRITE:
        return find_store(h, va, u32(1))
    return find_load(h, va, u32(1))


@noinline
def translate(h: Hart, va: u64, access: u32, size: u32) -> u64:
    """Translate one access and remember the page where the whole page allows it."""
    e = emu(h)
    priv = effective_priv(h, access)
    n = bank_number(h)
    if access == ACCESS_EXEC:
        pte = known_pte(h, va)
        page = ((pte >> 10) & st.SATP_PPN) << 12
        if (pte & e.banks[n].fetch_mask) == e.banks[n].fetch_wanted:
            if is_open(e, page - h.ram_base):
                return page | (va & 0xFFF)
    else:
        hit = e.banks[n].data[(va >> 12) & (DATA_ENTRIES - 1)]
        tag = hit.write_tag if access == ACCESS_WRITE else hit.read_tag
        if tag == (va & PAGE):
            return va + hit.addend - addr(h.ram) + h.ram_base
    e.stat_walks = e.stat_walks + 1
    pa, pte, level, at = walk(h, va, access, priv)
    if not pmp_permits(h, pa, u64(size), access, priv):
        access_fault(h, va, access)
    if not is_open(e, (pa & PAGE) - h.ram_base):
        open_around(h, pa)
    if at != 0:
        remember_walk(h, va, pa, pte, level, at)
    if access != ACCESS_EXEC:
        fill(h, n, va, pa, pte, priv)
    return pa


@noinline
def fill(h: Hart, n: u32, va: u64, pa: u64, pte: u64, priv: u32) -> None:
    """Put a page into a data bank, with the permissions that hold for all of it."""
    e = emu(h)
    page = pa & PAGE
    offset = page - h.ram_base
    if offset >= h.ram_size or h.ram_size - offset < 4096:
        return
    if e.watch_count != 0 and page_is_watched(h, va):
        return
    readable = (pte & PTE_R) != 0 or ((pte & PTE_X) != 0 and (h.mstatus & st.MXR) != 0)
    flags = pte
    if h.pmp_count != 0:
        readable = readable and pmp_permits(h, page, u64(4096), u32(ACCESS_READ), priv)
        if not pmp_permits(h, page, u64(4096), u32(ACCESS_WRITE), priv):
            flags = flags & ~u64(PTE_W)
    enter(h, e.banks[n], va, offset, readable, flags)


def code_entry(h: Hart, n: u32, va: u64) -> CodeEntry:
    """Return the one entry of a bank that can hold a page for fetching."""
    return emu(h).banks[n].code[(va >> 12) & (CODE_ENTRIES - 1)]


@noinline
def enter_code(h: Hart, n: u32, va: u64, page: u64, cells: u64) -> None:
    """Let fetches from the page that is at `page` go to its cells."""
    pte = known_pte(h, va)
    same = ((pte >> 10) & st.SATP_PPN) == page >> 12
    bank = emu(h).banks[n]
    index = (va >> 12) & (CODE_ENTRIES - 1)
    entry = bank.code[index]
    if entry.flags == 0:
        bank.code_used[bank.code_count] = u16(index)
        bank.code_count = bank.code_count + 1
    entry.flags = u64(ENTRY_LISTED)
    if same and (pte & PTE_G) != 0:
        entry.flags = u64(ENTRY_LISTED | ENTRY_GLOBAL)
    entry.cells = cells
    entry.bias = (va & PAGE) - (cells >> 3)
    entry.tag = va & PAGE
