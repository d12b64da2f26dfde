"""A bare machine for tests: a hart, some RAM, and the instructions' own functions in CPython."""

from __future__ import annotations

import ctypes
from typing import Any

from innkeeper.isa.riscv import status
from innkeeper.isa.riscv.codec import standard_set
from innkeeper.isa.riscv.fp_common import fp_update_ready
from innkeeper.isa.riscv.hart import SINK, Hart, Operands
from innkeeper.native.types import Ptr, u8, u64


class Bare:
    """One hart in M-mode with RAM at `base`; `step` runs one instruction of the reference."""

    def __init__(self, *, base: int = 0x8000_0000, size: int = 1 << 20) -> None:
        self.base, self.size = base, size
        self.memory = ctypes.create_string_buffer(size)
        self.hart = Hart()
        h = self.hart
        h.ram_base, h.ram_size = u64(base), u64(size)
        h.ram = Ptr[u8](ctypes.addressof(self.memory))
        h.priv = status.PRIV_M
        h.mstatus = u64(status.FS)
        fp_update_ready(h)
        h.pc = u64(base)

    def write(self, address: int, data: bytes) -> None:
        """Put bytes into RAM."""
        offset = address - self.base
        assert 0 <= offset and offset + len(data) <= self.size
        self.memory[offset : offset + len(data)] = data

    def read(self, address: int, size: int) -> bytes:
        """Return bytes of RAM."""
        offset = address - self.base
        return bytes(self.memory[offset : offset + size])

    def execute(self, bits: int) -> None:
        """Execute one instruction at the current pc; its trap propagates."""
        h = self.hart
        found = standard_set().decode(bits)
        assert found is not None, f"illegal instruction {bits:#x}"
        instruction, values = found
        if values.get("rd") == 0 and instruction.writes_x:
            values["rd"] = SINK
        h.npc = u64(int(h.pc) + instruction.length)
        instruction.meaning(h, Operands(**values))
        h.pc = h.npc

    def step(self) -> None:
        """Fetch and execute one instruction."""
        self.execute(int.from_bytes(self.read(int(self.hart.pc), 4), "little"))

    def run(self, end: int, *, limit: int = 100_000) -> int:
        """Run until the pc is `end`; return the number of instructions."""
        count = 0
        while self.hart.pc != end:
            self.step()
            count += 1
            assert count < limit, "the program does not end"
        return count

    def set_state(self, x: Any, f: Any) -> None:
        """Give the registers values."""
        for n, value in enumerate(x):
            self.hart.x[n] = u64(value)
        for n, value in enumerate(f):
            self.hart.f[n] = u64(value)
