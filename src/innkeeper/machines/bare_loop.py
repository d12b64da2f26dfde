"""Running a bare CPU between its hooks.

Native code runs until something of interest comes up; hooks are called here, between its runs, so
that an exception in one of them leaves a hart that stands exactly before an instruction.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from innkeeper.engine.emulator.emulator import Exit
from innkeeper.engine.emulator.hart import STEP
from innkeeper.isa.riscv import causes
from innkeeper.isa.riscv import status as st
from innkeeper.isa.riscv.disasm import length
from innkeeper.isa.riscv.hart import NS_PER_TICK
from innkeeper.machines.bare import CallbackError
from innkeeper.machines.bare_events import Access, Stop, StopReason, Trap

if TYPE_CHECKING:
    from innkeeper.engine.emulator.emulator import Emulator

CHUNK = 20_000_000
"""Instructions between looks at the clock and at signals such as Ctrl-C: some tens of ms."""

NO_TIMER = (1 << 64) - 1


@dataclass(eq=False)
class Hook:
    """A function that is called as the program runs, until `remove`."""

    loop: HookLoop
    kind: str
    call: Callable[..., Any]
    causes: frozenset[int] | None = None
    first: int = 0
    last: int = 0
    read: bool = False
    write: bool = False

    def remove(self) -> None:
        """Call it no more."""
        self.loop.remove(self)


class HookLoop:
    """Runs the one hart of an emulator; hooks get `owner` as their first argument.

    `exit_code` says whether the program has exited by a system call.
    """

    def __init__(self, emulator: Emulator, owner: Any, exit_code: Callable[[], int | None]) -> None:
        self._emulator, self._owner, self._exit_code = emulator, owner, exit_code
        self._raw = emulator.raw[0]
        self._hooks: dict[str, list[Hook]] = {k: [] for k in ("block", "code", "access", "trap")}
        self._until: frozenset[int] = frozenset()
        self._attention = False  # something below has changed
        self._told_to_stop = threading.Event()
        self._code_done = (-1, -1)  # ticks and pc for which the code hooks have been called
        self._access_done = (-1, -1)  # and the access hooks

    # ---- hooks

    def add(self, hook: Hook) -> Hook:
        """Take up a hook, from the next instruction on."""
        self._hooks[hook.kind].append(hook)
        self._attend_soon()
        return hook

    def remove(self, hook: Hook) -> None:
        """Drop a hook; nothing happens if it has been dropped already."""
        if hook in self._hooks[hook.kind]:
            self._hooks[hook.kind].remove(hook)
            self._attend_soon()

    def count(self, kind: str) -> int:
        """Return how many hooks of a kind there are."""
        return len(self._hooks[kind])

    def stop(self) -> None:
        """Make `run` come back soon; for hooks and other threads."""
        self._told_to_stop.set()
        self._attend_soon()

    def _attend_soon(self) -> None:
        self._attention = True
        self._emulator.request_exit()

    def _apply(self) -> None:
        """Tell the emulator what to stop for; between its runs only."""
        stops = self._emulator.stops
        stops.clear()
        for va in self._until:
            stops.add_breakpoint(va)
        for hook in self._hooks["access"]:
            size = hook.last - hook.first + 1
            stops.add_watch(hook.first, size, read=hook.read, write=hook.write)
        stops.set_block_mode(bool(self._hooks["block"]))
        wanted = 0
        for hook in self._hooks["trap"]:
            wanted |= -1 if hook.causes is None else sum(1 << cause for cause in hook.causes)
        stops.set_trap_stops(wanted, unhandled=True)

    # ---- running

    def run(self, *, until: frozenset[int], end: int | None, deadline: float | None) -> Stop:
        """Run until an address, until `end` instructions have been executed in all, or a time."""
        self._told_to_stop.clear()
        self._until, self._attention = until, True
        raw = self._raw
        start = (raw.ticks, raw.pc)
        while True:
            if self._attention and (stop := self._attend()):
                return stop
            if end is not None and raw.ticks >= end:
                return Stop(StopReason.COUNT, int(raw.pc))
            if deadline is not None and time.monotonic() >= deadline:
                return Stop(StopReason.TIMEOUT, int(raw.pc))
            reason = self._turn(CHUNK if end is None else min(CHUNK, end - raw.ticks))
            if stop := self._handle(reason, deadline):
                return stop
            if until and raw.pc in until and (raw.ticks, raw.pc) != start:
                return Stop(StopReason.UNTIL, int(raw.pc))

    def _handle(self, reason: Exit, deadline: float | None) -> Stop | None:
        if reason is Exit.TRAP:
            return self._trap()
        if reason is Exit.IDLE:
            return self._wait(deadline)
        if reason is Exit.WATCH:
            self._before_access()
        return None

    def _attend(self) -> Stop | None:
        self._attention = False
        code = self._exit_code()
        if code is not None:
            return Stop(StopReason.EXIT, int(self._raw.pc), exit_code=code)
        if self._told_to_stop.is_set():
            return Stop(StopReason.STOPPED, int(self._raw.pc))
        self._apply()
        self._raw.exit_request = 0
        return None

    def _turn(self, limit: int) -> Exit:
        """Call the hooks for where the hart stands and run on; REQUEST if they change that."""
        raw, hooks = self._raw, self._hooks
        pc = raw.pc
        if raw.block_ended and hooks["block"]:
            for hook in tuple(hooks["block"]):
                hook.call(self._owner, pc)
            raw.block_ended = 0
        if hooks["code"]:
            self._before_instruction(pc)
        if self._attention or raw.pc != pc:
            return Exit.REQUEST
        again = self._access_done == (raw.ticks, pc)
        if again or hooks["code"] or pc in self._until:
            return self._step(watch=not again)
        return self._native(limit)

    def _native(self, limit: int) -> Exit:
        try:
            return self._emulator.run(limit)
        except CallbackError as carried:
            raise carried.error from None

    def _step(self, *, watch: bool) -> Exit:
        raw = self._raw
        raw.step, raw.watch_off = STEP, int(not watch)
        try:
            return self._native(1)
        finally:
            raw.step = raw.watch_off = 0

    def _before_instruction(self, pc: int) -> None:
        """Call the code hooks, unless they have been for this very instruction."""
        now = (self._raw.ticks, pc)
        if self._code_done == now:
            return
        half = self._emulator.read_virtual(0, pc, 2)
        size = length(int.from_bytes(half, "little")) if half else 0
        for hook in tuple(self._hooks["code"]):
            hook.call(self._owner, pc, size)
        self._code_done = now

    def _before_access(self) -> None:
        """Call the access hooks; the instruction is then executed by itself."""
        hit, pc = self._emulator.stops.watch_hit(0), int(self._raw.pc)
        value = hit.value if hit.write and not hit.read else None
        access = Access(pc, hit.va, hit.size, hit.read, hit.write, value)
        for hook in tuple(self._hooks["access"]):
            wanted = (hook.read and hit.read) or (hook.write and hit.write)
            if wanted and hit.va <= hook.last and hook.first < hit.va + hit.size:
                hook.call(self._owner, access)
        self._access_done = (self._raw.ticks, pc)

    def _trap(self) -> Stop | None:
        raw = self._raw
        trap = Trap(int(raw.trap_cause), int(raw.trap_tval), int(raw.pc))
        for hook in tuple(self._hooks["trap"]):
            wanted = hook.causes is None or trap.cause in hook.causes
            if wanted and hook.call(self._owner, trap) is True:
                raw.ticks += 1
                raw.block_ended = 1
                self._attention |= self._exit_code() is not None
                return None
        if self._attention or raw.pc != trap.pc:
            return None
        delegated = raw.priv <= st.PRIV_S and raw.medeleg >> trap.cause & 1
        if (raw.stvec if delegated else raw.mtvec) & ~3:
            self._emulator.deliver_trap(0)
            return None
        return Stop(StopReason.TRAP, trap.pc, trap=trap)

    def _wait(self, deadline: float | None) -> Stop | None:
        """Sleep until the timer of the waiting hart, if it has set one."""
        raw = self._raw
        if raw.stimecmp == NO_TIMER or not raw.mie >> causes.IRQ_STI & 1:
            return Stop(StopReason.IDLE, int(raw.pc))
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) - raw.time_base
        seconds = (raw.stimecmp * NS_PER_TICK - now) / 1e9
        if deadline is not None:
            seconds = min(seconds, deadline - time.monotonic())
        self._told_to_stop.wait(min(max(seconds, 0.0), threading.TIMEOUT_MAX))
        return None
