"""Zfh: half-precision floating point (RISC-V Unprivileged 20240411, chapter 23).

Zfhmin is a part of it: loads, stores, moves and conversions. The meanings are `fp_common`'s.
"""

from __future__ import annotations

from innkeeper.isa.riscv import fp_common
from innkeeper.isa.riscv.fp_common import H_BOX, RESERVED_RM, fp_check
from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.ops import load, store
from innkeeper.isa.riscv.spec import Extension
from innkeeper.native.types import i16, i32, i64, u16, u32, u64

ZFH = Extension("Zfh")

FMA_SYNTAX = "rd, rs1, rs2, rs3, rm"
FMA_FLOATS = "rd rs1 rs2 rs3"
RM = RESERVED_RM


@ZFH.insn("flh", "imm[11:0] rs1 001 rd 0000111", "rd, imm(rs1)", fp="rd")
def flh(h: Hart, i: Operands) -> None:
    fp_check(h, i)
    h.f[i.rd] = u64(load(h, u16, h.x[i.rs1] + u64(i.imm))) | H_BOX


@ZFH.insn("fsh", "imm[11:5] rs2 rs1 001 imm[4:0] 0100111", "rs2, imm(rs1)", fp="rs2")
def fsh(h: Hart, i: Operands) -> None:
    fp_check(h, i)
    store(h, u16, h.x[i.rs1] + u64(i.imm), u16(h.f[i.rs2]))


@ZFH.insn("fmadd.h", "rs3 10 rs2 rs1 rm rd 1000011", FMA_SYNTAX, fp=FMA_FLOATS, reserved=RM)
def fmadd_h(h: Hart, i: Operands) -> None:
    fp_common.fma(h, i, 5, 10, 0, 0)


@ZFH.insn("fmsub.h", "rs3 10 rs2 rs1 rm rd 1000111", FMA_SYNTAX, fp=FMA_FLOATS, reserved=RM)
def fmsub_h(h: Hart, i: Operands) -> None:
    fp_common.fma(h, i, 5, 10, 0, 1)


@ZFH.insn("fnmsub.h", "rs3 10 rs2 rs1 rm rd 1001011", FMA_SYNTAX, fp=FMA_FLOATS, reserved=RM)
def fnmsub_h(h: Hart, i: Operands) -> None:
    fp_common.fma(h, i, 5, 10, 1, 0)


@ZFH.insn("fnmadd.h", "rs3 10 rs2 rs1 rm rd 1001111", FMA_SYNTAX, fp=FMA_FLOATS, reserved=RM)
def fnmadd_h(h: Hart, i: Operands) -> None:
    fp_common.fma(h, i, 5, 10, 1, 1)


@ZFH.insn(
    "fadd.h", "0000010 rs2 rs1 rm rd 1010011", "rd, rs1, rs2, rm", fp="rd rs1 rs2", reserved=RM
)
def fadd_h(h: Hart, i: Operands) -> None:
    fp_common.add(h, i, 5, 10)


@ZFH.insn(
    "fsub.h", "0000110 rs2 rs1 rm rd 1010011", "rd, rs1, rs2, rm", fp="rd rs1 rs2", reserved=RM
)
def fsub_h(h: Hart, i: Operands) -> None:
    fp_common.sub(h, i, 5, 10)


@ZFH.insn(
    "fmul.h", "0001010 rs2 rs1 rm rd 1010011", "rd, rs1, rs2, rm", fp="rd rs1 rs2", reserved=RM
)
def fmul_h(h: Hart, i: Operands) -> None:
    fp_common.mul(h, i, 5, 10)


@ZFH.insn(
    "fdiv.h", "0001110 rs2 rs1 rm rd 1010011", "rd, rs1, rs2, rm", fp="rd rs1 rs2", reserved=RM
)
def fdiv_h(h: Hart, i: Operands) -> None:
    fp_common.div(h, i, 5, 10)


@ZFH.insn("fsqrt.h", "0101110 00000 rs1 rm rd 1010011", "rd, rs1, rm", fp="rd rs1", reserved=RM)
def fsqrt_h(h: Hart, i: Operands) -> None:
    fp_common.sqrt(h, i, 5, 10)


@ZFH.insn("fsgnj.h", "0010010 rs2 rs1 000 rd 1010011", "rd, rs1, rs2", fp="rd rs1 rs2")
def fsgnj_h(h: Hart, i: Operands) -> None:
    fp_common.sgnj(h, i, 5, 10)


@ZFH.insn("fsgnjn.h", "0010010 rs2 rs1 001 rd 1010011", "rd, rs1, rs2", fp="rd rs1 rs2")
def fsgnjn_h(h: Hart, i: Operands) -> None:
    fp_common.sgnjn(h, i, 5, 10)


@ZFH.insn("fsgnjx.h", "0010010 rs2 rs1 010 rd 1010011", "rd, rs1, rs2", fp="rd rs1 rs2")
def fsgnjx_h(h: Hart, i: Operands) -> None:
    fp_common.sgnjx(h, i, 5, 10)


@ZFH.insn("fmin.h", "0010110 rs2 rs1 000 rd 1010011", "rd, rs1, rs2", fp="rd rs1 rs2")
def fmin_h(h: Hart, i: Operands) -> None:
    fp_common.minimum(h, i, 5, 10)


