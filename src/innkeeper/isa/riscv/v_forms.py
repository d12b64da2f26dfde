"""How the element functions of the integer families are applied: to groups, scalars, immediates.

Results are gathered apart and then replace the active elements of vd, so that an operand may be the
destination. The loops know nothing of masks: what an inactive element would become is never seen.
"""

from __future__ import annotations

from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.v_state import (
    MAX_SEW_LOG2,
    NONE,
    SINGLE,
    U,
    begin,
    check_accumulator,
    commit,
    group,
    result,
    start_vv,
    start_vx,
)
from innkeeper.isa.riscv.v_whole import LANES, not_in_lanes, whole_vv, whole_vx
from innkeeper.native.intrinsics import inline, noinline, ptr_cast
from innkeeper.native.types import Const, Ptr, u8, u64


@noinline
def apply2(
    h: Hart, i: Operands, y: Ptr[u8], op: Const, a: Const, b: Const, ka: Const, kb: Const, kd: Const
) -> None:
    """Compute vd = op(vs2, y) for every element; `ka kb kd` are the shapes, `a b` the types."""
    sew = h.v_sew
    for k in (0, 1, 2, 3):
        if k + ka <= MAX_SEW_LOG2 and k + kd <= MAX_SEW_LOG2:
            if sew == k:
                loop2(h, i, y, op, a[k + ka], b[k + kb], U[k + kd])
    commit(h, result(h), i.rd, i.rs3, sew + kd)


@inline
def loop2(h: Hart, i: Operands, y: Ptr[u8], op: Const, a: Const, b: Const, d: Const) -> None:
    """Compute elements of one type."""
    first = ptr_cast(Ptr[a], group(h, i.rs2))
    second = ptr_cast(Ptr[b], y)
    out = ptr_cast(Ptr[d], result(h))
    for n in range(h.vl):
        out[n] = d(op(u64(first[n]), u64(second[n]), a.BITS))


@noinline
def apply3(h: Hart, i: Operands, y: Ptr[u8], op: Const, a: Const, b: Const, kd: Const) -> None:
    """Compute vd = op(vd, vs2, y) for every element."""
    sew = h.v_sew
    for k in (0, 1, 2, 3):
        if k + kd <= MAX_SEW_LOG2:
            if sew == k:
                loop3(h, i, y, op, a[k], b[k], U[k + kd])
    commit(h, result(h), i.rd, i.rs3, sew + kd)


@inline
def loop3(h: Hart, i: Operands, y: Ptr[u8], op: Const, a: Const, b: Const, d: Const) -> None:
    """Compute elements of one type."""
    old = ptr_cast(Ptr[d], group(h, i.rd))
    first = ptr_cast(Ptr[a], group(h, i.rs2))
    second = ptr_cast(Ptr[b], y)
    out = ptr_cast(Ptr[d], result(h))
    for n in range(h.vl):
        out[n] = d(op(u64(old[n]), u64(first[n]), u64(second[n])))


# ---- binary: vd = vs2 op vs1, x[rs1] or an immediate


@inline
def binary_vv(
    h: Hart, i: Operands, op: Const, a: Const, b: Const, k2: Const, k1: Const, kd: Const
) -> None:
    if (
        op not in LANES
        or k2 != SINGLE
        or kd != SINGLE
        or not_in_lanes(h, i, LANES[op], i.rd | i.rs2 | i.rs1)
    ):
        apply2(h, i, start_vv(h, i, kd, k2, k1), op, a, b, k2, k1, kd)
    else:
        whole_vv(h, i, LANES[op], i.rs1)


@inline
def binary_vx(
    h: Hart, i: Operands, op: Const, a: Const, b: Const, k2: Const, k1: Const, kd: Const
) -> None:
    if (
        op not in LANES
        or k2 != SINGLE
        or kd != SINGLE
        or not_in_lanes(h, i, LANES[op], i.rd | i.rs2)
    ):
        apply2(h, i, start_vx(h, i, kd, k2, h.x[i.rs1]), op, a, b, k2, k1, kd)
    else:
        whole_vx(h, i, LANES[op], h.x[i.rs1])


@inline
def binary_vi(
    h: Hart, i: Operands, op: Const, a: Const, b: Const, k2: Const, k1: Const, kd: Const
) -> None:
    if (
        op not in LANES
        or k2 != SINGLE
        or kd != SINGLE
        or not_in_lanes(h, i, LANES[op], i.rd | i.rs2)
    ):
        apply2(h, i, start_vx(h, i, kd, k2, u64(i.imm)), op, a, b, k2, k1, kd)
    else:
        whole_vx(h, i, LANES[op], u64(i.imm))


BINARY = {"vv": binary_vv, "vx": binary_vx, "vi": binary_vi}
BINARY_WIDE = {"wv": binary_vv, "wx": binary_vx, "wi": binary_vi}


# ---- ternary: vd = op(vd, vs2, vs1 or x[rs1])


def ternary_vv(h: Hart, i: Operands, op: Const, a: Const, b: Const, kd: Const) -> None:
    y = start_vv(h, i, kd, 0, 0)
    if kd != 0:
        check_accumulator(h, i, kd, 0)
    apply3(h, i, y, op, a, b, kd)


def ternary_vx(h: Hart, i: Operands, op: Const, a: Const, b: Const, kd: Const) -> None:
    y = start_vx(h, i, kd, 0, h.x[i.rs1])
    if kd != 0:
        check_accumulator(h, i, kd, NONE)
    apply3(h, i, y, op, a, b, kd)


TERNARY = {"vv": ternary_vv, "vx": ternary_vx}


# ---- unary: vd = op(vs2)


def unary(h: Hart, i: Operands, op: Const, a: Const, k2: Const) -> None:
    if op not in LANES or not_in_lanes(h, i, LANES[op], i.rd | i.rs2):
        begin(h, i, 0, k2, NONE)
        apply1(h, i, op, a, k2)
    else:
        whole_vv(h, i, LANES[op], i.rs2)


@noinline
def apply1(h: Hart, i: Operands, op: Const, a: Const, ka: Const) -> None:
    """Compute vd = op(vs2) for every element."""
    sew = h.v_sew
    for k in (0, 1, 2, 3):
        if k + ka >= 0:
            if sew == k:
                loop1(h, i, op, a[k + ka], U[k])
    commit(h, result(h), i.rd, i.rs3, sew)


@inline
def loop1(h: Hart, i: Operands, op: Const, a: Const, d: Const) -> None:
    """Compute elements of one type."""
    first = ptr_cast(Ptr[a], group(h, i.rs2))
    out = ptr_cast(Ptr[d], result(h))
    for n in range(h.vl):
        out[n] = d(op(u64(first[n]), a.BITS))
