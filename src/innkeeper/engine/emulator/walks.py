"""The second level of the TLB: where the page tables of 2 MiB of an address space end.

A first-level miss that finds its region here costs one load, of the leaf PTE itself, which is
therefore never stale; 1,024 regions reach 2 GiB. A superpage's leaf is kept in its region's entry.
Nothing here grants anything by itself: permissions come from the PTE each time, PMP by the open
window of RAM, and a page with cells gets its write tag refused in the first level alone.

An entry bears its ASID and a stamp. Forgetting an address space is giving it a newer stamp.
"""

from __future__ import annotations

from innkeeper.engine.emulator.hart import (
    ASID_STAMPS,
    INVALID,
    NO_CONTEXT,
    SEEN,
    SUPERPAGE,
    WALK_ENTRIES,
    EmuHart,
    WalkEntry,
)
from innkeeper.isa.riscv import status as st
from innkeeper.isa.riscv.hart import Hart
from innkeeper.isa.riscv.mmu import PMP_R, PMP_W, PMP_X, PTE_N, pmp_range
from innkeeper.native.intrinsics import inline, noinline, ptr_cast, ptr_offset
from innkeeper.native.types import u8, u32, u64

REGION_SHIFT = 21
GIANT_SHIFT = 30
PAGE = 0xFFFFFFFFFFFFF000
PAGE_SIZE = 4096
FLAGS = 0x3FF
ALL = PMP_R | PMP_W | PMP_X
ASID_MASK = st.SATP_ASID >> st.SATP_ASID_SHIFT
STAMP_SHIFT = 16
SPREAD = 37
"""Neighbouring ASIDs are used together; an odd number takes all of them to different places."""


@inline
def current_asid(h: Hart) -> u64:
    """Return the address space that satp names."""
    return (h.satp >> st.SATP_ASID_SHIFT) & ASID_MASK


@inline
def walk_of(e: EmuHart, va: u64) -> WalkEntry:
    """Return the one entry that can hold an address's region in the current address space."""
    return e.walks[((va >> REGION_SHIFT) ^ e.walk_salt) & (WALK_ENTRIES - 1)]


@inline
def known_pte(h: Hart, va: u64) -> u64:
    """Return the leaf PTE of a page, as memory or its superpage has it now; 0 if it takes a walk.

    A superpage's PTE is told as if it were that of one of the 4 KiB pages in it.
    """
    e = ptr_cast(EmuHart, h)
    entry = walk_of(e, va)
    if entry.region != va >> REGION_SHIFT or entry.context != e.walk_context:
        return u64(0)
    index = (va >> 12) & 511
    if entry.table == SUPERPAGE:
        return entry.pte + (index << 10)
    return ptr_offset(h.ram, u64, entry.table + (index << 3))[0]


@inline
def is_open(e: EmuHart, page: u64) -> bool:
    """Tell whether the page at an offset in RAM may be read, written and executed by S and U."""
    return page - e.open_start < e.open_size


def seen_index(va: u64, shift: u32) -> u64:
    """Return the place of an address in `super_seen` or `giant_seen`; kernel and user differ."""
    return ((va >> shift) & (SEEN // 2 - 1)) | (va >> 63) * (SEEN // 2)


@noinline
def remember_walk(h: Hart, va: u64, pa: u64, pte: u64, level: u32, at: u64) -> None:
    """Keep the outcome of a walk that reached its leaf, which lies at `at`."""
    e = ptr_cast(EmuHart, h)
    if e.walk_context == NO_CONTEXT:
        return
    entry = walk_of(e, va)
    seen = seen_index(va, u32(REGION_SHIFT))
    if (pte & PTE_N) != 0:
        e.super_seen[seen] = u8(1)
    if level == 0:
        table = (at & PAGE) - h.ram_base
        if not is_open(e, table):
            return
        entry.table = table
    else:
        e.super_seen[seen] = u8(1)
        if level > 1:
            seen = seen_index(va, u32(GIANT_SHIFT))
            e.giant_seen[seen] = u8(level)
        entry.table = u64(SUPERPAGE)
        entry.pte = (pte & FLAGS) | ((pa >> REGION_SHIFT) << (REGION_SHIFT - 2))
    entry.region = va >> REGION_SHIFT
    entry.context = e.walk_context


def renew_context(h: Hart) -> None:
    """Set what entries of the current address space must bear."""
    e = ptr_cast(EmuHart, h)
    e.walk_context = u64(NO_CONTEXT)
    if (h.satp >> st.SATP_MODE_SHIFT) != 0:
        asid = current_asid(h)
        e.walk_salt = asid * SPREAD
        e.walk_context = asid | (e.asid_stamps[asid & (ASID_STAMPS - 1)] << STAMP_SHIFT)


@noinline
def forget_walks(h: Hart) -> None:
    """Forget every walk, and look at PMP and watched addresses anew."""
    e = ptr_cast(EmuHart, h)
    e.stamp = e.stamp + 1
    for n in range(u32(ASID_STAMPS)):
        e.asid_stamps[n] = e.stamp
    for n in range(u32(SEEN)):
        e.super_seen[n] = u8(0)
        e.giant_seen[n] = u8(0)
    e.open_start = u64(0)
    e.open_size = h.ram_size if h.pmp_count == 0 and e.watch_count == 0 else u64(0)
    renew_context(h)


def forget_asid_walks(h: Hart, asid: u64) -> None:
    """Forget the walks of an address space, and of those with whom it shares a stamp."""
    e = ptr_cast(EmuHart, h)
    e.stamp = e.stamp + 1
    e.asid_stamps[asid & (ASID_STAMPS - 1)] = e.stamp
    renew_context(h)


@noinline
def forget_walks_around(h: Hart, va: u64, shift: u32) -> None:
    """Forget all walks, whosever, for the naturally aligned 2**shift bytes around an address."""
    e = ptr_cast(EmuHart, h)
    for n in range(u32(WALK_ENTRIES)):
        entry = e.walks[n]
        if entry.region >> (shift - REGION_SHIFT) == va >> shift:
            entry.region = u64(INVALID)


@noinline
def open_around(h: Hart, pa: u64) -> None:
    """Make the open window the largest piece of RAM around `pa` that PMP wholly opens, if any.

    The entry that matches `pa` first must grant everything (3.7.1); those before it are bounds.
    """
    e = ptr_cast(EmuHart, h)
    if e.watch_count != 0 or pa - h.ram_base >= h.ram_size:
        return
    low = h.ram_base
    high = h.ram_base + h.ram_size - 1
    for n in range(h.pmp_count):
        start, end = pmp_range(h, n)
        if start > end:
            continue
        if pa >= start and pa <= end:
            if (u32(h.pmpcfg[n]) & ALL) != ALL:
                return
            low = start if start > low else low
            high = end if end < high else high
            set_open(h, low, high)
            return
        if end < pa and end >= low:
            low = end + 1
        elif start > pa and start <= high:
            high = start - 1


def set_open(h: Hart, low: u64, high: u64) -> None:
    """Set the open window to the whole pages between two addresses of RAM."""
    e = ptr_cast(EmuHart, h)
    start = (low - h.ram_base + PAGE_SIZE - 1) & PAGE
    end = (high - h.ram_base + 1) & PAGE
    if start < end:
        e.open_start = start
        e.open_size = end - start
