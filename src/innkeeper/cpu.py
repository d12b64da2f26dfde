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

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO, Literal

from innkeeper.base.errors import UsageError
from innkeeper.base.units import MIB, PAGE_BYTES
from innkeeper.devices.bus import Bus
from innkeeper.engine.emulator.emulator import Emulator, EmulatorConfig, Exit, HostCalls
from innkeeper.engine.emulator.hart import MAX_WATCHES, STEP
from innkeeper.isa.riscv import causes
from innkeeper.isa.riscv import status as st
from innkeeper.isa.riscv.asm import Program, assemble, elf_image
from innkeeper.isa.riscv.csr import NS_PER_TICK
from innkeeper.isa.riscv.disasm import disassemble as _text_of
from innkeeper.isa.riscv.disasm import disassemble_all as disassemble
from innkeeper.isa.riscv.disasm import length
from innkeeper.isa.riscv.names import F_NAMES, X_NAMES
from innkeeper.machines.bare import (
    CallableDevice,
    CallbackError,
    Memory,
    MinimalCalls,
    ReadDevice,
    Registers,
    WriteDevice,
)
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
CHUNK = 20_000_000
"""Instructions between looks at the clock and at signals such as Ctrl-C: some tens of ms."""

ECALL_CAUSES = (causes.ECALL_U, causes.ECALL_S, causes.ECALL_M)
ECALL_BYTES = 4
STACK_ARGUMENT_BYTES = 64
"""Zeros above a program's stack pointer: no arguments, no environment, no auxiliary vector."""

CAUSE_NAMES = {n: k.lower().replace("_", " ") for k, n in vars(causes).items()
               if k.isupper() and not k.startswith(("IRQ", "INTERRUPT"))}  # fmt: skip


class StopReason(Enum):
    """Why `run` came back."""

    UNTIL = "reached the address to stop at"
    COUNT = "executed as many instructions as wanted"
    TIMEOUT = "ran out of time"
    STEP = "executed one instruction"
    STOPPED = "was told to stop"
    IDLE = "waits for an interrupt that nothing will bring"
    TRAP = "raised a trap that nobody takes"
    EXIT = "exited"


@dataclass(frozen=True)
class Trap:
    """An exception (Privileged 3.1.15, 3.1.16): its cause, its tval, and the instruction's pc."""

    cause: int
    tval: int
    pc: int

    def __str__(self) -> str:
        name = CAUSE_NAMES.get(self.cause, f"cause {self.cause}")
        return f"{name}, tval {self.tval:#x}, at {self.pc:#x}"


@dataclass(frozen=True)
class Stop:
    """How a run ended. `trap` is set for TRAP, `exit_code` for EXIT."""

    reason: StopReason
    pc: int
    trap: Trap | None = None
    exit_code: int | None = None

    def __str__(self) -> str:
        if self.trap is not None:
            return f"it {self.reason.value}: {self.trap}"
        if self.exit_code is not None:
            return f"it exited with code {self.exit_code}"
        return f"it {self.reason.value}, at {self.pc:#x}"


@dataclass(frozen=True)
class Access:
    """A load or store that is about to be made; an atomic one reads and writes.

    `value` is what a store will store, `None` for a load or an atomic.
    """

    pc: int
    address: int
    size: int
    read: bool
    write: bool
    value: int | None


@dataclass(frozen=True)
class Executed:
    """One instruction of a trace and the registers it changed."""

    pc: int
    bits: int
    size: int
    text: str
    writes: dict[str, int]


