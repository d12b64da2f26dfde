"""Element groups: what the vector cryptography instructions work on (Unprivileged 20240411, 30.20;
Vector Cryptography 1.0.0, 1.3).

A group of 128 bits is one register with VLEN 128, one of 256 bits is two.
"""

from __future__ import annotations

from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.spec import Extension
from innkeeper.isa.riscv.v_permute import most_elements
from innkeeper.isa.riscv.v_state import (
    ELEMENT,
    NONE,
    SINGLE,
    begin,
    check_apart,
    emul,
    illegal,
)
from innkeeper.native.intrinsics import inline, noinline
from innkeeper.native.types import i32, u64

OP_VE = "1110111"
"""The major opcode of what is cryptography alone."""

FOUR, EIGHT = 4, 8
"""Elements in a group."""


def describe(extension: Extension, name: str, encoding: str, syntax: str, meaning: object) -> None:
    """Describe an instruction of OP-VE by the rest of its encoding."""
    extension.insn(name, f"{encoding} 010 vd {OP_VE}", syntax)(meaning)  # type: ignore[arg-type]


@noinline
def begin_groups(h: Hart, i: Operands, k1: i32, size: u64, wide: bool, apart: bool) -> None:
    """Start an instruction on vd, vs2 and, unless `k1` is NONE, vs1, in groups of `size` elements.

    SEW is 32, or 64 where `wide` allows it. A group must fit, vl and vstart be multiples of the
    size, and `apart` says that vd must not overlap a source.
    """
    begin(h, i, i32(SINGLE), i32(SINGLE), k1)
    check_groups(h, size, wide)
    if apart:
        check_apart(h, i.rd, emul(h, SINGLE), i.rs2, emul(h, SINGLE))
        if k1 != NONE:
            check_apart(h, i.rd, emul(h, SINGLE), i.rs1, emul(h, SINGLE))


@noinline
def begin_scalar_group(h: Hart, i: Operands) -> None:
    """Start an instruction on vd in groups of four, all with the one group in register vs2."""
    begin(h, i, i32(SINGLE), i32(ELEMENT), i32(NONE))
    check_groups(h, u64(FOUR), False)
    check_apart(h, i.rd, emul(h, SINGLE), i.rs2, i32(0))


@inline
def check_groups(h: Hart, size: u64, wide: bool) -> None:
    """Check SEW, LMUL, vl and vstart."""
    if h.v_sew != 2 and not (wide and h.v_sew == 3):
        illegal(h)
    if most_elements(h) < size or ((h.vl | h.vstart) & (size - 1)) != 0:
        illegal(h)
