"""What makes the emulator stop for the host: breakpoints, watched addresses, blocks, traps."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from innkeeper.base.record import record
from innkeeper.engine.emulator.hart import MAX_WATCHES, WATCH_READ, WATCH_WRITE
from innkeeper.isa.riscv.sbi import FLUSH_TLB

if TYPE_CHECKING:
    from innkeeper.engine.emulator.emulator import Emulator

MAX_BREAKPOINTS = 4096
ALL_TRAPS = (1 << 62) - 1
LAST_ADDRESS = (1 << 64) - 1
BLOCK_ENDS = frozenset(
    ("beq", "bne", "blt", "bge", "bltu", "bgeu", "jal", "jalr", "ecall", "ebreak", "mret", "sret",
     "wfi", "fence.i", "sfence.vma", "sinval.vma")
)  # fmt: skip
"""Instructions after which a basic block ends: control may go elsewhere, or be taken away."""


@record
class WatchHit:
    """An access that is about to be made, and the watched range `first` to `last` it touches."""

    va: int
    size: int
    read: bool
    write: bool
    value: int
    number: int
    first: int
    last: int
    watches_read: bool
    watches_write: bool


class Stops:
    """The stops that are set. Change them only while no hart runs."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._breakpoints: Counter[int] = Counter()
        self._watches: list[tuple[int, int, int]] = []

    def add_breakpoint(self, va: int) -> bool:
        """Stop before the instruction at `va`; False for one too many. Adding twice counts."""
        if va not in self._breakpoints and len(self._breakpoints) >= MAX_BREAKPOINTS:
            return False
        self._breakpoints[va] += 1
        self._changed(va)
        return True

    def remove_breakpoint(self, va: int) -> bool:
        """Take a breakpoint back; False if there is none."""
        if va not in self._breakpoints:
            return False
        self._breakpoints[va] -= 1
        if not self._breakpoints[va]:
            del self._breakpoints[va]
        self._changed(va)
        return True

    def _changed(self, va: int) -> None:
        emulator = self._emulator
        for n, each in enumerate(self._breakpoints):
            emulator.breakpoints[n] = each
        emulator.code.raw.breakpoint_count = len(self._breakpoints)
        emulator.redecode(va)

    def add_watch(self, first: int, size: int, *, read: bool, write: bool) -> bool:
        """Stop before an access to any of `size` bytes at `first`; False for one too many."""
        if len(self._watches) >= MAX_WATCHES:
            return False
        last = min(first + size - 1, LAST_ADDRESS)
        self._watches.append((first, last, WATCH_READ * read | WATCH_WRITE * write))
        self._set_watches()
        return True

    def remove_watch(self, first: int, size: int, *, read: bool, write: bool) -> bool:
        """Take a watch back; False if there is none like it."""
        last = min(first + size - 1, LAST_ADDRESS)
        one = (first, last, WATCH_READ * read | WATCH_WRITE * write)
        if one not in self._watches:
            return False
        self._watches.remove(one)
        self._set_watches()
        return True

    def _set_watches(self) -> None:
        for raw in self._emulator.raw:
            for n, (first, last, kind) in enumerate(self._watches):
                raw.watch_first[n], raw.watch_last[n], raw.watch_kind[n] = first, last, kind
            raw.watch_count = len(self._watches)
            raw.flush_request |= FLUSH_TLB

    def watch_hit(self, hart: int) -> WatchHit:
        """Return what `Exit.WATCH` stopped for."""
        raw = self._emulator.raw[hart]
        first, last, kind = self._watches[raw.watch_number]
        access = raw.watch_access
        return WatchHit(
            va=raw.watch_hit, size=raw.watch_size, read=bool(access & WATCH_READ),
            write=bool(access & WATCH_WRITE), value=raw.watch_value, number=raw.watch_number,
            first=first, last=last, watches_read=bool(kind & WATCH_READ),
            watches_write=bool(kind & WATCH_WRITE),
        )  # fmt: skip

    def clear(self) -> None:
        """Take every breakpoint and watch back."""
        for va in list(self._breakpoints):
            del self._breakpoints[va]
            self._changed(va)
        self._watches.clear()
        self._set_watches()

    def set_block_mode(self, on: bool) -> None:
        """Come back at the end of every basic block, or no more."""
        code = self._emulator.code.raw
        if bool(code.block_mode) != on:
            code.block_mode = int(on)
            self._emulator.reset_code()

    def set_trap_stops(self, causes: int, *, unhandled: bool) -> None:
        """Come back instead of entering traps: by a mask of causes, and those with vector 0."""
        for raw in self._emulator.raw:
            raw.trap_stops, raw.stop_unhandled = causes & ALL_TRAPS, int(unhandled)
