"""Vector floating-point comparisons, merges and moves (Unprivileged 20240411, 30.13.13 to 30.13.16,
30.16.2, 30.16.3)."""

from __future__ import annotations

from collections.abc import Callable

from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.softfloat import f_eq, f_le, f_lt
from innkeeper.isa.riscv.v_compare import merge, with_mask
from innkeeper.isa.riscv.v_encoding import MASKED, OPF, chosen, forms, single
from innkeeper.isa.riscv.v_float import (
    E,
    Element,
    M,
    begin_float,
    float_scalar,
    start_fvf,
    start_fvv,
)
from innkeeper.isa.riscv.v_permute import put_first, slide_one_down, slide_one_up
from innkeeper.isa.riscv.v_state import (
    ELEMENT,
    MASK,
    NONE,
    SINGLE,
    U,
    active,
    commit,
    commit_mask,
    get_element,
    group,
    result,
)
from innkeeper.native.intrinsics import inline, noinline, ptr_cast
from innkeeper.native.types import Const, Ptr, u8, u64

# ---- comparisons (30.13.13)


@noinline
def compare_float(h: Hart, i: Operands, y: Ptr[u8], op: Const) -> None:
    """Compute vd.mask = op(vs2, y) for every active element."""
    sew = h.v_sew
    for k in (1, 2, 3):
        if sew == k:
            compare_loop(h, i, y, op, k)
    commit_mask(h, i.rd, i.rs3)


@inline
def compare_loop(h: Hart, i: Operands, y: Ptr[u8], op: Const, k: Const) -> None:
    """Compute a byte, 0 or 1, for elements of one format."""
    first = ptr_cast(Ptr[U[k]], group(h, i.rs2))
    second = ptr_cast(Ptr[U[k]], y)
    out = result(h)
    for n in range(h.vstart, h.vl):
        if active(h, i.rs3, u64(n)):
            out[n] = u8(op(h, E[k], M[k], u64(first[n]), u64(second[n])))


def compare_vv(h: Hart, i: Operands, op: Const) -> None:
    compare_float(h, i, start_fvv(h, i, MASK, SINGLE), op)


def compare_vf(h: Hart, i: Operands, op: Const) -> None:
    compare_float(h, i, start_fvf(h, i, MASK, SINGLE), op)


def comparing(name: str, funct6: str, names: str) -> Callable[[Element], Element]:
    """Describe a comparison: vd.mask = op(vs2, other)."""

    def register(op: Element) -> Element:
        meanings = chosen({"vv": compare_vv, "vf": compare_vf}, names)
        forms(name, funct6, meanings, OPF, op=inline(op))
        return op

    return register


@comparing("vmfeq", "011000", "vv vf")
def equal(h: Hart, e: Const, m: Const, a: u64, b: u64) -> u64:
    return f_eq(h, e, m, a, b)


@comparing("vmfne", "011100", "vv vf")
def unequal(h: Hart, e: Const, m: Const, a: u64, b: u64) -> u64:
    return 1 - f_eq(h, e, m, a, b)


@comparing("vmflt", "011011", "vv vf")
def less(h: Hart, e: Const, m: Const, a: u64, b: u64) -> u64:
    return f_lt(h, e, m, a, b)


@comparing("vmfle", "011001", "vv vf")
def less_or_equal(h: Hart, e: Const, m: Const, a: u64, b: u64) -> u64:
    return f_le(h, e, m, a, b)


@comparing("vmfgt", "011101", "vf")
def greater(h: Hart, e: Const, m: Const, a: u64, b: u64) -> u64:
    return f_lt(h, e, m, b, a)


@comparing("vmfge", "011111", "vf")
def greater_or_equal(h: Hart, e: Const, m: Const, a: u64, b: u64) -> u64:
    return f_le(h, e, m, b, a)


# ---- merge and moves (30.13.15, 30.13.16, 30.16.2)


def vfmerge(h: Hart, i: Operands) -> None:
    with_mask(h, i, start_fvf(h, i, SINGLE, SINGLE), merge)


def vfmv_v_f(h: Hart, i: Operands) -> None:
    y = start_fvf(h, i, SINGLE, NONE)
    commit(h, y, i.rd, u8(1), h.v_sew)


def vfmv_f_s(h: Hart, i: Operands) -> None:
    begin_float(h, i, NONE, ELEMENT, NONE, SINGLE)
    value = get_element(h, group(h, i.rs2), u64(0))
    if h.v_sew != 3:
        value = value | (~u64(0) << (u64(8) << h.v_sew))
    h.f[i.rd] = value
    h.vstart = u64(0)


def vfmv_s_f(h: Hart, i: Operands) -> None:
    begin_float(h, i, ELEMENT, NONE, NONE, SINGLE)
    put_first(h, i, float_scalar(h, i.rs1))


forms("vfmerge", "010111", {"vf": vfmerge}, OPF, vm=MASKED, suffix="m")
single("vfmv.v.f", "010111 vm=1 00000 rs1 101 vd", "vd, rs1", vfmv_v_f, fp="rs1")
single("vfmv.f.s", "010000 vm=1 vs2 00000 001 rd", "rd, vs2", vfmv_f_s, fp="rd")
single("vfmv.s.f", "010000 vm=1 00000 rs1 101 vd", "vd, rs1", vfmv_s_f, fp="rs1")


# ---- slides by one (30.16.3.3)


def vfslide1up(h: Hart, i: Operands) -> None:
    begin_float(h, i, SINGLE, SINGLE, NONE, SINGLE)
    slide_one_up(h, i, float_scalar(h, i.rs1))


def vfslide1down(h: Hart, i: Operands) -> None:
    begin_float(h, i, SINGLE, SINGLE, NONE, SINGLE)
    slide_one_down(h, i, float_scalar(h, i.rs1))


forms("vfslide1up", "001110", {"vf": vfslide1up}, OPF)
forms("vfslide1down", "001111", {"vf": vfslide1down}, OPF)
