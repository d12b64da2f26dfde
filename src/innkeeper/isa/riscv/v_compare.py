"""Vector integer instructions that write or read a mask beside their operands: comparisons,
carries, merges (Unprivileged 20240411, 30.11.4, 30.11.8, 30.11.15)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.v_encoding import MASKED, OPI, UNMASKED, chosen, forms
from innkeeper.isa.riscv.v_state import (
    MASK,
    SINGLE,
    S,
    U,
    commit,
    commit_mask,
    group,
    mask_bit,
    result,
    start_vv,
    start_vx,
)
from innkeeper.isa.riscv.v_whole import (
    SEW32,
    pattern,
    register,
    set_block,
    spread,
    unaligned,
    whole_merge,
    whole_width,
)
from innkeeper.native.intrinsics import inline, noinline, ptr_cast, ptr_offset, ref
from innkeeper.native.types import Const, Ptr, i64, u8, u64

Element = Callable[..., Any]


@noinline
def to_mask(h: Hart, i: Operands, y: Ptr[u8], op: Const, a: Const, b: Const, carry: Const) -> None:
    """Compute vd.mask = op(vs2, y, carry in) and end the instruction.

    With `carry`, v0 is an operand instead of a mask, and all body elements are written.
    """
    sew = h.v_sew
    for k in (0, 1, 2, 3):
        if sew == k:
            to_mask_loop(h, i, y, op, a[k], b[k], carry)
    commit_mask(h, i.rd, u8(1) if carry else i.rs3)


@inline
def to_mask_loop(
    h: Hart, i: Operands, y: Ptr[u8], op: Const, a: Const, b: Const, carry: Const
) -> None:
    """Compute a byte, 0 or 1, for elements of one type."""
    first = ptr_cast(Ptr[a], group(h, i.rs2))
    second = ptr_cast(Ptr[b], y)
    out = result(h)
    for n in range(h.vl):
        if carry:
            cin = u64(i.rs3 == 0 and mask_bit(h, u8(0), u64(n)))
            out[n] = u8(op(u64(first[n]), u64(second[n]), cin, a.BITS))
        else:
            out[n] = u8(op(u64(first[n]), u64(second[n])))


def mask_vv(h: Hart, i: Operands, op: Const, a: Const, b: Const, carry: Const) -> None:
    to_mask(h, i, start_vv(h, i, MASK, SINGLE, SINGLE), op, a, b, carry)


def mask_vx(h: Hart, i: Operands, op: Const, a: Const, b: Const, carry: Const) -> None:
    to_mask(h, i, start_vx(h, i, MASK, SINGLE, h.x[i.rs1]), op, a, b, carry)


def mask_vi(h: Hart, i: Operands, op: Const, a: Const, b: Const, carry: Const) -> None:
    to_mask(h, i, start_vx(h, i, MASK, SINGLE, u64(i.imm)), op, a, b, carry)


TO_MASK = {"vv": mask_vv, "vx": mask_vx, "vi": mask_vi}


def comparing(name: str, funct6: str, names: str, kinds: Any) -> Callable[[Element], Element]:
    """Describe a comparison: vd.mask = op(vs2, other)."""

    def register(op: Element) -> Element:
        made = chosen(TO_MASK, names)
        forms(name, funct6, made, OPI, op=inline(op), a=kinds, b=kinds, carry=False)
        return op

    return register


@comparing("vmseq", "011000", "vv vx vi", U)
def eq(a: u64, b: u64) -> bool:
    return a == b


@comparing("vmsne", "011001", "vv vx vi", U)
def ne(a: u64, b: u64) -> bool:
    return a != b


@comparing("vmsltu", "011010", "vv vx", U)
def ltu(a: u64, b: u64) -> bool:
    return a < b


@comparing("vmslt", "011011", "vv vx", S)
def lt(a: u64, b: u64) -> bool:
    return i64(a) < i64(b)


@comparing("vmsleu", "011100", "vv vx vi", U)
def leu(a: u64, b: u64) -> bool:
    return a <= b


@comparing("vmsle", "011101", "vv vx vi", S)
def le(a: u64, b: u64) -> bool:
    return i64(a) <= i64(b)


@comparing("vmsgtu", "011110", "vx vi", U)
def gtu(a: u64, b: u64) -> bool:
    return a > b


@comparing("vmsgt", "011111", "vx vi", S)
def gt(a: u64, b: u64) -> bool:
    return i64(a) > i64(b)


# ---- add with carry, subtract with borrow: `c` is v0's bit


def carrying(name: str, funct6: str, names: str) -> Callable[[Element], Element]:
    """Describe what writes a carry out: with v0 as carry in (`vm=0`), or without."""

    def register(op: Element) -> Element:
        made = chosen(TO_MASK, names)
        for vm, suffix in ((MASKED, "m"), (UNMASKED, "")):
            forms(
                name, funct6, made, OPI, vm=vm, suffix=suffix,
                op=inline(op), a=U, b=U, carry=True,
            )  # fmt: skip
        return op

    return register


@carrying("vmadc", "010001", "vv vx vi")
def carry_out(a: u64, b: u64, c: u64, bits: Const) -> bool:
    total = a + b + c
    if bits == 64:
        return total < a or (c != 0 and total == a)
    return (total >> bits) != 0


@carrying("vmsbc", "010011", "vv vx")
def borrow_out(a: u64, b: u64, c: u64, bits: Const) -> bool:
    return a < b or (c != 0 and a == b)


@noinline
def with_mask(h: Hart, i: Operands, y: Ptr[u8], op: Const) -> None:
    """Compute vd = op(vs2, y, v0.mask) for all body elements."""
    sew = h.v_sew
    for k in (0, 1, 2, 3):
        if sew == k:
            with_mask_loop(h, i, y, op, U[k])
    commit(h, result(h), i.rd, u8(1), sew)


@inline
def with_mask_loop(h: Hart, i: Operands, y: Ptr[u8], op: Const, kind: Const) -> None:
    """Compute elements of one type."""
    first = ptr_cast(Ptr[kind], group(h, i.rs2))
    second = ptr_cast(Ptr[kind], y)
    out = ptr_cast(Ptr[kind], result(h))
    for n in range(h.vl):
        out[n] = kind(op(u64(first[n]), u64(second[n]), mask_bit(h, u8(0), u64(n))))


def masked_vv(h: Hart, i: Operands, op: Const) -> None:
    with_mask(h, i, start_vv(h, i, SINGLE, SINGLE, SINGLE), op)


def masked_vx(h: Hart, i: Operands, op: Const) -> None:
    with_mask(h, i, start_vx(h, i, SINGLE, SINGLE, h.x[i.rs1]), op)


def masked_vi(h: Hart, i: Operands, op: Const) -> None:
    with_mask(h, i, start_vx(h, i, SINGLE, SINGLE, u64(i.imm)), op)


WITH_MASK = {"vv": masked_vv, "vx": masked_vx, "vi": masked_vi}


@inline
def adc(a: u64, b: u64, c: bool) -> u64:
    return a + b + u64(c)


@inline
def sbc(a: u64, b: u64, c: bool) -> u64:
    return a - b - u64(c)


@inline
def merge(a: u64, b: u64, c: bool) -> u64:
    return b if c else a


forms("vadc", "010000", WITH_MASK, OPI, vm=MASKED, suffix="m", op=adc)
forms("vsbc", "010010", chosen(WITH_MASK, "vv vx"), OPI, vm=MASKED, suffix="m", op=sbc)


@inline
def cannot_merge(h: Hart, i: Operands, y: u8) -> bool:
    """Tell whether a merge must go the general way; no operand may be v0, which is the mask."""
    if whole_width(h) < SEW32 or unaligned(h, i.rd | i.rs2 | y):
        return True
    return i.rd == 0 or i.rs2 == 0 or y == 0


def merge_vv(h: Hart, i: Operands) -> None:
    if cannot_merge(h, i, i.rs1):
        masked_vv(h, i, merge)
    else:
        whole_merge(h, i, register(h, i.rs1), u64(1))


@inline
def merge_scalar(h: Hart, i: Operands, value: u64) -> None:
    """Merge vs2 and one value."""
    scalar = ptr_offset(ref(h, "v_scalar"), u8, u64(0))
    set_block(scalar, u64(0), spread(pattern(h, value)))
    whole_merge(h, i, scalar, u64(0))


def merge_vx(h: Hart, i: Operands) -> None:
    if cannot_merge(h, i, i.rs2):
        masked_vx(h, i, merge)
    else:
        merge_scalar(h, i, h.x[i.rs1])


def merge_vi(h: Hart, i: Operands) -> None:
    if cannot_merge(h, i, i.rs2):
        masked_vi(h, i, merge)
    else:
        merge_scalar(h, i, u64(i.imm))


MERGE = {"vv": merge_vv, "vx": merge_vx, "vi": merge_vi}
forms("vmerge", "010111", MERGE, OPI, vm=MASKED, suffix="m")
