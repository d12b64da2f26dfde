"""Zba: address generation (RISC-V Bit-manipulation 1.0.0, Zba)."""

from __future__ import annotations

from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.spec import Extension
from innkeeper.native.types import u32, u64

ZBA = Extension("Zba")


@ZBA.insn("add.uw", "0000100 rs2 rs1 000 rd 0111011", "rd, rs1, rs2")
def add_uw(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(u32(h.x[i.rs1])) + h.x[i.rs2]


@ZBA.insn("sh1add", "0010000 rs2 rs1 010 rd 0110011", "rd, rs1, rs2")
def sh1add(h: Hart, i: Operands) -> None:
    h.x[i.rd] = (h.x[i.rs1] << 1) + h.x[i.rs2]


@ZBA.insn("sh2add", "0010000 rs2 rs1 100 rd 0110011", "rd, rs1, rs2")
def sh2add(h: Hart, i: Operands) -> None:
    h.x[i.rd] = (h.x[i.rs1] << 2) + h.x[i.rs2]


@ZBA.insn("sh3add", "0010000 rs2 rs1 110 rd 0110011", "rd, rs1, rs2")
def sh3add(h: Hart, i: Operands) -> None:
    h.x[i.rd] = (h.x[i.rs1] << 3) + h.x[i.rs2]


@ZBA.insn("sh1add.uw", "0010000 rs2 rs1 010 rd 0111011", "rd, rs1, rs2")
def sh1add_uw(h: Hart, i: Operands) -> None:
    h.x[i.rd] = (u64(u32(h.x[i.rs1])) << 1) + h.x[i.rs2]


@ZBA.insn("sh2add.uw", "0010000 rs2 rs1 100 rd 0111011", "rd, rs1, rs2")
def sh2add_uw(h: Hart, i: Operands) -> None:
    h.x[i.rd] = (u64(u32(h.x[i.rs1])) << 2) + h.x[i.rs2]


@ZBA.insn("sh3add.uw", "0010000 rs2 rs1 110 rd 0111011", "rd, rs1, rs2")
def sh3add_uw(h: Hart, i: Operands) -> None:
    h.x[i.rd] = (u64(u32(h.x[i.rs1])) << 3) + h.x[i.rs2]


@ZBA.insn("slli.uw", "000010 uimm[5:0] rs1 001 rd 0011011", "rd, rs1, imm")
def slli_uw(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(u32(h.x[i.rs1])) << i.imm
