"""A `virt` machine as a debugger sees it (`DebugTarget`).

The machine runs in a thread of its own; the debugger's server calls this from another. Whatever
touches the machine holds its lock, so the harts stand still meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence

from innkeeper.debug.target import SIGINT, BreakpointKind, StopReply
from innkeeper.engine.emulator.emulator import Exit
from innkeeper.engine.emulator.hart import STEP, STEP_BREAKS, STEP_UNINTERRUPTED
from innkeeper.machines.outcome import End
from innkeeper.machines.registers import PC, HartRegisters
from innkeeper.machines.virt import VirtMachine

MODES = {0: "U-mode", 1: "S-mode", 3: "M-mode"}
STATES = {1: "stopped by SBI HSM", 2: "suspended by SBI HSM"}
DEBUG_STEP = STEP | STEP_BREAKS | STEP_UNINTERRUPTED
LOST_EXIT_CODE = 125
"""What a debugger hears when the machine ended by an error of the host."""

Point = tuple[BreakpointKind, int, int]


class MachineDebugTarget:
    """Implement `DebugTarget` for a machine; `stopped` holds it before its first instruction."""

    def __init__(self, machine: VirtMachine, *, stopped: bool = True) -> None:
        self._machine = machine
        self._emulator = machine.emulator
        self._count = machine.config.hart_count
        self._registers = [HartRegisters(machine.emulator, n) for n in range(self._count)]
        self._points: set[Point] = set()
        self._changed = threading.Condition()
        self._stop: StopReply | None = StopReply() if stopped else None
        self._interrupted = False
        self._moving: Sequence[int] = range(self._count)
        machine.debugger = self
        machine.emulator.stops.set_trap_stops(0, unhandled=False)

    # ---- what the harts' thread calls, with the lock (machines.virt.Debugger)

    def gate(self) -> None:
        """Hold the harts as long as the debugger wants them to stand still."""
        if self._interrupted and self._stop is None:
            self._halt(StopReply(hart=self._moving[0], signal=SIGINT))
        while True:
            seen = self._machine.lock.wakeups
            if self._stop is None or self._machine.outcome is not None:
                return
            self._machine.lock.sleep(None, since=seen)

    def stopped(self, reason: Exit) -> None:
        """Turn what the emulator says into what a debugger hears."""
        hart = self._emulator.exit_hart
        if reason is Exit.WATCH:
            hit = self._emulator.stops.watch_hit(hart)
            kinds = {(False, True): BreakpointKind.WATCH_WRITE,
                     (True, False): BreakpointKind.WATCH_READ}  # fmt: skip
            kind = kinds.get((hit.watches_read, hit.watches_write), BreakpointKind.WATCH_ACCESS)
            self._halt(StopReply(hart=hart, cause=kind, watch_va=max(hit.va, hit.first)))
        elif reason is Exit.BREAK:
            pc = self._emulator.raw[hart].pc
            hard = any(k is BreakpointKind.HARDWARE and va == pc for k, va, _ in self._points)
            cause = BreakpointKind.HARDWARE if hard else BreakpointKind.SOFTWARE
            self._halt(StopReply(hart=hart, cause=cause))
        else:
            self._halt(StopReply(hart=hart))

    def ended(self) -> None:
        """Report the end of the machine."""
        outcome = self._machine.outcome
        code = LOST_EXIT_CODE if outcome is None else outcome.code
        if outcome is not None and outcome.end is End.FAILURE and not code:
            code = 1
        self._halt(StopReply(exit_code=code))

    def _halt(self, stop: StopReply) -> None:
        for raw in self._emulator.raw:
            raw.step = raw.held = 0
        with self._changed:
            self._stop, self._interrupted = stop, False
            self._changed.notify_all()

    # ---- DebugTarget

    def harts(self) -> Sequence[int]:
        """Return the numbers of the harts."""
        return range(self._count)

    def describe_hart(self, hart: int) -> str:
        """Say what a hart is doing."""
        raw = self._emulator.raw[hart]
        state = STATES.get(raw.stop) or ("waiting for an interrupt" if raw.wfi else "running")
        return f"{MODES.get(raw.priv, '?')}, {state}"

    def describe(self) -> str:
        """Describe the machine."""
        machine = self._machine
        lines = [f"virt: {self._count} harts, {machine.config.ram_bytes >> 20} MiB of RAM"]
        for n in range(self._count):
            pc = self._emulator.raw[n].pc
            lines.append(f"hart {n}: {self.describe_hart(n)}, pc {pc:#x}")
        lines += (
            f"{m.gpa:#x}-{m.gpa + m.size_bytes - 1:#x} {m.name}" for m in machine.bus.mappings
        )
        return "\n".join(lines)

    def read_registers(self, hart: int) -> bytes:
        """Return x0 to x31 and the pc."""
        with self._machine.lock:
            values = [self._registers[hart].read(n) or 0 for n in range(PC + 1)]
        return b"".join(value.to_bytes(8, "little") for value in values)

    def read_register(self, hart: int, number: int) -> int | None:
        """Return any one register."""
        with self._machine.lock:
            return self._registers[hart].read(number)

    def write_register(self, hart: int, number: int, value: int) -> bool:
        """Set a register."""
        with self._machine.lock:
            return self._registers[hart].write(number, value)

    def read_memory(self, hart: int, va: int, size_bytes: int) -> bytes | None:
        """Return RAM from `va` on, as far as it is mapped; devices are not touched."""
        with self._machine.lock:
            return self._emulator.inspector.read_part(hart, va, size_bytes) or None

    def write_memory(self, hart: int, va: int, data: bytes) -> bool:
        """Set RAM, code included."""
        with self._machine.lock:
            return self._emulator.write_virtual(hart, va, data)

    def add_breakpoint(self, kind: BreakpointKind, va: int, length: int) -> bool:
        """Stop at an instruction or before an access."""
        stops = self._emulator.stops
        with self._machine.lock:
            if kind.is_watch:
                done = stops.add_watch(va, length, **_accesses(kind))
            else:
                done = stops.add_breakpoint(va)
            if done:
                self._points.add((kind, va, length))
        return done

    def remove_breakpoint(self, kind: BreakpointKind, va: int, length: int) -> bool:
        """Take one back."""
        stops = self._emulator.stops
        with self._machine.lock:
            if (kind, va, length) not in self._points:
                return False
            self._points.discard((kind, va, length))
            if kind.is_watch:
                return stops.remove_watch(va, length, **_accesses(kind))
            return stops.remove_breakpoint(va)

    def resume(self, *, step_hart: int | None, harts: Collection[int] | None) -> None:
        """Let harts run; `step_hart` takes no interrupt, so that the step stays in its code."""
        with self._machine.lock:
            if self._stop is None or self._stop.exit_code is not None:
                return
            self._moving = range(self._count) if harts is None else sorted(harts)
            for n, raw in enumerate(self._emulator.raw):
                raw.held = int(n not in self._moving)
                raw.step = DEBUG_STEP if n == step_hart else 0
            with self._changed:
                self._stop, self._interrupted = None, False

    def interrupt(self) -> None:
        """Ask all harts to stop."""
        with self._machine.lock:
            self._interrupted = self._stop is None

    def wait_stop(self, timeout_s: float) -> StopReply | None:
        """Wait until all harts stand still and say why."""
        with self._changed:
            self._changed.wait_for(lambda: self._stop is not None, timeout_s)
            return self._stop

    def reset(self) -> None:
        """Return to the state after power-on, stopped; breakpoints stay."""
        with self._machine.lock:
            self._machine.reset()

    def detach(self) -> None:
        """Let the machine run on without a debugger."""
        with self._machine.lock:
            self._emulator.stops.clear()
            self._points.clear()
        self.resume(step_hart=None, harts=None)

    def kill(self) -> None:
        """End the machine."""
        self._machine.stop()


def _accesses(kind: BreakpointKind) -> dict[str, bool]:
    """Return what a kind of watchpoint watches, as `Stops.add_watch` takes it."""
    return {
        "read": kind is not BreakpointKind.WATCH_WRITE,
        "write": kind is not BreakpointKind.WATCH_READ,
    }
