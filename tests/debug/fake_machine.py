"""A machine in memory with two harts and four instructions: enough for a debugger.

Harts run inside `wait_stop`, in turn, so that nothing here needs a thread.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Sequence

from innkeeper.debug.target import SIGILL, SIGINT, SIGTRAP, BreakpointKind, StopReply

BASE, SIZE = 0x8000_0000, 0x1000
MASK = (1 << 64) - 1
FIRST_CSR, PRIV = 65, 4161
BURST = 200  # instructions of each hart in one wait


def addi(rd: int, rs: int, value: int) -> bytes:
    return ((value & 0xFFF) << 20 | rs << 15 | rd << 7 | 0x13).to_bytes(4, "little")


def ld(rd: int, rs: int, offset: int) -> bytes:
    return ((offset & 0xFFF) << 20 | rs << 15 | 3 << 12 | rd << 7 | 0x03).to_bytes(4, "little")


def sd(rs2: int, rs1: int, offset: int) -> bytes:
    word = (offset >> 5 & 0x7F) << 25 | rs2 << 20 | rs1 << 15 | 3 << 12 | (offset & 31) << 7 | 0x23
    return word.to_bytes(4, "little")


def jal(rd: int, offset: int) -> bytes:
    parts = (offset >> 20 & 1) << 31 | (offset >> 1 & 0x3FF) << 21
    parts |= (offset >> 11 & 1) << 20 | (offset >> 12 & 0xFF) << 12
    return (parts | rd << 7 | 0x6F).to_bytes(4, "little")


# a0 counts; it is stored at 0x100 (through s0) and loaded back to a1, for ever.
PROGRAM = addi(10, 10, 1) + sd(10, 8, 0x100) + ld(11, 8, 0x100) + jal(0, -12)
ADD, STORE, LOAD, LOOP = BASE, BASE + 4, BASE + 8, BASE + 12
CELL = BASE + 0x100


class FakeHart:
    def __init__(self) -> None:
        self.x = [0] * 32
        self.x[8] = BASE
        self.pc = BASE
        self.f = [0] * 32
        self.csr = {1: 0, 2: 0, 3: 0, 0x300: 0xA00000000, 0x180: 0, 0xF14: 0}
        self.priv = 3


class FakeMachine:
    """Implements `DebugTarget`; what was done to it can be looked at."""

    def __init__(self, *, hart_count: int = 2, exit_after: int | None = None) -> None:
        self.memory = bytearray(SIZE)
        self.memory[: len(PROGRAM)] = PROGRAM
        self.hart_list = [FakeHart() for _ in range(hart_count)]
        self.breakpoints: set[tuple[BreakpointKind, int, int]] = set()
        self.exit_after = exit_after
        self.stop: StopReply | None = StopReply()
        self.log: list[str] = []
        self.resumed = threading.Event()
        self._interrupted = False
        self._step: int | None = None
        self._moving: Sequence[int] = ()

    def harts(self) -> Sequence[int]:
        return range(len(self.hart_list))

    def describe_hart(self, hart: int) -> str:
        return f"M-mode at {self.hart_list[hart].pc:#x}"

    def describe(self) -> str:
        return f"a fake machine with {len(self.hart_list)} harts"

    def read_registers(self, hart: int) -> bytes:
        state = self.hart_list[hart]
        return b"".join(value.to_bytes(8, "little") for value in (*state.x, state.pc))

    def read_register(self, hart: int, number: int) -> int | None:
        state = self.hart_list[hart]
        if number <= 32:
            return [*state.x, state.pc][number]
        if number < FIRST_CSR:
            return state.f[number - 33]
        return state.priv if number == PRIV else state.csr.get(number - FIRST_CSR)

    def write_register(self, hart: int, number: int, value: int) -> bool:
        state = self.hart_list[hart]
        if number < 32:
            state.x[number] = value
        elif number == 32:
            state.pc = value
        elif number < FIRST_CSR:
            state.f[number - 33] = value
        elif number - FIRST_CSR in state.csr:
            state.csr[number - FIRST_CSR] = value
        else:
            return False
        return True

    def read_memory(self, hart: int, va: int, size_bytes: int) -> bytes | None:
        if not BASE <= va < BASE + SIZE:
            return None
        return bytes(self.memory[va - BASE : va - BASE + size_bytes])

    def write_memory(self, hart: int, va: int, data: bytes) -> bool:
        if not BASE <= va <= BASE + SIZE - len(data):
            return False
        self.memory[va - BASE : va - BASE + len(data)] = data
        return True

    def add_breakpoint(self, kind: BreakpointKind, va: int, length: int) -> bool:
        self.breakpoints.add((kind, va, length))
        return True

    def remove_breakpoint(self, kind: BreakpointKind, va: int, length: int) -> bool:
        self.breakpoints.remove((kind, va, length))
        return True

    def resume(self, *, step_hart: int | None, harts: Collection[int] | None) -> None:
        self.log.append(f"resume step={step_hart} harts={None if harts is None else sorted(harts)}")
        self.stop, self._interrupted, self._step = None, False, step_hart
        self._moving = self.harts() if harts is None else sorted(harts)
        self.resumed.set()

    def interrupt(self) -> None:
        self._interrupted = True

    def wait_stop(self, timeout_s: float) -> StopReply | None:
        if self.stop is None and self._interrupted:
            self.stop = StopReply(hart=self._moving[0], signal=SIGINT)
        for _ in range(BURST):
            for hart in self._moving:
                if self.stop is None:
                    self.stop = self._execute(hart)
        return self.stop

    def _execute(self, hart: int) -> StopReply | None:
        state = self.hart_list[hart]
        for kind in (BreakpointKind.SOFTWARE, BreakpointKind.HARDWARE):
            if any((kind, state.pc, length) in self.breakpoints for length in (2, 4)):
                return StopReply(hart=hart, cause=kind)
        if self.exit_after is not None:
            self.exit_after -= 1
            if self.exit_after <= 0:
                return StopReply(hart=hart, exit_code=7)
        stop = self._instruction(hart, state)
        if stop is None and self._step == hart:
            return StopReply(hart=hart, signal=SIGTRAP)
        return stop

    def _instruction(self, hart: int, state: FakeHart) -> StopReply | None:
        at = state.pc - BASE
        word = bytes(self.memory[at : at + 4])
        cell = (state.x[8] + 0x100) & MASK
        if word == PROGRAM[:4]:
            state.x[10] = (state.x[10] + 1) & MASK
        elif word == PROGRAM[4:8]:
            if stop := self._watched(hart, cell, BreakpointKind.WATCH_WRITE):
                return stop
            self.write_memory(hart, cell, state.x[10].to_bytes(8, "little"))
        elif word == PROGRAM[8:12]:
            if stop := self._watched(hart, cell, BreakpointKind.WATCH_READ):
                return stop
            state.x[11] = int.from_bytes(self.read_memory(hart, cell, 8) or b"", "little")
        elif word == PROGRAM[12:16]:
            state.pc -= 16
        else:
            return StopReply(hart=hart, signal=SIGILL)
        state.pc += 4
        return None

    def _watched(self, hart: int, va: int, access: BreakpointKind) -> StopReply | None:
        for kind, start, length in sorted(self.breakpoints):
            hit = start < va + 8 and va < start + length
            if hit and kind in (access, BreakpointKind.WATCH_ACCESS):
                return StopReply(hart=hart, cause=kind, watch_va=start)
        return None

    def reset(self) -> None:
        self.log.append("reset")
        self.hart_list = [FakeHart() for _ in self.hart_list]
        self.stop = StopReply()

    def detach(self) -> None:
        self.log.append("detach")

    def kill(self) -> None:
        self.log.append("kill")
