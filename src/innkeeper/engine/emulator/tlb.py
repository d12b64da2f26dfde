"""The first level of the soft TLB: banks, flushing, and pages whose stores must be noticed.

A data entry answers one compare: page, permission and alignment together. Stores to a page that
holds cells never get a write tag, so they take the long way and reset the cells. Each bank holds
the current address space and global pages only; `walks.py` is the second level.

A hart changes its own entries at any time; another hart's only through `forget_writer` and
`forget_fetchers`, and asks for everything else (`isa.riscv.sbi.remote_fence`).
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
    ENTRY_GLOBAL,
    INVALID,
    Bank,
    Code,
    EmuHart,
)
from innkeeper.engine.emulator.walks import (
    ASID_MASK,
    GIANT_SHIFT,
    PAGE,
    REGION_SHIFT,
    current_asid,
    forget_asid_walks,
    forget_walks,
    forget_walks_around,
    renew_context,
    seen_index,
)
from innkeeper.isa.riscv import status as st
from innkeeper.isa.riscv.hart import Hart
from innkeeper.isa.riscv.mmu import (
    PTE_A,
    PTE_R,
    PTE_U,
    PTE_UNUSUAL,
    PTE_V,
    PTE_X,
)
from innkeeper.isa.riscv.sbi import EVERY_ASID
from innkeeper.native.intrinsics import inline, noinline, ptr_cast
from innkeeper.native.types import u32, u64

FENCE_PAGES = 64
"""The most pages that a remote fence flushes one by one."""


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
def reset_tlb(h: Hart) -> None:
    """Make a new hart's TLB empty."""
    e = emu(h)
    for n in range(u32(BANKS)):
        bank = e.banks[n]
        for k in range(u32(DATA_ENTRIES)):
            bank.data[k].read_tag = INVALID
            bank.data[k].write_tag = INVALID
        for k in range(u32(CODE_ENTRIES)):
            bank.code[k].tag = INVALID
        bank.load_wanted = u64(PTE_V)
        bank.fetch_wanted = u64(PTE_V)
        if n <= BANK_SUM:
            user = u64(PTE_U) if n == BANK_USER else u64(0)
            bank.fetch_mask = u64(PTE_V | PTE_X | PTE_A | PTE_U | PTE_UNUSUAL)
            bank.fetch_wanted = u64(PTE_V | PTE_X | PTE_A) | user
            bank.load_mask = u64(PTE_V | PTE_R | PTE_A | PTE_UNUSUAL)
            if n != BANK_SUM:
                bank.load_mask = bank.load_mask | PTE_U
            bank.load_wanted = u64(PTE_V | PTE_R | PTE_A) | user
    flush_all(h)


@noinline
def flush_bank_code(bank: Bank) -> None:
    """Invalidate what a bank says of fetches."""
    for k in range(bank.code_count):
        entry = bank.code[bank.code_used[k]]
        entry.tag = INVALID
        entry.flags = u64(0)
    bank.code_count = u32(0)


@noinline
def flush_bank(h: Hart, n: u32) -> None:
    """Invalidate one bank."""
    bank = emu(h).banks[n]
    for k in range(bank.data_count):
        entry = bank.data[bank.data_used[k]]
        entry.read_tag = INVALID
        entry.write_tag = INVALID
        entry.flags = u32(0)
    bank.data_count = u32(0)
    flush_bank_code(bank)


@noinline
def flush_private(h: Hart) -> None:
    """Invalidate what belongs to an address space: all but global pages."""
    for n in range(u32(BANKS)):
        bank = emu(h).banks[n]
        kept = u32(0)
        for k in range(bank.data_count):
            index = bank.data_used[k]
            entry = bank.data[index]
            if (entry.flags & ENTRY_GLOBAL) != 0:
                bank.data_used[kept] = index
                kept = kept + 1
            else:
                entry.read_tag = INVALID
                entry.write_tag = INVALID
                entry.flags = u32(0)
        bank.data_count = kept
        kept = u32(0)
        for k in range(bank.code_count):
            index = bank.code_used[k]
            code = bank.code[index]
            if (code.flags & ENTRY_GLOBAL) != 0:
                bank.code_used[kept] = index
                kept = kept + 1
            else:
                code.tag = INVALID
                code.flags = u64(0)
        bank.code_count = kept


@noinline
def flush_all(h: Hart) -> None:
    """Invalidate everything, both levels."""
    emu(h).stat_flushes = emu(h).stat_flushes + 1
    for n in range(u32(BANKS)):
        flush_bank(h, n)
    forget_walks(h)


@noinline
def flush_around(h: Hart, va: u64, shift: u32) -> None:
    """Invalidate first-level entries for the naturally aligned 2**shift bytes around an address."""
    for n in range(u32(BANKS)):
        bank = emu(h).banks[n]
        for k in range(bank.data_count):
            entry = bank.data[bank.data_used[k]]
            if (entry.read_tag ^ va) >> shift == 0 or (entry.write_tag ^ va) >> shift == 0:
                entry.read_tag = INVALID
                entry.write_tag = INVALID
        for k in range(bank.code_count):
            code = bank.code[bank.code_used[k]]
            if (code.tag ^ va) >> shift == 0:
                code.tag = INVALID


