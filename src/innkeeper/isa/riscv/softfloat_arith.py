"""Soft-float arithmetic: add, subtract, multiply, divide, square root, fused multiply-add.

Each rounds once, from a significand that holds the exact result or that result jammed
(IEEE 754-2019 5.4.1). `h` collects exceptions; `rm` is the instruction's rounding-mode field.
"""

from __future__ import annotations

from innkeeper.isa.riscv.hart import Hart
from innkeeper.isa.riscv.softfloat_core import (
    DZ,
    accrue,
    cancelled_zero,
    infinity,
    invalid,
    is_nan,
    magnitude,
    nan_result,
    round_pack,
    rounding_mode,
    shift_right_jam,
    sign_bit,
    sign_of,
    signed_zero,
    unpack,
)
from innkeeper.native.intrinsics import clz, inline, noinline, wide_mul
from innkeeper.native.types import Const, i64, u32, u64, u128

DIVIDE_STEP_BITS = 10
"""Quotient bits per step: a 54-bit remainder shifted by so many still fits a u64."""


@noinline
def f_add(h: Hart, e: Const, m: Const, a: u64, b: u64, rm: u32) -> u64:
    """Return a + b."""
    mag_a = magnitude(e, m, a)
    mag_b = magnitude(e, m, b)
    if mag_a >= infinity(e, m) or mag_b >= infinity(e, m):
        return add_special(h, e, m, a, b)
    mode = rounding_mode(h, rm)
    if mag_b == 0:
        return a if mag_a != 0 or a == b else cancelled_zero(e, m, mode)
    if mag_a == 0:
        return b
    if mag_a < mag_b:
        return add_ordered(h, e, m, b, a, mode)
    return add_ordered(h, e, m, a, b, mode)


@inline
def add_special(h: Hart, e: Const, m: Const, a: u64, b: u64) -> u64:
    """Add where an operand is an infinity or a NaN."""
    if is_nan(e, m, a) or is_nan(e, m, b):
        return nan_result(h, e, m, a, b)
    if magnitude(e, m, a) != infinity(e, m):
        return b
    if magnitude(e, m, b) == infinity(e, m) and a != b:
        return invalid(h, e, m)
    return a


@inline
def add_ordered(h: Hart, e: Const, m: Const, big: u64, small: u64, mode: u32) -> u64:
    """Add finite non-zero numbers, the one of larger magnitude first."""
    exponent, big_sig = unpack(e, m, big)
    small_exponent, small_sig = unpack(e, m, small)
    # One bit of room for the carry; the formats leave ten below for guard and sticky bits.
    total = big_sig >> 1
    aligned = shift_right_jam(small_sig >> 1, u64(exponent - small_exponent))
    if sign_of(e, m, big) == sign_of(e, m, small):
        total = total + aligned
    else:
        total = total - aligned
    if total == 0:
        return cancelled_zero(e, m, mode)
    return round_pack(h, e, m, sign_of(e, m, big), exponent + 1, total, mode)


@inline
def f_sub(h: Hart, e: Const, m: Const, a: u64, b: u64, rm: u32) -> u64:
    """Return a - b."""
    return f_add(h, e, m, a, b ^ sign_bit(e, m), rm)


@noinline
def f_mul(h: Hart, e: Const, m: Const, a: u64, b: u64, rm: u32) -> u64:
    """Return a * b."""
    mag_a = magnitude(e, m, a)
    mag_b = magnitude(e, m, b)
    sign = sign_of(e, m, a ^ b)
    if mag_a >= infinity(e, m) or mag_b >= infinity(e, m):
        if is_nan(e, m, a) or is_nan(e, m, b):
            return nan_result(h, e, m, a, b)
        if mag_a == 0 or mag_b == 0:
            return invalid(h, e, m)
        return infinity(e, m) | signed_zero(e, m, sign)
    if mag_a == 0 or mag_b == 0:
        return signed_zero(e, m, sign)
    exponent_a, sig_a = unpack(e, m, a)
    exponent_b, sig_b = unpack(e, m, b)
    product = wide_mul(sig_a, sig_b)
    sig = u64(product >> 64) | u64(u64(product) != 0)
    return round_pack(h, e, m, sign, exponent_a + exponent_b + 1, sig, rounding_mode(h, rm))


