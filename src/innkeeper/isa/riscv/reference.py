"""The CPython reference: one hart, one instruction at a time, by the meaning functions themselves.

Nothing is cached but decoding, nothing is translated: what this does is what the descriptions
say. It is the oracle that the engines are compared with, and far too slow for anything else.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache

from innkeeper.base.errors import InnError
from innkeeper.isa.riscv import status as st
from innkeeper.isa.riscv.access import fetch_bits
from innkeeper.isa.riscv.causes import ILLEGAL_INSTRUCTION
from innkeeper.isa.riscv.csr import update_timers
from innkeeper.isa.riscv.decode import ILLEGAL, Tables, decode
from innkeeper.isa.riscv.decode_tables import build_tables
from innkeeper.isa.riscv.hart import NO_RESERVATION, VILL, Hart, Operands
from innkeeper.isa.riscv.ops import Trap
from innkeeper.isa.riscv.profiles import instructions
from innkeeper.isa.riscv.spec import Instruction
from innkeeper.isa.riscv.trap import enter_trap, interrupt_to_take, pending
from innkeeper.native.types import u32, u64

PMP_ENTRIES = 16
EXTENSION_LETTERS = "ABCDFIMSUV"
MXL_64 = 2 << 62
NEVER = (1 << 64) - 1


@dataclass(frozen=True)
class Devices:
    """What lies outside RAM: `read(gpa, size)` and `write(gpa, size, value)`.

    Either may raise `InnError` for an access fault. `sbi` answers a call in the registers.
    """

    read: Callable[[int, int], int]
    write: Callable[[int, int, int], None]
    sbi: Callable[[], None] = lambda: None


def _no_read(gpa: int, size: int) -> int:
    raise InnError(f"there is nothing at {gpa:#x}")


def _no_write(gpa: int, size: int, value: int) -> None:
    raise InnError(f"there is nothing at {gpa:#x}")


NO_DEVICES = Devices(_no_read, _no_write)


@cache
def _tables() -> Tables:
    return build_tables(instructions())


@lru_cache(maxsize=1 << 16)
def _decode(bits: int) -> tuple[Instruction, Operands] | None:
    """Decode by the tables that the engine's decoder uses; None for an illegal instruction."""
    operands = Operands()
    number = int(decode(_tables(), u32(bits), operands))
    return None if number == ILLEGAL else (instructions()[number - 1], operands)


class ReferenceHart:
    """One hart over a RAM buffer; `h` is its state, as an engine's hart is.

    Time is the number of retired instructions (`Hart.clock_gettime` stays null), so that a run
    depends on nothing but its initial state.
    """

    def __init__(
        self,
        ram_base: int,
        ram: bytearray | memoryview,
        *,
        devices: Devices = NO_DEVICES,
        max_satp_mode: int = st.SATP_SV57,
    ) -> None:
        self.h, self.devices, self.max_satp_mode = Hart(), devices, max_satp_mode
        self._ram = (ctypes.c_char * len(ram)).from_buffer(ram)
        self._error: BaseException | None = None
        self._wire(ram_base, len(ram))
        self.reset()

    def _wire(self, ram_base: int, ram_bytes: int) -> None:
        """Connect the hart to RAM, to itself as the only hart, and to the devices."""
        h, fields = self.h, Hart.FIELDS
        h.ram_base, h.ram_size = ram_base, ram_bytes
        h.raw.ram = ctypes.addressof(self._ram)
        self._harts = (ctypes.c_uint64 * 1)(h.address)
        h.raw.harts, h.hart_count = ctypes.addressof(self._harts), 1
        self._calls = {
            "mmio_read": fields["mmio_read"][0].prototype()(self._read),
            "mmio_write": fields["mmio_write"][0].prototype()(self._write),
            "sbi_call": fields["sbi_call"][0].prototype()(self._sbi),
        }
        for name, call in self._calls.items():
            setattr(h, name, ctypes.cast(call, ctypes.c_void_p).value)

    def reset(self) -> None:
        """Put the hart into its reset state (Privileged 3.4): M-mode, no translation."""
        h, size = self.h, ctypes.sizeof(Hart.CTYPE)
        kept = {n: getattr(h.raw, n) for n in ("ram_base", "ram_size", "ram", "harts")}
        kept |= {n: getattr(h.raw, n) for n in self._calls}
        ctypes.memset(h.address, 0, size)
        for name, value in kept.items():
            setattr(h.raw, name, value)
        h.hart_count, h.priv, h.pmp_count = 1, st.PRIV_M, PMP_ENTRIES
        h.misa = MXL_64 | sum(1 << (ord(c) - ord("A")) for c in EXTENSION_LETTERS)
        h.stimecmp = h.mtimecmp = NEVER
        h.vtype = VILL
        h.reservation, h.max_satp_mode = NO_RESERVATION, self.max_satp_mode

    # ---- what the hart asks of the host

    def _guarded(self, action: Callable[[], int | None]) -> int:
        """Run a host call; `InnError` is an access fault, anything else ends `step`."""
        try:
            return (action() or 0) & NEVER
        except InnError:
            self.h.mmio_fault = 1
        except BaseException as error:
            self._error = error
            self.h.mmio_fault = 1
        return 0

    def _read(self, _hart: int, gpa: int, size: int) -> int:
        return self._guarded(lambda: self.devices.read(gpa, size))

    def _write(self, _hart: int, gpa: int, value: int, size: int) -> None:
        self._guarded(lambda: self.devices.write(gpa, size, value))

    def _sbi(self, _hart: int) -> None:
        self._guarded(self.devices.sbi)
        self.h.mmio_fault = 0

    # ---- running

    def step(self) -> bool:
        """Take an interrupt if there is one, then execute one instruction or enter its trap.

        Returns False, and does nothing, while the hart waits (WFI, or stopped).
        """
        h = self.h
        update_timers(h)
        if h.stop != 0 or (h.wfi != 0 and (pending(h) & h.mie) == 0):
            return False
        h.wfi = 0
        cause = interrupt_to_take(h)
        if cause != 0:
            enter_trap(h, cause, u64(0), h.pc)
        self._execute()
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return True

    def run(self, count: int, *, until: int | None = None) -> int:
        """Step up to `count` times, until the pc is `until` or the hart waits; return how often."""
        for done in range(count):
            if (until is not None and self.h.pc == until) or not self.step():
                return done
        return count

    def _execute(self) -> None:
        """Execute the instruction at the pc."""
        h, bits = self.h, u32(0)
        pc = h.pc
        try:
            bits = fetch_bits(h, pc)
            found = _decode(int(bits))
            if found is None:
                raise Trap(ILLEGAL_INSTRUCTION, 0)
            instruction, operands = found
            h.npc = pc + instruction.length
            instruction.meaning(h, operands)
        except Trap as trap:
            illegal = trap.cause == ILLEGAL_INSTRUCTION and trap.tval == 0
            enter_trap(h, u64(trap.cause), u64(bits) if illegal else u64(trap.tval), pc)
            return
        h.pc = h.npc
        h.instret = h.instret + 1
