"""What the compiler reads of the guest: its code around a hot place, and where its jumps go."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from innkeeper.base.units import MIB
from innkeeper.engine.emulator import hart as layout
from innkeeper.engine.emulator.regions.compile import CodePage, Pages
from innkeeper.engine.emulator.regions.flow import PAGE, Guess

if TYPE_CHECKING:
    from innkeeper.engine.emulator.emulator import Emulator
    from innkeeper.engine.emulator.regions.service import Found

U64 = 0xFFFFFFFFFFFFFFFF
MAX_GUESSES = 4
"""How many targets of one computed jump become part of a region."""
FAR = 128 * MIB
"""What lies farther away will not be at the same distance in the next run."""


def page_reader(emulator: Emulator, found: Found, *, all_reached: bool) -> Pages:
    """Return a reader of the pages around a place, as the hart that met it has them mapped."""
    ram, size = emulator.config.ram_hva, emulator.config.ram_bytes
    code, traffic = emulator.code.raw, emulator.regions.traffic.raw
    codes = emulator.raw[found.hart].banks[found.bank].code
    ram_pages = (ctypes.c_uint32 * code.pool_pages).from_address(code.cell_page_ram)
    count = code.breakpoint_count
    stops = frozenset(va & (PAGE - 1) for va in emulator.breakpoints[:count])
    limits = traffic.rx_first, traffic.rx_last
    undecoded = 0 if all_reached else code.handler_decode

    def read(delta: int) -> CodePage | None:
        page = found.place // PAGE
        if delta != 0:
            wanted = ((found.va & -PAGE) + delta * PAGE) & U64
            entry = codes[(wanted >> 12) & (layout.CODE_ENTRIES - 1)]
            if entry.tag != wanted:
                return None
            number = (entry.cells - code.pool) // (layout.CELL_PAGE_CELLS * 16)
            if not 0 <= number < code.used_pages:
                return None
            page = ram_pages[number]
        if (page + 1) * PAGE > size:
            return None
        number = emulator.page_cells[page]
        if number == 0:
            return None
        cells = code.pool + (number - 1) * layout.CELL_PAGE_CELLS * 16
        data = ctypes.string_at(ram + page * PAGE, PAGE)
        return CodePage(page, data, cells, undecoded, stops, limits)

    return read


def guesses(emulator: Emulator, found: Found) -> Guess:
    """Return what tells where computed jumps have gone, relative to the place's page."""
    hart, base = ctypes.addressof(emulator.raw[found.hart]), found.va & -PAGE
    u64 = ctypes.c_uint64
    way = emulator.loaded.function("ways.way", u64, u64, u64, ctypes.c_uint32)

    def guess(at: int) -> list[int]:
        there = []
        for rank in range(MAX_GUESSES):
            target = way(hart, (base + at) & U64, rank)
            distance = (target - base + FAR) & U64
            if target == 0:
                break
            if distance < 2 * FAR:
                there.append(distance - FAR)
        return there

    return guess
