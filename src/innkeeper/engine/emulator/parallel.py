"""A hart on a thread of its own: its slices, its sleep, and what wakes it. All of it native.

Whoever gives a hart a reason to go on writes it into the hart's state, then looks whether the hart
sleeps (`wake`). The hart first says that it sleeps, then looks for a reason, its mutex held until
it does sleep. A full fence lies between the two steps of each, so one of them sees the other.
"""

from __future__ import annotations

from innkeeper.engine.emulator.hart import EXIT_REQUEST, EmuHart
from innkeeper.engine.emulator.loop import NEVER, can_run, next_timer, run_slice
from innkeeper.engine.emulator.regions.drop import traffic_of
from innkeeper.engine.emulator.sync import await_obeyed
from innkeeper.engine.emulator.tlb import emu, shared_code
from innkeeper.isa.riscv.causes import IRQ_MTI
from innkeeper.isa.riscv.csr import read_time
from innkeeper.isa.riscv.hart import NS_PER_TICK, Hart
from innkeeper.isa.riscv.trap import pending
from innkeeper.native.intrinsics import (
    addr,
    atomic_load,
    atomic_rmw,
    atomic_store,
    fence,
    noinline,
    ref,
)
from innkeeper.native.types import i64, u32, u64

NS_PER_S = 1000000000
LONGEST_SLEEP_TICKS = 3600 * 10000000


@noinline
def run_alone(h: EmuHart) -> u32:
    """Run a hart until the host is needed; return why (`EXIT_...`)."""
    code = shared_code(h)
    while atomic_load(ref(code, "halt")) == 0:
        if can_run(h):
            run_slice(h, i64(traffic_of(h).slice))
            if h.exit_reason != 0:
                reason = h.exit_reason
                h.exit_reason = u32(0)
                return reason
            if h.yielding != 0:
                code.sched_yield()
        else:
            sleep(h)
    return u32(EXIT_REQUEST)


def has_reason(h: Hart) -> bool:
    """Tell whether a hart has a reason not to sleep."""
    if atomic_load(ref(shared_code(h), "halt")) != 0:
        return True
    return h.stop == 0 and (h.wfi == 0 or (pending(h) & h.mie) != 0)


@noinline
def sleep(h: Hart) -> None:
    """Sleep until the hart is woken or its timer is due; there may be no reason for waking."""
    e = emu(h)
    code = shared_code(h)
    code.mutex_lock(addr(ref(e, "mutex")))
    atomic_rmw("xchg", ref(e, "asleep"), u32(1))
    if not has_reason(h):
        due = next_timer(h) if h.stop == 0 else u64(NEVER)
        if due == NEVER:
            code.condition_wait(addr(ref(e, "condition")), addr(ref(e, "mutex")))
        else:
            now = read_time(h)
            if due > now:
                sleep_until(
                    h, due if due - now < LONGEST_SLEEP_TICKS else now + LONGEST_SLEEP_TICKS
                )
    atomic_store(ref(e, "asleep"), u32(0))
    code.mutex_unlock(addr(ref(e, "mutex")))


def sleep_until(h: Hart, due: u64) -> None:
    """Sleep until woken or until the clock shows `due`; the mutex is held."""
    e = emu(h)
    code = shared_code(h)
    ns = h.time_base + due * NS_PER_TICK
    e.wake_at[0] = ns // NS_PER_S
    e.wake_at[1] = ns % NS_PER_S
    code.condition_timedwait(
        addr(ref(e, "condition")), addr(ref(e, "mutex")), addr(ref(e, "wake_at"))
    )


@noinline
def wake(h: Hart) -> None:
    """Have a hart that sleeps look again; what it is to see has been written before."""
    e = emu(h)
    code = shared_code(h)
    fence("seq_cst")
    if atomic_load(ref(e, "asleep")) != 0:
        code.mutex_lock(addr(ref(e, "mutex")))
        code.condition_signal(addr(ref(e, "condition")))
        code.mutex_unlock(addr(ref(e, "mutex")))


@noinline
def set_lines(h: Hart, ones: u64, zeros: u64) -> None:
    """Change interrupt lines from outside."""
    atomic_rmw("and", ref(h, "irq_lines"), ~zeros)
    atomic_rmw("or", ref(h, "irq_lines"), ones)
    wake(h)


@noinline
def set_pending(h: Hart, ones: u64, zeros: u64) -> u64:
    """Change what software has written to mip, from outside; return what it was."""
    before = atomic_rmw("and", ref(h, "mip"), ~zeros)
    atomic_rmw("or", ref(h, "mip"), ones)
    wake(h)
    return before


@noinline
def request_flush(h: Hart, flush: u32) -> None:
    """Have a hart forget translations or code, from outside all harts; return when it has."""
    atomic_rmw("or", ref(h, "flush_request"), flush)
    await_obeyed(emu(h), flush)


@noinline
def set_mtimecmp(h: Hart, value: u64, now: u64) -> None:
    """Set a hart's machine timer from outside (ACLINT 2.1); `now` is the time."""
    h.mtimecmp = value
    if value > now:
        atomic_rmw("and", ref(h, "timer_lines"), ~(u64(1) << IRQ_MTI))
    wake(h)
