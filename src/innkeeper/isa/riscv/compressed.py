"""C (Unprivileged 26): each 16-bit instruction is the 32-bit one it expands to."""

from __future__ import annotations

from innkeeper.isa.riscv.base import I
from innkeeper.isa.riscv.fp_double import D
from innkeeper.isa.riscv.spec import Extension, Instruction, Reserved
from innkeeper.isa.riscv.system import SYSTEM

C = Extension("C")


RD_ZERO = ((0xF80, 0),)
IMM_ZERO = ((0x107C, 0),)
RS2_ZERO = ((0x7C, 0),)


def _c(
    name: str, encoding: str, syntax: str, base: Instruction, reserved: Reserved = (),
    **registers: int | str,
) -> None:  # fmt: skip
    C.compressed(name, encoding, syntax, base, registers=registers, reserved=reserved)


# Quadrant 0 (26.8, table 36)
_c("c.addi4spn", "000 uimm[5:4|9:6|2|3] rd' 00", "rd, sp, imm", I["addi"],
   ((0x1FE0, 0),), rs1=2)  # fmt: skip
_c("c.fld", "001 uimm[5:3] rs1' uimm[7:6] rd' 00", "rd, imm(rs1)", D["fld"])
_c("c.lw", "010 uimm[5:3] rs1' uimm[2|6] rd' 00", "rd, imm(rs1)", I["lw"])
_c("c.ld", "011 uimm[5:3] rs1' uimm[7:6] rd' 00", "rd, imm(rs1)", I["ld"])
_c("c.fsd", "101 uimm[5:3] rs1' uimm[7:6] rs2' 00", "rs2, imm(rs1)", D["fsd"])
_c("c.sw", "110 uimm[5:3] rs1' uimm[2|6] rs2' 00", "rs2, imm(rs1)", I["sw"])
_c("c.sd", "111 uimm[5:3] rs1' uimm[7:6] rs2' 00", "rs2, imm(rs1)", I["sd"])

# Quadrant 1 (table 37)
_c("c.addi", "000 imm[5] rd imm[4:0] 01", "rd, imm", I["addi"], rs1="rd")
_c("c.addiw", "001 imm[5] rd imm[4:0] 01", "rd, imm", I["addiw"], RD_ZERO, rs1="rd")
_c("c.li", "010 imm[5] rd imm[4:0] 01", "rd, imm", I["addi"], rs1=0)
_c("c.addi16sp", "011 imm[9] 00010 imm[4|6|8:7|5] 01", "sp, imm", I["addi"], IMM_ZERO, rd=2, rs1=2)
_c("c.lui", "011 imm[17] rd imm[16:12] 01", "rd, imm", I["lui"],
   IMM_ZERO)  # fmt: skip
_c("c.srli", "100 uimm[5] 00 rd' uimm[4:0] 01", "rd, imm", I["srli"], rs1="rd")
_c("c.srai", "100 uimm[5] 01 rd' uimm[4:0] 01", "rd, imm", I["srai"], rs1="rd")
_c("c.andi", "100 imm[5] 10 rd' imm[4:0] 01", "rd, imm", I["andi"], rs1="rd")
_c("c.sub", "100 0 11 rd' 00 rs2' 01", "rd, rs2", I["sub"], rs1="rd")
_c("c.xor", "100 0 11 rd' 01 rs2' 01", "rd, rs2", I["xor"], rs1="rd")
_c("c.or", "100 0 11 rd' 10 rs2' 01", "rd, rs2", I["or"], rs1="rd")
_c("c.and", "100 0 11 rd' 11 rs2' 01", "rd, rs2", I["and"], rs1="rd")
_c("c.subw", "100 1 11 rd' 00 rs2' 01", "rd, rs2", I["subw"], rs1="rd")
_c("c.addw", "100 1 11 rd' 01 rs2' 01", "rd, rs2", I["addw"], rs1="rd")
_c("c.j", "101 imm[11|4|9:8|10|6|7|3:1|5] 01", "target", I["jal"], rd=0)
_c("c.beqz", "110 imm[8|4:3] rs1' imm[7:6|2:1|5] 01", "rs1, target", I["beq"], rs2=0)
_c("c.bnez", "111 imm[8|4:3] rs1' imm[7:6|2:1|5] 01", "rs1, target", I["bne"], rs2=0)

# Quadrant 2 (table 38)
_c("c.slli", "000 uimm[5] rd uimm[4:0] 10", "rd, imm", I["slli"], rs1="rd")
_c("c.fldsp", "001 uimm[5] rd uimm[4:3|8:6] 10", "rd, imm(sp)", D["fld"], rs1=2)
_c("c.lwsp", "010 uimm[5] rd uimm[4:2|7:6] 10", "rd, imm(sp)", I["lw"], RD_ZERO, rs1=2)
_c("c.ldsp", "011 uimm[5] rd uimm[4:3|8:6] 10", "rd, imm(sp)", I["ld"], RD_ZERO, rs1=2)
_c("c.jr", "100 0 rs1 00000 10", "rs1", I["jalr"], RD_ZERO, rd=0)
_c("c.mv", "100 0 rd rs2 10", "rd, rs2", I["add"], RS2_ZERO, rs1=0)
_c("c.ebreak", "100 1 00000 00000 10", "", SYSTEM["ebreak"])
_c("c.jalr", "100 1 rs1 00000 10", "rs1", I["jalr"], RD_ZERO, rd=1)
_c("c.add", "100 1 rd rs2 10", "rd, rs2", I["add"], RS2_ZERO, rs1="rd")
_c("c.fsdsp", "101 uimm[5:3|8:6] rs2 10", "rs2, imm(sp)", D["fsd"], rs1=2)
_c("c.swsp", "110 uimm[5:2|7:6] rs2 10", "rs2, imm(sp)", I["sw"], rs1=2)
_c("c.sdsp", "111 uimm[5:3|8:6] rs2 10", "rs2, imm(sp)", I["sd"], rs1=2)
