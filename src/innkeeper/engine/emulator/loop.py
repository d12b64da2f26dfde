"""Running harts in turn: slices, interrupts, timers, waiting. All of it native.

`run` is the one entry from the host. It gives every hart that can run a slice of instructions and
comes back when something needs the host: a request, a stop, or nothing left to do but wait.
"""

from __future__ import annotations

from innkeeper.engine.emulator.cells import decode_scratch, fetch_cells, illegal_bits
from innkeeper.engine.emulator.hart import BANK_MPRV, EmuHart
from innkeeper.engine.emulator.hostfp import fp_enter, fp_leave
from innkeeper.engine.emulator.tlb import bank_number, emu, flush_all, flush_bank, flush_code
from innkeeper.isa.riscv.atomic import NO_RESERVATION
from innkeeper.isa.riscv.causes import ILLEGAL_INSTRUCTION
from innkeeper.isa.riscv.csr import update_timers
from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.ops import Trap
from innkeeper.isa.riscv.sbi import FLUSH_CODE, FLUSH_TLB
from innkeeper.isa.riscv.trap import enter_trap, interrupt_to_take, pending
from innkeeper.native.intrinsics import intrinsic, noinline, ptr_cast
from innkeeper.native.types import Ptr, i64, u8, u32, u64

SLICE = 20000
"""Instructions between looks at time, interrupts and requests: about 25 us."""

EXIT_REQUEST, EXIT_IDLE, EXIT_BREAK, EXIT_STEP, EXIT_WATCH, EXIT_COUNT = 1, 2, 3, 4, 5, 6


@intrinsic
def execute(h: Hart) -> None:
    """Run cells from `h.pc` until the slice ends or `h.exit_reason` is set."""
    raise NotImplementedError


@noinline
def take_trap(h: Hart, pc: u64) -> None:
    """Enter the trap that an instruction at `pc` has raised."""
    emu(h).stat_traps = emu(h).stat_traps + 1
    h.trap_pending = 0
    cause, tval = h.trap_cause, h.trap_tval
    if cause == ILLEGAL_INSTRUCTION and tval == 0:
        tval = illegal_bits(h, pc)
    enter_trap(h, cause, tval, pc)


def obey_flushes(h: Hart) -> None:
    """Do what other harts have asked this one to do before its next instruction."""
    wanted = h.flush_request
    h.flush_request = u32(0)
    if (wanted & FLUSH_TLB) != 0:
        flush_all(h)
    if (wanted & FLUSH_CODE) != 0:
        flush_code(h)


@noinline
def resume_cell(h: Hart) -> Ptr[Operands]:
    """Return the cell to go on with at `h.pc`, or null to leave native code."""
    e = emu(h)
    nowhere = ptr_cast(Ptr[Operands], u64(0))
    while True:
        if h.flush_request != 0:
            obey_flushes(h)
        if h.budget <= 0 or h.stop != 0 or e.exit_reason != 0:
            return nowhere
        if h.wfi != 0:
            if (pending(h) & h.mie) == 0:
                return nowhere
            h.wfi = u32(0)
        cause = interrupt_to_take(h)
        if cause != 0:
            enter_trap(h, cause, u64(0), h.pc)
        n = bank_number(h)
        if n == BANK_MPRV:
            flush_bank(h, n)
        e.bank = ptr_cast(Ptr[u8], e.banks[n])
        try:
            if e.step != 0:
                return decode_scratch(h, h.pc)
            return fetch_cells(h, h.pc)
        except Trap:
            take_trap(h, h.pc)
    return nowhere


@noinline
def cross_cell(h: Hart, pc: u64) -> Ptr[Operands]:
    """Return the scratch cell of an instruction that crosses pages, null after a fetch fault."""
    try:
        return decode_scratch(h, pc)
    except Trap:
        take_trap(h, pc)
    return ptr_cast(Ptr[Operands], u64(0))


@noinline
def jump_cell(h: Hart, target: u64) -> Ptr[Operands]:
    """Return the cell at a jump's target, null after a fetch fault there."""
    try:
        return fetch_cells(h, target)
    except Trap:
        take_trap(h, target)
    return ptr_cast(Ptr[Operands], u64(0))


@noinline
def stop_at(h: Hart, pc: u64, reason: u32) -> None:
    """Leave native code before the instruction at `pc`."""
    h.pc = pc
    emu(h).exit_reason = reason


def run_slice(h: Hart, length: i64) -> None:
    """Run one hart for up to `length` instructions and account for them."""
    h.slice = length
    h.budget = length
    update_timers(h)
    fp_enter(h)
    execute(h)
    fp_leave(h)
    h.instret = h.instret + u64(h.slice - h.budget)
    h.slice = i64(0)
    h.budget = i64(0)
    emu(h).stat_slices = emu(h).stat_slices + 1


def can_run(h: Hart) -> bool:
    """Tell whether a hart has something to execute."""
    if h.stop != 0:
        return False
    if h.wfi == 0:
        return True
    update_timers(h)
    return (pending(h) & h.mie) != 0


def run(first: EmuHart, limit: i64) -> u32:
    """Run all harts of the machine in turn; return why (`EXIT_...`).

    `limit` is how many instructions every hart may execute, -1 for no limit.
    """
    left = limit
    while True:
        busy = False
        for n in range(first.hart_count):
            h = ptr_cast(EmuHart, first.harts[n])
            if first.exit_request != 0:
                first.exit_request = u32(0)
                return u32(EXIT_REQUEST)
            if can_run(h):
                busy = True
                length = i64(SLICE)
                if left >= 0 and left < length:
                    length = left
                if h.step != 0:
                    length = i64(1)
                run_slice(h, length)
                if first.hart_count > 1:
                    h.reservation = u64(NO_RESERVATION)
                if h.exit_reason != 0:
                    reason = h.exit_reason
                    h.exit_reason = u32(0)
                    return reason
        if left >= 0:
            left = left - SLICE
            if left <= 0:
                return u32(EXIT_COUNT)
        if not busy:
            return u32(EXIT_IDLE)
    return u32(0)
