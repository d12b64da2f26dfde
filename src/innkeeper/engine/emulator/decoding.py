"""Decoding an instruction into a cell: its handler and operands, or a stop."""

from __future__ import annotations

from innkeeper.engine.emulator.hart import Code
from innkeeper.engine.emulator.tlb import emu, shared_code
from innkeeper.isa.riscv.decode import ILLEGAL, decode
from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.native.intrinsics import atomic_store, ptr_offset, ref
from innkeeper.native.types import u16, u32, u64


def is_breakpoint(code: Code, pc: u64) -> bool:
    """Tell whether a debugger wants to stop at `pc`."""
    for n in range(code.breakpoint_count):
        if code.breakpoints[n] == pc:
            return True
    return False


def may_be_breakpoint(code: Code, pc: u64) -> bool:
    """Tell whether a breakpoint lies at this place of any page: a RAM page may be mapped twice."""
    for n in range(code.breakpoint_count):
        if ((code.breakpoints[n] ^ pc) & 0xFFF) == 0:
            return True
    return False


def decode_at(h: Hart, out: Operands, offset: u64, pc: u64) -> None:
    """Decode what is at an offset in RAM."""
    code = shared_code(h)
    if code.breakpoint_count != 0 and may_be_breakpoint(code, pc):
        out.handler = code.handler_break
        return
    low = u32(ptr_offset(h.ram, u16, offset)[0])
    if (low & 3) != 3:
        fill_cell(h, out, low, pc, True)
    elif (offset & 0xFFF) == 0xFFE:
        out.handler = code.handler_cross
    else:
        fill_cell(h, out, ptr_offset(h.ram, u32, offset)[0], pc, True)


def fill_cell(h: Hart, out: Operands, bits: u32, pc: u64, settled: bool) -> None:
    """Decode into a cell, the handler last; `settled` cells may branch within their page.

    In block mode an instruction that ends a block becomes a break, unless it is the one to step.
    """
    code = shared_code(h)
    number = decode(code.tables, bits, out)
    if number == ILLEGAL:
        out.handler = code.handler_illegal
        return
    if code.block_mode != 0:
        if emu(h).step != 0:
            emu(h).block_ended = u32(code.ends_block[number])
        elif code.ends_block[number] != 0:
            out.handler = code.handler_break
            return
    target = (pc & 0xFFF) + u64(out.imm)
    inside = settled and target < 4096
    which = u32(number) * 2 + (u32(1) if inside else u32(0))
    atomic_store(ref(out, "handler"), code.handlers[which])