@ZFH.insn("fmax.h", "0010110 rs2 rs1 001 rd 1010011", "rd, rs1, rs2", fp="rd rs1 rs2")
def fmax_h(h: Hart, i: Operands) -> None:
    fp_common.maximum(h, i, 5, 10)


@ZFH.insn("feq.h", "1010010 rs2 rs1 010 rd 1010011", "rd, rs1, rs2", fp="rs1 rs2")
def feq_h(h: Hart, i: Operands) -> None:
    fp_common.equal(h, i, 5, 10)


@ZFH.insn("flt.h", "1010010 rs2 rs1 001 rd 1010011", "rd, rs1, rs2", fp="rs1 rs2")
def flt_h(h: Hart, i: Operands) -> None:
    fp_common.less(h, i, 5, 10)


@ZFH.insn("fle.h", "1010010 rs2 rs1 000 rd 1010011", "rd, rs1, rs2", fp="rs1 rs2")
def fle_h(h: Hart, i: Operands) -> None:
    fp_common.less_or_equal(h, i, 5, 10)


@ZFH.insn("fclass.h", "1110010 00000 rs1 001 rd 1010011", "rd, rs1", fp="rs1")
def fclass_h(h: Hart, i: Operands) -> None:
    fp_common.classify(h, i, 5, 10)


@ZFH.insn("fcvt.w.h", "1100010 00000 rs1 rm rd 1010011", "rd, rs1, rm", fp="rs1", reserved=RM)
def fcvt_w_h(h: Hart, i: Operands) -> None:
    fp_common.to_int(h, i, 5, 10, i32)


@ZFH.insn("fcvt.wu.h", "1100010 00001 rs1 rm rd 1010011", "rd, rs1, rm", fp="rs1", reserved=RM)
def fcvt_wu_h(h: Hart, i: Operands) -> None:
    fp_common.to_int(h, i, 5, 10, u32)


@ZFH.insn("fcvt.l.h", "1100010 00010 rs1 rm rd 1010011", "rd, rs1, rm", fp="rs1", reserved=RM)
def fcvt_l_h(h: Hart, i: Operands) -> None:
    fp_common.to_int(h, i, 5, 10, i64)


@ZFH.insn("fcvt.lu.h", "1100010 00011 rs1 rm rd 1010011", "rd, rs1, rm", fp="rs1", reserved=RM)
def fcvt_lu_h(h: Hart, i: Operands) -> None:
    fp_common.to_int(h, i, 5, 10, u64)


@ZFH.insn("fcvt.h.w", "1101010 00000 rs1 rm rd 1010011", "rd, rs1, rm", fp="rd", reserved=RM)
def fcvt_h_w(h: Hart, i: Operands) -> None:
    fp_common.from_int(h, i, 5, 10, i32)


@ZFH.insn("fcvt.h.wu", "1101010 00001 rs1 rm rd 1010011", "rd, rs1, rm", fp="rd", reserved=RM)
def fcvt_h_wu(h: Hart, i: Operands) -> None:
    fp_common.from_int(h, i, 5, 10, u32)


@ZFH.insn("fcvt.h.l", "1101010 00010 rs1 rm rd 1010011", "rd, rs1, rm", fp="rd", reserved=RM)
def fcvt_h_l(h: Hart, i: Operands) -> None:
    fp_common.from_int(h, i, 5, 10, i64)


@ZFH.insn("fcvt.h.lu", "1101010 00011 rs1 rm rd 1010011", "rd, rs1, rm", fp="rd", reserved=RM)
def fcvt_h_lu(h: Hart, i: Operands) -> None:
    fp_common.from_int(h, i, 5, 10, u64)


@ZFH.insn("fcvt.h.s", "0100010 00000 rs1 rm rd 1010011", "rd, rs1, rm", fp="rd rs1", reserved=RM)
def fcvt_h_s(h: Hart, i: Operands) -> None:
    fp_common.convert(h, i, 8, 23, 5, 10)


@ZFH.insn("fcvt.s.h", "0100000 00010 rs1 rm rd 1010011", "rd, rs1, rm", fp="rd rs1", reserved=RM)
def fcvt_s_h(h: Hart, i: Operands) -> None:
    fp_common.convert(h, i, 5, 10, 8, 23)


@ZFH.insn("fcvt.h.d", "0100010 00001 rs1 rm rd 1010011", "rd, rs1, rm", fp="rd rs1", reserved=RM)
def fcvt_h_d(h: Hart, i: Operands) -> None:
    fp_common.convert(h, i, 11, 52, 5, 10)


@ZFH.insn("fcvt.d.h", "0100001 00010 rs1 rm rd 1010011", "rd, rs1, rm", fp="rd rs1", reserved=RM)
def fcvt_d_h(h: Hart, i: Operands) -> None:
    fp_common.convert(h, i, 5, 10, 11, 52)


@ZFH.insn("fmv.x.h", "1110010 00000 rs1 000 rd 1010011", "rd, rs1", fp="rs1")
def fmv_x_h(h: Hart, i: Operands) -> None:
    fp_check(h, i)
    h.x[i.rd] = u64(i16(h.f[i.rs1]))


@ZFH.insn("fmv.h.x", "1111010 00000 rs1 000 rd 1010011", "rd, rs1", fp="rd")
def fmv_h_x(h: Hart, i: Operands) -> None:
    fp_check(h, i)
    h.f[i.rd] = u64(u16(h.x[i.rs1])) | H_BOX