@dataclass(eq=False)
class Hook:
    """A function that is called as the program runs, until `remove`."""

    cpu: Cpu
    kind: str
    call: Callable[..., Any]
    causes: frozenset[int] | None = None
    first: int = 0
    last: int = 0
    read: bool = False
    write: bool = False

    def remove(self) -> None:
        """Call it no more."""
        self.cpu._remove(self)


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
        self._hooks: dict[str, list[Hook]] = {k: [] for k in ("block", "code", "access", "trap")}
        self._changed = True
        self._told_to_stop = threading.Event()
        self._again = False  # the instruction has had its hooks, and is now to be executed
        self._calls = MinimalCalls(self._emulator, stdout, stderr)
        if syscalls == "minimal":
            self.hook_ecall(lambda cpu: cpu._calls.call())

    def _start_state(self, access: HartRegisters, mode: str, base: int) -> None:
        raw = self._raw
        raw.pc, raw.priv = base, MODES[mode]
        raw.pmpcfg[0], raw.pmpaddr[0] = 0x1F, (1 << 54) - 1  # everything, for every mode
        raw.mcounteren = raw.scounteren = 0xFFFF_FFFF
        raw.menvcfg, raw.senvcfg = st.MENVCFG_WRITABLE, st.SENVCFG_WRITABLE
        access.enable_float()

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
        return self._add(Hook(self, "block", call))

    def hook_code(self, call: Callable[[Cpu, int, int], Any]) -> Hook:
        """Call `call(cpu, pc, size)` before each instruction (slow)."""
        return self._add(Hook(self, "code", call))

    def hook_access(
        self, call: Callable[[Cpu, Access], Any], *, start: int = 0, end: int = 1 << 64,
        read: bool = True, write: bool = True,
    ) -> Hook:  # fmt: skip
        """Call `call(cpu, access)` before each load or store that touches `[start, end)`."""
        if not 0 <= start < end <= 1 << 64 or not (read or write):
            raise UsageError(f"there is nothing to watch from {start:#x} to {end:#x}")
        if len(self._hooks["access"]) >= MAX_WATCHES:
            raise UsageError(f"there can be {MAX_WATCHES} access hooks at most")
        return self._add(
            Hook(self, "access", call, first=start, last=end - 1, read=read, write=write)
        )

    def hook_trap(
        self, call: Callable[[Cpu, Trap], Any], *, causes: Iterable[int] | None = None
    ) -> Hook:
        """Call `call(cpu, trap)` before an exception is taken; `causes` limits it to some.

        If it returns True the trap is done with, and the program goes on at `cpu.regs.pc`.
        """
        return self._add(Hook(self, "trap", call, None if causes is None else frozenset(causes)))

    def hook_ecall(self, call: Callable[[Cpu], Any]) -> Hook:
        """Call `call(cpu)` for each ECALL; the program goes on after it unless it returns False."""

        def on_trap(cpu: Cpu, trap: Trap) -> bool:
            if call(cpu) is False:
                return False
            if cpu.regs.pc == trap.pc:
                cpu.regs.pc = trap.pc + ECALL_BYTES
            return True

        return self.hook_trap(on_trap, causes=ECALL_CAUSES)

    def _add(self, hook: Hook) -> Hook:
        self._hooks[hook.kind].append(hook)
        self._changed = True
        self._emulator.request_exit()
        return hook

    def _remove(self, hook: Hook) -> None:
        if hook in self._hooks[hook.kind]:
            self._hooks[hook.kind].remove(hook)
            self._changed = True
            self._emulator.request_exit()

    def _apply(self, until: frozenset[int]) -> None:
        """Tell the emulator what to stop for; done between its runs only."""
        self._changed = False
        stops = self._emulator.stops
        stops.clear()
        for va in until:
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
        self._told_to_stop.set()
        self._emulator.request_exit()

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
        self._apply(wanted)
        self._told_to_stop.clear()
        stop = None
        while stop is None:
            stop = self._limits(end, deadline) or self._turn(wanted, end, deadline)
        self.last_stop = stop
        return stop

    def _limits(self, end: int | None, deadline: float | None) -> Stop | None:
        pc = int(self._raw.pc)
        if self.exit_code is not None:
            return Stop(StopReason.EXIT, pc, exit_code=self.exit_code)
        if self._told_to_stop.is_set():
            return Stop(StopReason.STOPPED, pc)
        if end is not None and self._raw.ticks >= end:
            return Stop(StopReason.COUNT, pc)
        if deadline is not None and time.monotonic() >= deadline:
            return Stop(StopReason.TIMEOUT, pc)
        return None

    def _turn(self, until: frozenset[int], end: int | None, deadline: float | None) -> Stop | None:
        """Call the hooks for where the hart stands, run on, and see why it came back."""
        raw = self._raw
        again, self._again = self._again, False
        if not again and not self._before():
            return None
        if self._changed:
            self._apply(until)
        raw.step = STEP if again or self._hooks["code"] or raw.pc in until else 0
        raw.watch_off = int(again)
        limit = CHUNK if end is None else min(CHUNK, end - raw.ticks)
        try:
            reason = self._emulator.run(limit)
        except CallbackError as carried:
            raise carried.error from None
        finally:
            raw.step = raw.watch_off = 0
        if reason in (Exit.BREAK, Exit.STEP, Exit.BLOCK):
            return Stop(StopReason.UNTIL, int(raw.pc)) if raw.pc in until else None
        if reason is Exit.WATCH:
            self._before_access()
        elif reason is Exit.TRAP:
            return self._trap()
        elif reason is Exit.IDLE:
            return self._wait(deadline)
        return None

    def _before(self) -> bool:
        """Call block and code hooks; False if they have moved the pc or want a stop."""
        raw, pc = self._raw, int(self._raw.pc)
        if self._hooks["block"] and raw.block_ended:
            for hook in tuple(self._hooks["block"]):
                hook.call(self, pc)
            if raw.pc != pc:
                return False
            if not self._told_to_stop.is_set():
                raw.block_ended = 0
        if self._hooks["code"]:
            half = self._emulator.read_virtual(0, pc, 2)
            size = length(int.from_bytes(half, "little")) if half else 0
            for hook in tuple(self._hooks["code"]):
                hook.call(self, pc, size)
        return raw.pc == pc and not self._told_to_stop.is_set()

    def _before_access(self) -> None:
        """Call the access hooks; the instruction is then executed by itself."""
        hit, pc = self._emulator.stops.watch_hit(0), int(self._raw.pc)
        value = hit.value if hit.write and not hit.read else None
        access = Access(pc, hit.va, hit.size, hit.read, hit.write, value)
        for hook in tuple(self._hooks["access"]):
            wanted = hook.read and hit.read or hook.write and hit.write
            if wanted and hit.va <= hook.last and hook.first < hit.va + hit.size:
                hook.call(self, access)
        self._again = self._raw.pc == pc and not self._told_to_stop.is_set()

    def _trap(self) -> Stop | None:
        raw = self._raw
        trap = Trap(int(raw.trap_cause), int(raw.trap_tval), int(raw.pc))
        for hook in tuple(self._hooks["trap"]):
            if (hook.causes is None or trap.cause in hook.causes) and hook.call(self, trap) is True:
                raw.ticks += 1
                raw.block_ended = 1
                return None
        if self._told_to_stop.is_set():
            return None
        delegated = raw.priv <= st.PRIV_S and raw.medeleg >> trap.cause & 1
        if (raw.stvec if delegated else raw.mtvec) & ~3:
            self._emulator.deliver_trap(0)
            return None
        return Stop(StopReason.TRAP, trap.pc, trap=trap)

    def _wait(self, deadline: float | None) -> Stop | None:
        """Sleep until the timer of the waiting hart, if it has set one."""
        raw = self._raw
        if raw.stimecmp == (1 << 64) - 1 or not raw.mie >> causes.IRQ_STI & 1:
            return Stop(StopReason.IDLE, int(raw.pc))
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) - raw.time_base
        seconds = (raw.stimecmp * NS_PER_TICK - now) / 1e9
        if deadline is not None:
            seconds = min(seconds, deadline - time.monotonic())
        self._told_to_stop.wait(min(max(seconds, 0.0), threading.TIMEOUT_MAX))
        return None

    def trace(
        self, *, until: int | Iterable[int] | None = None, max_instructions: int | None = None
    ) -> Iterator[Executed]:
        """Yield each instruction as it has been executed; `last_stop` says why it ended."""
        wanted = frozenset((until,) if isinstance(until, int) else until or ())
        left = max_instructions
        while left is None or left > 0:
            pc = int(self._raw.pc)
            bits = self._bits_at(pc)
            before = (*self._raw.x[:32], *self._raw.f)
            stop = self.step()
            if stop.reason is not StopReason.STEP and self.instructions == 0:
                return
            if stop.reason in (StopReason.TRAP, StopReason.IDLE, StopReason.STOPPED):
                return
            after = (*self._raw.x[:32], *self._raw.f)
            names = (*X_NAMES, *F_NAMES)
            writes = {n: new for n, old, new in zip(names, before, after, strict=True)
                      if old != new}  # fmt: skip
            yield Executed(pc, bits, length(bits), _text_of(bits, pc), writes)
            if stop.reason is not StopReason.STEP:
                return
            if self._raw.pc in wanted:
                self.last_stop = Stop(StopReason.UNTIL, int(self._raw.pc))
                return
            left = None if left is None else left - 1

    def _bits_at(self, pc: int) -> int:
        """Return the instruction at `pc`, 0 where nothing is mapped."""
        half = self._emulator.read_virtual(0, pc, 2) or bytes(2)
        whole = self._emulator.read_virtual(0, pc, length(int.from_bytes(half, "little")))
        return int.from_bytes(whole or half, "little")
