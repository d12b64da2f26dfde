"""Page tables for tests: written straight into an image, in any of the three schemes."""

from __future__ import annotations

V, R, W, X, U, G, A, D = (1 << n for n in range(8))
AD = A | D
RWX = R | W | X
LEVELS = {8: 3, 9: 4, 10: 5}
PAGE = 4096


class PageTables:
    """Tables in `image`, which lies at `base`; pages for them are taken from `pool` upwards."""

    def __init__(self, image: bytearray, base: int, pool: int, *, mode: int = 8) -> None:
        self.image, self.base, self.mode = image, base, mode
        self.next = pool
        self.root = self._page()

    def _page(self) -> int:
        page, self.next = self.next, self.next + PAGE
        assert page + PAGE - self.base <= len(self.image)
        return page

    @property
    def satp(self) -> int:
        return self.mode << 60 | self.root >> 12

    def slot(self, va: int, level: int = 0) -> int:
        """Return the address of the PTE for `va` at `level`, making the tables above it."""
        table = self.root
        for at in range(LEVELS[self.mode] - 1, level, -1):
            where = table + (va >> (12 + 9 * at) & 511) * 8
            pte = self.read(where)
            if pte == 0:
                pte = self._page() >> 12 << 10 | V
                self.write(where, pte)
            table = pte >> 10 << 12
        return table + (va >> (12 + 9 * level) & 511) * 8

    def map(self, va: int, pa: int, flags: int, *, level: int = 0) -> int:
        """Map one page (a superpage at `level` 1 or more); return the address of its PTE."""
        where = self.slot(va, level)
        self.write(where, pa >> 12 << 10 | flags | V)
        return where

    def read(self, gpa: int) -> int:
        return int.from_bytes(self.image[gpa - self.base : gpa - self.base + 8], "little")

    def write(self, gpa: int, value: int) -> None:
        self.image[gpa - self.base : gpa - self.base + 8] = value.to_bytes(8, "little")
