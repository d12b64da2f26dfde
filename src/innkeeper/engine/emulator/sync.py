"""What harts that run at once owe each other: locks, and knowing what another one is past.

A hart is *inside* while guest instructions may be executing, and *outside* during host calls, while
it waits, and between slices. What another hart relies on (docs/decisions/0003):

- A store that a hart has begun by way of its TLB is done once the hart is outside or its `passes`
  have changed: it passes whenever it looks everything up anew.
- A hart that comes inside obeys `flush_request` before its next instruction, so whoever has asked
  one that is outside need not wait.
- A hart keeps no address of a cell from one slice to the next: what was given back at an epoch
  that is not after its `epoch` it can reach no more. Between slices that is `PARKED`.

A hart that waits for another is outside, so two that wait for each other both go on.
"""

from __future__ import annotations

from innkeeper.engine.emulator.hart import NO_PAGE, PARKED, Code, EmuHart
from innkeeper.engine.emulator.tlb import emu, flush_all, shared_code
from innkeeper.isa.riscv.hart import Hart
from innkeeper.isa.riscv.sbi import FLUSH_RANGE, FLUSH_TLB
from innkeeper.native.intrinsics import (
    atomic_load,
    atomic_rmw,
    atomic_store,
    cmpxchg,
    noinline,
    pause,
    ptr_cast,
    ref,
)
from innkeeper.native.types import Ptr, u32, u64

SPINS = 200
"""How often to look before the host's scheduler is asked to let somebody else run."""


@noinline
def relax(code: Code, spins: u32) -> u32:
    """Wait a little; return how often that has been done."""
    if spins < SPINS:
        pause()
        return spins + 1
    code.sched_yield()
    return spins


@noinline
def take(code: Code, word: Ptr[u32]) -> None:
    """Take a lock: a word that is 1 while it is held."""
    spins = u32(0)
    while True:
        if atomic_load(word) == 0 and cmpxchg(word, u32(0), u32(1)):
            return
        spins = relax(code, spins)


def give(word: Ptr[u32]) -> None:
    """Give a lock back."""
    atomic_store(word, u32(0))


def begin_slice(h: Hart) -> None:
    """Come inside for a slice."""
    e = emu(h)
    code = shared_code(h)
    e.inside = u32(1)
    atomic_rmw("xchg", ref(e, "epoch"), atomic_load(ref(code, "epoch")))


def end_slice(h: Hart) -> None:
    """Go outside at the end of a slice; whatever it has changed comes before."""
    e = emu(h)
    note_pass(h)
    atomic_store(ref(e, "inside"), u32(0))
    atomic_store(ref(e, "epoch"), u64(PARKED))


def note_pass(h: Hart) -> None:
    """Note that no store is under way and that nothing looked up before is used any more."""
    e = emu(h)
    e.hazard = u64(NO_PAGE)
    atomic_store(ref(e, "passes"), e.passes + 1)


def leave_guest(h: Hart) -> None:
    """Go outside in the middle of an instruction."""
    e = emu(h)
    atomic_store(ref(e, "inside"), u32(0))


def enter_guest(h: Hart) -> None:
    """Come inside again; the instruction must look everything up anew when it is done."""
    e = emu(h)
    atomic_rmw("xchg", ref(e, "inside"), u32(1))
    if (h.flush_request & (FLUSH_TLB | FLUSH_RANGE)) != 0:
        flush_all(h)


@noinline
def await_pass(h: Hart, other: EmuHart) -> None:
    """Return when no store that `other` had begun is still under way; the caller is outside."""
    code = shared_code(h)
    before = atomic_load(ref(other, "passes"))
    spins = u32(0)
    while atomic_load(ref(other, "inside")) != 0 and atomic_load(ref(other, "passes")) == before:
        spins = relax(code, spins)


@noinline
def await_obeyed(other: EmuHart, flush: u32) -> None:
    """Return when `other` can no longer use what it was asked to forget; the caller is outside.

    If it is asked again and again there may be no moment at which its request is empty; after it
    has obeyed twice since we looked, the second time was for us too.
    """
    code = ptr_cast(Code, other.code)
    before = atomic_load(ref(other, "obeyed"))
    spins = u32(0)
    while atomic_load(ref(other, "inside")) != 0:
        wanted = atomic_load(ref(other, "flush_request"))
        if (wanted & flush) == 0 or atomic_load(ref(other, "obeyed")) - before >= 2:
            return
        spins = relax(code, spins)


@noinline
def await_flush(h: Hart, other: Hart, flush: u32) -> None:
    """Do `await_obeyed` from inside (replaces `isa.riscv.sbi.await_flush`)."""
    leave_guest(h)
    await_obeyed(emu(other), flush)
    enter_guest(h)


def oldest_epoch(h: Hart) -> u64:
    """Return the epoch that every hart has reached."""
    oldest = u64(PARKED)
    for n in range(h.hart_count):
        e = ptr_cast(EmuHart, h.harts[n])
        epoch = atomic_load(ref(e, "epoch"))
        if epoch < oldest:
            oldest = epoch
    return oldest
