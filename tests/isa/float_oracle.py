"""IEEE 754 by exact rational arithmetic: slow, short, and sharing nothing with `softfloat`.

A real number is given to `round_real` by what it is in units of 2**q, for any q: the integer part
and how the rest compares with a half. That serves fractions and square roots alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import isqrt

NX, UF, OF, DZ, NV = 1, 2, 4, 8, 16
RNE, RTZ, RDN, RUP, RMM = range(5)
EXACT, BELOW_HALF, AT_HALF, ABOVE_HALF = range(4)

Units = Callable[[int], tuple[int, int]]


@dataclass(frozen=True)
class Format:
    """A binary interchange format: `e` exponent bits, `m` fraction bits."""

    e: int
    m: int

    @property
    def emax(self) -> int:
        return 2 ** (self.e - 1) - 1

    @property
    def inf(self) -> int:
        return (2**self.e - 1) << self.m

    @property
    def nan(self) -> int:
        return self.inf | 1 << (self.m - 1)

    @property
    def sign(self) -> int:
        return 1 << (self.e + self.m)

    def is_nan(self, a: int) -> bool:
        return a & ~self.sign > self.inf

    def is_snan(self, a: int) -> bool:
        return self.is_nan(a) and not a >> (self.m - 1) & 1

    def is_inf(self, a: int) -> bool:
        return a & ~self.sign == self.inf

    def is_zero(self, a: int) -> bool:
        return a & ~self.sign == 0

    def negative(self, a: int) -> bool:
        return bool(a & self.sign)

    def value(self, a: int) -> Fraction:
        """Return the number that finite bits stand for."""
        field, fraction = a >> self.m & (2**self.e - 1), a & (2**self.m - 1)
        number = Fraction(fraction + (2**self.m if field else 0))
        number *= Fraction(2) ** (max(field, 1) - self.emax - self.m)
        return -number if self.negative(a) else number


BINARY16, BINARY32, BINARY64 = Format(5, 10), Format(8, 23), Format(11, 52)
Answer = tuple[int, int]
"""Bits and exception flags."""


def units_of(x: Fraction) -> Units:
    """Describe |x|."""

    def units(q: int) -> tuple[int, int]:
        scaled = abs(x) / Fraction(2) ** q
        whole = scaled.numerator // scaled.denominator
        return whole, _part(scaled - whole, Fraction(1, 2))

    return units


def units_of_root(x: Fraction) -> Units:
    """Describe the square root of x > 0."""

    def units(q: int) -> tuple[int, int]:
        scaled = x / Fraction(4) ** q
        whole = isqrt(scaled.numerator // scaled.denominator)
        return whole, EXACT if scaled == whole**2 else _part(scaled, (whole + Fraction(1, 2)) ** 2)

    return units


def _part(rest: Fraction, half: Fraction) -> int:
    if rest == 0:
        return EXACT
    return BELOW_HALF if rest < half else AT_HALF if rest == half else ABOVE_HALF


def round_integer(whole: int, part: int, *, negative: bool, mode: int) -> int:
    """Round a magnitude to an integer."""
    up = {
        RNE: part == ABOVE_HALF or (part == AT_HALF and whole % 2 == 1),
        RTZ: False,
        RDN: negative and part != EXACT,
        RUP: not negative and part != EXACT,
        RMM: part >= AT_HALF,
    }[mode]
    return whole + up


def round_real(f: Format, units: Units, magnitude: int, *, negative: bool, mode: int) -> Answer:
    """Round a positive real whose floor(log2) is `magnitude`; `negative` puts the sign on."""
    emin = 1 - f.emax

    def at(exponent: int) -> tuple[int, int]:
        whole, part = units(exponent - f.m)
        return round_integer(whole, part, negative=negative, mode=mode), part

    unbounded, _ = at(magnitude)
    exponent = max(magnitude, emin)
    kept, part = at(exponent)
    if kept == 2 ** (f.m + 1):
        kept, exponent = 2**f.m, exponent + 1
    sign = f.sign if negative else 0
    if exponent > f.emax:
        to_infinity = {RNE: True, RMM: True, RTZ: False, RDN: negative, RUP: not negative}[mode]
        return sign | (f.inf if to_infinity else f.inf - 1), OF | NX
    tiny = Fraction(unbounded) * Fraction(2) ** (magnitude - f.m) < Fraction(2) ** emin
    flags = 0 if part == EXACT else NX | UF if tiny else NX
    field = 0 if kept < 2**f.m else exponent + f.emax
    return sign | field << f.m | kept % 2**f.m, flags


def floor_log2(x: Fraction) -> int:
    """Return floor(log2 x) for x > 0."""
    guess = x.numerator.bit_length() - x.denominator.bit_length()
    return guess if Fraction(2) ** guess <= x else guess - 1


def round_fraction(f: Format, x: Fraction, *, mode: int, zero: int) -> Answer:
    """Round x; `zero` are the bits for x = 0."""
    if x == 0:
        return zero, 0
    return round_real(f, units_of(x), floor_log2(abs(x)), negative=x < 0, mode=mode)


def oracle(f: Format, op: str, args: tuple[int, ...], mode: int) -> Answer:
    """Return what `op` (add sub mul div sqrt fma) gives."""
    if op == "sub":
        return oracle(
            f, "add", (args[0], args[1] ^ f.sign if not f.is_nan(args[1]) else args[1]), mode
        )
    snan = NV if any(map(f.is_snan, args)) else 0
    if op == "fma":
        a, b = args[:2]
        if (f.is_inf(a) and f.is_zero(b)) or (f.is_zero(a) and f.is_inf(b)):
            return f.nan, NV
    if any(map(f.is_nan, args)):
        return f.nan, snan
    return {"add": _add, "mul": _mul, "div": _div, "sqrt": _sqrt, "fma": _fma}[op](f, mode, *args)


def _sum_zero(f: Format, mode: int, *, negative: list[bool]) -> int:
    if all(negative) or (any(negative) and mode == RDN):
        return f.sign
    return 0


def _add(f: Format, mode: int, a: int, b: int) -> Answer:
    if f.is_inf(a) and f.is_inf(b) and a != b:
        return f.nan, NV
    for one in (a, b):
        if f.is_inf(one):
            return one, 0
    signs = [f.negative(a), f.negative(b)]
    zero = _sum_zero(f, mode, negative=signs)
    return round_fraction(f, f.value(a) + f.value(b), mode=mode, zero=zero)


def _mul(f: Format, mode: int, a: int, b: int) -> Answer:
    sign = (a ^ b) & f.sign
    if f.is_inf(a) or f.is_inf(b):
        return (f.nan, NV) if f.is_zero(a) or f.is_zero(b) else (sign | f.inf, 0)
    return round_fraction(f, f.value(a) * f.value(b), mode=mode, zero=sign)


def _div(f: Format, mode: int, a: int, b: int) -> Answer:
    sign = (a ^ b) & f.sign
    if (f.is_inf(a) and f.is_inf(b)) or (f.is_zero(a) and f.is_zero(b)):
        return f.nan, NV
    if f.is_inf(a):
        return sign | f.inf, 0
    if f.is_inf(b):
        return sign, 0
    if f.is_zero(b):
        return sign | f.inf, DZ
    return round_fraction(f, f.value(a) / f.value(b), mode=mode, zero=sign)


def _sqrt(f: Format, mode: int, a: int) -> Answer:
    if f.is_zero(a):
        return a, 0
    if f.negative(a):
        return f.nan, NV
    if f.is_inf(a):
        return a, 0
    x = f.value(a)
    return round_real(f, units_of_root(x), floor_log2(x) // 2, negative=False, mode=mode)


def _fma(f: Format, mode: int, a: int, b: int, c: int) -> Answer:
    product_sign = (a ^ b) & f.sign
    if f.is_inf(a) or f.is_inf(b):
        return _add(f, mode, product_sign | f.inf, c)
    if f.is_inf(c):
        return c, 0
    zero = _sum_zero(f, mode, negative=[bool(product_sign), f.negative(c)])
    return round_fraction(f, f.value(a) * f.value(b) + f.value(c), mode=mode, zero=zero)


def oracle_to_int(f: Format, a: int, *, bits: int, signed: bool, mode: int) -> Answer:
    """Return what conversion to an integer gives, sign-extended to 64 bits."""
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    flags = NV
    if f.is_nan(a):
        number = high
    elif f.is_inf(a):
        number = low if f.negative(a) else high
    else:
        whole, part = units_of(f.value(a))(0)
        negative = f.negative(a)
        whole = round_integer(whole, part, negative=negative, mode=mode)
        number = -whole if negative else whole
        if low <= number <= high:
            flags = 0 if part == EXACT else NX
        number = min(max(number, low), high)
    extended = number - 2**bits if number >> (bits - 1) & 1 and number >= 0 else number
    return extended % 2**64, flags


def oracle_round(f: Format, a: int, mode: int, *, exact: bool) -> Answer:
    """Return the integral number that `a` rounds to; `exact` tells whether inexactness shows."""
    if f.is_nan(a):
        return f.nan, NV if f.is_snan(a) else 0
    if f.is_inf(a):
        return a, 0
    whole, part = units_of(f.value(a))(0)
    number = round_integer(whole, part, negative=f.negative(a), mode=mode)
    signed = Fraction(-number if f.negative(a) else number)
    bits, flags = round_fraction(f, signed, mode=mode, zero=a & f.sign)
    assert flags == 0
    return bits, NX if exact and part != EXACT else 0


def oracle_convert(f: Format, to: Format, a: int, mode: int) -> Answer:
    """Return what conversion between formats gives."""
    sign = to.sign if f.negative(a) else 0
    if f.is_nan(a):
        return to.nan, NV if f.is_snan(a) else 0
    if f.is_inf(a):
        return sign | to.inf, 0
    return round_fraction(to, f.value(a), mode=mode, zero=sign)
