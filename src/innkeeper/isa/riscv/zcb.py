"""Zcb: more 16-bit instructions (Unprivileged 20240411, 27.5 Zcb)."""

from __future__ import annotations

from innkeeper.isa.riscv.base import I
from innkeeper.isa.riscv.mul import M
from innkeeper.isa.riscv.spec import Extension, Instruction
from innkeeper.isa.riscv.zba import ZBA
from innkeeper.isa.riscv.zbb import ZBB

ZCB = Extension("Zcb")


def _c(
    name: str, encoding: str, syntax: str, base: Instruction, imm: int = 0, **registers: int | str
) -> None:
    ZCB.compressed(name, encoding, syntax, base, registers=registers, imm=imm)


_c("c.lbu", "100000 rs1' uimm[0|1] rd' 00", "rd, imm(rs1)", I["lbu"])
_c("c.lhu", "100001 rs1' 0 uimm[1] rd' 00", "rd, imm(rs1)", I["lhu"])
_c("c.lh", "100001 rs1' 1 uimm[1] rd' 00", "rd, imm(rs1)", I["lh"])
_c("c.sb", "100010 rs1' uimm[0|1] rs2' 00", "rs2, imm(rs1)", I["sb"])
_c("c.sh", "100011 rs1' 0 uimm[1] rs2' 00", "rs2, imm(rs1)", I["sh"])
_c("c.zext.b", "100111 rd' 11000 01", "rd", I["andi"], imm=0xFF, rs1="rd")
_c("c.sext.b", "100111 rd' 11001 01", "rd", ZBB["sext.b"], rs1="rd")
_c("c.zext.h", "100111 rd' 11010 01", "rd", ZBB["zext.h"], rs1="rd")
_c("c.sext.h", "100111 rd' 11011 01", "rd", ZBB["sext.h"], rs1="rd")
_c("c.zext.w", "100111 rd' 11100 01", "rd", ZBA["add.uw"], rs1="rd", rs2=0)
_c("c.not", "100111 rd' 11101 01", "rd", I["xori"], imm=-1, rs1="rd")
_c("c.mul", "100111 rd' 10 rs2' 01", "rd, rs2", M["mul"], rs1="rd")
