"""Running the harts of a machine in turns, on one thread: exactly, and under a debugger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from innkeeper.base.errors import MachineError
from innkeeper.engine.emulator.emulator import Exit
from innkeeper.isa.riscv import status as st
from innkeeper.isa.riscv.causes import IRQ_MTI, IRQ_STI
from innkeeper.isa.riscv.hart import NS_PER_TICK

if TYPE_CHECKING:
    from innkeeper.machines.virt import VirtMachine

LONGEST_SLEEP_S = 3600.0
NO_TIMER = (1 << 64) - 1


class Debugger(Protocol):
    """Whoever may stop the machine; called by the harts' thread, which holds the machine's lock."""

    def gate(self) -> None:
        """Return when the harts may run (or the machine has ended)."""
        ...

    def stopped(self, reason: Exit) -> None:
        """Take note of a breakpoint, a step's end or a watched access."""
        ...

    def ended(self) -> None:
        """Take note that `run` is over."""
        ...


class HartTurns:
    """One run of a machine's harts in turns on the thread that calls `run`."""

    def __init__(self, machine: VirtMachine) -> None:
        self._machine = machine

    def run(self) -> None:
        """Run until the machine has an outcome; the lock is held but given to who wants it."""
        machine = self._machine
        with machine.lock:
            while True:
                seen = machine.lock.wakeups
                if machine.outcome is not None:
                    return
                self._turn(seen)

    def _turn(self, seen: int) -> None:
        """Run the harts until the host is needed, and do what is needed.

        `seen` is the lock's `wakeups` before the machine was found not to have ended.
        """
        machine = self._machine
        if machine.debugger is not None:
            machine.debugger.gate()
            if machine.outcome is not None:
                return
        reason = machine.emulator.run()
        if reason is Exit.TRAP:
            raise crash(machine.harts, machine.emulator.exit_hart)
        if reason in (Exit.BREAK, Exit.STEP, Exit.WATCH):
            if machine.debugger is None:
                raise MachineError("a breakpoint was hit with no debugger attached")
            machine.debugger.stopped(reason)
        machine.lock.yield_to_others()
        machine.expire_alarm()
        if reason is Exit.IDLE and machine.outcome is None:
            timer = next_timer(machine.harts)
            if not machine.clock.skip(timer, machine.alarm_ns):
                machine.lock.sleep(self._sleep_s(timer), since=seen)

    def _sleep_s(self, timer: int | None) -> float:
        """Return how long nothing can happen by itself, in seconds."""
        alarm_s = self._machine.alarm_in_s()
        longest = LONGEST_SLEEP_S if alarm_s is None else min(alarm_s, LONGEST_SLEEP_S)
        if timer is None:
            return longest
        return min(max(timer - self._machine.clock.ticks(), 0) * NS_PER_TICK / 1e9, longest)


def next_timer(harts: list[Any]) -> int | None:
    """Return the tick at which a timer can next wake one of the harts."""
    due = []
    for h in harts:
        if not h.stop and h.mie >> IRQ_MTI & 1:
            due.append(h.mtimecmp)
        has_stimer = h.sbi_enabled or h.menvcfg & st.ENVCFG_STCE
        if not h.stop and h.mie >> IRQ_STI & 1 and has_stimer:
            due.append(h.stimecmp)
    return min((timer for timer in due if timer != NO_TIMER), default=None)


def crash(harts: list[Any], hart: int) -> MachineError:
    """Return what to say of a guest that traps with no trap handler set."""
    raw = harts[hart]
    return MachineError(
        "the guest has crashed",
        why=f"hart {hart} trapped at {raw.pc:#x} (cause {raw.trap_cause}, "
        f"tval {raw.trap_tval:#x}) and has set no trap handler",
        fix="is this file meant for this machine? --gdb shows how it gets there",
    )
