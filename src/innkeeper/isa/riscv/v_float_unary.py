"""Vector square root, estimates, classification and reductions of floating point (Unprivileged
20240411, 30.13.8 to 30.13.10, 30.13.14, 30.14.3, 30.14.4)."""

from __future__ import annotations

from typing import Any

from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.softfloat import DYN, DZ, NX, OF, RDN, RTZ, RUP, f_class, f_sqrt
from innkeeper.isa.riscv.softfloat_core import (
    accrue,
    exponent_bias,
    infinity,
    invalid,
    is_nan,
    magnitude,
    nan_result,
    sign_of,
    signed_zero,
)
from innkeeper.isa.riscv.v_encoding import single
from innkeeper.isa.riscv.v_float import E, M, add, begin_float, maximum, minimum, widened
from innkeeper.isa.riscv.v_state import (
    ELEMENT,
    MAX_SEW_LOG2,
    NONE,
    SINGLE,
    U,
    active,
    commit,
    from_the_start,
    group,
    result,
)
from innkeeper.native.intrinsics import clz, inline, noinline, ptr_cast
from innkeeper.native.types import Const, Ptr, const_array, i64, u8, u32, u64

RSQRT7 = const_array(u8, [
    52, 51, 50, 48, 47, 46, 44, 43, 42, 41, 40, 39, 38, 36, 35, 34, 33, 32, 31, 30, 30, 29, 28, 27,
    26, 25, 24, 23, 23, 22, 21, 20, 19, 19, 18, 17, 16, 16, 15, 14, 14, 13, 12, 12, 11, 10, 10, 9,
    9, 8, 7, 7, 6, 6, 5, 4, 4, 3, 3, 2, 2, 1, 1, 0, 127, 125, 123, 121, 119, 118, 116, 114, 113,
    111, 109, 108, 106, 105, 103, 102, 100, 99, 97, 96, 95, 93, 92, 91, 90, 88, 87, 86, 85, 84, 83,
    82, 80, 79, 78, 77, 76, 75, 74, 73, 72, 71, 70, 70, 69, 68, 67, 66, 65, 64, 63, 63, 62, 61, 60,
    59, 59, 58, 57, 56, 56, 55, 54, 53,
])  # fmt: skip
"""By the exponent's last bit and 6 bits of the significand (30.13.9, table)."""

REC7 = const_array(u8, [
    127, 125, 123, 121, 119, 117, 116, 114, 112, 110, 109, 107, 105, 104, 102, 100, 99, 97, 96, 94,
    93, 91, 90, 88, 87, 85, 84, 83, 81, 80, 79, 77, 76, 75, 74, 72, 71, 70, 69, 68, 66, 65, 64, 63,
    62, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46, 45, 44, 43, 42, 41, 40, 40,
    39, 38, 37, 36, 35, 35, 34, 33, 32, 31, 31, 30, 29, 28, 28, 27, 26, 25, 25, 24, 23, 23, 22, 21,
    21, 20, 19, 19, 18, 17, 17, 16, 15, 15, 14, 14, 13, 12, 12, 11, 11, 10, 9, 9, 8, 8, 7, 7, 6, 5,
    5, 4, 4, 3, 3, 2, 2, 1, 1, 0,
])  # fmt: skip
"""By 7 bits of the significand (30.13.10, table)."""

ESTIMATE_BITS = 7


@inline
def normalized(e: Const, m: Const, a: u64) -> tuple[i64, u64]:
    """Return the exponent field and the significand without its leading 1.

    A subnormal number's exponent is 0 minus the zeros that its significand begins with.
    """
    fraction = a & ((u64(1) << m) - 1)
    field = (a >> m) & ((u64(1) << e) - 1)
    if field != 0:
        return i64(field), fraction
    zeros = clz(fraction) - (64 - m)
    return 0 - i64(zeros), (fraction << (zeros + 1)) & ((u64(1) << m) - 1)


@noinline
def rsqrt7(h: Hart, e: Const, m: Const, a: u64) -> u64:
    """Return an estimate of 1/sqrt(a), good to 7 bits."""
    if is_nan(e, m, a):
        return nan_result(h, e, m, a, a)
    if magnitude(e, m, a) == 0:
        accrue(h, u32(DZ))
        return infinity(e, m) | a
    if sign_of(e, m, a) != 0:
        return invalid(h, e, m)
    if a == infinity(e, m):
        return u64(0)
    exponent, fraction = normalized(e, m, a)
    index = (u64(exponent & 1) << (ESTIMATE_BITS - 1)) | (fraction >> (m - ESTIMATE_BITS + 1))
    out = (3 * exponent_bias(e) - 1 - exponent) >> 1
    return (u64(out) << m) | (u64(RSQRT7[index]) << (m - ESTIMATE_BITS))