@noinline
def flush_page(h: Hart, va: u64) -> None:
    """Invalidate one page, and with it all of a superpage that it may belong to (4.2.1).

    The second level keeps its tables: a fence of one address concerns leaves only.
    """
    e = emu(h)
    e.stat_page_flushes = e.stat_page_flushes + 1
    for n in range(u32(BANKS)):
        bank = e.banks[n]
        entry = bank.data[(va >> 12) & (DATA_ENTRIES - 1)]
        if entry.read_tag == (va & PAGE) or entry.write_tag == (va & PAGE):
            entry.read_tag = INVALID
            entry.write_tag = INVALID
        code = bank.code[(va >> 12) & (CODE_ENTRIES - 1)]
        if code.tag == (va & PAGE):
            code.tag = INVALID
    if e.super_seen[seen_index(va, u32(REGION_SHIFT))] != 0:
        flush_around(h, va, u32(REGION_SHIFT))
        forget_walks_around(h, va, u32(REGION_SHIFT))
    giant = e.giant_seen[seen_index(va, u32(GIANT_SHIFT))]
    if giant > 2:
        flush_all(h)
    elif giant != 0:
        flush_around(h, va, u32(GIANT_SHIFT))
        forget_walks_around(h, va, u32(GIANT_SHIFT))


@noinline
def flush_asid(h: Hart, asid: u64) -> None:
    """Invalidate an address space; the first level has only the current one."""
    emu(h).stat_asid_flushes = emu(h).stat_asid_flushes + 1
    forget_asid_walks(h, asid)
    if asid == current_asid(h):
        flush_private(h)


@noinline
def fence_translations(h: Hart, va: u64, asid: u64, by_address: bool, by_asid: bool) -> None:
    """Obey SFENCE.VMA (replaces `isa.riscv.mmu.fence_translations`)."""
    if by_address and not (by_asid and asid != current_asid(h)):
        flush_page(h, va)
    elif by_asid:
        flush_asid(h, asid)
    else:
        flush_all(h)


@noinline
def flush_range(h: Hart, start: u64, size: u64, asid: u64) -> None:
    """Obey a remote fence: page by page if they are few; 0 and 0, or a size of -1, is all (SBI 8).

    `asid` is `EVERY_ASID` where none is named; else its low 16 bits count.
    """
    by_asid = asid != EVERY_ASID
    number = asid & ASID_MASK
    few = size <= FENCE_PAGES * 4096 and (start | size) != 0
    if not few or (by_asid and number != current_asid(h)):
        fence_translations(h, u64(0), number, False, by_asid)
        return
    pages = ((start & 0xFFF) + size + 4095) >> 12
    for n in range(pages):
        fence_translations(h, (start & PAGE) + (n << 12), number, True, by_asid)


@noinline
def switch_address_space(h: Hart, before: u64) -> None:
    """Obey a write of satp: what is valid stays, global pages above all.

    One address space given other page tables is taken for a new one: software owes a fence there
    (4.1.11), but a system that knows no ASIDs may have forgotten it.
    """
    changed = h.satp ^ before
    if (changed >> st.SATP_MODE_SHIFT) != 0:
        flush_all(h)
    elif (changed & st.SATP_ASID) != 0:
        emu(h).stat_switches = emu(h).stat_switches + 1
        flush_private(h)
        renew_context(h)
    elif changed != 0:
        flush_asid(h, current_asid(h))


@noinline
def flush_code(h: Hart) -> None:
    """Forget where fetches go (FENCE.I): cells of pages written to are gone already."""
    for n in range(u32(BANKS)):
        flush_bank_code(emu(h).banks[n])


# ---- what one hart does to the others
#
# It may be filling and flushing meanwhile, which moves what is listed: every entry is looked at.


@noinline
def forget_writer(e: EmuHart, page: u64) -> bool:
    """Take a hart's write tags for a RAM page that has cells now; tell whether it had any.

    The hart may be filling an entry meanwhile: it sees the cells when it has (`fill.enter`).
    """
    found = False
    for n in range(u32(BANKS)):
        if e.banks[n].data_count != 0:
            for k in range(u32(DATA_ENTRIES)):
                entry = e.banks[n].data[k]
                if entry.page == u32(page) and entry.write_tag != INVALID:
                    entry.write_tag = INVALID
                    found = True
    return found


@noinline
def forget_own_writer(h: Hart, page: u64) -> None:
    """Take this hart's own write tags for a RAM page that has cells now."""
    for n in range(u32(BANKS)):
        bank = emu(h).banks[n]
        for k in range(bank.data_count):
            entry = bank.data[bank.data_used[k]]
            if entry.page == u32(page):
                entry.write_tag = INVALID


@noinline
def forget_fetchers(h: Hart, cells: u64) -> None:
    """Take a cell page out of every hart's fetch TLB; the lock of `Code` is held."""
    for i in range(h.hart_count):
        other = ptr_cast(EmuHart, h.harts[i])
        for n in range(u32(BANKS)):
            if other.banks[n].code_count != 0:
                for k in range(u32(CODE_ENTRIES)):
                    entry = other.banks[n].code[k]
                    if entry.cells == cells:
                        entry.tag = INVALID
