"""Vector conversions to and from floating point (Unprivileged 20240411, 30.13.17 to 30.13.19).

The source and the destination are SEW wide, or one of them is twice that: `ka` and `kd` are their
shapes. Zvfh makes every format 16 to 64 bits wide, and so integers 8 to 64 (30.18.5).
"""

from __future__ import annotations

from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.softfloat import DYN, NX, RTZ, f_convert, f_from_int, f_to_int
from innkeeper.isa.riscv.v_encoding import single
from innkeeper.isa.riscv.v_float import E, M, begin_float
from innkeeper.isa.riscv.v_state import (
    MAX_SEW_LOG2,
    NONE,
    SINGLE,
    WIDE,
    S,
    U,
    active,
    commit,
    group,
    result,
)
from innkeeper.native.intrinsics import inline, noinline, ptr_cast
from innkeeper.native.types import Const, Ptr, i64, u32, u64

ROD = 8
"""Round to odd: only for narrowing a format, and no mode of the scalars'."""


# ---- float to integer


@noinline
def to_int(h: Hart, k: Const, kind: Const, a: u64, rm: u32) -> u64:
    """Convert one element of the format of size `k`."""
    return f_to_int(h, E[k], M[k], kind, a, rm)


@noinline
def floats_to_ints(h: Hart, i: Operands, rm: u32, kinds: Const, ka: Const, kd: Const) -> None:
    """Convert every active element."""
    sew = h.v_sew
    for k in (0, 1, 2, 3):
        if k + ka >= 1 and k + ka <= MAX_SEW_LOG2 and k + kd <= MAX_SEW_LOG2:
            if sew == k:
                to_int_loop(h, i, rm, k + ka, kinds[k + kd], U[k + kd])
    commit(h, result(h), i.rd, i.rs3, sew + kd)


@inline
def to_int_loop(h: Hart, i: Operands, rm: u32, k: Const, kind: Const, d: Const) -> None:
    """Convert elements of one format."""
    source = ptr_cast(Ptr[U[k]], group(h, i.rs2))
    out = ptr_cast(Ptr[d], result(h))
    for n in range(h.vstart, h.vl):
        if active(h, i.rs3, u64(n)):
            out[n] = d(to_int(h, k, kind, u64(source[n]), rm))


def float_to_int(h: Hart, i: Operands, rm: Const, kinds: Const, ka: Const, kd: Const) -> None:
    begin_float(h, i, kd, ka, NONE, ka)
    floats_to_ints(h, i, u32(rm), kinds, ka, kd)


# ---- integer to float


@noinline
def ints_to_floats(h: Hart, i: Operands, kinds: Const, ka: Const, kd: Const) -> None:
    """Convert every active element."""
    sew = h.v_sew
    for k in (0, 1, 2, 3):
        if k + kd >= 1 and k + ka <= MAX_SEW_LOG2 and k + kd <= MAX_SEW_LOG2:
            if sew == k:
                from_int_loop(h, i, kinds[k + ka], k + kd)
    commit(h, result(h), i.rd, i.rs3, sew + kd)


@inline
def from_int_loop(h: Hart, i: Operands, kind: Const, k: Const) -> None:
    """Convert to elements of one format."""
    source = ptr_cast(Ptr[kind], group(h, i.rs2))
    out = ptr_cast(Ptr[U[k]], result(h))
    for n in range(h.vstart, h.vl):
        if active(h, i.rs3, u64(n)):
            a = u64(source[n])
            if kind.SIGNED:
                out[n] = U[k](f_from_int(h, E[k], M[k], i64, a, u32(DYN)))
            else:
                out[n] = U[k](f_from_int(h, E[k], M[k], u64, a, u32(DYN)))


def int_to_float(h: Hart, i: Operands, kinds: Const, ka: Const, kd: Const) -> None:
    begin_float(h, i, kd, ka, NONE, kd)
    ints_to_floats(h, i, kinds, ka, kd)


# ---- between formats


@inline
def convert_odd(h: Hart, ka: Const, kd: Const, a: u64) -> u64:
    """Narrow, rounding to odd: truncate, and where that is inexact set the last bit."""
    before = h.fflags
    h.fflags = u32(0)
    value = f_convert(h, E[ka], M[ka], E[kd], M[kd], a, u32(RTZ))
    if (h.fflags & NX) != 0:
        value = value | 1
    h.fflags = h.fflags | before
    return value


@noinline
def floats_to_floats(h: Hart, i: Operands, rm: Const, ka: Const, kd: Const) -> None:
    """Convert every active element."""
    sew = h.v_sew
    for k in (1, 2):
        if sew == k:
            format_loop(h, i, rm, k + ka, k + kd)
    commit(h, result(h), i.rd, i.rs3, sew + kd)


@inline
def format_loop(h: Hart, i: Operands, rm: Const, ka: Const, kd: Const) -> None:
    """Convert elements of one format to another."""
    source = ptr_cast(Ptr[U[ka]], group(h, i.rs2))
    out = ptr_cast(Ptr[U[kd]], result(h))
    for n in range(h.vstart, h.vl):
        if active(h, i.rs3, u64(n)):
            if rm == ROD:
                out[n] = U[kd](convert_odd(h, ka, kd, u64(source[n])))
            else:
                a = u64(source[n])
                out[n] = U[kd](f_convert(h, E[ka], M[ka], E[kd], M[kd], a, u32(DYN)))


def float_to_float(h: Hart, i: Operands, rm: Const, ka: Const, kd: Const) -> None:
    begin_float(h, i, kd, ka, NONE, SINGLE)
    floats_to_floats(h, i, rm, ka, kd)


# ---- the table: VFUNARY0 (30.19)

for _stem, _high, _letter, _ka, _kd in (
    ("vfcvt", "00", "v", SINGLE, SINGLE),
    ("vfwcvt", "01", "v", SINGLE, WIDE),
    ("vfncvt", "10", "w", WIDE, SINGLE),
):
    _encoding, _syntax = f"010010 vm vs2 {_high}{{}} 001 vd", "vd, vs2, vm"
    for _name, _low, _rm, _kinds in (
        ("xu.f", "000", DYN, U), ("x.f", "001", DYN, S),
        ("rtz.xu.f", "110", RTZ, U), ("rtz.x.f", "111", RTZ, S),
    ):  # fmt: skip
        single(f"{_stem}.{_name}.{_letter}", _encoding.format(_low), _syntax, float_to_int,
               rm=_rm, kinds=_kinds, ka=_ka, kd=_kd)  # fmt: skip
    for _name, _low, _kinds in (("f.xu", "010", U), ("f.x", "011", S)):
        single(f"{_stem}.{_name}.{_letter}", _encoding.format(_low), _syntax, int_to_float,
               kinds=_kinds, ka=_ka, kd=_kd)  # fmt: skip

for _name, _code, _rm, _ka, _kd in (
    ("vfwcvt.f.f.v", "01100", DYN, SINGLE, WIDE),
    ("vfncvt.f.f.w", "10100", DYN, WIDE, SINGLE),
    ("vfncvt.rod.f.f.w", "10101", ROD, WIDE, SINGLE),
):
    single(_name, f"010010 vm vs2 {_code} 001 vd", "vd, vs2, vm", float_to_float,
           rm=_rm, ka=_ka, kd=_kd)  # fmt: skip
