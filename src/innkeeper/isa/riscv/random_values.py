"""Register values for random programs: edge cases more often than chance would have them."""

from __future__ import annotations

import random

INTERESTING = (
    0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 32,
    (1 << 63) - 1, 1 << 63, (1 << 63) + 1, (1 << 64) - 1, (1 << 64) - 2, (1 << 64) - (1 << 31),
    (1 << 64) - (1 << 31) - 1, 0x0102040810204080, 0xAAAAAAAAAAAAAAAA, 0x5555555555555555,
)  # fmt: skip
"""Integer values at the edges."""

INTERESTING_FLOATS = (
    0, 1 << 63, 0x3FF0000000000000, 0xBFF0000000000000, 0x4000000000000000, 0x7FF0000000000000,
    0xFFF0000000000000, 0x7FF8000000000000, 0x7FF0000000000001, 0xFFF8000000000123,
    0x0000000000000001, 0x000FFFFFFFFFFFFF, 0x0010000000000000, 0x7FEFFFFFFFFFFFFF,
    0x3CA0000000000000, 0x43E0000000000000, 0xC3E0000000000000, 0x41DFFFFFFFC00000,
    *(0xFFFFFFFF << 32 | single for single in (
        0, 0x80000000, 0x3F800000, 0xBF800000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001,
        0x00000001, 0x007FFFFF, 0x00800000, 0x7F7FFFFF, 0x4F000000, 0xCF000000, 0x33800000)),
    *((1 << 64) - (1 << 16) | half for half in (
        0, 0x8000, 0x3C00, 0xBC00, 0x7C00, 0xFC00, 0x7E00, 0x7C01, 0x0001, 0x03FF, 0x0400, 0x7BFF)),
)  # fmt: skip
"""Doubles, and NaN-boxed singles and halves at the edges."""


def random_integer(rng: random.Random) -> int:
    """Return a 64-bit register value: an edge case, a small number or anything."""
    choice = rng.randrange(4)
    if choice == 0:
        return rng.getrandbits(64)
    if choice == 1:
        return rng.randrange(-64, 64) % (1 << 64)
    return rng.choice(INTERESTING)


def random_float(rng: random.Random) -> int:
    """Return a floating-point register's bits: an edge case, a usual double or anything."""
    choice = rng.randrange(7)
    if choice == 0:
        return rng.getrandbits(64)
    if choice == 1:
        return 0xFFFFFFFF << 32 | rng.getrandbits(32)
    if choice == 2:
        return (1 << 64) - (1 << 16) | rng.getrandbits(16)
    if choice == 3:
        return (rng.randrange(0x3E0, 0x420) << 52) | rng.getrandbits(52)
    return rng.choice(INTERESTING_FLOATS)
