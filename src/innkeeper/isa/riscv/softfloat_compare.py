"""Soft-float comparison, minimum and maximum, classification.

Source: RISC-V Unprivileged 20240411, 20.6 to 20.9 and the chapter on Zfa. These are also what
compiled guests run: no branch that a comparison can avoid.
"""

from __future__ import annotations

from innkeeper.isa.riscv.hart import Hart
from innkeeper.isa.riscv.softfloat_core import (
    NV,
    accrue,
    canonical_nan,
    infinity,
    is_nan,
    is_signalling,
    magnitude,
    nan_result,
    sign_of,
)
from innkeeper.native.intrinsics import inline, noinline
from innkeeper.native.types import Const, i64, u32, u64


@inline
def order_key(e: Const, m: Const, a: u64) -> i64:
    """Map a number to an integer that compares as the number does; both zeros give 0."""
    mag = i64(magnitude(e, m, a))
    return mag if sign_of(e, m, a) == 0 else 0 - mag


@inline
def f_eq(h: Hart, e: Const, m: Const, a: u64, b: u64) -> u64:
    """Return 1 if a = b; quiet: only a signalling NaN is invalid."""
    if is_nan(e, m, a) or is_nan(e, m, b):
        return unordered_quiet(h, e, m, a, b)
    return u64(order_key(e, m, a) == order_key(e, m, b))


@inline
def f_lt(h: Hart, e: Const, m: Const, a: u64, b: u64) -> u64:
    """Return 1 if a < b; any NaN is invalid."""
    if is_nan(e, m, a) or is_nan(e, m, b):
        return unordered(h)
    return u64(order_key(e, m, a) < order_key(e, m, b))


@inline
def f_le(h: Hart, e: Const, m: Const, a: u64, b: u64) -> u64:
    """Return 1 if a <= b; any NaN is invalid."""
    if is_nan(e, m, a) or is_nan(e, m, b):
        return unordered(h)
    return u64(order_key(e, m, a) <= order_key(e, m, b))


@inline
def f_lt_quiet(h: Hart, e: Const, m: Const, a: u64, b: u64) -> u64:
    """Return 1 if a < b; only a signalling NaN is invalid (Zfa: FLTQ)."""
    if is_nan(e, m, a) or is_nan(e, m, b):
        return unordered_quiet(h, e, m, a, b)
    return u64(order_key(e, m, a) < order_key(e, m, b))


@inline
def f_le_quiet(h: Hart, e: Const, m: Const, a: u64, b: u64) -> u64:
    """Return 1 if a <= b; only a signalling NaN is invalid (Zfa: FLEQ)."""
    if is_nan(e, m, a) or is_nan(e, m, b):
        return unordered_quiet(h, e, m, a, b)
    return u64(order_key(e, m, a) <= order_key(e, m, b))


@noinline
def unordered(h: Hart) -> u64:
    """Accrue an invalid operation and answer no."""
    accrue(h, u32(NV))
    return u64(0)


@noinline
def unordered_quiet(h: Hart, e: Const, m: Const, a: u64, b: u64) -> u64:
    """Answer no; a signalling operand is an invalid operation."""
    if is_signalling(e, m, a) or is_signalling(e, m, b):
        accrue(h, u32(NV))
    return u64(0)


@inline
def f_min(h: Hart, e: Const, m: Const, a: u64, b: u64) -> u64:
    """Return minimumNumber(a, b): a number beats a NaN, -0 is below +0 (IEEE 754-2019 9.6)."""
    if is_nan(e, m, a) or is_nan(e, m, b):
        return the_number(h, e, m, a, b)
    return a if total_key(e, m, a) < total_key(e, m, b) else b


@inline
def f_max(h: Hart, e: Const, m: Const, a: u64, b: u64) -> u64:
    """Return maximumNumber(a, b): a number beats a NaN, +0 is above -0 (IEEE 754-2019 9.6)."""
    if is_nan(e, m, a) or is_nan(e, m, b):
        return the_number(h, e, m, a, b)
    return b if total_key(e, m, a) < total_key(e, m, b) else a


@inline
def f_min_nan(h: Hart, e: Const, m: Const, a: u64, b: u64) -> u64:
    """Return minimum(a, b): a NaN beats a number (IEEE 754-2019 9.6; Zfa: FMINM)."""
    if is_nan(e, m, a) or is_nan(e, m, b):
        return nan_result(h, e, m, a, b)
    return a if total_key(e, m, a) < total_key(e, m, b) else b


@inline
def f_max_nan(h: Hart, e: Const, m: Const, a: u64, b: u64) -> u64:
    """Return maximum(a, b): a NaN beats a number (IEEE 754-2019 9.6; Zfa: FMAXM)."""
    if is_nan(e, m, a) or is_nan(e, m, b):
        return nan_result(h, e, m, a, b)
    return b if total_key(e, m, a) < total_key(e, m, b) else a


@inline
def total_key(e: Const, m: Const, a: u64) -> i64:
    """Map a number to an integer that compares as the number does, -0 below +0."""
    mag = i64(magnitude(e, m, a))
    return mag if sign_of(e, m, a) == 0 else -1 - mag


@noinline
def the_number(h: Hart, e: Const, m: Const, a: u64, b: u64) -> u64:
    """Return the operand that is not a NaN, or the canonical NaN."""
    if is_signalling(e, m, a) or is_signalling(e, m, b):
        accrue(h, u32(NV))
    if not is_nan(e, m, a):
        return a
    return canonical_nan(e, m) if is_nan(e, m, b) else b


@noinline
def f_class(h: Hart, e: Const, m: Const, a: u64) -> u64:
    """Return the one-hot class mask of `fclass` (Unprivileged 20.9); no exceptions."""
    mag = magnitude(e, m, a)
    if mag > infinity(e, m):
        return u64(1 << 8) if is_signalling(e, m, a) else u64(1 << 9)
    # Distance from the middle of the table: -inf 0 ... -0 3, +0 4 ... +inf 7.
    rank = u64(0)
    if mag == infinity(e, m):
        rank = u64(3)
    elif mag >> m != 0:
        rank = u64(2)
    elif mag != 0:
        rank = u64(1)
    return u64(8) >> rank if sign_of(e, m, a) != 0 else u64(16) << rank
