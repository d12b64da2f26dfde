"""Programs in one address space, or in two."""

from __future__ import annotations

from typing import Any

from innkeeper.engine.emulator.hart import DATA_ENTRIES, WALK_ENTRIES
from tests.engine.harness import FS_DIRTY, RAM_BASE, RAM_BYTES, State, both, program
from tests.engine.paging import AD, PAGE, RWX, PageTables, R, U, V, W

POOL = RAM_BASE + 0x18_0000
DATA = RAM_BASE + 0x10_0000
VA = 0x2000_0000
OTHER_POOL = POOL + 0x2_0000
TABLES = 0x3000_5000
"""Where programs see the tables that they change: not where VA is in the TLB."""
ADUE = 1 << 61
ASID_SHIFT = 44
REGION = PAGE << 9
ONES, TWOS = 0x0101010101010101, 0x0202020202020202
CONFLICT = DATA_ENTRIES * PAGE
"""The distance of pages that share a place in the first level."""
SECOND_CONFLICT = WALK_ENTRIES * REGION
"""The distance of regions that share a place in the second level."""
MACHINE = """
_start:
    la t0, trap
    csrw mtvec, t0
    la t0, body
    csrw mepc, t0
    li s0, 0x20000000
    mret
.align 2
trap: j done
done: nop
.align 12
"""


class Space:
    """A program whose `body` runs in S or U with its own pages identity-mapped."""

    def __init__(
        self, body: str, *, mode: int = 8, priv: int = 1, machine: str = MACHINE, pages: int = 3
    ) -> None:
        self.made = program(f"{machine}\nbody:\n{body}\necall\n")
        assert len(self.made.image) <= (pages + 1) * PAGE
        self.image = bytearray(RAM_BYTES)
        self.image[: len(self.made.image)] = self.made.image
        self.tables = PageTables(self.image, RAM_BASE, POOL, mode=mode)
        self.fields = {"satp": self.tables.satp, "mstatus": FS_DIRTY | priv << 11, "fp_ready": 1}
        for page in range(RAM_BASE + PAGE, RAM_BASE + (pages + 1) * PAGE, PAGE):
            self.tables.map(page, page, RWX | AD | (U if priv == 0 else 0))

    def map(self, va: int, pa: int, flags: int, *, level: int = 0) -> int:
        return self.tables.map(va, pa, flags, level=level)

    def put(self, gpa: int, data: bytes) -> None:
        self.image[gpa - RAM_BASE : gpa - RAM_BASE + len(data)] = data

    def run(self, **fields: Any) -> State:
        def setup(raw: Any) -> None:
            for name, value in (self.fields | fields).items():
                setattr(raw, name, value)

        ends = (self.made.symbols["done"],)
        return both(bytes(self.image), self.made.entry, ends, setup)


def leaf(pa: int, flags: int) -> int:
    return pa >> 12 << 10 | flags | V


class Two:
    """Two address spaces, 1 and 2, with the program, and the tables of both, in each."""

    def __init__(self, body: str, *, mode: int = 8) -> None:
        satp = [mode << 60 | asid << ASID_SHIFT | pool >> 12
                for asid, pool in ((1, POOL), (2, OTHER_POOL))]  # fmt: skip
        source = f"li s1, {satp[0]}\nli s2, {satp[1]}\nli s3, 1\nli s4, 2\n{body}"
        self.space = Space(source, mode=mode)
        self.other = PageTables(self.space.image, RAM_BASE, OTHER_POOL, mode=mode)
        self.both = (self.space.tables, self.other)
        for page in range(RAM_BASE + PAGE, RAM_BASE + 4 * PAGE, PAGE):
            self.other.map(page, page, RWX | AD)
        self.space.fields["satp"] = satp[0]
        for n in range(3):
            self.space.put(DATA + n * PAGE, bytes([n + 1]) * PAGE)

    def show_tables(self, va: int = VA, *, level: int = 0) -> None:
        """Map the last tables for `va` of both spaces in both, at TABLES and behind it."""
        slots = [tables.slot(va, level) for tables in self.both]
        for tables in self.both:
            for n, slot in enumerate(slots):
                tables.map(TABLES + n * PAGE, slot & -PAGE, R | W | AD)


def at(va: int, n: int = 0, level: int = 0) -> int:
    """Return where a program sees the PTE for `va` in space `n`."""
    return TABLES + n * PAGE + (va >> (12 + 9 * level) & 511) * 8


FENCES = ("sfence.vma", "sfence.vma s0", "sfence.vma x0, s3", "sfence.vma s0, s3",
          "sfence.vma x0, s5", "sfence.vma s0, s5")  # fmt: skip
"""Every form; s3 is the current ASID, s5 the same with bits that are to be ignored."""
