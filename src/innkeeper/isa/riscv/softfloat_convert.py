"""Soft-float conversion: to and from integers, between formats, to integral numbers.

Source: RISC-V Unprivileged 20240411, 20.7, 21.5 and the chapter on Zfa.
"""

from __future__ import annotations

from innkeeper.isa.riscv.hart import Hart
from innkeeper.isa.riscv.softfloat_core import (
    NV,
    NX,
    RDN,
    RMM,
    RNE,
    RTZ,
    RUP,
    accrue,
    canonical_nan,
    exponent_bias,
    infinity,
    is_nan,
    is_signalling,
    magnitude,
    nan_result,
    round_pack,
    rounding_mode,
    sign_of,
    signed_zero,
    unpack,
)
from innkeeper.native.intrinsics import inline, noinline
from innkeeper.native.types import Const, i32, i64, u32, u64

HALF = 1 << 63


@inline
def integer_limit(kind: Const, sign: u64) -> u64:
    """Return the largest magnitude that an integer type holds with this sign."""
    if kind.SIGNED:
        return (u64(1) << (kind.BITS - 1)) - 1 + sign
    return (~u64(0)) >> (64 - kind.BITS) if sign == 0 else u64(0)


@inline
def rounds_away(mode: u32, sign: u64, whole: u64, rest: u64) -> bool:
    """Tell whether `whole + rest / 2**64` rounds to `whole + 1`; `rest` is not 0."""
    if mode == RNE:
        return rest > HALF or (rest == HALF and whole & 1 != 0)
    if mode == RMM:
        return rest >= HALF
    return mode == RUP if sign == 0 else mode == RDN


@inline
def f_to_int(h: Hart, e: Const, m: Const, kind: Const, a: u64, rm: u32) -> u64:
    """Do `to_int`; an engine that has a quicker way for some numbers replaces this."""
    return to_int(h, e, m, kind, a, rm)


@noinline
def to_int(h: Hart, e: Const, m: Const, kind: Const, a: u64, rm: u32) -> u64:
    """Return the integer of `kind` (i32 u32 i64 u64) nearest in the rounding mode's sense.

    What does not fit is invalid (not inexact) and gives the nearest limit, a NaN the highest
    one. A 32-bit result is sign-extended, also the unsigned one.
    """
    mag = magnitude(e, m, a)
    sign = sign_of(e, m, a) if mag <= infinity(e, m) else u64(0)
    exponent = i64(mag >> m) - exponent_bias(e)
    whole = u64(0)
    rest = u64(mag != 0)
    if exponent >= -1:
        sig = (mag << (63 - m)) | (u64(1) << 63)
        if exponent >= 63:
            whole = sig
            rest = u64(0)
        elif exponent >= 0:
            whole = sig >> u64(63 - exponent)
            rest = sig << u64(exponent + 1)
        else:
            rest = sig
    fits = exponent <= 63 and mag < infinity(e, m)
    return finish_integer(h, kind, sign, whole, rest, fits, rm)


@inline
def finish_integer(
    h: Hart, kind: Const, sign: u64, whole: u64, rest: u64, fits: bool, rm: u32
) -> u64:
    """Round `whole + rest / 2**64`, check its range, apply the sign, accrue what happened."""
    value = whole
    if rest != 0 and rounds_away(rounding_mode(h, rm), sign, whole, rest):
        value = value + 1
    limit = integer_limit(kind, sign)
    if not fits or value > limit:
        accrue(h, u32(NV))
        value = limit
    elif rest != 0:
        accrue(h, u32(NX))
    if sign != 0:
        value = 0 - value
    if kind is u32:
        return u64(i32(value))
    return value


@noinline
def f_from_int(h: Hart, e: Const, m: Const, kind: Const, a: u64, rm: u32) -> u64:
    """Return the number nearest to the integer of `kind` in the low bits of `a`."""
    value = u64(kind(a))
    sign = u64(0)
    if kind is i32 or kind is i64:
        sign = value >> 63
        if sign != 0:
            value = 0 - value
    if value == 0:
        return u64(0)
    return round_pack(h, e, m, sign, i64(63), value, rounding_mode(h, rm))


@noinline
def f_convert(
    h: Hart, from_e: Const, from_m: Const, to_e: Const, to_m: Const, a: u64, rm: u32
) -> u64:
    """Return a number of one format in another."""
    mag = magnitude(from_e, from_m, a)
    sign = signed_zero(to_e, to_m, sign_of(from_e, from_m, a))
    if is_nan(from_e, from_m, a):
        if is_signalling(from_e, from_m, a):
            accrue(h, u32(NV))
        return canonical_nan(to_e, to_m)
    if mag == infinity(from_e, from_m):
        return infinity(to_e, to_m) | sign
    if mag == 0:
        return sign
    exponent, sig = unpack(from_e, from_m, a)
    negative = sign_of(from_e, from_m, a)
    return round_pack(h, to_e, to_m, negative, exponent, sig, rounding_mode(h, rm))


@inline
def one(e: Const, m: Const) -> u64:
    """Return the bits of 1.0."""
    return u64(exponent_bias(e)) << m


@inline
def f_round(h: Hart, e: Const, m: Const, exact: Const, a: u64, rm: u32) -> u64:
    """Return the integral number nearest in the rounding mode's sense (Zfa: FROUND, FROUNDNX).

    `exact` 1 accrues an inexact result. Zeros, also those that a small number becomes, keep their
    sign.
    """
    mag = magnitude(e, m, a)
    sign = sign_of(e, m, a)
    if mag > infinity(e, m):
        return nan_result(h, e, m, a, a)
    exponent = i64(mag >> m) - exponent_bias(e)
    if exponent >= m or mag == 0:
        return a
    # The bit worth 1, and what is below it as a fraction of 2**64.
    unit = one(e, m)
    kept = u64(0)
    rest = u64(1)
    odd = u64(0)
    if exponent >= 0:
        below = u64(m) - u64(exponent)
        unit = u64(1) << below
        kept = mag & ~(unit - 1)
        rest = mag << (64 - below)
        odd = u64(1) if exponent == 0 else (mag >> below) & 1
    elif exponent == -1:
        rest = (mag << (63 - m)) | HALF
    if rest != 0:
        if exact == 1:
            accrue(h, u32(NX))
        if rounds_away(rounding_mode(h, rm), sign, odd, rest):
            kept = kept + unit
    return kept | signed_zero(e, m, sign)


@noinline
def f_to_word_modular(h: Hart, a: u64) -> u64:
    """Truncate a double to an integer and return it modulo 2**32, sign-extended (Zfa: FCVTMOD.W.D).

    Exceptions are those of a conversion to i32; infinities and NaNs give 0.
    """
    f_to_int(h, 11, 52, i32, a, u32(RTZ))
    mag = magnitude(11, 52, a)
    exponent = i64(mag >> 52) - exponent_bias(11)
    if exponent < 0 or exponent > 83 or mag >= infinity(11, 52):
        return u64(0)
    sig = (mag & ((u64(1) << 52) - 1)) | (u64(1) << 52)
    value = sig >> u64(52 - exponent) if exponent <= 52 else sig << u64(exponent - 52)
    return u64(i32(0 - value if sign_of(11, 52, a) != 0 else value))
