"""What a hart does between instructions: traps, interrupts, flushes; and its slices. All native."""

from __future__ import annotations

from innkeeper.engine.emulator.cells import (
    decode_scratch,
    fetch_cells,
    illegal_bits,
    make_room,
    set_after,
)
from innkeeper.engine.emulator.decoding import is_breakpoint
from innkeeper.engine.emulator.hart import (
    BANK_MPRV,
    EXIT_BLOCK,
    EXIT_BREAK,
    EXIT_REQUEST,
    EXIT_TRAP,
    EXIT_WATCH,
    STEP_BREAKS,
    STEP_UNINTERRUPTED,
)
from innkeeper.engine.emulator.hostfp import fp_enter, fp_leave
from innkeeper.engine.emulator.regions.drop import traffic_of
from innkeeper.engine.emulator.regions.install import look_at_compiler
from innkeeper.engine.emulator.regions.sampling import sample
from innkeeper.engine.emulator.sync import begin_slice, end_slice, note_pass
from innkeeper.engine.emulator.tlb import (
    bank_number,
    emu,
    flush_all,
    flush_bank,
    flush_code,
    flush_range,
    shared_code,
)
from innkeeper.engine.emulator.watch import STOP_WATCH
from innkeeper.isa.riscv import status as st
from innkeeper.isa.riscv.causes import ECALL_S, ILLEGAL_INSTRUCTION, IRQ_MTI, IRQ_STI
from innkeeper.isa.riscv.csr import update_timers
from innkeeper.isa.riscv.hart import NO_RESERVATION, Hart, Operands
from innkeeper.isa.riscv.ops import Trap
from innkeeper.isa.riscv.sbi import FLUSH_CODE, FLUSH_RANGE, FLUSH_RESERVATION, FLUSH_TLB
from innkeeper.isa.riscv.status import PRIV_S
from innkeeper.isa.riscv.trap import enter_trap, interrupt_to_take, pending
from innkeeper.native.intrinsics import (
    addr,
    atomic_rmw,
    atomic_store,
    intrinsic,
    noinline,
    ptr_cast,
    ref,
)
from innkeeper.native.types import Ptr, i64, u8, u32, u64

NEVER = 0xFFFFFFFFFFFFFFFF
"""The time of a timer that is off."""


@intrinsic
def execute(h: Hart) -> None:
    """Run cells from `h.pc` until the slice ends or `h.exit_reason` is set."""
    raise NotImplementedError


def nobody_takes(h: Hart, cause: u64) -> bool:
    """Tell whether the vector for an exception is 0: software has never set it."""
    if cause == ECALL_S and h.sbi_enabled != 0:
        return False
    vector = h.mtvec
    if h.priv <= PRIV_S and ((h.medeleg >> cause) & 1) != 0:
        vector = h.stvec
    return (vector & ~u64(3)) == 0


def trap_stop(h: Hart, cause: u64) -> u32:
    """Return why an instruction that raised `cause` goes to the host instead, 0 if it does not."""
    e = emu(h)
    if e.host_error != 0:
        e.host_error = u32(0)
        return u32(EXIT_REQUEST)
    if cause == STOP_WATCH:
        return u32(EXIT_WATCH)
    if ((e.trap_stops >> cause) & 1) != 0 or (e.stop_unhandled != 0 and nobody_takes(h, cause)):
        return u32(EXIT_TRAP)
    return u32(0)


@noinline
def take_trap(h: Hart, pc: u64) -> None:
    """Enter the trap that an instruction at `pc` has raised, or stop before that instruction.

    It costs budget, so that a hart whose handler faults for ever still comes back.
    """
    e = emu(h)
    e.stat_traps = e.stat_traps + 1
    h.trap_pending = 0
    h.budget = h.budget - 1
    h.slice = h.slice - 1
    if h.trap_cause == ILLEGAL_INSTRUCTION and h.trap_tval == 0:
        h.trap_tval = illegal_bits(h, pc)
    reason = trap_stop(h, h.trap_cause)
    if reason != 0:
        stop_at(h, pc, reason)
        return
    e.ticks = e.ticks + 1
    enter_trap(h, h.trap_cause, h.trap_tval, pc)
    end_block(h)


@noinline
def deliver_trap(h: Hart) -> None:
    """Enter the trap that the host was shown (EXIT_TRAP)."""
    e = emu(h)
    e.ticks = e.ticks + 1
    e.block_ended = u32(1)
    enter_trap(h, h.trap_cause, h.trap_tval, h.pc)


def end_block(h: Hart) -> None:
    """Note that control has gone elsewhere; in block mode that is for the host to see."""
    e = emu(h)
    e.block_ended = u32(1)
    if shared_code(h).block_mode != 0 and e.exit_reason == 0:
        e.exit_reason = u32(EXIT_BLOCK)


