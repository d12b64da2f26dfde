"""Virtual memory and physical memory protection (Privileged 3.7, 4.3 to 4.6).

Sv39, Sv48 and Sv57 by one walk; Svadu where menvcfg.ADUE is set, else Svade's page faults; Svnapot;
Svpbmt, whose types change nothing here, for all of memory is coherent and no access is repeated.
"""

from __future__ import annotations

from innkeeper.isa.riscv import status as st
from innkeeper.isa.riscv.causes import (
    INSTRUCTION_ACCESS_FAULT,
    INSTRUCTION_PAGE_FAULT,
    LOAD_ACCESS_FAULT,
    LOAD_PAGE_FAULT,
    STORE_ACCESS_FAULT,
    STORE_PAGE_FAULT,
)
from innkeeper.isa.riscv.hart import Hart
from innkeeper.isa.riscv.ops import Trap
from innkeeper.native.intrinsics import cmpxchg, ctz, inline, noinline, ptr_offset
from innkeeper.native.types import i64, u32, u64

ACCESS_READ, ACCESS_WRITE, ACCESS_EXEC = 0, 1, 2

TAG_BITS = 7
TAG = 0x7F << 57
"""What PMLEN = 7 masks."""

PTE_V, PTE_R, PTE_W, PTE_X, PTE_U, PTE_G, PTE_A, PTE_D = 1, 2, 4, 8, 16, 32, 64, 128
PTE_RESERVED = 0x7F << 54
PTE_PBMT, PTE_N = 3 << 61, 1 << 63
PTE_UNUSUAL = PTE_RESERVED | PTE_PBMT | PTE_N
"""What only a walk judges: an engine's shorter ways take no PTE that has any of it."""

NAPOT_64K = 8
"""The low four PPN bits of the one NAPOT size there is (Svnapot)."""

PMP_R, PMP_W, PMP_X, PMP_LOCK = 1, 2, 4, 128
PMP_TOR, PMP_NA4, PMP_NAPOT = 1, 2, 3


def page_fault(h: Hart, va: u64, access: u32) -> None:
    """Raise the page fault of an access; one that is neither fetch nor read faults as a store."""
    if access == ACCESS_EXEC:
        raise Trap(INSTRUCTION_PAGE_FAULT, va)
    if access == ACCESS_READ:
        raise Trap(LOAD_PAGE_FAULT, va)
    raise Trap(STORE_PAGE_FAULT, va)


def access_fault(h: Hart, va: u64, access: u32) -> None:
    """Raise the access fault of an access."""
    if access == ACCESS_EXEC:
        raise Trap(INSTRUCTION_ACCESS_FAULT, va)
    if access == ACCESS_READ:
        raise Trap(LOAD_ACCESS_FAULT, va)
    raise Trap(STORE_ACCESS_FAULT, va)


def effective_priv(h: Hart, access: u32) -> u32:
    """Return the privilege an access is made with: MPRV redirects data accesses of M-mode."""
    if access != ACCESS_EXEC and (h.mstatus & st.MPRV) != 0:
        return u32((h.mstatus & st.MPP) >> st.MPP_SHIFT)
    return h.priv


def pmp_range(h: Hart, n: u32) -> tuple[u64, u64]:
    """Return the first and last address that a PMP entry matches; first past last for none."""
    top = h.pmpaddr[n]
    mode = (u32(h.pmpcfg[n]) >> 3) & 3
    if mode == PMP_TOR:
        low = h.pmpaddr[n - 1] if n != 0 else u64(0)
        if top > low:
            return low << 2, (top << 2) - 1
    elif mode == PMP_NA4:
        return top << 2, (top << 2) | 3
    elif mode == PMP_NAPOT:
        ones = ctz(~top)
        if ones >= 54:
            return u64(0), ~u64(0)
        span = u64(8) << ones
        start = (top << 2) & ~(span - 1)
        return start, start + (span - 1)
    return ~u64(0), u64(0)


@noinline
def pmp_permits(h: Hart, pa: u64, size: u64, access: u32, priv: u32) -> bool:
    """Tell whether PMP lets an access through; one that is matched in part fails (3.7.1)."""
    need = u32(PMP_R)
    if access == ACCESS_WRITE:
        need = u32(PMP_W)
    elif access == ACCESS_EXEC:
        need = u32(PMP_X)
    last = pa + size - 1
    for n in range(h.pmp_count):
        start, end = pmp_range(h, n)
        if start <= end and pa <= end and last >= start:
            if pa < start or last > end:
                return False
            cfg = u32(h.pmpcfg[n])
            if priv == st.PRIV_M and (cfg & PMP_LOCK) == 0:
                return True
            return (cfg & need) == need
    return priv == st.PRIV_M or h.pmp_count == 0


def pte_allows(h: Hart, pte: u64, access: u32, priv: u32) -> bool:
    """Check a leaf's permissions (4.3.2 steps 5 to 8) for an effective privilege."""
    user = (pte & PTE_U) != 0
    if priv == st.PRIV_U and not user:
        return False
    if priv == st.PRIV_S and user:
        if access == ACCESS_EXEC or (h.mstatus & st.SUM) == 0:
            return False
    if access == ACCESS_EXEC:
        return (pte & PTE_X) != 0
    if access == ACCESS_WRITE:
        return (pte & PTE_W) != 0
    return (pte & PTE_R) != 0 or ((pte & PTE_X) != 0 and (h.mstatus & st.MXR) != 0)


