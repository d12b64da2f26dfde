"""Vector fused multiply-add (Unprivileged 20240411, 30.13.6, 30.13.7)."""

from __future__ import annotations

from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.softfloat import DYN, f_fma
from innkeeper.isa.riscv.softfloat_core import sign_bit
from innkeeper.isa.riscv.v_encoding import OPF, forms
from innkeeper.isa.riscv.v_float import (
    E,
    M,
    start_fvf,
    start_fvv,
    widened,
)
from innkeeper.isa.riscv.v_state import (
    MAX_SEW_LOG2,
    NONE,
    SINGLE,
    WIDE,
    U,
    active,
    check_accumulator,
    commit,
    group,
    result,
)
from innkeeper.native.intrinsics import inline, noinline, ptr_cast
from innkeeper.native.types import Const, Ptr, u8, u32, u64


@noinline
def fused(
    h: Hart, i: Operands, y: Ptr[u8], onto: bool, negate: bool, subtract: bool, kd: Const
) -> None:
    """Compute vd = ±(y * vs2) ± vd, or with `onto` false ±(y * vd) ± vs2."""
    sew = h.v_sew
    for k in (1, 2, 3):
        if k + kd <= MAX_SEW_LOG2:
            if sew == k:
                fused_loop(h, i, y, onto, negate, subtract, k, k + kd)
    commit(h, result(h), i.rd, i.rs3, sew + kd)


@inline
def fused_loop(
    h: Hart,
    i: Operands,
    y: Ptr[u8],
    onto: bool,
    negate: bool,
    subtract: bool,
    k: Const,
    kd: Const,
) -> None:
    """Compute elements of one format."""
    first = ptr_cast(Ptr[U[k]], y)
    source = ptr_cast(Ptr[U[k]], group(h, i.rs2))
    old = ptr_cast(Ptr[U[kd]], group(h, i.rd))
    out = ptr_cast(Ptr[U[kd]], result(h))
    flip_product = sign_bit(E[kd], M[kd]) if negate else u64(0)
    flip_addend = sign_bit(E[kd], M[kd]) if subtract else u64(0)
    for n in range(h.vstart, h.vl):
        if active(h, i.rs3, u64(n)):
            a = widened(h, k, kd, u64(first[n])) ^ flip_product
            b = widened(h, k, kd, u64(source[n]))
            c = u64(old[n])
            if not onto:
                c = b
                b = u64(old[n])
            out[n] = U[kd](f_fma(h, E[kd], M[kd], a, b, c ^ flip_addend, u32(DYN)))


def fused_vv(h: Hart, i: Operands, onto: Const, negate: Const, subtract: Const, kd: Const) -> None:
    y = start_fvv(h, i, kd, SINGLE)
    if kd != 0:
        check_accumulator(h, i, kd, SINGLE)
    fused(h, i, y, onto, negate, subtract, kd)


def fused_vf(h: Hart, i: Operands, onto: Const, negate: Const, subtract: Const, kd: Const) -> None:
    y = start_fvf(h, i, kd, SINGLE)
    if kd != 0:
        check_accumulator(h, i, kd, NONE)
    fused(h, i, y, onto, negate, subtract, kd)


FUSED = {"vv": fused_vv, "vf": fused_vf}

# name, funct6, whether vd is the addend, the signs of the product and of the addend
for _name, _code, _onto, _negate, _subtract in (
    ("vfmadd", "101000", False, False, False),
    ("vfnmadd", "101001", False, True, True),
    ("vfmsub", "101010", False, False, True),
    ("vfnmsub", "101011", False, True, False),
    ("vfmacc", "101100", True, False, False),
    ("vfnmacc", "101101", True, True, True),
    ("vfmsac", "101110", True, False, True),
    ("vfnmsac", "101111", True, True, False),
):
    forms(_name, _code, FUSED, OPF, reverse=True,
          onto=_onto, negate=_negate, subtract=_subtract, kd=SINGLE)  # fmt: skip
for _name, _code, _negate, _subtract in (
    ("vfwmacc", "111100", False, False),
    ("vfwnmacc", "111101", True, True),
    ("vfwmsac", "111110", False, True),
    ("vfwnmsac", "111111", True, False),
):
    forms(_name, _code, FUSED, OPF, reverse=True,
          onto=True, negate=_negate, subtract=_subtract, kd=WIDE)  # fmt: skip