def obey_flushes(h: Hart) -> None:
    """Do what other harts have asked this one to do before its next instruction."""
    e = emu(h)
    wanted = atomic_rmw("xchg", ref(h, "flush_request"), u32(0))
    atomic_store(ref(e, "obeyed"), e.obeyed + 1)
    if (wanted & FLUSH_TLB) != 0:
        flush_all(h)
    if (wanted & FLUSH_RANGE) != 0:
        flush_range(h, h.fence_start, h.fence_size, h.fence_asid)
        atomic_store(ref(h, "fence_taken"), u32(0))
    if (wanted & FLUSH_RESERVATION) != 0:
        h.reservation = u64(NO_RESERVATION)
    if (wanted & FLUSH_CODE) != 0:
        flush_code(h)


@noinline
def resume_cell(h: Hart) -> Ptr[Operands]:
    """Return the cell to go on with at `h.pc`, or null to leave native code."""
    e = emu(h)
    code = shared_code(h)
    nowhere = ptr_cast(Ptr[Operands], u64(0))
    e.leave_region = u32(0)
    while True:
        note_pass(h)
        if h.flush_request != 0:
            obey_flushes(h)
        if h.budget <= 0 or h.stop != 0 or h.yielding != 0:
            return nowhere
        if e.exit_reason != 0 or code.reset_wanted != 0:
            return nowhere
        if h.wfi != 0:
            if (pending(h) & h.mie) == 0:
                return nowhere
            h.wfi = u32(0)
        if (e.step & STEP_UNINTERRUPTED) == 0:
            cause = interrupt_to_take(h)
            if cause != 0:
                enter_trap(h, cause, u64(0), h.pc)
                end_block(h)
                if e.exit_reason != 0:
                    return nowhere
        n = bank_number(h)
        if n == BANK_MPRV:
            flush_bank(h, n)
        e.bank = ptr_cast(Ptr[u8], e.banks[n])
        try:
            if e.step != 0:
                return step_cell(h)
            cell = fetch_cells(h, h.pc)
            if addr(cell) != 0:
                return cell
        except Trap:
            take_trap(h, h.pc)
    return nowhere


def step_cell(h: Hart) -> Ptr[Operands]:
    """Return the scratch cell of the one instruction to execute; there is no budget after it."""
    if (emu(h).step & STEP_BREAKS) != 0 and is_breakpoint(shared_code(h), h.pc):
        emu(h).exit_reason = u32(EXIT_BREAK)
        return ptr_cast(Ptr[Operands], u64(0))
    h.slice = h.slice - h.budget
    h.budget = i64(0)
    return decode_scratch(h, h.pc)


@noinline
def cross_cell(h: Hart, pc: u64) -> Ptr[Operands]:
    """Return the scratch cell of an instruction that crosses pages, null after a fetch fault."""
    try:
        return decode_scratch(h, pc)
    except Trap:
        take_trap(h, pc)
    return ptr_cast(Ptr[Operands], u64(0))


@noinline
def apart_cell(h: Hart, pc: u64) -> Ptr[Operands]:
    """Return the scratch cell of one instruction that a region leaves to tier 0.

    What follows it goes on without a look at the budget, as after any instruction in a page.
    """
    try:
        first = decode_scratch(h, pc)
        if emu(h).step == 0:
            set_after(h, shared_code(h).handler_onward)
        return first
    except Trap:
        take_trap(h, pc)
    return ptr_cast(Ptr[Operands], u64(0))


@noinline
def jump_cell(h: Hart, target: u64) -> Ptr[Operands]:
    """Return the cell at a jump's target, null to go on at `h.pc` instead."""
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
    if shared_code(h).reset_wanted != 0:
        make_room(h)
    if traffic_of(h).enabled != 0:
        look_at_compiler(h)
    h.slice = length
    h.budget = length
    h.yielding = u32(0)
    emu(h).punted = u64(0)
    update_timers(h)
    begin_slice(h)
    fp_enter(h)
    execute(h)
    fp_leave(h)
    if traffic_of(h).enabled != 0 and h.budget < 0 and emu(h).step == 0:
        sample(h)
    done = u64(h.slice - h.budget)
    h.instret = h.instret + done
    emu(h).ticks = emu(h).ticks + done
    h.slice = i64(0)
    h.budget = i64(0)
    emu(h).stat_slices = emu(h).stat_slices + 1
    end_slice(h)


def can_run(h: Hart) -> bool:
    """Tell whether a hart has something to execute."""
    if h.stop != 0 or emu(h).held != 0:
        return False
    if h.wfi == 0:
        return True
    update_timers(h)
    return (pending(h) & h.mie) != 0


def next_timer(h: Hart) -> u64:
    """Return the time at which a timer interrupt that is enabled becomes pending."""
    soonest = u64(NEVER)
    if ((h.mie >> IRQ_MTI) & 1) != 0:
        soonest = h.mtimecmp
    if ((h.mie >> IRQ_STI) & 1) != 0 and h.stimecmp < soonest:
        if h.sbi_enabled != 0 or (h.menvcfg & st.ENVCFG_STCE) != 0:
            soonest = h.stimecmp
    return soonest
