"""Run a program in tier 0 and in the reference from one initial state, and compare what is left."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from innkeeper.base.errors import InnError
from innkeeper.engine.emulator.emulator import Emulator, EmulatorConfig, Exit, HostCalls
from innkeeper.isa.riscv.asm import Program, assemble
from innkeeper.isa.riscv.reference import Devices, ReferenceHart
from innkeeper.memory.ram import GuestRam

RAM_BASE = 0x8000_0000
RAM_BYTES = 2 << 20
DEVICE = 0x1000_0000
"""A page of device registers: what is written is logged, what is read is told by the address."""
MASK64 = (1 << 64) - 1
FS_DIRTY = 3 << 13 | 1 << 63
SLICES = 50

SCALARS = (
    "pc", "priv", "frm", "fflags", "fp_ready", "mstatus", "misa", "medeleg", "mideleg", "mie",
    "mip", "mtvec", "mscratch", "mepc", "mcause", "mtval", "mcounteren", "menvcfg", "stvec",
    "sscratch", "sepc",
    "scause", "stval", "scounteren", "senvcfg", "satp", "stimecmp", "mtimecmp", "mcycle_offset",
    "minstret_offset", "instret", "wfi", "stop", "trap_pending", "vl", "vtype",
    "vstart", "vxsat", "vxrm",
)  # fmt: skip

Setup = Callable[[Any], None]


@dataclass
class Log:
    """Devices for both sides: reads answer from the address, writes are kept."""

    writes: list[tuple[int, int, int]] = field(default_factory=list)

    def read(self, gpa: int, size: int) -> int:
        if gpa >> 12 != DEVICE >> 12:
            raise InnError(f"nothing at {gpa:#x}")
        return (gpa * 0x9E3779B97F4A7C15) >> 7 & ((1 << size * 8) - 1)

    def write(self, gpa: int, size: int, value: int) -> None:
        if gpa >> 12 != DEVICE >> 12:
            raise InnError(f"nothing at {gpa:#x}")
        self.writes.append((gpa, size, value & ((1 << size * 8) - 1)))


@dataclass
class State:
    """All that a program can have changed."""

    values: dict[str, int]
    memory: bytes
    writes: list[tuple[int, int, int]]

    def __getattr__(self, name: str) -> int:
        try:
            return self.__dict__["values"][name]
        except KeyError:
            raise AttributeError(name) from None

    def x(self, number: int) -> int:
        return self.values[f"x{number}"]

    def bytes_at(self, gpa: int, size: int) -> bytes:
        return self.memory[gpa - RAM_BASE : gpa - RAM_BASE + size]

    def u64(self, gpa: int) -> int:
        return int.from_bytes(self.bytes_at(gpa, 8), "little")


def _state(raw: Any, memory: bytes, log: Log) -> State:
    values = {n: int(getattr(raw, n)) for n in SCALARS}
    values |= {f"x{n}": raw.x[n] for n in range(32)}
    values |= {f"f{n}": raw.f[n] for n in range(32)}
    values |= {f"v{n // 2}[{n % 2}]": raw.v[n] for n in range(64)}
    values |= {f"pmpaddr{n}": raw.pmpaddr[n] for n in range(16)}
    values |= {f"pmpcfg{n}": raw.pmpcfg[n] for n in range(16)}
    return State(values, memory, log.writes)


class Tier0:
    """One emulator that many programs use in turn."""

    def __init__(self, *, harts: int = 1, ram_bytes: int = RAM_BYTES, regions: str = "off") -> None:
        self.ram = GuestRam(RAM_BASE, ram_bytes)
        self.log = Log()
        self.emulator = Emulator(
            EmulatorConfig(harts, RAM_BASE, ram_bytes, self.ram.hva, regions=regions),
            HostCalls(
                lambda _n, gpa, size: self.log.read(gpa, size),
                lambda _n, gpa, size, value: self.log.write(gpa, size, value),
                lambda _n: None,
            ),
        )

    @property
    def hart(self) -> Any:
        return self.emulator.raw[0]

    def load(
        self, image: bytes, pc: int, setup: Setup = lambda _h: None, *, keep_code: bool = False
    ) -> None:
        """Start anew: RAM holds `image` and zeroes, every hart is reset and at `pc`.

        `keep_code` keeps what was translated of pages that stay as they are.
        """
        self.log = Log()
        self._fill(image + bytes(self.ram.size_bytes - len(image)))
        for n, raw in enumerate(self.emulator.raw):
            self.emulator.reset_hart(n)
            raw.clock_gettime = 0  # time is instructions, as in the reference
            raw.instret = raw.mcycle_offset = raw.minstret_offset = 0
            raw.mcountinhibit = raw.mmio_fault = raw.trap_cause = raw.trap_tval = 0
            raw.pmp_count, raw.pc = 0, pc
            setup(raw)
        if not keep_code:
            self.emulator.code.raw.breakpoint_count = 0
            self.emulator.reset_code()

    def _fill(self, memory: bytes) -> None:
        """Write RAM, and tell of each page that changes."""
        for at in range(0, len(memory), 4096):
            page = memory[at : at + 4096]
            if self.ram.read(RAM_BASE + at, 4096) != page:
                self.ram.write(RAM_BASE + at, page)
                self.emulator.written(RAM_BASE + at, 4096)

    def run(self, *until: int, slices: int = SLICES, keep_code: bool = False) -> State:
        """Run until a hart's pc is one of `until` or everything waits."""
        for n, pc in enumerate(until):
            self.emulator.breakpoints[n] = pc
        self.emulator.code.raw.breakpoint_count = len(until)
        if not keep_code:
            self.emulator.reset_code()
        reason = self.emulator.run(slices * 20000)
        assert reason in (Exit.BREAK, Exit.IDLE), f"{reason!r} at {self.hart.pc:#x}"
        return self.state()

    def state(self, number: int = 0) -> State:
        return _state(
            self.emulator.raw[number], self.ram.read(RAM_BASE, self.ram.size_bytes), self.log
        )


