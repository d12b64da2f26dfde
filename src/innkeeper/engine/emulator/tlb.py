"""The soft TLB: filling, flushing, and the pages whose stores must be noticed.

A data entry answers one compare: page, permission and alignment together. Stores to a page that
holds cells never get a write tag, so they take the long way and reset the cells.
"""

from __future__ import annotations

from innkeeper.engine.emulator.hart import (
    BANK_MACHINE,
    BANK_MPRV,
    BANK_SUM,
    BANK_SUPERVISOR,
    BANK_USER,
    BANKS,
    CODE_ENTRIES,
    DATA_ENTRIES,
    INVALID,
    Code,
    EmuHart,
)
from innkeeper.engine.emulator.watch import page_is_watched
from innkeeper.isa.riscv import status as st
from innkeeper.isa.riscv.hart import Hart
from innkeeper.isa.riscv.mmu import (
    ACCESS_EXEC,
    ACCESS_READ,
    ACCESS_WRITE,
    PTE_D,
    PTE_R,
    PTE_W,
    PTE_X,
    access_fault,
    effective_priv,
    pmp_permits,
    walk,
)
from innkeeper.native.intrinsics import fence, inline, noinline, ptr_cast
from innkeeper.native.types import u32, u64

PAGE = 0xFFFFFFFFFFFFF000


@inline
def emu(h: Hart) -> EmuHart:
    """View a hart as the emulator's."""
    return ptr_cast(EmuHart, h)


@inline
def shared_code(h: Hart) -> Code:
    """Return the machine's translated code."""
    return ptr_cast(Code, emu(h).code)


def bank_number(h: Hart) -> u32:
    """Return the bank that holds how the hart sees memory now."""
    if h.priv == st.PRIV_M:
        return u32(BANK_MPRV) if (h.mstatus & st.MPRV) != 0 else u32(BANK_MACHINE)
    if h.priv == st.PRIV_U:
        return u32(BANK_USER)
    if (h.mstatus & st.SUM) != 0:
        return u32(BANK_SUM)
    return u32(BANK_SUPERVISOR)


@noinline
def flush_bank(h: Hart, n: u32) -> None:
    """Invalidate one bank."""
    e = emu(h)
    e.bank_used[n] = u32(0)
    for k in range(u32(DATA_ENTRIES)):
        entry = e.banks[n].data[k]
        entry.read_tag = INVALID
        entry.write_tag = INVALID
    for k in range(u32(CODE_ENTRIES)):
        e.banks[n].code[k].tag = INVALID


@noinline
def flush_all(h: Hart) -> None:
    """Invalidate every bank that has been filled since it was last flushed."""
    e = emu(h)
    e.stat_flushes = e.stat_flushes + 1
    for n in range(u32(BANKS)):
        if e.bank_used[n] != 0:
            flush_bank(h, n)
    e.super_start = ~u64(0)
    e.super_end = u64(0)


@noinline
def flush_page(h: Hart, va: u64) -> None:
    """Invalidate one page; a superpage is in the TLB as many pages, so then everything goes."""
    e = emu(h)
    if va >= e.super_start and va <= e.super_end:
        flush_all(h)
        return
    for n in range(u32(BANKS)):
        entry = e.banks[n].data[(va >> 12) & (DATA_ENTRIES - 1)]
        if entry.read_tag == (va & PAGE) or entry.write_tag == (va & PAGE):
            entry.read_tag = INVALID
            entry.write_tag = INVALID
        code = e.banks[n].code[(va >> 12) & (CODE_ENTRIES - 1)]
        if code.tag == (va & PAGE):
            code.tag = INVALID


def flush_translations(h: Hart, va: u64, one_page: bool) -> None:
    """Obey SFENCE.VMA and whatever else changes translation."""
    if one_page:
        flush_page(h, va)
    else:
        flush_all(h)


@noinline
def flush_code(h: Hart) -> None:
    """Forget where fetches go (FENCE.I): cells of pages written to are gone already."""
    e = emu(h)
    for n in range(u32(BANKS)):
        for k in range(u32(CODE_ENTRIES)):
            e.banks[n].code[k].tag = INVALID


def note_superpage(h: Hart, va: u64, level: u32) -> None:
    """Remember the span of addresses that superpages cover."""
    e = emu(h)
    span = (u64(4096) << (level * 9)) - 1
    start = va & ~span
    if start < e.super_start:
        e.super_start = start
    if (start | span) > e.super_end:
        e.super_end = start | span


@noinline
def translate(h: Hart, va: u64, access: u32, size: u32) -> u64:
    """Translate one access and remember the page where the whole page allows it."""
    e = emu(h)
    priv = effective_priv(h, access)
    n = bank_number(h)
    if access != ACCESS_EXEC:
        hit = e.banks[n].data[(va >> 12) & (DATA_ENTRIES - 1)]
        tag = hit.write_tag if access == ACCESS_WRITE else hit.read_tag
        if tag == (va & PAGE):
            return va + hit.addend + h.ram_base
    e.stat_misses = e.stat_misses + 1
    pa, pte, level = walk(h, va, access, priv)
    if not pmp_permits(h, pa, u64(size), access, priv):
        access_fault(h, va, access)
    if level != 0:
        note_superpage(h, va, level)
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
    writable = (pte & (PTE_W | PTE_D)) == (PTE_W | PTE_D)
    if h.pmp_count != 0:
        readable = readable and pmp_permits(h, page, u64(4096), u32(ACCESS_READ), priv)
        writable = writable and pmp_permits(h, page, u64(4096), u32(ACCESS_WRITE), priv)
    code = shared_code(h)
    if code.page_cells[offset >> 12] != 0:
        writable = False
    e.bank_used[n] = u32(1)
    entry = e.banks[n].data[(va >> 12) & (DATA_ENTRIES - 1)]
    entry.read_tag = va & PAGE if readable else u64(INVALID)
    entry.write_tag = va & PAGE if writable else u64(INVALID)
    entry.addend = offset - (va & PAGE)
    entry.page = offset >> 12
    if writable and h.hart_count > 1:
        fence("seq_cst")
        if code.page_cells[offset >> 12] != 0:
            entry.write_tag = INVALID


@noinline
def forget_writer(e: EmuHart, page: u64) -> bool:
    """Take a hart's write tags for a RAM page that has cells now; tell whether it had any.

    The hart may be filling an entry meanwhile: it sees the cells when it has (`fill`).
    """
    found = False
    for n in range(u32(BANKS)):
        if e.bank_used[n] != 0:
            for k in range(u32(DATA_ENTRIES)):
                entry = e.banks[n].data[k]
                if entry.page == page and entry.write_tag != INVALID:
                    entry.write_tag = INVALID
                    found = True
    return found


@noinline
def forget_fetchers(h: Hart, cells: u64) -> None:
    """Take a cell page out of every hart's fetch TLB; the lock of `Code` is held."""
    for i in range(h.hart_count):
        other = ptr_cast(EmuHart, h.harts[i])
        for n in range(u32(BANKS)):
            for k in range(u32(CODE_ENTRIES)):
                entry = other.banks[n].code[k]
                if entry.cells == cells:
                    entry.tag = INVALID
