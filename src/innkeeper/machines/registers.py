"""A standing hart's registers from outside: by GDB's numbers, and by name.

CSRs go through the reference's own reading and writing (fields keep only legal values), without
the privilege check and without telling the guest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from innkeeper.isa.riscv import csr
from innkeeper.isa.riscv import status as st
from innkeeper.isa.riscv.csr_names import CSR_COUNT, CSR_NUMBERS
from innkeeper.isa.riscv.fp_common import fp_update_ready
from innkeeper.isa.riscv.hart import VLEN
from innkeeper.isa.riscv.names import F_NUMBERS, V_NUMBERS, X_NUMBERS
from innkeeper.isa.riscv.ops import Trap
from innkeeper.isa.riscv.sbi import FLUSH_TLB
from innkeeper.native.types import u32, u64

if TYPE_CHECKING:
    from innkeeper.engine.emulator.emulator import Emulator

MASK64 = (1 << 64) - 1
PC, FIRST_FLOAT, FIRST_CSR = 32, 33, 65
PRIV = FIRST_CSR + CSR_COUNT
FIRST_VECTOR = PRIV + 1
VECTORS, VECTOR_WORDS = 32, VLEN // 64
SUPERVISOR_END = 0x200
"""CSR numbers below are the unprivileged and supervisor ones of `csr.read_supervisor`."""

REGISTER_NUMBERS: dict[str, int] = {
    **{name: FIRST_CSR + n for name, n in CSR_NUMBERS.items()},
    **{name: FIRST_FLOAT + n for name, n in F_NUMBERS.items()},
    **{name: FIRST_VECTOR + n for name, n in V_NUMBERS.items()},
    **X_NUMBERS,
    "pc": PC,
    "priv": PRIV,
}
"""GDB's number of every register: x and f by either name, `pc`, `priv`, CSRs, v."""


class HartRegisters:
    """One hart's registers. Use it only while the hart stands still."""

    def __init__(self, emulator: Emulator, number: int) -> None:
        self._hart = emulator.harts[number]
        self._raw = emulator.raw[number]

    def read(self, number: int) -> int | None:
        """Return a register by its GDB number, `None` if there is no such one."""
        raw = self._raw
        if 0 <= number < PC:
            return int(raw.x[number])
        if number == PC:
            return int(raw.pc)
        if FIRST_FLOAT <= number < FIRST_CSR:
            return int(raw.f[number - FIRST_FLOAT])
        if number == PRIV:
            return int(raw.priv)
        if FIRST_VECTOR <= number < FIRST_VECTOR + VECTORS:
            first = (number - FIRST_VECTOR) * VECTOR_WORDS
            return sum(int(raw.v[first + n]) << 64 * n for n in range(VECTOR_WORDS))
        return self._read_csr(number - FIRST_CSR)

    def write(self, number: int, value: int) -> bool:
        """Set a register by its GDB number; False if it cannot be. x0 stays what it is."""
        if FIRST_VECTOR <= number < FIRST_VECTOR + VECTORS:
            first = (number - FIRST_VECTOR) * VECTOR_WORDS
            for n in range(VECTOR_WORDS):
                self._raw.v[first + n] = value >> 64 * n & MASK64
            return True
        raw, value = self._raw, value & MASK64
        if 0 < number < PC:
            raw.x[number] = value
        elif number == PC:
            raw.pc, raw.wfi, raw.block_ended = value & ~1, 0, 1
        elif FIRST_FLOAT <= number < FIRST_CSR:
            raw.f[number - FIRST_FLOAT] = value
        elif number == PRIV:
            if value not in (st.PRIV_U, st.PRIV_S, st.PRIV_M):
                return False
            raw.priv = value
        elif number != 0:
            return self._write_csr(number - FIRST_CSR, value)
        return True

    def _read_csr(self, number: int) -> int | None:
        if not 0 <= number < CSR_COUNT:
            return None
        try:
            if csr.CYCLE <= number < csr.CYCLE + 32:
                return int(csr.read_counter(self._hart, u32(number - csr.CYCLE)))
            if number < SUPERVISOR_END:
                return int(csr.read_supervisor(self._hart, u32(number)))
            return int(csr.read_machine(self._hart, u32(number)))
        except Trap:
            return None

    def _write_csr(self, number: int, value: int) -> bool:
        if self._read_csr(number) is None or number >> 10 == 3:  # absent, or read-only (2.1)
            return False
        if number in (csr.MCYCLE, csr.MINSTRET):
            value += 1  # no instruction does this write, so none is counted after it
        csr.csr_write(self._hart, u32(number), u64(value))
        self._raw.flush_request |= FLUSH_TLB
        return True

    def enable_units(self) -> None:
        """Turn floating point and vectors on (mstatus.FS, VS), as an OS does for its programs."""
        self._raw.mstatus |= st.FS | st.VS
        fp_update_ready(self._hart)
