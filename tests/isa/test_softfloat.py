"""Soft-float against exact rational arithmetic and against the host's own doubles."""

from __future__ import annotations

import itertools
import math
import struct
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innkeeper.isa.riscv import softfloat
from innkeeper.isa.riscv.hart import Hart
from innkeeper.native.types import i32, i64, u32, u64
from tests.isa.float_oracle import (
    BINARY16,
    BINARY32,
    BINARY64,
    NV,
    Format,
    oracle,
    oracle_convert,
    oracle_round,
    oracle_to_int,
    round_fraction,
)

FORMATS = [BINARY16, BINARY32, BINARY64]
NAMES = ["f16", "f32", "f64"]
KINDS = [i32, u32, i64, u64]
ARITY = {"add": 2, "sub": 2, "mul": 2, "div": 2, "sqrt": 1, "fma": 3}
quick = settings(derandomize=True, deadline=None, max_examples=60)
formats = pytest.mark.parametrize("f", FORMATS, ids=NAMES)


def run(name: str, *args: Any, frm: int = 0) -> tuple[int, int]:
    """Call a soft-float function on a fresh hart: result and flags."""
    h = Hart(frm=frm)
    result = getattr(softfloat, f"f_{name}")(h, *args)
    assert type(result) is u64
    return int(result), int(h.fflags)


def arithmetic(f: Format, op: str, args: tuple[int, ...], mode: int) -> tuple[int, int]:
    return run(op, f.e, f.m, *map(u64, args), u32(mode))


def specials(f: Format) -> list[int]:
    """Return the values at which something changes, of both signs."""
    one, ulp = f.emax << f.m, 1
    normal = 1 << f.m
    positive = [
        0, ulp, normal - 1, normal, normal + 1, one >> 1 & -normal, one - 1, one, one + 1,
        one + normal // 2, one + normal, f.inf - 1, f.inf, f.inf + 1, f.nan, f.nan + 1,
    ]  # fmt: skip
    return positive + [p | f.sign for p in positive]


@st.composite
def numbers(draw: st.DrawFn, f: Format) -> int:
    """Draw bits: special values, neighbours of powers of two, exponents near each other, noise."""
    if draw(st.integers(0, 5)) == 0:
        return draw(st.sampled_from(specials(f)))
    top = 2**f.e - 1
    near = st.integers(max(f.emax - f.m - 3, 0), min(f.emax + f.m + 3, top))
    field = draw(st.one_of(near, st.integers(0, top), st.integers(0, 3)))
    low = 2**f.m - 1
    fraction = draw(st.one_of(st.integers(0, low), st.integers(0, 3), st.integers(low - 3, low)))
    return draw(st.integers(0, 1)) * f.sign | field << f.m | fraction