@noinline
def f_div(h: Hart, e: Const, m: Const, a: u64, b: u64, rm: u32) -> u64:
    """Return a / b."""
    mag_a = magnitude(e, m, a)
    mag_b = magnitude(e, m, b)
    sign = sign_of(e, m, a ^ b)
    if is_nan(e, m, a) or is_nan(e, m, b):
        return nan_result(h, e, m, a, b)
    if mag_a == mag_b and (mag_a == 0 or mag_a == infinity(e, m)):
        return invalid(h, e, m)
    if mag_a == infinity(e, m) or mag_b == 0:
        if mag_a != infinity(e, m):
            accrue(h, u32(DZ))
        return infinity(e, m) | signed_zero(e, m, sign)
    if mag_a == 0 or mag_b == infinity(e, m):
        return signed_zero(e, m, sign)
    exponent_a, sig_a = unpack(e, m, a)
    exponent_b, sig_b = unpack(e, m, b)
    # Long division, DIVIDE_STEP_BITS at a time: 60 or 61 quotient bits and the remainder.
    divisor = sig_b >> (63 - m)
    rest = sig_a >> (63 - m)
    quotient = rest // divisor
    rest = rest % divisor
    for _step in range(6):
        rest = rest << DIVIDE_STEP_BITS
        quotient = (quotient << DIVIDE_STEP_BITS) | (rest // divisor)
        rest = rest % divisor
    quotient = quotient | u64(rest != 0)
    return round_pack(h, e, m, sign, exponent_a - exponent_b + 3, quotient, rounding_mode(h, rm))


@noinline
def f_sqrt(h: Hart, e: Const, m: Const, a: u64, rm: u32) -> u64:
    """Return the square root; that of -0 is -0."""
    if is_nan(e, m, a):
        return nan_result(h, e, m, a, a)
    if magnitude(e, m, a) == 0 or a == infinity(e, m):
        return a
    if sign_of(e, m, a) != 0:
        return invalid(h, e, m)
    exponent, radicand = unpack(e, m, a)
    # With an even exponent the radicand is in [1, 4), its point after the two leading bits.
    if exponent & 1 == 0:
        radicand = radicand >> 1
    root = u64(0)
    rest = u64(0)
    for _step in range(m + 3):
        rest = (rest << 2) | (radicand >> 62)
        radicand = radicand << 2
        trial = (root << 2) | 1
        root = root << 1
        if rest >= trial:
            rest = rest - trial
            root = root | 1
    sig = (root << 1) | u64(rest != 0)
    return round_pack(h, e, m, u64(0), (exponent >> 1) + (60 - m), sig, rounding_mode(h, rm))


@noinline
def f_fma(h: Hart, e: Const, m: Const, a: u64, b: u64, c: u64, rm: u32) -> u64:
    """Return a * b + c, rounded once; inf * 0 is invalid even when c is a quiet NaN."""
    mag_a = magnitude(e, m, a)
    mag_b = magnitude(e, m, b)
    inf = infinity(e, m)
    if mag_a >= inf or mag_b >= inf or magnitude(e, m, c) >= inf:
        return fma_special(h, e, m, a, b, c)
    mode = rounding_mode(h, rm)
    sign = sign_of(e, m, a ^ b)
    if mag_a == 0 or mag_b == 0:
        zero = signed_zero(e, m, sign)
        if magnitude(e, m, c) != 0 or c == zero:
            return c
        return cancelled_zero(e, m, mode)
    exponent_a, sig_a = unpack(e, m, a)
    exponent_b, sig_b = unpack(e, m, b)
    exponent = exponent_a + exponent_b
    # Leading bit to 126, as the addend's: bit 127 takes the carry.
    product = wide_mul(sig_a, sig_b)
    if (product >> 127) != 0:
        product = product >> 1
        exponent = exponent + 1
    if magnitude(e, m, c) == 0:
        return round_wide(h, e, m, sign, exponent, product, mode)
    exponent_c, sig_c = unpack(e, m, c)
    addend = u128(sig_c) << 63
    if exponent_c > exponent or (exponent_c == exponent and addend > product):
        return fma_ordered(
            h, e, m, sign_of(e, m, c), exponent_c, addend, sign, exponent, product, mode
        )
    return fma_ordered(h, e, m, sign, exponent, product, sign_of(e, m, c), exponent_c, addend, mode)


@noinline
def fma_special(h: Hart, e: Const, m: Const, a: u64, b: u64, c: u64) -> u64:
    """Multiply and add where an operand is an infinity or a NaN."""
    mag_a = magnitude(e, m, a)
    mag_b = magnitude(e, m, b)
    inf = infinity(e, m)
    if (mag_a == inf and mag_b == 0) or (mag_a == 0 and mag_b == inf):
        return invalid(h, e, m)
    if is_nan(e, m, a) or is_nan(e, m, b) or is_nan(e, m, c):
        return nan_result(h, e, m, a, b) | nan_result(h, e, m, c, c)
    product = infinity(e, m) | signed_zero(e, m, sign_of(e, m, a ^ b))
    if mag_a < inf and mag_b < inf:
        product = u64(0)
    return add_special(h, e, m, product, c)


@inline
def fma_ordered(
    h: Hart,
    e: Const,
    m: Const,
    sign: u64,
    exponent: i64,
    big: u128,
    small_sign: u64,
    small_exponent: i64,
    small: u128,
    mode: u32,
) -> u64:
    """Add two wide significands (leading bit 126), the one of larger magnitude first."""
    distance = u64(exponent - small_exponent)
    aligned = u128(small != 0)
    if distance < 128:
        aligned = small >> distance
        if aligned << distance != small:
            aligned = aligned | 1
    total = big + aligned if sign == small_sign else big - aligned
    if total == 0:
        return cancelled_zero(e, m, mode)
    return round_wide(h, e, m, sign, exponent, total, mode)


@inline
def round_wide(
    h: Hart, e: Const, m: Const, sign: u64, exponent: i64, total: u128, mode: u32
) -> u64:
    """Round `total / 2**126 * 2**exponent`; only a total without jammed bits may be small."""
    high = u64(total >> 64)
    low = u64(total)
    if high == 0:
        return round_pack(h, e, m, sign, exponent - 63, low, mode)
    shift = clz(high)
    normal = total << shift
    sig = u64(normal >> 64) | u64(u64(normal) != 0)
    return round_pack(h, e, m, sign, exponent + 1 - i64(shift), sig, mode)
