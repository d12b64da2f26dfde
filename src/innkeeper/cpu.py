"""A CPU by itself, for Python programs: load code, set registers, run, look, hook.

    cpu = Cpu()
    cpu.load(assemble("li a0, 6\\nli a1, 7\\nmul a0, a0, a1\\nend: j end\\n").image)
    cpu.run(until=0x8000_000c)
    assert cpu.regs.a0 == 42

Without hooks code runs at the emulator's full speed; a block hook costs per block, a code hook per
instruction, an access hook per access to its pages. What a hook raises comes out of `run`, the
state being exactly that before the instruction in question; `run` again goes on from there. One
thread at a time may use a `Cpu`; only `stop` may be called from another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal

from innkeeper.base.errors import UsageError
from innkeeper.base.units import MIB, PAGE_BYTES
from innkeeper.devices.bus import Bus
from innkeeper.engine.emulator.emulator import Emulator, EmulatorConfig, HostCalls
from innkeeper.engine.emulator.hart import MAX_WATCHES
from innkeeper.isa.riscv import causes
from innkeeper.isa.riscv import status as st
from innkeeper.isa.riscv.asm import Program, assemble, elf_image
from innkeeper.isa.riscv.disasm import disassemble as _text_of
from innkeeper.isa.riscv.disasm import disassemble_all as disassemble
from innkeeper.isa.riscv.disasm import length
from innkeeper.isa.riscv.names import F_NAMES, X_NAMES
from innkeeper.machines.bare import (
    CallableDevice,
    Memory,
    MinimalCalls,
    ReadDevice,
    Registers,
    WriteDevice,
)
from innkeeper.machines.bare_events import Access, Executed, Stop, StopReason, Trap
from innkeeper.machines.bare_loop import Hook, HookLoop
from innkeeper.machines.program import LoadedProgram, parse_elf, read_program
from innkeeper.machines.registers import HartRegisters
from innkeeper.memory.ram import GuestRam

__all__ = [
    "Access", "Cpu", "Executed", "Hook", "Program", "Stop", "StopReason", "Trap", "assemble",
    "disassemble", "elf_image",
]  # fmt: skip

DEFAULT_BASE = 0x8000_0000
DEFAULT_MEMORY_BYTES = 64 * MIB
MODES = {"M": st.PRIV_M, "S": st.PRIV_S, "U": st.PRIV_U}
ECALL_CAUSES = (causes.ECALL_U, causes.ECALL_S, causes.ECALL_M)
ECALL_BYTES = 4
STACK_ARGUMENT_BYTES = 64
"""Zeros above a program's stack pointer: no arguments, no environment, no auxiliary vector."""


