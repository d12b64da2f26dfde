"""Random programs over many pages of two address spaces, against the reference.

They load and store all over the TLB's places, switch spaces and what S may see, and change PTEs; each
change is followed by a fence that suffices for it, chosen from those that do.
"""

from __future__ import annotations

import random

import pytest

from tests.engine.harness import RAM_BASE
from tests.engine.paging import AD, PAGE, RWX, A, G, PageTables, R, U, W, X
from tests.engine.spaces import (
    ADUE,
    ASID_SHIFT,
    CONFLICT,
    DATA,
    POOL,
    REGION,
    SECOND_CONFLICT,
    VA,
    Space,
    leaf,
)

CODE_PAGES = 16
POOL_PAGES = 60
DATA_PAGES = 64
STEPS = 150
SUM, MXR = 1 << 18, 1 << 19
SUPERPAGE = 0x4000_0000
PRIVATE = (R | AD, R | W | AD, RWX | AD, X | AD, R | W | U | AD, R | U | AD, R | W, R | W | A, 0)
SHARED = tuple(flags | G for flags in (R | AD, R | W | AD, RWX | AD, R | W, R | W | U | AD))
SKIP = """
_start:
    la t0, trap
    csrw mtvec, t0
    la t0, body
    csrw mepc, t0
    mret
.align 2
trap:
    csrr t0, mcause
    li t1, 9
    beq t0, t1, done
    slli t2, s9, 5
    sub s9, t2, s9
    add s9, s9, t0
    csrr t0, mtval
    xor s10, s10, t0
    csrr t0, mepc
    addi t0, t0, 4
    csrw mepc, t0
    mret
done: nop
.align 12
"""


def addresses(mode: int) -> list[int]:
    """Return pages that meet in both levels, and some in the upper half."""
    top = (1 << 64) - (1 << 38 if mode == 8 else 1 << 46)
    regions = (VA, VA + CONFLICT, VA + 2 * CONFLICT, VA + SECOND_CONFLICT, top, top + REGION)
    return [region + page * PAGE for region in regions for page in (0, 1, 7, 500)]


class Writer:
    """Writes one program, keeping what its page tables hold at that point."""

    def __init__(self, seed: int, mode: int) -> None:
        self.random = random.Random(seed)
        self.mode = mode
        self.pages = addresses(mode)
        self.shared = set(self.pages[2::4])
        self.lines: list[str] = []
        self.current = 0
        self.bases = (POOL, POOL + POOL_PAGES * PAGE)
        self.start: list[tuple[int, int, int]] = []
        """Space, address and PTE of every page at the beginning."""
        for va in self.pages:
            pte = self.pte(va)
            self.start += [(n, va, pte if va in self.shared else self.pte(va)) for n in (0, 1)]

    def pte(self, va: int) -> int:
        flags = self.random.choice(SHARED if va in self.shared else PRIVATE)
        return leaf(DATA + self.random.randrange(DATA_PAGES) * PAGE, flags) if flags else 0

    def emit(self, *lines: str) -> None:
        self.lines += lines

    def access(self) -> None:
        size, letter = self.random.choice(((1, "b"), (2, "h"), (4, "w"), (8, "d")))
        offset = self.random.randrange(0, 256)
        if self.random.random() < 0.7:
            offset &= -size
        va = self.random.choice((*self.pages, SUPERPAGE + DATA - RAM_BASE, SUPERPAGE + 0x11_8000))
        self.emit(f"li a1, {va}", "li a2, 0")
        if self.random.random() < 0.5:
            self.emit(f"l{letter} a2, {offset}(a1)", "xor s8, s8, a2", "slli s8, s8, 1")
        else:
            self.emit("addi s8, s8, 77", f"s{letter} s8, {offset}(a1)")

    def switch(self) -> None:
        self.current ^= 1
        self.emit(f"csrw satp, s{1 + self.current}")

    def status(self) -> None:
        bit = self.random.choice((SUM, MXR))
        self.emit(f"li a1, {bit}", f"csr{self.random.choice('sc')} sstatus, a1")

    def change(self) -> None:
        """Change a page in one space, or a shared one in both."""
        va = self.random.choice(self.pages)
        pte = self.pte(va)
        spaces = (0, 1) if va in self.shared else (self.random.randrange(2),)
        for n in spaces:
            self.emit(f"li a3, {pte}", f"li a4, {self.slots[n, va]}", "sd a3, 0(a4)")
        self.fence(va, spaces)

    def change_superpage(self) -> None:
        n = self.random.randrange(2)
        flags = self.random.choice((R | AD, R | W | AD, R, 0))
        pte = leaf(RAM_BASE, flags) if flags else 0
        self.emit(f"li a3, {pte}", f"li a4, {self.slots[n, SUPERPAGE]}", "sd a3, 0(a4)")
        self.fence(SUPERPAGE + self.random.randrange(512) * PAGE, (n,))

    def fence(self, va: int, spaces: tuple[int, ...]) -> None:
        forms = ["sfence.vma", "sfence.vma a1"]
        if len(spaces) == 1:
            forms += ["sfence.vma x0, a2", "sfence.vma a1, a2"]
        self.emit(f"li a1, {va}", f"li a2, {1 + spaces[0]}", self.random.choice(forms))

    def space(self) -> Space:
        """Return the program; tables are laid out twice, for a program is made of addresses."""
        self.slots: dict[tuple[int, int], int] = {}
        lay_out(self, bytearray(2 << 20))
        satp = [self.mode << 60 | 1 + n << ASID_SHIFT | self.bases[n] >> 12 for n in (0, 1)]
        self.emit(f"li s1, {satp[0]}", f"li s2, {satp[1]}")
        acts = (self.access, self.switch, self.status, self.change, self.change_superpage)
        for _ in range(STEPS):
            self.random.choices(acts, (12, 2, 1, 3, 1))[0]()
        made = Space("\n".join(self.lines), mode=self.mode, machine=SKIP, pages=CODE_PAGES)
        for n in range(DATA_PAGES):
            made.put(DATA + n * PAGE, bytes((n * 5 + k) & 255 for k in range(264)))
        lay_out(self, made.image)
        made.fields |= {"satp": satp[0], "menvcfg": ADUE}
        return made


def lay_out(writer: Writer, image: bytearray) -> None:
    """Write the tables of both spaces: code, tables, the superpage, and the pages."""
    first, size = POOL - RAM_BASE, 2 * POOL_PAGES * PAGE
    image[first : first + size] = bytes(size)
    for n, base in enumerate(writer.bases):
        tables = PageTables(image, RAM_BASE, base, mode=writer.mode)
        for page in range(CODE_PAGES):
            where = RAM_BASE + (page + 1) * PAGE
            tables.map(where, where, RWX | AD)
        for page in range(2 * POOL_PAGES):
            tables.map(POOL + page * PAGE, POOL + page * PAGE, R | W | AD)
        writer.slots[n, SUPERPAGE] = tables.map(SUPERPAGE, RAM_BASE, R | AD, level=1)
        for space, va, pte in writer.start:
            if space == n:
                writer.slots[n, va] = tables.slot(va)
                tables.write(writer.slots[n, va], pte)
        assert tables.next <= base + POOL_PAGES * PAGE


@pytest.mark.parametrize("mode", [8, 9, 10])
@pytest.mark.parametrize("seed", range(6))
def test_random_programs(seed: int, mode: int) -> None:
    end = Writer(seed, mode).space().run()
    assert end.mcause == 9 and end.x(25) != 0  # it came to its end, and some accesses had trapped
    assert end.x(24) != 0
