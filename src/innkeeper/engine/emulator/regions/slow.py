"""Memory the long way from a region: RAM alone. Whatever else it is, tier 0 does it anew."""

from __future__ import annotations

from innkeeper.engine.emulator.fill import find_atomic, find_load, find_store
from innkeeper.engine.emulator.tlb import emu
from innkeeper.isa.riscv.access import in_ram, ram_read, ram_write, rw_pointer_slow, store_slow
from innkeeper.isa.riscv.hart import Hart
from innkeeper.isa.riscv.mmu import ACCESS_READ, ACCESS_WRITE, effective_address, translate
from innkeeper.isa.riscv.ops import Trap
from innkeeper.native.intrinsics import addr, inline, is_null, noinline, ptr_offset
from innkeeper.native.types import Const, Ptr, u8, u32, u64

LEAVE_REGION = 62
"""The trap cause, one that no hart has, by which a region gives an instruction to tier 0."""


@noinline
def reach(h: Hart, va: u64, size: u32, access: u32) -> Ptr[u8]:
    """Return where in RAM an access goes that is in one page; any other is given to tier 0."""
    va = effective_address(h, va)
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


@inline
def span(h: Hart, va: u64, size: u32, write: Const, walk_for: Const) -> Ptr[u8]:
    """Find memory in one page, with a walk if need be; null leaves to tier 0."""
    p = find_store(h, va, size) if write else find_load(h, va, size)
    if is_null(p) and may_walk(h, va, size, u32(walk_for)):
        p = find_store(h, va, size) if write else find_load(h, va, size)
    return p


@noinline
def region_span_read(h: Hart, va: u64, size: u32) -> Ptr[u8]:
    """Find memory that may be read."""
    return span(h, va, size, False, ACCESS_READ)


@noinline
def region_span_write(h: Hart, va: u64, size: u32) -> Ptr[u8]:
    """Find memory that may be read and written."""
    return span(h, va, size, True, ACCESS_WRITE)


@noinline
def region_span_both(h: Hart, va: u64, size: u32) -> Ptr[u8]:
    """Find memory to be read first and written later: not dirty yet (Privileged 4.3.1)."""
    return span(h, va, size, True, ACCESS_READ)


@noinline
def may_walk(h: Hart, va: u64, size: u32, access: u32) -> bool:
    """Walk for an access within a page that the second level of the TLB does not know."""
    if effective_address(h, va) != va or (va & 0xFFF) + u64(size) > 4096:
        return False
    try:
        translate(h, va, access, u32(1))
    except Trap:
        return False
    return True


@noinline
def leaves(h: Hart) -> bool:
    """Tell whether the pending trap only gives an instruction to tier 0; it is over then."""
    if h.trap_cause != LEAVE_REGION:
        return False
    h.trap_pending = 0
    return True
