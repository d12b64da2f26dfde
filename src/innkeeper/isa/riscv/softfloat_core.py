"""The parts every soft-float operation is made of: formats, flags, unpacking, rounding.

A format is two compile-time numbers, `e` exponent bits and `m` fraction bits: 5 and 10 for
binary16, 8 and 23 for binary32, 11 and 52 for binary64. A value is its raw bits, right-aligned in a
u64. Unpacked, a finite non-zero number is `sig / 2**63 * 2**exponent` with bit 63 of `sig` set.
Source: IEEE 754-2019 clauses 3, 4 and 7; RISC-V Unprivileged 20240411, chapter 20.
"""

from __future__ import annotations

from innkeeper.isa.riscv.hart import Hart
from innkeeper.native.intrinsics import clz, inline, noinline
from innkeeper.native.types import Const, i64, u32, u64

NX = 1
UF = 2
OF = 4
DZ = 8
NV = 16

RNE = 0
RTZ = 1
RDN = 2
RUP = 3
RMM = 4
DYN = 7


@inline
def rounding_mode(h: Hart, rm: u32) -> u32:
    """Resolve an instruction's rounding mode: `DYN` means the one in `frm`."""
    return h.frm if rm == DYN else rm


@inline
def accrue(h: Hart, flags: u32) -> None:
    """Add exceptions to the accrued ones."""
    h.fflags = h.fflags | flags


@inline
def sign_bit(e: Const, m: Const) -> u64:
    """Return the bits of negative zero."""
    return u64(1) << (e + m)


@inline
def sign_of(e: Const, m: Const, a: u64) -> u64:
    """Return 1 for a negative number, else 0."""
    return (a >> (e + m)) & 1


@inline
def magnitude(e: Const, m: Const, a: u64) -> u64:
    """Clear the sign."""
    return a & (sign_bit(e, m) - 1)


@inline
def infinity(e: Const, m: Const) -> u64:
    """Return the bits of positive infinity; every larger magnitude is a NaN."""
    return ((u64(1) << e) - 1) << m


@inline
def canonical_nan(e: Const, m: Const) -> u64:
    """Return the one NaN that RISC-V operations produce (Unprivileged 20.3)."""
    return infinity(e, m) | (u64(1) << (m - 1))


@inline
def is_nan(e: Const, m: Const, a: u64) -> bool:
    """Tell whether the value is a NaN of either kind."""
    return magnitude(e, m, a) > infinity(e, m)


@inline
def is_signalling(e: Const, m: Const, a: u64) -> bool:
    """Tell whether the value is a signalling NaN: the fraction's first bit is clear."""
    return is_nan(e, m, a) and (a >> (m - 1)) & 1 == 0


@inline
def exponent_bias(e: Const) -> i64:
    """Return the exponent bias, which is also the largest exponent."""
    return (i64(1) << (e - 1)) - 1


@noinline
def nan_result(h: Hart, e: Const, m: Const, a: u64, b: u64) -> u64:
    """Return the canonical NaN; a signalling operand is an invalid operation."""
    if is_signalling(e, m, a) or is_signalling(e, m, b):
        accrue(h, u32(NV))
    return canonical_nan(e, m)


@noinline
def invalid(h: Hart, e: Const, m: Const) -> u64:
    """Accrue an invalid operation and return the canonical NaN."""
    accrue(h, u32(NV))
    return canonical_nan(e, m)


@inline
def signed_zero(e: Const, m: Const, sign: u64) -> u64:
    """Return a zero with this sign."""
    return sign << (e + m)


@inline
def cancelled_zero(e: Const, m: Const, mode: u32) -> u64:
    """Return the zero that x - x gives (IEEE 754 6.3): negative only when rounding down."""
    return sign_bit(e, m) if mode == RDN else u64(0)


@inline
def unpack(e: Const, m: Const, a: u64) -> tuple[i64, u64]:
    """Split a finite non-zero number into its exponent and its significand, bit 63 set."""
    fraction = a & ((u64(1) << m) - 1)
    field = (a >> m) & ((u64(1) << e) - 1)
    if field != 0:
        return i64(field) - exponent_bias(e), (fraction | (u64(1) << m)) << (63 - m)
    shift = clz(fraction)
    return i64(64 - m) - exponent_bias(e) - i64(shift), fraction << shift


@inline
def shift_right_jam(a: u64, count: u64) -> u64:
    """Shift right; bits that fall off set bit 0, so that rounding still sees them."""
    if count == 0:
        return a
    if count > 63:
        return u64(a != 0)
    return (a >> count) | u64((a << (64 - count)) != 0)


@inline
def round_increment(mode: u32, sign: u64, mask: u64) -> u64:
    """Return what to add to the bits under `mask` so that their carry rounds the rest.

    For `RNE` the caller still has to make a tie even.
    """
    if mode == RNE or mode == RMM:
        return (mask >> 1) + 1
    if (mode == RDN and sign != 0) or (mode == RUP and sign == 0):
        return mask
    return u64(0)


@noinline
def round_pack(h: Hart, e: Const, m: Const, sign: u64, exponent: i64, sig: u64, mode: u32) -> u64:
    """Round `sig / 2**63 * 2**exponent`, `sig` any non-zero number, and accrue what happened.

    Bit 0 of `sig` may stand for any non-zero amount below it ("jammed") as long as at least two
    bits lie between it and the last bit kept. Tininess is detected after rounding.
    """
    shift = clz(sig)
    whole = sig << shift
    biased = exponent - i64(shift) + exponent_bias(e)
    mask = (u64(1) << (63 - m)) - 1
    increment = round_increment(mode, sign, mask)
    tiny = False
    if biased <= 0:
        # One binade below the normal numbers, all ones may still round up to the smallest normal.
        up = whole >> (63 - m) == (u64(2) << m) - 1 and (whole & mask) + increment > mask
        tiny = biased < 0 or not up
        whole = shift_right_jam(whole, u64(1 - biased))
        biased = i64(1)
    rest = whole & mask
    kept = (whole >> (63 - m)) + ((rest + increment) >> (63 - m))
    if mode == RNE and rest == (mask >> 1) + 1:
        kept = kept - (kept & 1)
    # The leading bit of a normal number adds one to the exponent field, and so does a carry.
    bits = (u64(biased - 1) << m) + kept
    if bits >= infinity(e, m):
        accrue(h, u32(OF | NX))
        bits = infinity(e, m) - u64(increment == 0)
    elif rest != 0:
        accrue(h, u32(UF | NX) if tiny else u32(NX))
    return bits | signed_zero(e, m, sign)
