"""Running harts in turn, and instructions one by one. All of it native.

`run` gives every hart that can run a slice of instructions and comes back when something needs the
host: a request, a stop, or nothing left to do but wait.
"""

from __future__ import annotations

from innkeeper.engine.emulator.decoding import is_breakpoint
from innkeeper.engine.emulator.hart import (
    EXIT_BLOCK,
    EXIT_BREAK,
    EXIT_COUNT,
    EXIT_IDLE,
    EXIT_REQUEST,
    EXIT_STEP,
    STEP,
    STEP_BREAKS,
    EmuHart,
)
from innkeeper.engine.emulator.loop import can_run, run_slice
from innkeeper.engine.emulator.regions.drop import traffic_of
from innkeeper.engine.emulator.tlb import emu, shared_code
from innkeeper.isa.riscv.hart import NO_RESERVATION, Hart
from innkeeper.native.intrinsics import noinline, ptr_cast
from innkeeper.native.types import i64, u32, u64

EXACT_MARGIN = 2100
"""More than a hart can run past its budget: it looks at it at branches and at the end of a page."""


@noinline
def step(h: Hart, how: u32) -> None:
    """Execute one instruction, or enter one trap; `exit_reason` is EXIT_STEP if nothing else is."""
    e = emu(h)
    before = e.step
    e.step = how
    run_slice(h, i64(1))
    e.step = before
    if e.exit_reason == 0:
        e.exit_reason = u32(EXIT_STEP)


@noinline
def settle_break(h: Hart) -> None:
    """Sort out a break: a breakpoint, the end of a block, or another mapping of a broken page."""
    e = emu(h)
    if is_breakpoint(shared_code(h), h.pc):
        return
    e.exit_reason = u32(0)
    step(h, u32(STEP))
    if e.exit_reason == EXIT_STEP or e.exit_reason == EXIT_BLOCK:
        ended = shared_code(h).block_mode != 0 and e.block_ended != 0
        e.exit_reason = u32(EXIT_BLOCK) if ended else u32(0)


@noinline
def step_out(h: Hart, count: i64) -> None:
    """Execute exactly `count` instructions, one by one, or fewer if there is a reason to stop."""
    e = emu(h)
    left = count
    while left > 0 and can_run(h):
        step(h, u32(STEP | STEP_BREAKS))
        left = left - 1
        if e.exit_reason == EXIT_STEP:
            e.exit_reason = u32(0)
            if shared_code(h).block_mode != 0 and e.block_ended != 0:
                e.exit_reason = u32(EXIT_BLOCK)
        if e.exit_reason != 0:
            return


def run_hart(h: Hart, left: i64) -> None:
    """Give a hart its turn: a slice, one step, or the last few of `left` instructions."""
    e = emu(h)
    if e.step != 0:
        step(h, e.step)
    elif left >= 0 and left <= EXACT_MARGIN:
        step_out(h, left)
    else:
        length = i64(traffic_of(h).slice)
        if left >= 0 and left - EXACT_MARGIN < length:
            length = left - EXACT_MARGIN
        run_slice(h, length)
    if e.exit_reason == EXIT_BREAK:
        settle_break(h)


def drop_reservations(first: EmuHart, n: u32) -> None:
    """Take the reservations of all harts but one, which may now write anywhere."""
    for k in range(first.hart_count):
        if k != n:
            other = ptr_cast(Hart, first.harts[k])
            other.reservation = u64(NO_RESERVATION)


def run(first: EmuHart, limit: i64) -> u32:
    """Run all harts of the machine in turn; return why (`EXIT_...`).

    `limit` is how many instructions each hart may execute, traps included; -1 for no limit.
    """
    left = limit
    first.block_ended = u32(0)
    while True:
        busy = False
        used = u64(0)
        for n in range(first.hart_count):
            h = ptr_cast(EmuHart, first.harts[n])
            if first.exit_request != 0:
                first.exit_request = u32(0)
                return u32(EXIT_REQUEST)
            if can_run(h):
                busy = True
                if first.hart_count > 1:
                    drop_reservations(first, n)
                before = h.ticks
                run_hart(h, left)
                if h.ticks - before > used:
                    used = h.ticks - before
                if h.exit_reason != 0:
                    reason = h.exit_reason
                    h.exit_reason = u32(0)
                    first.exit_hart = n
                    return reason
        if left >= 0:
            left = left - i64(used)
            if left <= 0:
                return u32(EXIT_COUNT)
        if not busy:
            return u32(EXIT_IDLE)
    return u32(0)
