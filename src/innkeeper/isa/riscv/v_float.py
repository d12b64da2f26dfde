"""Vector floating-point arithmetic (Unprivileged 20240411, 30.13).

Elements are IEEE 754 binary16 (Zvfh), binary32 and binary64. Element functions work on raw bits, in
the format of `e` exponent and `m` fraction bits, with the functions that scalars use: `a` is vs2's
element, `b` the other operand's. Only active elements are computed, for they set flags.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from innkeeper.isa.riscv.fp_common import fp_slow
from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.softfloat import (
    DYN,
    f_add,
    f_convert,
    f_div,
    f_max,
    f_min,
    f_mul,
    f_sub,
)
from innkeeper.isa.riscv.softfloat_core import sign_bit
from innkeeper.isa.riscv.v_encoding import OPF, chosen, forms
from innkeeper.isa.riscv.v_state import (
    MAX_SEW_LOG2,
    NONE,
    SINGLE,
    WIDE,
    U,
    active,
    begin,
    commit,
    group,
    illegal,
    result,
    splat,
)
from innkeeper.native.intrinsics import inline, noinline, ptr_cast
from innkeeper.native.types import Const, Ptr, i32, u8, u32, u64

Element = Callable[..., Any]
E = (0, 5, 8, 11)
M = (0, 10, 23, 52)
"""Exponent and fraction bits by the logarithm of the size in bytes; there is no 8-bit format."""

BOXED_HALF, BOXED_SINGLE = 0xFFFFFFFFFFFF0000, 0xFFFFFFFF00000000
HALF_NAN, SINGLE_NAN = 0x7E00, 0x7FC00000


@noinline
def begin_float(h: Hart, i: Operands, kd: i32, k2: i32, k1: i32, kf: i32) -> None:
    """Start an instruction whose narrowest floating-point operand has the shape `kf`.

    mstatus.FS must be on, frm valid (30.10), and the format must exist.
    """
    begin(h, i, kd, k2, k1)
    if i32(h.v_sew) + kf < 1:
        illegal(h)
    if h.fp_ready == 0:
        fp_slow(h, u32(DYN))


@noinline
def float_scalar(h: Hart, r: u8) -> u64:
    """Return a scalar of SEW bits; one that is not NaN-boxed is the canonical NaN (30.10)."""
    value = h.f[r]
    if h.v_sew == 1:
        return value & 0xFFFF if value >= BOXED_HALF else u64(HALF_NAN)
    if h.v_sew == 2:
        return value & 0xFFFFFFFF if value >= BOXED_SINGLE else u64(SINGLE_NAN)
    return value


@noinline
def start_fvv(h: Hart, i: Operands, kd: i32, k2: i32) -> Ptr[u8]:
    """Start an instruction on vs2 and vs1; return the elements of vs1."""
    begin_float(h, i, kd, k2, i32(SINGLE), i32(SINGLE))
    return group(h, i.rs1)


@noinline
def start_fvf(h: Hart, i: Operands, kd: i32, k2: i32) -> Ptr[u8]:
    """Start an instruction on vs2 and a scalar; return as many elements with its value."""
    begin_float(h, i, kd, k2, i32(NONE), i32(SINGLE))
    return splat(h, float_scalar(h, i.rs1))


@inline
def widened(h: Hart, k: Const, kd: Const, value: u64) -> u64:
    """Convert from the format of size `k` to that of `kd`, where they differ; this is exact."""
    if k == kd:
        return value
    return f_convert(h, E[k], M[k], E[kd], M[kd], value, u32(DYN))


# ---- binary: vd = op(vs2, other); either source may be narrower than vd


@noinline
def apply_float(h: Hart, i: Operands, y: Ptr[u8], op: Const, k2: Const, kd: Const) -> None:
    """Compute vd = op(vs2, y) for every active element."""
    sew = h.v_sew
    for k in (1, 2, 3):
        if k + kd <= MAX_SEW_LOG2:
            if sew == k:
                float_loop(h, i, y, op, k + k2, k, k + kd)
    commit(h, result(h), i.rd, i.rs3, sew + kd)


@inline
def float_loop(
    h: Hart, i: Operands, y: Ptr[u8], op: Const, ka: Const, kb: Const, kd: Const
) -> None:
    """Compute elements of one format."""
    first = ptr_cast(Ptr[U[ka]], group(h, i.rs2))
    second = ptr_cast(Ptr[U[kb]], y)
    out = ptr_cast(Ptr[U[kd]], result(h))
    for n in range(h.vstart, h.vl):
        if active(h, i.rs3, u64(n)):
            a = widened(h, ka, kd, u64(first[n]))
            b = widened(h, kb, kd, u64(second[n]))
            out[n] = U[kd](op(h, E[kd], M[kd], a, b))


def float_vv(h: Hart, i: Operands, op: Const, k2: Const, kd: Const) -> None:
    apply_float(h, i, start_fvv(h, i, kd, k2), op, k2, kd)


def float_vf(h: Hart, i: Operands, op: Const, k2: Const, kd: Const) -> None:
    apply_float(h, i, start_fvf(h, i, kd, k2), op, k2, kd)


FLOAT = {"vv": float_vv, "vf": float_vf}
FLOAT_WIDE = {"wv": float_vv, "wf": float_vf}


def float_elementwise(name: str, funct6: str, names: str) -> Callable[[Element], Element]:
    """Describe a family vd = op(vs2, other)."""

    def register(op: Element) -> Element:
        forms(name, funct6, chosen(FLOAT, names), OPF, op=inline(op), k2=SINGLE, kd=SINGLE)
        return op

    return register


@float_elementwise("vfadd", "000000", "vv vf")
def add(h: Hart, e: Const, m: Const, a: u64, b: u64) -> u64:
    return f_add(h, e, m, a, b, u32(DYN))


@float_elementwise("vfsub", "000010", "vv vf")
def sub(h: Hart, e: Const, m: Const, a: u64, b: u64) -> u64:
    return f_sub(h, e, m, a, b, u32(DYN))


@float_elementwise("vfrsub", "100111", "vf")
def rsub(h: Hart, e: Const, m: Const, a: u64, b: u64) -> u64:
    return f_sub(h, e, m, b, a, u32(DYN))


@float_elementwise("vfmul", "100100", "vv vf")
def mul(h: Hart, e: Const, m: Const, a: u64, b: u64) -> u64:
    return f_mul(h, e, m, a, b, u32(DYN))


@float_elementwise("vfdiv", "100000", "vv vf")
def div(h: Hart, e: Const, m: Const, a: u64, b: u64) -> u64:
    return f_div(h, e, m, a, b, u32(DYN))


@float_elementwise("vfrdiv", "100001", "vf")
def rdiv(h: Hart, e: Const, m: Const, a: u64, b: u64) -> u64:
    return f_div(h, e, m, b, a, u32(DYN))


@float_elementwise("vfmin", "000100", "vv vf")
def minimum(h: Hart, e: Const, m: Const, a: u64, b: u64) -> u64:
    return f_min(h, e, m, a, b)


@float_elementwise("vfmax", "000110", "vv vf")
def maximum(h: Hart, e: Const, m: Const, a: u64, b: u64) -> u64:
    return f_max(h, e, m, a, b)


@float_elementwise("vfsgnj", "001000", "vv vf")
def sgnj(h: Hart, e: Const, m: Const, a: u64, b: u64) -> u64:
    return (a & (sign_bit(e, m) - 1)) | (b & sign_bit(e, m))


@float_elementwise("vfsgnjn", "001001", "vv vf")
def sgnjn(h: Hart, e: Const, m: Const, a: u64, b: u64) -> u64:
    return (a & (sign_bit(e, m) - 1)) | (~b & sign_bit(e, m))


@float_elementwise("vfsgnjx", "001010", "vv vf")
def sgnjx(h: Hart, e: Const, m: Const, a: u64, b: u64) -> u64:
    return a ^ (b & sign_bit(e, m))


for _name, _code, _op in (("vfwadd", "110000", add), ("vfwsub", "110010", sub),
                          ("vfwmul", "111000", mul)):  # fmt: skip
    forms(_name, _code, FLOAT, OPF, op=_op, k2=SINGLE, kd=WIDE)
for _name, _code, _op in (("vfwadd", "110100", add), ("vfwsub", "110110", sub)):
    forms(_name, _code, FLOAT_WIDE, OPF, op=_op, k2=WIDE, kd=WIDE)