@formats
@pytest.mark.parametrize("op", ["add", "sub", "mul", "div"])
def test_every_pair_of_special_values(f: Format, op: str) -> None:
    # The mode walks along the pairs; 32 values a row and 5 modes have no common factor.
    for n, pair in enumerate(itertools.product(specials(f), repeat=2)):
        mode = (n + n // 1024) % 5
        assert arithmetic(f, op, pair, mode) == oracle(f, op, pair, mode), (pair, mode)


@formats
def test_square_roots_of_special_values(f: Format) -> None:
    for a, mode in itertools.product(specials(f), range(5)):
        assert arithmetic(f, "sqrt", (a,), mode) == oracle(f, "sqrt", (a,), mode), (a, mode)


@formats
def test_fused_multiply_add_of_special_values(f: Format) -> None:
    one = f.emax << f.m
    few = [0, 1, 1 << f.m, one, one + 1, f.inf - 1, f.inf, f.inf + 1, f.nan]
    few += [a | f.sign for a in few[:-2]]
    for n, triple in enumerate(itertools.product(few, repeat=3)):
        assert arithmetic(f, "fma", triple, n % 5) == oracle(f, "fma", triple, n % 5), triple


@formats
@pytest.mark.parametrize("op", list(ARITY))
def test_arithmetic_agrees_with_the_rationals(f: Format, op: str) -> None:
    @quick
    @given(st.tuples(*[numbers(f)] * ARITY[op]), st.integers(0, 4))
    def check(args: tuple[int, ...], mode: int) -> None:
        assert arithmetic(f, op, args, mode) == oracle(f, op, args, mode)

    check()


@formats
def test_fused_multiply_add_cancels_exactly(f: Format) -> None:
    @quick
    @given(numbers(f), numbers(f), st.integers(-2, 2), st.integers(0, 4))
    def check(a: int, b: int, step: int, mode: int) -> None:
        product = oracle(f, "mul", (a, b), mode)[0] ^ f.sign
        args = (a, b, product if f.is_nan(product) else (product + step) % (2 * f.sign))
        assert arithmetic(f, "fma", args, mode) == oracle(f, "fma", args, mode)

    check()


def test_doubles_agree_with_the_host() -> None:
    finite = st.floats(allow_nan=False, allow_infinity=False)

    def bits(x: float) -> int:
        return struct.unpack("<Q", struct.pack("<d", x))[0]

    @quick
    @given(finite, finite)
    def check(x: float, y: float) -> None:
        a, b = bits(x), bits(y)
        assert arithmetic(BINARY64, "add", (a, b), 0)[0] == bits(x + y)
        assert arithmetic(BINARY64, "sub", (a, b), 0)[0] == bits(x - y)
        assert arithmetic(BINARY64, "mul", (a, b), 0)[0] == bits(x * y)
        if y != 0:
            assert arithmetic(BINARY64, "div", (a, b), 0)[0] == bits(x / y)
        assert arithmetic(BINARY64, "sqrt", (a & ~BINARY64.sign,), 0)[0] == bits(math.sqrt(abs(x)))

    check()


def test_a_dynamic_mode_is_the_one_in_frm() -> None:
    one, tiny = BINARY64.emax << 52, 1
    for frm, expected in enumerate([one, one, one, one + 1, one]):
        got = run("add", 11, 52, u64(one), u64(tiny), u32(softfloat.DYN), frm=frm)
        assert got == (expected, softfloat.NX)


def test_flags_accrue() -> None:
    h = Hart(fflags=softfloat.DZ)
    softfloat.f_add(h, 8, 23, u64(0x3F800000), u64(1), u32(0))
    assert h.fflags == softfloat.DZ | softfloat.NX


@formats
def test_comparisons(f: Format) -> None:
    for a, b in itertools.product(specials(f), repeat=2):
        nan = f.is_nan(a) or f.is_nan(b)
        snan = NV if f.is_snan(a) or f.is_snan(b) else 0
        x, y = (Fraction(0), Fraction(0)) if nan else (_extended(f, a), _extended(f, b))
        args = (f.e, f.m, u64(a), u64(b))
        assert run("eq", *args) == ((0, snan) if nan else (int(x == y), 0)), (a, b)
        assert run("lt", *args) == ((0, NV) if nan else (int(x < y), 0)), (a, b)
        assert run("le", *args) == ((0, NV) if nan else (int(x <= y), 0)), (a, b)


@formats
def test_minimum_and_maximum(f: Format) -> None:
    for a, b in itertools.product(specials(f), repeat=2):
        snan = NV if f.is_snan(a) or f.is_snan(b) else 0
        there = [n for n in (a, b) if not f.is_nan(n)]
        # -0 before +0: the sign decides among equals.
        there.sort(key=lambda n: (_extended(f, n), not f.negative(n)))
        low, high = (there[0], there[-1]) if there else (f.nan, f.nan)
        args = (f.e, f.m, u64(a), u64(b))
        assert run("min", *args) == (low, snan), (a, b)
        assert run("max", *args) == (high, snan), (a, b)


def _extended(f: Format, a: int) -> Fraction:
    if f.is_inf(a):
        return Fraction(-(2**2000) if f.negative(a) else 2**2000)
    return f.value(a)


@formats
def test_classes(f: Format) -> None:
    rows = [
        (f.sign | f.inf, 0), (f.sign | f.inf - 1, 1), (f.sign | 1 << f.m, 1),
        (f.sign | (1 << f.m) - 1, 2), (f.sign | 1, 2), (f.sign, 3), (0, 4), (1, 5),
        ((1 << f.m) - 1, 5), (1 << f.m, 6), (f.inf - 1, 6), (f.inf, 7), (f.inf + 1, 8),
        (f.nan, 9), (f.sign | f.nan - 1, 8), (f.sign | f.nan, 9),
    ]  # fmt: skip
    for a, bit in rows:
        assert run("class", f.e, f.m, u64(a)) == (1 << bit, 0), hex(a)


@formats
@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_to_integer(f: Format, kind: Any) -> None:
    def check(a: int, mode: int) -> None:
        want = oracle_to_int(f, a, bits=kind.BITS, signed=kind.SIGNED, mode=mode)
        assert run("to_int", f.e, f.m, kind, u64(a), u32(mode)) == want, (hex(a), mode)

    edges = [Fraction(n, 4) for n in range(13)]
    edges += [2**p + Fraction(d, 2) for p in (31, 32, 63, 64) for d in range(-3, 4)]
    bits = [round_fraction(f, x, mode=1, zero=0)[0] for x in edges]
    for a, sign, mode in itertools.product([*bits, *specials(f)], (0, f.sign), range(5)):
        check(a ^ sign, mode)
    quick(given(numbers(f), st.integers(0, 4))(check))()


@formats
@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.__name__)
def test_from_integer(f: Format, kind: Any) -> None:
    def check(a: int, mode: int) -> None:
        want = round_fraction(f, Fraction(int(kind(a))), mode=mode, zero=0)
        assert run("from_int", f.e, f.m, kind, u64(a), u32(mode)) == want, (hex(a), mode)

    edges = [(1 << p) + d for p in (0, 11, 24, 31, 32, 53, 63) for d in (-1, 0, 1, 1 << 40)]
    for a, mode in itertools.product(edges, range(5)):
        check(a, mode)
        check(-a, mode)
    quick(given(st.integers(0, 2**64 - 1), st.integers(0, 4))(check))()


