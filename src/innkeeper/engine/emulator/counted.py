"""Deterministic time: a nanosecond an instruction, harts in turns, timers at exact counts.

Virtual time is the number of instructions that all harts have executed, so it never runs backwards
between harts, and what was skipped while all of them waited. A slice ends where the hart's next
timer is due, give or take what a hart runs past its budget, which depends on its code alone.
Nothing here depends on the host, except when its threads ask for the lock, which changes nothing
but when the host gets a turn; so two runs with the same input are the same.
"""

from __future__ import annotations

from innkeeper.engine.emulator.hart import EXIT_BREAK, EXIT_IDLE, EXIT_REQUEST, EmuHart
from innkeeper.engine.emulator.loop import can_run, next_timer, run_slice
from innkeeper.engine.emulator.tlb import shared_code
from innkeeper.engine.emulator.turns import drop_reservations, settle_break, step
from innkeeper.isa.riscv.csr import read_time
from innkeeper.isa.riscv.hart import NS_PER_TICK, Hart
from innkeeper.native.intrinsics import noinline, ptr_cast, rotl
from innkeeper.native.types import i64, u32, u64

SLICE = 20000
"""Instructions of a turn; never another number, or runs would differ."""

MIXER = 0x9E3779B97F4A7C15
"""2**64 divided by the golden ratio: an odd number whose product spreads bits."""


@noinline
def run_counted(first: EmuHart) -> u32:
    """Run all harts in turn by virtual time until the host is needed; return why (`EXIT_...`)."""
    code = shared_code(first)
    waiting = u32(0)
    while waiting < first.hart_count:
        if first.exit_request != 0:
            first.exit_request = u32(0)
            return u32(EXIT_REQUEST)
        n = code.turn
        code.turn = (n + 1) % first.hart_count
        h = ptr_cast(EmuHart, first.harts[n])
        h.virtual_ns = code.virtual_ns
        waiting = waiting + 1
        if can_run(h):
            waiting = u32(0)
            drop_reservations(first, n)
            take_turn(h)
            if h.exit_reason != 0:
                reason = h.exit_reason
                h.exit_reason = u32(0)
                first.exit_hart = n
                return reason
    return u32(EXIT_IDLE)


def take_turn(h: EmuHart) -> None:
    """Run a hart to the end of a slice; add it to virtual time and to the digest.

    A slice that ended only because there was no room for cells or regions goes on.
    """
    code = shared_code(h)
    left = slice_length(h)
    while left > 0:
        before = h.instret
        if h.step != 0:
            step(h, h.step)
        else:
            run_slice(h, left)
        if h.exit_reason == EXIT_BREAK:
            settle_break(h)
        done = h.instret - before
        code.virtual_ns = code.virtual_ns + done
        h.virtual_ns = code.virtual_ns
        left = left - i64(done) if code.reset_wanted != 0 and h.exit_reason == 0 else i64(0)
    mix(h, h.instret)
    mix(h, h.pc)
    for n in range(u32(32)):
        mix(h, h.x[n])


def slice_length(h: EmuHart) -> i64:
    """Return how many instructions a hart may execute until its next timer is due."""
    now = read_time(h)
    due = next_timer(h)
    if due > now and due - now < SLICE // NS_PER_TICK:
        return i64(due * NS_PER_TICK - h.virtual_ns)
    return i64(SLICE)


def mix(h: Hart, value: u64) -> None:
    """Take a value into the digest."""
    code = shared_code(h)
    code.digest = (rotl(code.digest, 23) ^ value) * MIXER
