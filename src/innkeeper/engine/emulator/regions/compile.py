"""From a hot place to a region's image: decode, explore, emit, compile. Runs beside the harts."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import Any

from innkeeper.base.record import record
from innkeeper.engine.emulator.hart import CELL_BYTES
from innkeeper.engine.emulator.regions.emit import RegionEmitter
from innkeeper.engine.emulator.regions.flow import (
    MAX_INSTRUCTIONS,
    PAGE,
    Flow,
    Guess,
    Insn,
    explore,
)
from innkeeper.engine.emulator.regions.layout import (
    MAX_RANGES,
    MAX_REGION_PAGES,
    REGION_MAGIC,
    Region,
)
from innkeeper.engine.emulator.regions.shapes import shapes_of
from innkeeper.engine.emulator.regions.templates import Templates
from innkeeper.isa.riscv.hart import Operands
from innkeeper.native.codegen import compile_ir
from innkeeper.native.elf import Image

MAX_DECODED = 1 << 14
"""How many different instructions are remembered decoded: a guest may have any number."""


@record
class CodePage:
    """A page of guest code: its number in RAM, its bytes, its cells, and what undecoded ones hold.

    `undecoded` is 0 where all code counts as reached. `stops` are the places of breakpoints, in
    whatever page.
    """

    number: int
    data: bytes
    cells: int
    undecoded: int
    stops: frozenset[int]
    regions: tuple[int, int]
    """Where regions' code begins and ends, in this process."""

    def handler(self, offset: int) -> int:
        """Return the handler of the cell at an offset."""
        return int(ctypes.c_uint64.from_address(self.cells + offset // 2 * CELL_BYTES).value)

    def is_entry(self, offset: int) -> bool:
        """Tell whether there is a region that is entered at an offset."""
        first, last = self.regions
        return first <= self.handler(offset) < last

    def was_reached(self, offset: int) -> bool:
        """Tell whether the instruction at an offset has ever been executed, and may be."""
        if offset in self.stops:
            return False
        return self.handler(offset) != self.undecoded


Pages = Callable[[int], CodePage | None]
"""Returns the page that lies so many pages after the first, if it is known."""
Decode = Callable[[Any, int, Any], int]


@record
class Wanted:
    """What kind of region to compile, and what is known besides the code.

    `guess` tells where computed jumps have gone, `shape` what vector registers had at the start.
    One that is `alone` ends where other regions begin.
    """

    guess: Guess
    shape: int
    level: int
    alone: bool


@record
class Compiled:
    """A finished image, to be put into the pool: its record still lacks addresses."""

    image: Image
    entry_at: tuple[int, ...]
    page_deltas: tuple[int, ...]
    ranges: tuple[tuple[int, int, bytes], ...]
    """Page number, first byte, and what the guest's code was."""
    instruction_count: int
    level: int
    partial: bool


class RegionCompiler:
    """Compiles regions from templates."""

    def __init__(self, decode: Decode, tables: Any, templates: Templates) -> None:
        self._decode, self._tables, self._templates = decode, tables, templates
        self._operands = lru_cache(maxsize=MAX_DECODED)(self._decode_bits)

    def compile(self, start: int, pages: Pages, wanted: Wanted) -> Compiled | None:
        """Compile the region around `start`, an offset in page 0; None where there is none."""
        known: dict[int, CodePage | None] = {}

        def page(delta: int) -> CodePage | None:
            if delta not in known:
                used = sum(1 for v in known.values() if v is not None)
                known[delta] = pages(delta) if used < MAX_REGION_PAGES else None
            return known[delta]

        def begins(at: int) -> bool:
            there = page(at // PAGE)
            return wanted.alone and there is not None and there.is_entry(at % PAGE)

        page(0)
        limit = MAX_INSTRUCTIONS[wanted.level]
        flow = explore(start, lambda at: self.fetch(at, page), wanted.guess, begins, limit)
        if flow is None:
            return None
        deltas = self.deltas(flow)
        emitter = RegionEmitter(flow, deltas, shapes_of(flow, start, wanted.shape))
        text = emitter.module()
        text += self._templates.declarations(text)
        image = compile_ir(text, opt=1, quick=True, name=f"region {start:#x}")
        data = {d: p.data for d, p in known.items() if p is not None}
        return Compiled(
            image, tuple(flow.entries), tuple(deltas), _ranges(flow, deltas, data),
            flow.instruction_count, wanted.level, flow.partial,
        )  # fmt: skip

    @staticmethod
    def deltas(flow: Flow) -> list[int]:
        """Return the pages that a region has code in, the first one first."""
        found = {0}
        for block in flow.blocks.values():
            for one in block.insns:
                found |= {one.at // PAGE, (one.after - 1) // PAGE}
        return [0, *sorted(found - {0})]

    def fetch(self, at: int, page: Pages) -> Insn | None:
        """Decode the instruction at an address; None if it is not to be had or is illegal.

        What was never executed is left out: it is likely to stay so, and tier 0 has it if not.
        """
        first = page(at // PAGE)
        offset = at % PAGE
        if first is None or not first.was_reached(offset):
            return None
        bits = int.from_bytes(first.data[offset : offset + 2], "little")
        if bits & 3 == 3:
            rest = first if offset + 2 < PAGE else page(at // PAGE + 1)
            if rest is None:
                return None
            high = (offset + 2) % PAGE
            bits |= int.from_bytes(rest.data[high : high + 2], "little") << 16
        return self.decoded(at, bits)

    def decoded(self, at: int, bits: int) -> Insn | None:
        """Decode bits."""
        known = self._operands(bits)
        return None if known is None else Insn(at, 4 if bits & 3 == 3 else 2, *known)

    def _decode_bits(self, bits: int) -> tuple[Any, ...] | None:
        """Return the template and the operands of an instruction; None if it is illegal."""
        operands = Operands()
        number = self._decode(self._tables, bits, operands.address)
        if number == 0:
            return None
        raw = operands.raw
        template = self._templates.of(number, raw.rs3)
        return template, raw.rd, raw.rs1, raw.rs2, raw.rs3, raw.imm


def _ranges(
    flow: Flow, deltas: list[int], data: dict[int, bytes]
) -> tuple[tuple[int, int, bytes], ...]:
    """Collect the bytes that a region depends on, as few runs as its record has room for."""
    spans: set[tuple[int, int, int]] = set()
    for block in flow.blocks.values():
        for one in block.insns:
            at = one.at
            while at < one.after:
                end = min(one.after, (at // PAGE + 1) * PAGE)
                spans.add((at // PAGE, at % PAGE, at % PAGE + end - at))
                at = end
    runs: list[list[int]] = []
    for delta, first, last in sorted(spans):
        if runs and runs[-1][0] == delta and first <= runs[-1][2]:
            runs[-1][2] = max(runs[-1][2], last)
        else:
            runs.append([delta, first, last])
    while len(runs) > MAX_RANGES:
        gaps = [(b[1] - a[2], n) for n, (a, b) in enumerate(pairwise(runs)) if a[0] == b[0]]
        _, n = min(gaps)
        runs[n][2] = runs[n + 1][2]
        del runs[n + 1]
    number = {delta: n for n, delta in enumerate(deltas)}
    return tuple((number[d], first, data[d][first:last]) for d, first, last in runs)


def pristine_image(made: Compiled) -> tuple[bytes, int]:
    """Return an image whose record says all that does not depend on where it is; and its offset."""
    data = bytearray(made.image.data)
    at = made.image.symbols["record"]
    places = []
    for _, _, code in made.ranges:
        places.append(len(data))
        data += code
    data += bytes(-len(data) % 64)
    region = Region.CTYPE.from_buffer(data, at)
    region.magic = REGION_MAGIC
    region.entry_count, region.page_count = len(made.entry_at), len(made.page_deltas)
    region.level, region.partial = made.level, int(made.partial)
    region.range_count, region.image_bytes = len(made.ranges), len(data)
    for n, delta in enumerate(made.page_deltas):
        region.page_delta[n] = delta & 0xFFFFFFFFFFFFFFFF
    for n, entry in enumerate(made.entry_at):
        region.entry_at[n] = entry
        region.entry_code[n] = made.image.symbols[f"entry.{n}"]
    for n, ((page, first, code), place) in enumerate(zip(made.ranges, places, strict=True)):
        one = region.ranges[n]
        one.page, one.first, one.size, one.at = page, first, len(code), place
    del region
    return bytes(data), at