@formats
@pytest.mark.parametrize("exact", [0, 1])
def test_to_integral(f: Format, exact: int) -> None:
    def check(a: int, mode: int) -> None:
        got = run("round", f.e, f.m, exact, u64(a), u32(mode))
        assert got == oracle_round(f, a, mode, exact=bool(exact)), (hex(a), mode)

    edges = [Fraction(n, 4) for n in range(20)]
    edges += [2**p + Fraction(n, 4) for p in (f.m - 2, f.m - 1, f.m) for n in range(-4, 5)]
    bits = [round_fraction(f, x, mode=1, zero=0)[0] for x in edges]
    for a, sign, mode in itertools.product([*bits, *specials(f)], (0, f.sign), range(5)):
        check(a ^ sign, mode)
    quick(given(numbers(f), st.integers(0, 4))(check))()


@formats
def test_quiet_comparisons_and_extremes_that_are_nans(f: Format) -> None:
    for a, b in itertools.product(specials(f), repeat=2):
        args = (f.e, f.m, u64(a), u64(b))
        nan = f.is_nan(a) or f.is_nan(b)
        snan = NV if f.is_snan(a) or f.is_snan(b) else 0
        for quiet, signalling in (("lt_quiet", "lt"), ("le_quiet", "le")):
            assert run(quiet, *args) == ((0, snan) if nan else run(signalling, *args)), (a, b)
        for strict, lenient in (("min_nan", "min"), ("max_nan", "max")):
            assert run(strict, *args) == ((f.nan, snan) if nan else run(lenient, *args)), (a, b)


@pytest.mark.parametrize("f, to", list(itertools.permutations(FORMATS, 2)))
def test_between_formats(f: Format, to: Format) -> None:
    def check(a: int, mode: int) -> None:
        got = run("convert", f.e, f.m, to.e, to.m, u64(a), u32(mode))
        assert got == oracle_convert(f, to, a, mode), (hex(a), mode)

    targets = [a for a in specials(to) if not to.is_nan(a) and not to.is_inf(a)]
    near = [round_fraction(f, to.value(a), mode=1, zero=a and f.sign)[0] for a in targets]
    near += [a ^ 1 for a in near if f.m > to.m]
    for a, mode in itertools.product([*specials(f), *near], range(5)):
        check(a, mode)
    quick(given(numbers(f), st.integers(0, 4))(check))()
