"""Watched addresses: stopping before a load or store that touches one.

A page that holds a watched byte never enters the data TLB, so each access to it goes the long way
and comes through `check`; all other pages stay as quick as ever.
"""

from __future__ import annotations

from innkeeper.engine.emulator.hart import EmuHart
from innkeeper.isa.riscv.hart import Hart
from innkeeper.isa.riscv.ops import Trap
from innkeeper.native.intrinsics import noinline, ptr_cast
from innkeeper.native.types import u32, u64

STOP_WATCH = 63
"""The trap cause, one that no hart has, by which an instruction is given up for a watchpoint."""


@noinline
def page_is_watched(h: Hart, va: u64) -> bool:
    """Tell whether a watched byte lies in the page at `va`."""
    e = ptr_cast(EmuHart, h)
    for n in range(e.watch_count):
        if (e.watch_first[n] >> 12) <= (va >> 12) and (e.watch_last[n] >> 12) >= (va >> 12):
            return True
    return False


@noinline
def look(h: Hart, va: u64, size: u32, access: u32, value: u64) -> None:
    """Give the instruction up if the access touches a watched byte."""
    e = ptr_cast(EmuHart, h)
    last = va + u64(size) - 1
    for n in range(e.watch_count):
        if va <= e.watch_last[n] and last >= e.watch_first[n] and (e.watch_kind[n] & access) != 0:
            e.watch_hit, e.watch_number, e.watch_access = va, n, access
            e.watch_size, e.watch_value = size, value
            raise Trap(STOP_WATCH, va)


def check(h: Hart, va: u64, size: u32, access: u32, value: u64) -> None:
    """Stop before a watched access (replaces `isa.riscv.access.about_to`)."""
    e = ptr_cast(EmuHart, h)
    if e.watch_count != 0 and e.watch_off == 0:
        look(h, va, size, access, value)