@noinline
def rec7(h: Hart, e: Const, m: Const, a: u64) -> u64:
    """Return an estimate of 1/a, good to 7 bits; it may be subnormal, exactly."""
    sign = signed_zero(e, m, sign_of(e, m, a))
    if is_nan(e, m, a):
        return nan_result(h, e, m, a, a)
    if magnitude(e, m, a) == infinity(e, m):
        return sign
    if magnitude(e, m, a) == 0:
        accrue(h, u32(DZ))
        return infinity(e, m) | sign
    exponent, fraction = normalized(e, m, a)
    out = 2 * exponent_bias(e) - 1 - exponent
    if out > 2 * exponent_bias(e):
        accrue(h, u32(OF | NX))
        inward = h.frm == RTZ or h.frm == (u32(RUP) if sign != 0 else u32(RDN))
        return (infinity(e, m) - u64(inward)) | sign
    bits = u64(REC7[fraction >> (m - ESTIMATE_BITS)]) << (m - ESTIMATE_BITS)
    if out <= 0:
        bits = ((u64(1) << m) | bits) >> u64(1 - out)
        out = i64(0)
    return (u64(out) << m) | bits | sign


@inline
def square_root(h: Hart, e: Const, m: Const, a: u64) -> u64:
    return f_sqrt(h, e, m, a, u32(DYN))


@inline
def classify(h: Hart, e: Const, m: Const, a: u64) -> u64:
    return f_class(h, e, m, a)


def float_unary(h: Hart, i: Operands, op: Const) -> None:
    begin_float(h, i, SINGLE, SINGLE, NONE, SINGLE)
    apply_unary(h, i, op)


@noinline
def apply_unary(h: Hart, i: Operands, op: Const) -> None:
    """Compute vd = op(vs2) for every active element."""
    sew = h.v_sew
    for k in (1, 2, 3):
        if sew == k:
            unary_loop(h, i, op, k)
    commit(h, result(h), i.rd, i.rs3, sew)


@inline
def unary_loop(h: Hart, i: Operands, op: Const, k: Const) -> None:
    """Compute elements of one format."""
    source = ptr_cast(Ptr[U[k]], group(h, i.rs2))
    out = ptr_cast(Ptr[U[k]], result(h))
    for n in range(h.vstart, h.vl):
        if active(h, i.rs3, u64(n)):
            out[n] = U[k](op(h, E[k], M[k], u64(source[n])))


for _name, _code, _unary in (
    ("vfsqrt.v", "00000", square_root), ("vfrsqrt7.v", "00100", rsqrt7),
    ("vfrec7.v", "00101", rec7), ("vfclass.v", "10000", classify),
):  # fmt: skip
    single(_name, f"010011 vm vs2 {_code} 001 vd", "vd, vs2, vm", float_unary, op=_unary)


# ---- reductions; the unordered sums are done in order, which is one of the orders allowed


def float_reduction(h: Hart, i: Operands, op: Const, wide: Const) -> None:
    """Compute vd[0] = op over vs1[0] and the active elements of vs2; nothing where vl is 0."""
    begin_float(h, i, ELEMENT + wide, SINGLE, ELEMENT + wide, SINGLE)
    from_the_start(h)
    reduce_floats(h, i, op, wide)


@noinline
def reduce_floats(h: Hart, i: Operands, op: Const, wide: Const) -> None:
    """Reduce elements of the selected format, into the next wider one if `wide` is 1."""
    sew = h.v_sew
    for k in (1, 2, 3):
        if k + wide <= MAX_SEW_LOG2:
            if sew == k:
                float_reduce_loop(h, i, op, k, k + wide)


@inline
def float_reduce_loop(h: Hart, i: Operands, op: Const, k: Const, kd: Const) -> None:
    """Reduce elements of one format; with none active the scalar is copied as it is."""
    source = ptr_cast(Ptr[U[k]], group(h, i.rs2))
    total = u64(ptr_cast(Ptr[U[kd]], group(h, i.rs1))[0])
    for n in range(h.vl):
        if active(h, i.rs3, u64(n)):
            total = op(h, E[kd], M[kd], total, widened(h, k, kd, u64(source[n])))
    if h.vl != 0:
        ptr_cast(Ptr[U[kd]], group(h, i.rd))[0] = U[kd](total)


def _reduction(name: str, funct6: str, op: Any, wide: int) -> None:
    single(f"{name}.vs", f"{funct6} vm vs2 vs1 001 vd", "vd, vs2, vs1, vm", float_reduction,
           op=op, wide=wide)  # fmt: skip


for _name, _code, _op, _wide in (
    ("vfredusum", "000001", add, 0), ("vfredosum", "000011", add, 0),
    ("vfredmin", "000101", minimum, 0), ("vfredmax", "000111", maximum, 0),
    ("vfwredusum", "110001", add, 1), ("vfwredosum", "110011", add, 1),
):  # fmt: skip
    _reduction(_name, _code, _op, _wide)