def has_reserved_bits(h: Hart, pte: u64) -> bool:
    """Tell whether a PTE of any kind has bits set that are reserved (4.4.1, Svpbmt)."""
    memory_type = pte & PTE_PBMT
    if memory_type != 0:
        if memory_type == PTE_PBMT or (h.menvcfg & st.ENVCFG_PBMTE) == 0:
            return True
    return (pte & PTE_RESERVED) != 0


@inline
def effective_address(h: Hart, va: u64) -> u64:
    """Take the tag out of an explicit access's address where pointers are masked (Ssnpm).

    The tag is bits 63 to 57, as for the largest address space there is: every address that can be
    valid is itself without it, so that a TLB need not know.
    """
    if (h.senvcfg & st.ENVCFG_PMM) != 0:
        return without_tag(h, va)
    return va


@noinline
def without_tag(h: Hart, va: u64) -> u64:
    """Do `effective_address` where senvcfg masks pointers: in U-mode, unless MXR is in effect."""
    if effective_priv(h, u32(ACCESS_READ)) != st.PRIV_U or (h.mstatus & st.MXR) != 0:
        return va
    if (h.satp >> st.SATP_MODE_SHIFT) == 0:
        return va & ~u64(TAG)
    return u64(i64(va << TAG_BITS) >> TAG_BITS)


def walk(h: Hart, va: u64, access: u32, priv: u32) -> tuple[u64, u64, u32, u64]:
    """Translate through the page tables (4.3.2).

    Returns the physical address, the leaf PTE as memory holds it now, the leaf's level, and where
    that PTE lies. Without translation the PTE is all permissions, its level and place are 0.
    """
    mode = h.satp >> st.SATP_MODE_SHIFT
    if priv == st.PRIV_M or mode == 0:
        return va, u64(PTE_R | PTE_W | PTE_X | PTE_A | PTE_D), u32(0), u64(0)
    levels = u32(mode) - 5
    unused = (u32(64) - 12) - levels * 9
    if u64(i64(va << unused) >> unused) != va:
        page_fault(h, va, access)
    table = (h.satp & st.SATP_PPN) << 12
    level = levels
    while level != 0:
        level -= 1
        shift = level * 9 + 12
        at = table + (((va >> shift) & 0x1FF) << 3)
        offset = at - h.ram_base
        if offset >= h.ram_size or not pmp_permits(h, at, u64(8), u32(ACCESS_READ), u32(st.PRIV_S)):
            access_fault(h, va, access)
        slot = ptr_offset(h.ram, u64, offset)
        pte = slot[0]
        if (pte & PTE_V) == 0 or (pte & (PTE_R | PTE_W)) == PTE_W or has_reserved_bits(h, pte):
            page_fault(h, va, access)
        ppn = (pte >> 10) & st.SATP_PPN
        if (pte & (PTE_R | PTE_X)) == 0:
            if (pte & (PTE_A | PTE_D | PTE_U | PTE_PBMT | PTE_N)) != 0:
                page_fault(h, va, access)
            table = ppn << 12
            continue
        low = (u64(1) << (level * 9)) - 1
        if (pte & PTE_N) != 0:
            if level != 0 or (ppn & 15) != NAPOT_64K:
                page_fault(h, va, access)
            low = u64(15)
            ppn = ppn ^ NAPOT_64K
        if not pte_allows(h, pte, access, priv) or (ppn & low) != 0:
            page_fault(h, va, access)
        wanted = pte | PTE_A
        if access == ACCESS_WRITE:
            wanted = wanted | PTE_D
        if wanted != pte:
            if (h.menvcfg & st.ENVCFG_ADUE) == 0:
                page_fault(h, va, access)
            if not pmp_permits(h, at, u64(8), u32(ACCESS_WRITE), u32(st.PRIV_S)):
                access_fault(h, va, access)
            if not cmpxchg(slot, pte, wanted):
                level = levels
                table = (h.satp & st.SATP_PPN) << 12
                continue
            pte = wanted
        page = ((ppn & ~low) | ((va >> 12) & low)) << 12
        return page | (va & 0xFFF), pte, level, at
    page_fault(h, va, access)
    return u64(0), u64(0), u32(0), u64(0)


@noinline
def translate(h: Hart, va: u64, access: u32, size: u32) -> u64:
    """Return the physical address of an access within one page; raises the right fault."""
    priv = effective_priv(h, access)
    pa, _, _, _ = walk(h, va, access, priv)
    if not pmp_permits(h, pa, u64(size), access, priv):
        access_fault(h, va, access)
    return pa


def flush_translations(h: Hart) -> None:
    """Forget every translation; the reference keeps none, an engine's TLB does."""


def fence_translations(h: Hart, va: u64, asid: u64, by_address: bool, by_asid: bool) -> None:
    """Forget what SFENCE.VMA names: one address or all, one address space or all (4.2.1).

    A fence that names an address space leaves global mappings alone.
    """


def switch_address_space(h: Hart, before: u64) -> None:
    """Note that satp has changed from `before` (4.1.11)."""


def fence_instructions(h: Hart) -> None:
    """Make stores visible to instruction fetch; an engine that keeps translated code acts on it."""
