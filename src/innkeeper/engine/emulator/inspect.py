"""Looking at a standing guest's memory from the host, and changing it, without its noticing.

Translation here reads page tables only: no accessed or dirty bit changes, no permission is asked,
no trap is raised (Privileged 4.3.2 without its steps 5 to 9).
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import TYPE_CHECKING

from innkeeper.base.units import PAGE_BYTES
from innkeeper.isa.riscv import status as st
from innkeeper.isa.riscv.mmu import NAPOT_64K, PTE_N, PTE_R, PTE_RESERVED, PTE_V, PTE_W, PTE_X

if TYPE_CHECKING:
    from innkeeper.engine.emulator.emulator import Emulator

ADDRESS_SPACE = 1 << 64
MODES = {st.SATP_SV39: 3, st.SATP_SV48: 4, st.SATP_SV57: 5}


class Inspector:
    """Guest memory by physical address, or through the translation a hart uses now."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        config = emulator.config
        self._base, self._size, self._hva = config.ram_base, config.ram_bytes, config.ram_hva

    def read_physical(self, gpa: int, size: int) -> bytes | None:
        """Return RAM, `None` where not all of it is RAM."""
        offset = gpa - self._base
        if offset < 0 or size < 0 or offset + size > self._size:
            return None
        return ctypes.string_at(self._hva + offset, size)

    def write_physical(self, gpa: int, data: bytes) -> bool:
        """Set RAM, decoded code included; False, and no change, where not all of it is RAM."""
        offset = gpa - self._base
        if offset < 0 or offset + len(data) > self._size:
            return False
        ctypes.memmove(self._hva + offset, data, len(data))
        self._emulator.written(gpa, len(data))
        return True

    def translate(self, hart: int, va: int) -> int | None:
        """Return the physical address of `va`, `None` if it is not mapped."""
        raw = self._emulator.raw[hart]
        levels = MODES.get(raw.satp >> st.SATP_MODE_SHIFT)
        if raw.priv == st.PRIV_M or levels is None:
            return va
        bits = 12 + 9 * levels
        top = va >> (bits - 1)
        if top not in (0, (1 << (65 - bits)) - 1):
            return None
        table = (raw.satp & st.SATP_PPN) << 12
        for level in reversed(range(levels)):
            slot = self.read_physical(table + ((va >> (12 + 9 * level)) & 0x1FF) * 8, 8)
            if slot is None:
                return None
            pte = int.from_bytes(slot, "little")
            if not pte & PTE_V or pte & (PTE_R | PTE_W) == PTE_W or pte & PTE_RESERVED:
                return None
            table = (pte >> 10 & st.SATP_PPN) << 12
            if pte & (PTE_R | PTE_X):
                within = (1 << (12 + 9 * level)) - 1
                if pte & PTE_N:
                    table, within = table ^ NAPOT_64K << 12, (1 << 16) - 1
                return None if table & within else table | (va & within)
        return None

    def _pieces(self, hart: int, va: int, size: int) -> Iterator[tuple[int | None, int]]:
        """Yield the physical address and length of each page's part of a virtual range."""
        while size > 0:
            va %= ADDRESS_SPACE
            count = min(size, PAGE_BYTES - va % PAGE_BYTES)
            yield self.translate(hart, va), count
            va, size = va + count, size - count

    def read_part(self, hart: int, va: int, size: int) -> bytes:
        """Return as much of the beginning of a virtual range as is mapped to RAM."""
        out = bytearray()
        for gpa, count in self._pieces(hart, va, size):
            data = None if gpa is None else self.read_physical(gpa, count)
            if data is None:
                break
            out += data
        return bytes(out)

    def read(self, hart: int, va: int, size: int) -> bytes | None:
        """Return a virtual range, `None` where not all of it is mapped to RAM."""
        data = self.read_part(hart, va, size)
        return data if len(data) == size else None

    def write(self, hart: int, va: int, data: bytes) -> bool:
        """Set a virtual range; False, and no change, where not all of it is mapped to RAM."""
        pieces = []
        for gpa, count in self._pieces(hart, va, len(data)):
            if gpa is None or self.read_physical(gpa, count) is None:
                return False
            pieces.append((gpa, count))
        at = 0
        for gpa, count in pieces:
            self.write_physical(gpa, data[at : at + count])
            at += count
        return True