@cache
def tier0(harts: int = 1) -> Tier0:
    """Return the emulator that the tests share."""
    return Tier0(harts=harts)


@cache
def with_regions() -> Tier0:
    """Return an emulator that compiles regions at once, wherever a slice ends."""
    return Tier0(regions="eager")


FINDING_SLICE, RUNNING_SLICE = 5, 50_000
"""Slices so short that every block is compiled; slices in which what was compiled runs."""

Ends = tuple[int, ...]


def run_tier0(image: bytes, pc: int, ends: Ends, setup: Setup = lambda _h: None) -> State:
    """Run a program in tier 0 until the pc is one of `ends`."""
    machine = tier0()
    machine.load(image, pc, setup)
    return machine.run(*ends)


def run_regions(image: bytes, pc: int, ends: Ends, setup: Setup = lambda _h: None) -> State:
    """Run a program twice, so that the second run meets regions; return the second's state."""
    machine = with_regions()
    traffic = machine.emulator.regions.traffic
    before = traffic.stat_installed
    traffic.slice = FINDING_SLICE
    ctypes.memset(ctypes.addressof(traffic.raw.samples), 0, ctypes.sizeof(traffic.raw.samples))
    machine.load(image, pc, setup)
    first = machine.run(*ends)
    traffic.slice = RUNNING_SLICE
    machine.load(image, pc, setup, keep_code=True)
    second = machine.run(*ends, keep_code=True)
    machine.regions_installed = traffic.stat_installed - before
    assert not differences(first, second), "\n".join(
        ["finding, running regions:", *differences(first, second)]
    )
    return second


def run_reference(
    image: bytes, pc: int, ends: Ends, setup: Setup = lambda _h: None, *, steps: int = 20000
) -> State:
    """Run a program in the reference until the pc is one of `ends`."""
    ram, log = bytearray(RAM_BYTES), Log()
    ram[: len(image)] = image
    reference = ReferenceHart(RAM_BASE, ram, devices=Devices(log.read, log.write))
    raw = reference.h.raw
    raw.pmp_count, raw.pc = 0, pc
    setup(raw)
    for _ in range(steps):
        if raw.pc in ends or not reference.step():
            return _state(raw, bytes(ram), log)
    raise AssertionError(f"still running at {raw.pc:#x}")


def differences(one: State, other: State) -> list[str]:
    """List where two states differ, for a failing test to show."""
    found = [
        f"{name}: {value:#x}, {other.values[name]:#x}"
        for name, value in one.values.items()
        if value != other.values[name]
    ]
    if one.memory != other.memory:
        at = next(
            n
            for n, pair in enumerate(zip(one.memory, other.memory, strict=True))
            if pair[0] != pair[1]
        )
        at &= -8
        found.append(
            f"memory at {RAM_BASE + at:#x}: {one.memory[at : at + 8].hex()}, "
            f"{other.memory[at : at + 8].hex()}"
        )
    if one.writes != other.writes:
        found.append(f"device writes: {one.writes}, {other.writes}")
    return found


def both(image: bytes, pc: int, ends: Ends, setup: Setup = lambda _h: None) -> State:
    """Run a program in the reference, tier 0 and regions, assert that they agree."""
    expected = run_reference(image, pc, ends, setup)
    for name, engine in (("tier 0", run_tier0), ("regions", run_regions)):
        got = engine(image, pc, ends, setup)
        assert not differences(expected, got), "\n".join(
            [f"reference, {name}:", *differences(expected, got)]
        )
    return got


PRELUDE = """
.option norvc
.equ DEVICE, 0x10000000
"""


def program(source: str) -> Program:
    """Assemble source; it ends at the label `done`."""
    return assemble(PRELUDE + source, base=RAM_BASE)


def check(source: str, setup: Setup = lambda _h: None) -> State:
    """Assemble a program that ends at `done`, run it on both sides and return the state."""
    made = program(source)
    return both(made.image, made.entry, (made.symbols["done"],), setup)
