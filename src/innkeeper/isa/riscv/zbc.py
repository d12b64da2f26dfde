"""Zbc: carry-less multiplication (Unprivileged 20240411, 28.4 Zbc)."""

from __future__ import annotations

from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.spec import Extension
from innkeeper.native.intrinsics import noinline
from innkeeper.native.types import u64, u128

ZBC = Extension("Zbc")


@noinline
def carryless_product(a: u64, b: u64) -> u128:
    """Multiply polynomials over GF(2), in a time that does not depend on them (Zkt)."""
    product = u128(0)
    for n in range(64):
        product = product ^ ((u128(a) << n) & -u128((b >> n) & 1))
    return product


@ZBC.insn("clmul", "0000101 rs2 rs1 001 rd 0110011", "rd, rs1, rs2")
def clmul(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(carryless_product(h.x[i.rs1], h.x[i.rs2]))


@ZBC.insn("clmulh", "0000101 rs2 rs1 011 rd 0110011", "rd, rs1, rs2")
def clmulh(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(carryless_product(h.x[i.rs1], h.x[i.rs2]) >> 64)


@ZBC.insn("clmulr", "0000101 rs2 rs1 010 rd 0110011", "rd, rs1, rs2")
def clmulr(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(carryless_product(h.x[i.rs1], h.x[i.rs2]) >> 63)
