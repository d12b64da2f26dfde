"""Loads and stores the long way: translation, misalignment, PMP, RAM or MMIO.

Tier 0 comes here when its TLB has no answer; the reference always does.
"""

from __future__ import annotations

from innkeeper.isa.riscv.causes import (
    INSTRUCTION_ACCESS_FAULT,
    LOAD_ACCESS_FAULT,
    STORE_ACCESS_FAULT,
    STORE_MISALIGNED,
)
from innkeeper.isa.riscv.hart import Hart
from innkeeper.isa.riscv.mmu import (
    ACCESS_EXEC,
    ACCESS_READ,
    ACCESS_WRITE,
    effective_address,
    translate,
)
from innkeeper.isa.riscv.ops import Trap
from innkeeper.native.intrinsics import addr, noinline, ptr_cast, ptr_offset
from innkeeper.native.types import Ptr, u8, u16, u32, u64

PAGE_MASK = 0xFFF
READS, WRITES = 1, 2


def in_ram(h: Hart, pa: u64, size: u32) -> bool:
    """Tell whether an access lies wholly in RAM."""
    offset = pa - h.ram_base
    return offset < h.ram_size and h.ram_size - offset >= u64(size)


def ram_read(h: Hart, offset: u64, size: u32) -> u64:
    """Read 1, 2, 4 or 8 naturally aligned bytes of RAM, little-endian."""
    if size == 8:
        return ptr_offset(h.ram, u64, offset)[0]
    if size == 4:
        return u64(ptr_offset(h.ram, u32, offset)[0])
    if size == 2:
        return u64(ptr_offset(h.ram, u16, offset)[0])
    return u64(ptr_offset(h.ram, u8, offset)[0])


def ram_write(h: Hart, offset: u64, value: u64, size: u32) -> None:
    """Write 1, 2, 4 or 8 naturally aligned bytes of RAM, little-endian."""
    if size == 8:
        ptr_offset(h.ram, u64, offset)[0] = value
    elif size == 4:
        ptr_offset(h.ram, u32, offset)[0] = u32(value)
    elif size == 2:
        ptr_offset(h.ram, u16, offset)[0] = u16(value)
    else:
        ptr_offset(h.ram, u8, offset)[0] = u8(value)


def device_read(h: Hart, pa: u64, size: u32) -> u64:
    """Read from a device; an engine wraps this to keep the host's own state its own."""
    return h.mmio_read(addr(h), pa, u64(size))


def device_write(h: Hart, pa: u64, value: u64, size: u32) -> None:
    """Write to a device; see `device_read`."""
    h.mmio_write(addr(h), pa, value, u64(size))


def span(h: Hart, va: u64, access: u32) -> Ptr[u8]:
    """Return RAM at an address whose page needs no check for this access, null if not known.

    It is good up to the end of the page. An engine answers from its TLB.
    """
    return ptr_cast(Ptr[u8], u64(0))


def phys_read(h: Hart, pa: u64, size: u32, va: u64) -> u64:
    """Read from RAM or a device; `va` is only for the fault."""
    if in_ram(h, pa, size):
        return ram_read(h, pa - h.ram_base, size)
    value = device_read(h, pa, size)
    if h.mmio_fault != 0:
        h.mmio_fault = 0
        raise Trap(LOAD_ACCESS_FAULT, va)
    return value


def written(h: Hart, pa: u64) -> None:
    """Note a store by the long way; an engine that keeps translated code replaces this."""


def claimed(h: Hart, pa: u64) -> None:
    """Note that an atomic instruction is about to store; see `written`."""


def about_to(h: Hart, va: u64, size: u32, access: u32, value: u64) -> None:
    """Note an access before it is made; an engine with watchpoints replaces this.

    `access` is READS, WRITES or both; `value` what will be stored, 0 where that is not known.
    """


def phys_write(h: Hart, pa: u64, value: u64, size: u32, va: u64) -> None:
    """Write to RAM or a device; `va` is only for the fault."""
    if in_ram(h, pa, size):
        ram_write(h, pa - h.ram_base, value, size)
        written(h, pa)
    else:
        device_write(h, pa, value, size)
        if h.mmio_fault != 0:
            h.mmio_fault = 0
            raise Trap(STORE_ACCESS_FAULT, va)


@noinline
def load_slow(h: Hart, va: u64, size: u32) -> u64:
    """Load `size` bytes (1, 2, 4, 8), zero-extended; misaligned accesses are done in bytes."""
    va = effective_address(h, va)
    about_to(h, va, size, u32(READS), u64(0))
    if (va & (u64(size) - 1)) == 0:
        return phys_read(h, translate(h, va, ACCESS_READ, size), size, va)
    value = u64(0)
    for n in range(size):
        at = va + u64(n)
        byte = phys_read(h, translate(h, at, ACCESS_READ, u32(1)), u32(1), at)
        value = value | (byte << (n * 8))
    return value


@noinline
def store_slow(h: Hart, va: u64, value: u64, size: u32) -> None:
    """Store `size` bytes (1, 2, 4, 8); nothing is written when any part of it would fault."""
    va = effective_address(h, va)
    about_to(h, va, size, u32(WRITES), value)
    if (va & (u64(size) - 1)) == 0:
        phys_write(h, translate(h, va, ACCESS_WRITE, size), value, size, va)
        return
    room = u64(4096) - (va & PAGE_MASK)
    first_size = size if room >= u64(size) else u32(room)
    first = translate(h, va, ACCESS_WRITE, first_size)
    second = first
    if first_size < size:
        second = translate(h, va + room, ACCESS_WRITE, size - first_size) - room
    for n in range(size):
        base = first if u64(n) < room else second
        byte = (value >> (n * 8)) & 0xFF
        phys_write(h, base + u64(n), byte, u32(1), va + u64(n))


@noinline
def rw_pointer_slow(h: Hart, va: u64, size: u32) -> Ptr[u8]:
    """Return the host pointer for an atomic access (Unprivileged 14.4)."""
    va = effective_address(h, va)
    if (va & (u64(size) - 1)) != 0:
        raise Trap(STORE_MISALIGNED, va)
    about_to(h, va, size, u32(READS | WRITES), u64(0))
    pa = translate(h, va, ACCESS_WRITE, size)
    if not in_ram(h, pa, size):
        raise Trap(STORE_ACCESS_FAULT, va)
    claimed(h, pa)
    return ptr_offset(h.ram, u8, pa - h.ram_base)


def fetch_bits(h: Hart, pc: u64) -> u32:
    """Fetch the instruction at `pc`: 32 bits, or 16 where it is compressed; may raise `Trap`."""
    pa = translate(h, pc, ACCESS_EXEC, u32(2))
    if not in_ram(h, pa, u32(2)):
        raise Trap(INSTRUCTION_ACCESS_FAULT, pc)
    if (pc & 3) == 0 and in_ram(h, pa, u32(4)):
        whole = u32(ram_read(h, pa - h.ram_base, u32(4)))  # at once: Ziccif
        return whole if (whole & 3) == 3 else whole & 0xFFFF
    low = u32(ram_read(h, pa - h.ram_base, u32(2)))
    if (low & 3) != 3:
        return low
    pa = translate(h, pc + 2, ACCESS_EXEC, u32(2))
    if not in_ram(h, pa, u32(2)):
        raise Trap(INSTRUCTION_ACCESS_FAULT, pc + 2)
    return low | (u32(ram_read(h, pa - h.ram_base, u32(2))) << 16)
