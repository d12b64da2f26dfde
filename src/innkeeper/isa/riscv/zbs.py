"""Zbs: single-bit instructions (RISC-V Bit-manipulation 1.0.0, Zbs).

The index is taken modulo 64, as kernel Python's shifts do by themselves.
"""

from __future__ import annotations

from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.spec import Extension
from innkeeper.native.types import u64

ZBS = Extension("Zbs")


@ZBS.insn("bclr", "0100100 rs2 rs1 001 rd 0110011", "rd, rs1, rs2")
def bclr(h: Hart, i: Operands) -> None:
    h.x[i.rd] = h.x[i.rs1] & ~(u64(1) << h.x[i.rs2])


@ZBS.insn("bclri", "010010 uimm[5:0] rs1 001 rd 0010011", "rd, rs1, imm")
def bclri(h: Hart, i: Operands) -> None:
    h.x[i.rd] = h.x[i.rs1] & ~(u64(1) << i.imm)


@ZBS.insn("bext", "0100100 rs2 rs1 101 rd 0110011", "rd, rs1, rs2")
def bext(h: Hart, i: Operands) -> None:
    h.x[i.rd] = (h.x[i.rs1] >> h.x[i.rs2]) & 1


@ZBS.insn("bexti", "010010 uimm[5:0] rs1 101 rd 0010011", "rd, rs1, imm")
def bexti(h: Hart, i: Operands) -> None:
    h.x[i.rd] = (h.x[i.rs1] >> i.imm) & 1


@ZBS.insn("binv", "0110100 rs2 rs1 001 rd 0110011", "rd, rs1, rs2")
def binv(h: Hart, i: Operands) -> None:
    h.x[i.rd] = h.x[i.rs1] ^ (u64(1) << h.x[i.rs2])


@ZBS.insn("binvi", "011010 uimm[5:0] rs1 001 rd 0010011", "rd, rs1, imm")
def binvi(h: Hart, i: Operands) -> None:
    h.x[i.rd] = h.x[i.rs1] ^ (u64(1) << i.imm)


@ZBS.insn("bset", "0010100 rs2 rs1 001 rd 0110011", "rd, rs1, rs2")
def bset(h: Hart, i: Operands) -> None:
    h.x[i.rd] = h.x[i.rs1] | (u64(1) << h.x[i.rs2])


@ZBS.insn("bseti", "001010 uimm[5:0] rs1 001 rd 0010011", "rd, rs1, imm")
def bseti(h: Hart, i: Operands) -> None:
    h.x[i.rd] = h.x[i.rs1] | (u64(1) << i.imm)
