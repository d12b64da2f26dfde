"""The emulator as the machine sees it: harts over one RAM, run until the host is needed."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable
from enum import IntEnum
from typing import Any

from innkeeper.base.errors import InnError, MachineError
from innkeeper.base.record import record
from innkeeper.base.units import MIB, PAGE_BYTES
from innkeeper.engine.emulator import hart as layout
from innkeeper.engine.emulator.build import (
    ENDS_BLOCK,
    HANDLER_COUNT,
    HANDLERS,
    TABLES,
    emulator_code,
)
from innkeeper.engine.emulator.hart import CALLED, Code, EmuHart
from innkeeper.engine.emulator.inspect import Inspector
from innkeeper.engine.emulator.pthreads import wire_threads
from innkeeper.engine.emulator.regions.service import RegionService
from innkeeper.engine.emulator.signals import Signals
from innkeeper.engine.emulator.statistics import statistics
from innkeeper.engine.emulator.stops import MAX_BREAKPOINTS, Stops
from innkeeper.isa.riscv import status as st
from innkeeper.isa.riscv.decode import Tables
from innkeeper.isa.riscv.hart import NO_RESERVATION, VILL
from innkeeper.isa.riscv.sbi import FLUSH_CODE, FLUSH_TLB

MAX_HARTS = 64
MAP_NORESERVE = 0x4000  # not in the mmap module before Python 3.13
ECALL_BYTES = 4
POOL_BYTES = 96 * MIB
"""Address space for cell pages; only what the guest executes is ever touched."""


class Exit(IntEnum):
    """Why native code came back."""

    REQUEST = layout.EXIT_REQUEST
    IDLE = layout.EXIT_IDLE
    BREAK = layout.EXIT_BREAK
    STEP = layout.EXIT_STEP
    WATCH = layout.EXIT_WATCH
    COUNT = layout.EXIT_COUNT
    TRAP = layout.EXIT_TRAP
    BLOCK = layout.EXIT_BLOCK


EXITS = {int(each): each for each in Exit}
"""Quicker to look up than `Exit(number)`."""


@record
class EmulatorConfig:
    """How many harts over which RAM; `max_satp_mode` is 8, 9 or 10 for Sv39, Sv48 or Sv57.

    `regions` is `on`, `off` or `eager`; unless given, what `INN_REGIONS` says.
    With `icount` time is counted in instructions (`counted`).
    """

    hart_count: int
    ram_base: int
    ram_bytes: int
    ram_hva: int
    max_satp_mode: int = st.SATP_SV57
    regions: str | None = None
    icount: bool = False


@record
class HostCalls:
    """What the emulator asks of the host.

    `read` and `write` get the hart's number first and may raise `InnError` for an access fault;
    `sbi` answers a call whose arguments are in the hart's registers.
    """

    read: Callable[[int, int, int], int]
    write: Callable[[int, int, int, int], None]
    sbi: Callable[[int], None]


class Emulator:
    """Harts, their TLBs and the cells they share."""

    def __init__(self, config: EmulatorConfig, host: HostCalls) -> None:
        if not 1 <= config.hart_count <= MAX_HARTS:
            raise MachineError(f"{config.hart_count} harts", why=f"1 to {MAX_HARTS} are possible")
        self.config, self.host = config, host
        self.loaded = emulator_code()
        self.code = Code()
        self.harts = [EmuHart() for _ in range(config.hart_count)]
        self.raw = [h.raw for h in self.harts]
        self._number = {h.address: n for n, h in enumerate(self.harts)}
        self._errors: dict[int, BaseException] = {}
        self._first = self.harts[0].address
        self._keep: list[Any] = []
        self._make_code()
        self._wire()
        wire_threads(self.code, self.harts)
        for n in range(config.hart_count):
            self.reset_hart(n)
        self._run = self.loaded.function(
            "turns.run", ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int64
        )
        self._written = self.loaded.function(
            "cells.written_range", None, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64
        )
        self._reset_code = self.loaded.function("cells.reset_code", None, ctypes.c_uint64)
        self._flush = self.loaded.function("tlb.flush_all", None, ctypes.c_uint64)
        self._redecode = self.loaded.function(
            "cells.redecode", None, ctypes.c_uint64, ctypes.c_uint64
        )
        self._deliver = self.loaded.function("loop.deliver_trap", None, ctypes.c_uint64)
        self._run_counted = self.loaded.function(
            "counted.run_counted", ctypes.c_uint32, ctypes.c_uint64
        )
        self._run_alone = self.loaded.function(
            "parallel.run_alone", ctypes.c_uint32, ctypes.c_uint64
        )
        self.inspector, self.stops, self.signals = Inspector(self), Stops(self), Signals(self)
        self.regions = RegionService(self, mode=self.config.regions)

    def _table(self, count: int, kind: Any) -> Any:
        """Allocate an array that is all zero and costs nothing until it is touched."""
        memory = mmap.mmap(
            -1, max(count * ctypes.sizeof(kind), PAGE_BYTES),
            flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE,
        )  # fmt: skip
        array = (kind * count).from_buffer(memory)
        self._keep.append((memory, array))
        return array

    def _make_code(self) -> None:
        """Allocate the cell pool and fill the tables of handlers."""
        page_bytes = layout.CELL_PAGE_CELLS * 16
        pages = POOL_BYTES // page_bytes
        ram_pages = self.config.ram_bytes // PAGE_BYTES + 1
        raw = self.code.raw
        pool = self._table(POOL_BYTES + 64, ctypes.c_uint8)
        raw.pool = (ctypes.addressof(pool) + 63) & -64
        raw.pool_pages = pages
        self.page_cells = self._table(ram_pages, ctypes.c_uint32)
        raw.page_cells = ctypes.addressof(self.page_cells)
        raw.cell_page_ram = ctypes.addressof(self._table(pages, ctypes.c_uint32))
        raw.free = ctypes.addressof(self._table(pages, ctypes.c_uint32))
        raw.given_back = ctypes.addressof(self._table(pages, ctypes.c_uint64))
        raw.making_page = layout.NO_PAGE
        raw.page_regions = ctypes.addressof(self._table(pages, ctypes.c_uint64))
        self.breakpoints = self._table(MAX_BREAKPOINTS, ctypes.c_uint64)
        raw.breakpoints = ctypes.addressof(self.breakpoints)
        ctypes.memmove(
            self.code.address + Code.FIELDS["tables"][1], self.loaded.address(TABLES),
            ctypes.sizeof(Tables.CTYPE),
        )  # fmt: skip
        count = self.loaded.symbols[HANDLER_COUNT]
        offsets = (ctypes.c_uint32 * count).from_address(self.loaded.address(HANDLERS))
        for n, offset in enumerate(offsets):
            raw.handlers[n] = self.loaded.base + offset
        ctypes.memmove(
            self.code.address + Code.FIELDS["ends_block"][1], self.loaded.address(ENDS_BLOCK),
            count // 2,
        )  # fmt: skip
        for kind in ("decode", "page_end", "cross", "illegal", "break", "step_end", "onward"):
            setattr(raw, f"handler_{kind}", self.loaded.address(f"op.{kind}"))
        raw.handler_cross_end = self.loaded.address("op.page_end")

    def _wire(self) -> None:
        """Connect the harts to RAM, to each other and to the host."""
        addresses = self._table(len(self.harts), ctypes.c_uint64)
        clock = ctypes.CDLL(None).clock_gettime
        clock_address = ctypes.cast(clock, ctypes.c_void_p).value
        fields = EmuHart.FIELDS
        names = sorted(self.loaded.symbols)  # regions number them so
        functions = self._table(len(names), ctypes.c_uint64)
        functions[:] = [self.loaded.base + self.loaded.symbols[name] for name in names]
        calls = {
            "mmio_read": fields["mmio_read"][0].prototype()(self._read),
            "mmio_write": fields["mmio_write"][0].prototype()(self._write),
            "sbi_call": fields["sbi_call"][0].prototype()(self._sbi),
        }
        self._keep.append(calls)
        for n, (h, raw) in enumerate(zip(self.harts, self.raw, strict=True)):
            addresses[n] = h.address
            raw.harts = ctypes.addressof(addresses)
            raw.hart_count, raw.hart_id = len(self.harts), n
            raw.ram, raw.ram_base = self.config.ram_hva, self.config.ram_base
            raw.ram_size = self.config.ram_bytes
            raw.code = self.code.address
            raw.clock_gettime = clock_address
            raw.callable = ctypes.addressof(functions)
            for which, name in enumerate(CALLED):
                raw.calls[which] = self.loaded.address(name)
            for name, call in calls.items():
                setattr(raw, name, ctypes.cast(call, ctypes.c_void_p).value)
            self.loaded.function("tlb.reset_tlb", None, ctypes.c_uint64)(h.address)
            raw.epoch, raw.hazard = layout.PARKED, layout.NO_PAGE
            raw.icount = int(self.config.icount)

    # ---- what native code calls

    def _guarded(self, address: int, action: Callable[[int], Any]) -> Any:
        """Run a host call; an access fault goes to the guest, anything else to whoever runs us."""
        number = self._number[address]
        try:
            return action(number)
        except InnError:
            self.raw[number].mmio_fault = 1
        except BaseException as error:
            self._errors[number] = error
            self.raw[number].host_error = self.raw[number].mmio_fault = 1
        return 0

    def _read(self, address: int, gpa: int, size: int) -> int:
        value = self._guarded(address, lambda n: self.host.read(n, gpa, size))
        return int(value) & 0xFFFFFFFFFFFFFFFF

    def _write(self, address: int, gpa: int, value: int, size: int) -> None:
        self._guarded(address, lambda n: self.host.write(n, gpa, size, value))

    def _sbi(self, address: int) -> None:
        self._guarded(address, self.host.sbi)
        raw = self.raw[self._number[address]]
        raw.mmio_fault = 0
        if raw.host_error:  # back to the call, and out
            raw.host_error, raw.exit_reason = 0, Exit.REQUEST
            raw.pc -= ECALL_BYTES

    # ---- what the machine calls

    def reset_hart(self, number: int, *, stop: int = 0) -> None:
        """Put a hart into its reset state (Privileged 3.4): M-mode, no translation.

        `stop` is what `Hart.stop` is set to; a hart that is stopped and stays so may be reset
        while others run.
        """
        raw = self.raw[number]
        for n in range(33):
            raw.x[n] = 0
        for n in range(32):
            raw.f[n] = 0
        for name in (
            "pc", "mstatus", "medeleg", "mideleg", "mie", "mip", "mtvec", "mscratch", "mepc",
            "mcause", "mtval", "mcounteren", "menvcfg", "stvec", "sscratch", "sepc", "scause",
            "stval", "scounteren", "senvcfg", "satp", "irq_lines", "timer_lines", "fflags", "frm",
            "fp_ready", "wfi", "yielding", "sbi_enabled", "trap_pending", "exit_reason",
            "host_error", "vl", "vstart", "vxrm", "vxsat", "v_sew", "v_lmul", "v_whole",
        ):  # fmt: skip
            setattr(raw, name, 0)
        for n in range(len(raw.v)):
            raw.v[n] = 0
        raw.vtype = VILL
        for n in range(16):
            raw.pmpcfg[n] = raw.pmpaddr[n] = 0
        raw.priv, raw.pmp_count, raw.block_ended = st.PRIV_M, 16, 1
        raw.misa = 2 << 62 | sum(1 << (ord(c) - 65) for c in "ABCDFIMSUV")
        raw.stimecmp = raw.mtimecmp = (1 << 64) - 1
        raw.reservation = NO_RESERVATION
        raw.max_satp_mode = self.config.max_satp_mode
        raw.flush_request |= FLUSH_CODE | FLUSH_TLB
        raw.stop = stop

    def enter_supervisor(self, number: int) -> None:
        """Make a hart what SBI firmware leaves behind: S-mode, everything delegated."""
        raw = self.raw[number]
        raw.priv, raw.sbi_enabled = st.PRIV_S, 1
        raw.medeleg, raw.mideleg = st.DELEGABLE_EXCEPTIONS & ~(1 << 9), st.S_INTERRUPTS
        raw.mcounteren, raw.scounteren = 0xFFFFFFFF, 7
        raw.menvcfg = st.MENVCFG_WRITABLE & ~st.ENVCFG_ADUE  # Svade: what the device tree says
        raw.pmp_count = 0  # firmware would open all memory, and S-mode cannot tell

    def request_exit(self) -> None:
        """Ask `run` to come back soon; safe from any thread."""
        self.raw[0].exit_request = 1

    def run(self, limit: int = -1) -> Exit:
        """Run all harts until the host is needed; `limit` bounds the instructions of each.

        Without a limit and with `icount` they run by virtual time.

        What a host call raised, other than `InnError`, comes out here: the instruction that made
        the call has not happened, and may be tried again.
        """
        self.regions.start()
        if self.config.icount and limit < 0:
            reason = EXITS[self._run_counted(self._first)]
        else:
            reason = EXITS[self._run(self._first, limit)]
        for number in tuple(self._errors):
            raise self._errors.pop(number)
        return reason

    def run_alone(self, number: int) -> Exit:
        """Run one hart on this thread, beside the others on theirs, until the host is needed.

        It sleeps while it has nothing to do. `signals.halt` has it come back (`Exit.REQUEST`).
        Raises what its own host calls raised, as `run` does.
        """
        self.regions.start()
        reason = EXITS[self._run_alone(self.harts[number].address)]
        if number in self._errors:
            raise self._errors.pop(number)
        return reason

    def virtual_ns(self) -> int:
        """Return virtual time, in a host call that of the hart that makes it (`icount`)."""
        running = sum(raw.slice - raw.budget for raw in self.raw)
        return int(self.code.raw.virtual_ns) + running

    def skip_to(self, virtual_ns: int) -> None:
        """Let virtual time pass while every hart waits; it never goes back."""
        code = self.code.raw
        code.virtual_ns = max(code.virtual_ns, virtual_ns)

    @property
    def digest(self) -> int:
        """A digest of every hart's count, pc and registers at the end of each slice (`icount`)."""
        return int(self.code.raw.digest)

    def is_parked(self, number: int) -> bool:
        """Tell whether a hart is between slices: one that is stopped then stays where it is."""
        return bool(self.raw[number].epoch == layout.PARKED)

    def written(self, gpa: int, size: int) -> None:
        """Tell that a device or the host has written to RAM: cells made from it are dropped."""
        self._written(self.harts[0].address, gpa, size)

    def reset_code(self) -> None:
        """Forget all decoded code, as when breakpoints change."""
        self._reset_code(self.harts[0].address)

    @property
    def exit_hart(self) -> int:
        """The hart that was the reason why `run` came back."""
        return int(self.raw[0].exit_hart)

    def deliver_trap(self, number: int) -> None:
        """Let a hart take the trap that `run` stopped for (`Exit.TRAP`)."""
        self._deliver(self.harts[number].address)

    def redecode(self, va: int) -> None:
        """Forget what was decoded at this place of any page."""
        self._redecode(self.harts[0].address, va)

    def read_virtual(self, number: int, va: int, size: int) -> bytes | None:
        """Return memory through a hart's translation, `None` where not all of it is RAM."""
        return self.inspector.read(number, va, size)

    def write_virtual(self, number: int, va: int, data: bytes) -> bool:
        """Set memory through a hart's translation; False, and no change, if not all is RAM."""
        return self.inspector.write(number, va, data)

    def statistics(self) -> dict[str, int]:
        """Return what the harts have counted, summed (`statistics.statistics`)."""
        return statistics(self)

    def flush_tlb(self, number: int) -> None:
        """Forget a hart's translations."""
        self._flush(self.harts[number].address)
