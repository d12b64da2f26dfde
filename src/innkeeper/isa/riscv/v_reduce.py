"""Vector integer reductions (Unprivileged 20240411, 30.14.1, 30.14.2)."""

from __future__ import annotations

from typing import Any

from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.v_encoding import single
from innkeeper.isa.riscv.v_integer import add, and_, max_, maxu, min_, minu, or_, xor
from innkeeper.isa.riscv.v_state import (
    ELEMENT,
    MAX_SEW_LOG2,
    SINGLE,
    S,
    U,
    active,
    begin,
    from_the_start,
    group,
)
from innkeeper.native.intrinsics import inline, noinline, ptr_cast
from innkeeper.native.types import Const, Ptr, u64


def reduction(h: Hart, i: Operands, op: Const, a: Const, wide: Const) -> None:
    """Compute vd[0] = op over vs1[0] and the active elements of vs2; nothing where vl is 0."""
    begin(h, i, ELEMENT + wide, SINGLE, ELEMENT + wide)
    from_the_start(h)
    reduce(h, i, op, a, wide)


@noinline
def reduce(h: Hart, i: Operands, op: Const, a: Const, wide: Const) -> None:
    """Reduce elements of the selected width, into twice that if `wide` is 1."""
    sew = h.v_sew
    for k in (0, 1, 2, 3):
        if k + wide <= MAX_SEW_LOG2:
            if sew == k:
                reduce_loop(h, i, op, a[k], a[k + wide], U[k + wide])


@inline
def reduce_loop(h: Hart, i: Operands, op: Const, a: Const, first: Const, d: Const) -> None:
    """Reduce elements of one type."""
    source = ptr_cast(Ptr[a], group(h, i.rs2))
    total = u64(ptr_cast(Ptr[first], group(h, i.rs1))[0])
    for n in range(h.vl):
        if active(h, i.rs3, u64(n)):
            total = op(total, u64(source[n]), a.BITS)
    if h.vl != 0:
        ptr_cast(Ptr[d], group(h, i.rd))[0] = d(total)


def _describe(name: str, funct6: str, funct3: str, op: Any, kinds: Any, wide: int) -> None:
    single(
        f"{name}.vs", f"{funct6} vm vs2 vs1 {funct3} vd", "vd, vs2, vs1, vm", reduction,
        op=op, a=kinds, wide=wide,
    )  # fmt: skip


for _name, _code, _op, _kinds in (
    ("vredsum", "000000", add, U),
    ("vredand", "000001", and_, U),
    ("vredor", "000010", or_, U),
    ("vredxor", "000011", xor, U),
    ("vredminu", "000100", minu, U),
    ("vredmin", "000101", min_, S),
    ("vredmaxu", "000110", maxu, U),
    ("vredmax", "000111", max_, S),
):
    _describe(_name, _code, "010", _op, _kinds, 0)

_describe("vwredsumu", "110000", "000", add, U, 1)
_describe("vwredsum", "110001", "000", add, S, 1)
