"""Integers of every width: compiled code gives what CPython gives (docs/kernel-python.md)."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innkeeper.native import types
from tests.native.lab import Lab

NAMES = ["u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64"]
quick = settings(derandomize=True, deadline=None, max_examples=40)
every = pytest.mark.parametrize("name", NAMES)

TEMPLATE = """
def add(a: T, b: T) -> T:
    return a + b

def sub(a: T, b: T) -> T:
    return a - b

def mul(a: T, b: T) -> T:
    return a * b

def bits(a: T, b: T) -> T:
    return (a & b) ^ (a | ~b) ^ -a

def literals(a: T) -> T:
    return (3 + a) * 5 - (1000003 ^ a) + (a & 0xFF) - (7 - a)

def shifts(a: T, n: u64) -> T:
    return (a << n) ^ (a >> n)

def shifts_by_own(a: T, n: T) -> T:
    return (a << n) ^ (a >> n)

def shifts_by_literals(a: T) -> T:
    return (a << 3) ^ (a >> 5) ^ (a << 131)

def augmented(a: T, b: T) -> T:
    a += b
    a *= 3
    a ^= b
    a -= 1
    a |= b
    a &= ~b
    a <<= 1
    a >>= b
    return a

def order(a: T, b: T) -> u32:
    r = u32(a < b)
    r |= u32(a <= b) << 1
    r |= u32(a > b) << 2
    r |= u32(a >= b) << 3
    r |= u32(a == b) << 4
    r |= u32(a != b) << 5
    return r

def order_with_literals(a: T) -> u32:
    r = u32(a < 5)
    r |= u32(-1 < a) << 1
    r |= u32(a > 200) << 2
    r |= u32(3 <= a < 100) << 3
    r |= u32(a in (1, 2, 127, -1)) << 4
    r |= u32(a not in (0, 255)) << 5
    return r

def counting(a: T) -> T:
    return clz(a) + ctz(a) * 3 + popcount(a) * 7

def mirrored(a: T) -> T:
    return bitreverse(a)

def rotated(a: T, n: u64) -> T:
    return rotl(a, n) ^ rotr(a, n + 1) ^ rotl(a, 3)

def absolute(a: T) -> T:
    return -a if a < 0 else a

def to_all(a: T) -> u64:
    r = u64(u8(a)) * 3 + u64(i8(a)) * 5
    r += u64(u16(a)) * 7 + u64(i16(a)) * 11
    r += u64(u32(a)) * 13 + u64(i32(a)) * 17
    return r + u64(a) * 19 + u64(i64(a)) * 23

def from_bool(a: T, b: T) -> T:
    return T(a < b) + T(True)

def index(a: T) -> u32:
    return TABLE[a & 7] + TABLE[2]

TABLE = const_array(u32, [3, 1, 4, 1, 5, 9, 2, 6])
"""
UNSIGNED = """
def divide(a: T, b: T) -> T:
    return a // (b | 1) + a % (b | 1) * 3 + a // 7 + a % 10 + 100 // (b | 1) + 77 % (a | 1)
"""
SIGNED = """
def divide(a: T, b: T) -> T:
    d = b | 1
    if d == -1:
        d = T(3)
    return sdiv(a, d) + srem(a, d) * 3
"""


@cache
def lab(name: str) -> Lab:
    source = TEMPLATE + (UNSIGNED if name[0] == "u" else SIGNED)
    if name[1:] != "8":
        source += "\ndef swapped(a: T) -> T:\n    return bswap(a)\n"
    return Lab(f"T = {name}\n{source}")


def values(name: str) -> st.SearchStrategy[int]:
    bits = getattr(types, name).BITS
    low, high = (0, (1 << bits) - 1) if name[0] == "u" else (-(1 << bits - 1), (1 << bits - 1) - 1)
    edges = [
        v for v in (low, low + 1, -1, 0, 1, 2, 7, 127, 128, high - 1, high) if low <= v <= high
    ]
    return st.sampled_from(edges) | st.integers(low, high)


@every
@quick
@given(data=st.data())
def test_operators(name: str, data: Any) -> None:
    one, a, b = lab(name), data.draw(values(name)), data.draw(values(name))
    for function in (
        "add", "sub", "mul", "bits", "augmented", "order", "divide", "from_bool", "shifts_by_own",
    ):  # fmt: skip
        one.both(function, a, b)


@every
@quick
@given(data=st.data())
def test_functions_of_one_value(name: str, data: Any) -> None:
    one, a = lab(name), data.draw(values(name))
    for function in (
        "literals", "shifts_by_literals", "order_with_literals", "counting", "mirrored", "absolute",
        "to_all", "index",
    ):  # fmt: skip
        one.both(function, a)
    if name[1:] != "8":
        one.both("swapped", a)


@every
@quick
@given(data=st.data(), count=st.integers(0, 300) | st.integers(0, (1 << 64) - 1))
def test_shift_and_rotate_counts_are_modulo_the_width(name: str, data: Any, count: int) -> None:
    one, a = lab(name), data.draw(values(name))
    one.both("shifts", a, count)
    one.both("rotated", a, count)


def test_shift_by_more_than_the_width() -> None:
    """Pinned, so that both sides cannot be wrong together."""
    assert lab("u8").both("shifts", 0x81, 9) == (0x02 ^ 0x40)
    assert lab("i64").both("shifts", -2, 65) == (-4 ^ -1)
    assert lab("i8").both("order", -1, 1) == 0b100011
    assert lab("u8").both("order", 255, 1) == 0b101100


WIDE = """
def multiply(a: u64, b: u64, out: Ptr[u64]) -> None:
    w = wide_mul(a, b)
    out[0] = u64(w)
    out[1] = u64(w >> 64)

def mixed(a: u64, b: u64, n: u32, out: Ptr[u64]) -> None:
    x = u128(a) << 64 | u128(b)
    y = (x + (x << n)) ^ (x >> n) - u128(3)
    if y > x:
        y = ~y
    z = i128(x) >> n
    if z < 0:
        y = y * 5
    out[0] = u64(y)
    out[1] = u64(y >> 64)
    out[2] = u64(z)
    out[3] = u64(clz(y)) + u64(popcount(x))

def signed(a: i64, b: i64) -> u64:
    return u64((i128(a) * i128(b)) >> 64)
"""


@quick
@given(
    a=st.integers(0, (1 << 64) - 1), b=st.integers(0, (1 << 64) - 1), n=st.integers(0, 200)
)  # fmt: skip
def test_128_bits(a: int, b: int, n: int) -> None:
    import ctypes

    from innkeeper.native.types import Ptr, u64

    one = wide()
    found = []
    for call in (one.python, one.native):
        words = (ctypes.c_uint64 * 8)()
        out = Ptr[u64](ctypes.addressof(words))
        call("multiply", a, b, out)
        assert words[0] | words[1] << 64 == a * b
        call("mixed", a, b, n, out)
        found.append(list(words))
    assert found[0] == found[1]
    one.both("signed", a - (1 << 63), b - (1 << 63))


@cache
def wide() -> Lab:
    return Lab(WIDE)
