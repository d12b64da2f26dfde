"""Zbb: basic bit manipulation (RISC-V Bit-manipulation 1.0.0, Zbb)."""

from __future__ import annotations

from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.spec import Extension
from innkeeper.native.intrinsics import bswap, clz, ctz, popcount, rotl, rotr
from innkeeper.native.types import i8, i16, i32, i64, u16, u32, u64

ZBB = Extension("Zbb")

LOW_BIT_OF_EACH_BYTE = 0x0101010101010101
ALL_BUT_TOP_OF_EACH_BYTE = 0x7F7F7F7F7F7F7F7F


@ZBB.insn("andn", "0100000 rs2 rs1 111 rd 0110011", "rd, rs1, rs2")
def andn(h: Hart, i: Operands) -> None:
    h.x[i.rd] = h.x[i.rs1] & ~h.x[i.rs2]


@ZBB.insn("orn", "0100000 rs2 rs1 110 rd 0110011", "rd, rs1, rs2")
def orn(h: Hart, i: Operands) -> None:
    h.x[i.rd] = h.x[i.rs1] | ~h.x[i.rs2]


@ZBB.insn("xnor", "0100000 rs2 rs1 100 rd 0110011", "rd, rs1, rs2")
def xnor(h: Hart, i: Operands) -> None:
    h.x[i.rd] = ~(h.x[i.rs1] ^ h.x[i.rs2])


@ZBB.insn("clz", "011000000000 rs1 001 rd 0010011", "rd, rs1")
def clz_(h: Hart, i: Operands) -> None:
    h.x[i.rd] = clz(h.x[i.rs1])


@ZBB.insn("ctz", "011000000001 rs1 001 rd 0010011", "rd, rs1")
def ctz_(h: Hart, i: Operands) -> None:
    h.x[i.rd] = ctz(h.x[i.rs1])


@ZBB.insn("cpop", "011000000010 rs1 001 rd 0010011", "rd, rs1")
def cpop(h: Hart, i: Operands) -> None:
    h.x[i.rd] = popcount(h.x[i.rs1])


@ZBB.insn("clzw", "011000000000 rs1 001 rd 0011011", "rd, rs1")
def clzw(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(clz(u32(h.x[i.rs1])))


@ZBB.insn("ctzw", "011000000001 rs1 001 rd 0011011", "rd, rs1")
def ctzw(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(ctz(u32(h.x[i.rs1])))


@ZBB.insn("cpopw", "011000000010 rs1 001 rd 0011011", "rd, rs1")
def cpopw(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(popcount(u32(h.x[i.rs1])))


@ZBB.insn("max", "0000101 rs2 rs1 110 rd 0110011", "rd, rs1, rs2")
def max_(h: Hart, i: Operands) -> None:
    a = h.x[i.rs1]
    b = h.x[i.rs2]
    h.x[i.rd] = b if i64(a) < i64(b) else a


@ZBB.insn("maxu", "0000101 rs2 rs1 111 rd 0110011", "rd, rs1, rs2")
def maxu(h: Hart, i: Operands) -> None:
    a = h.x[i.rs1]
    b = h.x[i.rs2]
    h.x[i.rd] = b if a < b else a


@ZBB.insn("min", "0000101 rs2 rs1 100 rd 0110011", "rd, rs1, rs2")
def min_(h: Hart, i: Operands) -> None:
    a = h.x[i.rs1]
    b = h.x[i.rs2]
    h.x[i.rd] = a if i64(a) < i64(b) else b


@ZBB.insn("minu", "0000101 rs2 rs1 101 rd 0110011", "rd, rs1, rs2")
def minu(h: Hart, i: Operands) -> None:
    a = h.x[i.rs1]
    b = h.x[i.rs2]
    h.x[i.rd] = a if a < b else b


@ZBB.insn("sext.b", "011000000100 rs1 001 rd 0010011", "rd, rs1")
def sext_b(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(i8(h.x[i.rs1]))


@ZBB.insn("sext.h", "011000000101 rs1 001 rd 0010011", "rd, rs1")
def sext_h(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(i16(h.x[i.rs1]))


@ZBB.insn("zext.h", "000010000000 rs1 100 rd 0111011", "rd, rs1")
def zext_h(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(u16(h.x[i.rs1]))


@ZBB.insn("rol", "0110000 rs2 rs1 001 rd 0110011", "rd, rs1, rs2")
def rol(h: Hart, i: Operands) -> None:
    h.x[i.rd] = rotl(h.x[i.rs1], h.x[i.rs2])


@ZBB.insn("rolw", "0110000 rs2 rs1 001 rd 0111011", "rd, rs1, rs2")
def rolw(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(i32(rotl(u32(h.x[i.rs1]), u32(h.x[i.rs2]))))


@ZBB.insn("ror", "0110000 rs2 rs1 101 rd 0110011", "rd, rs1, rs2")
def ror(h: Hart, i: Operands) -> None:
    h.x[i.rd] = rotr(h.x[i.rs1], h.x[i.rs2])


@ZBB.insn("rorw", "0110000 rs2 rs1 101 rd 0111011", "rd, rs1, rs2")
def rorw(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(i32(rotr(u32(h.x[i.rs1]), u32(h.x[i.rs2]))))


@ZBB.insn("rori", "011000 uimm[5:0] rs1 101 rd 0010011", "rd, rs1, imm")
def rori(h: Hart, i: Operands) -> None:
    h.x[i.rd] = rotr(h.x[i.rs1], u64(i.imm))


@ZBB.insn("roriw", "0110000 uimm[4:0] rs1 101 rd 0011011", "rd, rs1, imm")
def roriw(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(i32(rotr(u32(h.x[i.rs1]), u32(i.imm))))


@ZBB.insn("orc.b", "001010000111 rs1 101 rd 0010011", "rd, rs1")
def orc_b(h: Hart, i: Operands) -> None:
    a = h.x[i.rs1]
    # The carry out of the low seven bits marks a byte that has one of them set.
    some = (((a & ALL_BUT_TOP_OF_EACH_BYTE) + ALL_BUT_TOP_OF_EACH_BYTE) | a) >> 7
    h.x[i.rd] = (some & LOW_BIT_OF_EACH_BYTE) * 255


@ZBB.insn("rev8", "011010111000 rs1 101 rd 0010011", "rd, rs1")
def rev8(h: Hart, i: Operands) -> None:
    h.x[i.rd] = bswap(h.x[i.rs1])