class Cpu:
    """One hart over RAM at `base`, in M, S or U mode, address translation off, floating point on.

    `syscalls="minimal"` answers exit and write as Linux does. Registers start as 0, the pc at
    `base`. A trap whose vector register (mtvec, stvec) is still 0 ends `run`.
    """

    def __init__(
        self,
        arch: str = "riscv64",
        *,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        base: int = DEFAULT_BASE,
        mode: Literal["M", "S", "U"] = "M",
        syscalls: Literal["minimal"] | None = None,
        stdout: BinaryIO | None = None,
        stderr: BinaryIO | None = None,
    ) -> None:
        if arch != "riscv64":
            raise UsageError(f"there is no emulated CPU {arch!r}", fix="use riscv64")
        if mode not in MODES:
            raise UsageError(f"{mode!r} is no mode", fix="use M, S or U")
        if syscalls not in (None, "minimal"):
            raise UsageError(f"{syscalls!r} are no system calls", fix='use "minimal"')
        self._ram = GuestRam(base, -(-memory_bytes // PAGE_BYTES) * PAGE_BYTES)
        self._bus = Bus()
        self._emulator = Emulator(
            EmulatorConfig(1, base, self._ram.size_bytes, self._ram.hva),
            HostCalls(
                lambda _n, gpa, size: self._bus.read(gpa, size),
                lambda _n, gpa, size, value: self._bus.write(gpa, size, value),
                lambda _n: None,
            ),
        )
        self._raw = self._emulator.raw[0]
        self._raw.time_base = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        self.symbols: dict[str, int] = {}
        access = HartRegisters(self._emulator, 0)
        self.regs, self.mem = Registers(access), Memory(self._emulator)
        self._start_state(access, mode, base)
        self.last_stop: Stop | None = None
        self._calls = MinimalCalls(self._emulator, stdout, stderr)
        self._loop = HookLoop(self._emulator, self, lambda: self._calls.exit_code)
        if syscalls == "minimal":
            self.hook_ecall(lambda cpu: cpu._calls.call())

    def _start_state(self, access: HartRegisters, mode: str, base: int) -> None:
        raw = self._raw
        raw.pc, raw.priv = base, MODES[mode]
        raw.pmpcfg[0], raw.pmpaddr[0] = 0x1F, (1 << 54) - 1  # everything, for every mode
        raw.mcounteren = raw.scounteren = 0xFFFF_FFFF
        raw.menvcfg, raw.senvcfg = st.MENVCFG_WRITABLE, st.SENVCFG_WRITABLE
        access.enable_units()

    # ---- loading

    @classmethod
    def from_file(
        cls,
        path: str | Path,
        *,
        mode: Literal["M", "S", "U"] | None = None,
        syscalls: Literal["minimal"] | None = None,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        base: int | None = None,
        stdout: BinaryIO | None = None,
        stderr: BinaryIO | None = None,
    ) -> Cpu:
        """Make a CPU that is about to run a file: assembly source (.s), ELF, or machine code.

        Memory begins where the program does and is at least as large as it; the stack pointer is
        at its end. Raises `LoadError`, `AssemblyError`.
        """
        program = read_program(Path(path), base=base)
        start = program.base // PAGE_BYTES * PAGE_BYTES
        size = max(memory_bytes, program.end - start + memory_bytes // 2)
        cpu = cls(
            base=start, memory_bytes=size, mode=mode or ("U" if syscalls else "M"),
            syscalls=syscalls, stdout=stdout, stderr=stderr,
        )  # fmt: skip
        cpu._place(program)
        cpu.regs.sp = cpu._ram.end_gpa - STACK_ARGUMENT_BYTES
        return cpu

    def load(self, data: bytes, address: int | None = None) -> None:
        """Put bytes into memory, by physical address (default: its start)."""
        place = self._ram.base_gpa if address is None else address
        if not self._emulator.inspector.write_physical(place, bytes(data)):
            raise UsageError(f"{len(data)} bytes at {place:#x} do not fit into memory")

    def load_elf(self, data: bytes) -> int:
        """Load an ELF executable at its own addresses; return its entry, where the pc is now."""
        program = parse_elf(data, base=self._ram.base_gpa)
        self._place(program)
        return program.entry

    def _place(self, program: LoadedProgram) -> None:
        for address, data in program.pieces:
            self.load(data, address)
        self.symbols.update(program.symbols)
        self.regs.pc = program.entry

    def map_mmio(
        self, address: int, size: int, *, read: ReadDevice | None = None,
        write: WriteDevice | None = None,
    ) -> None:  # fmt: skip
        """Answer loads by `read(offset, size)`, stores by `write(offset, size, value)`.

        The region is outside memory. A missing function makes the access a fault of the program's;
        what one raises comes out of `run`, and the access has not happened.
        """
        if address < self._ram.end_gpa and self._ram.base_gpa < address + size:
            raise UsageError(f"{address:#x} is memory, not free for a device")
        self._bus.map(address, size, CallableDevice(read, write), "device")

    # ---- hooks

    def hook_block(self, call: Callable[[Cpu, int], Any]) -> Hook:
        """Call `call(cpu, pc)` before each basic block: after every jump, branch and trap."""
        return self._loop.add(Hook(self._loop, "block", call))

    def hook_code(self, call: Callable[[Cpu, int, int], Any]) -> Hook:
        """Call `call(cpu, pc, size)` before each instruction (slow)."""
        return self._loop.add(Hook(self._loop, "code", call))

    def hook_access(
        self, call: Callable[[Cpu, Access], Any], *, start: int = 0, end: int = 1 << 64,
        read: bool = True, write: bool = True,
    ) -> Hook:  # fmt: skip
        """Call `call(cpu, access)` before each load or store that touches `[start, end)`."""
        if not 0 <= start < end <= 1 << 64 or not (read or write):
            raise UsageError(f"there is nothing to watch from {start:#x} to {end:#x}")
        if self._loop.count("access") >= MAX_WATCHES:
            raise UsageError(f"there can be {MAX_WATCHES} access hooks at most")
        return self._loop.add(
            Hook(self._loop, "access", call, first=start, last=end - 1, read=read, write=write)
        )

    def hook_trap(
        self, call: Callable[[Cpu, Trap], Any], *, causes: Iterable[int] | None = None
    ) -> Hook:
        """Call `call(cpu, trap)` before an exception is taken; `causes` limits it to some.

        If it returns True the trap is done with, and the program goes on at `cpu.regs.pc`.
        """
        wanted = None if causes is None else frozenset(causes)
        return self._loop.add(Hook(self._loop, "trap", call, wanted))

    def hook_ecall(self, call: Callable[[Cpu], Any]) -> Hook:
        """Call `call(cpu)` for each ECALL; the program goes on after it unless it returns False."""

        def on_trap(cpu: Cpu, trap: Trap) -> bool:
            if call(cpu) is False:
                return False
            if cpu.regs.pc == trap.pc:
                cpu.regs.pc = trap.pc + ECALL_BYTES
            return True

        return self.hook_trap(on_trap, causes=ECALL_CAUSES)

    # ---- running

    @property
    def instructions(self) -> int:
        """How many instructions have been executed so far, those that trapped included."""
        return int(self._raw.ticks)

    @property
    def exit_code(self) -> int | None:
        """What the program gave to exit, `None` if it has not exited."""
        return self._calls.exit_code

    def stop(self) -> None:
        """Make `run` come back soon; for hooks and other threads."""
        self._loop.stop()

    def step(self) -> Stop:
        """Execute one instruction."""
        stop = self.run(max_instructions=1)
        return Stop(StopReason.STEP, stop.pc) if stop.reason is StopReason.COUNT else stop

    def run(
        self,
        *,
        until: int | Iterable[int] | None = None,
        max_instructions: int | None = None,
        timeout_s: float | None = None,
    ) -> Stop:
        """Run until an address in `until` is reached (after one instruction at least), or a limit.

        `max_instructions` is exact. What a hook or a device's function raises comes out of here.
        """
        wanted = frozenset((until,) if isinstance(until, int) else until or ())
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        end = None if max_instructions is None else self.instructions + max_instructions
        self.last_stop = self._loop.run(until=wanted, end=end, deadline=deadline)
        return self.last_stop

    def trace(
        self, *, until: int | Iterable[int] | None = None, max_instructions: int | None = None
    ) -> Iterator[Executed]:
        """Yield each instruction as it has been executed; `last_stop` says why it ended."""
        wanted = frozenset((until,) if isinstance(until, int) else until or ())
        left = max_instructions
        while left is None or left > 0:
            pc, count = int(self._raw.pc), self.instructions
            bits = self._bits_at(pc)
            before = self._snapshot()
            stop = self.step()
            if self.instructions == count:  # it stopped before the instruction
                return
            changed = zip((*X_NAMES, *F_NAMES), before, self._snapshot(), strict=True)
            writes = {name: new for name, old, new in changed if old != new}
            yield Executed(pc, bits, length(bits), _text_of(bits, pc), writes)
            if stop.reason is not StopReason.STEP:
                return
            if self._raw.pc in wanted:
                self.last_stop = Stop(StopReason.UNTIL, int(self._raw.pc))
                return
            left = None if left is None else left - 1

    def _snapshot(self) -> tuple[int, ...]:
        return (*self._raw.x[: len(X_NAMES)], *self._raw.f)

    def _bits_at(self, pc: int) -> int:
        """Return the instruction at `pc`, 0 where nothing is mapped."""
        half = self._emulator.read_virtual(0, pc, 2) or bytes(2)
        whole = self._emulator.read_virtual(0, pc, length(int.from_bytes(half, "little")))
        return int.from_bytes(whole or half, "little")
