"""RV64D: double-precision floating point (RISC-V Unprivileged 20240411, chapter 21).

The meanings F and D share are in `fp_common`; here are the encodings, and what only D has.
"""

from __future__ import annotations

from innkeeper.isa.riscv import fp_common
from innkeeper.isa.riscv.fp_common import RESERVED_RM, fp_check, fp_check_rm, get, put
from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.ops import load, store
from innkeeper.isa.riscv.softfloat import DYN, f_convert, f_from_int
from innkeeper.isa.riscv.spec import Extension
from innkeeper.native.types import i32, i64, u32, u64

D = Extension("D")


@D.insn("fld", "imm[11:0] rs1 011 rd 0000111", "rd, imm(rs1)", fp="rd")
def fld(h: Hart, i: Operands) -> None:
    fp_check(h, i)
    h.f[i.rd] = load(h, u64, h.x[i.rs1] + u64(i.imm))


@D.insn("fsd", "imm[11:5] rs2 rs1 011 imm[4:0] 0100111", "rs2, imm(rs1)", fp="rs2")
def fsd(h: Hart, i: Operands) -> None:
    fp_check(h, i)
    store(h, u64, h.x[i.rs1] + u64(i.imm), h.f[i.rs2])


@D.insn(
    "fmadd.d",
    "rs3 01 rs2 rs1 rm rd 1000011",
    "rd, rs1, rs2, rs3, rm",
    fp="rd rs1 rs2 rs3",
    reserved=RESERVED_RM,
)
def fmadd_d(h: Hart, i: Operands) -> None:
    fp_common.fma(h, i, 11, 52, 0, 0)


@D.insn(
    "fmsub.d",
    "rs3 01 rs2 rs1 rm rd 1000111",
    "rd, rs1, rs2, rs3, rm",
    fp="rd rs1 rs2 rs3",
    reserved=RESERVED_RM,
)
def fmsub_d(h: Hart, i: Operands) -> None:
    fp_common.fma(h, i, 11, 52, 0, 1)


@D.insn(
    "fnmsub.d",
    "rs3 01 rs2 rs1 rm rd 1001011",
    "rd, rs1, rs2, rs3, rm",
    fp="rd rs1 rs2 rs3",
    reserved=RESERVED_RM,
)
def fnmsub_d(h: Hart, i: Operands) -> None:
    fp_common.fma(h, i, 11, 52, 1, 0)


@D.insn(
    "fnmadd.d",
    "rs3 01 rs2 rs1 rm rd 1001111",
    "rd, rs1, rs2, rs3, rm",
    fp="rd rs1 rs2 rs3",
    reserved=RESERVED_RM,
)
def fnmadd_d(h: Hart, i: Operands) -> None:
    fp_common.fma(h, i, 11, 52, 1, 1)


@D.insn(
    "fadd.d",
    "0000001 rs2 rs1 rm rd 1010011",
    "rd, rs1, rs2, rm",
    fp="rd rs1 rs2",
    reserved=RESERVED_RM,
)
def fadd_d(h: Hart, i: Operands) -> None:
    fp_common.add(h, i, 11, 52)


@D.insn(
    "fsub.d",
    "0000101 rs2 rs1 rm rd 1010011",
    "rd, rs1, rs2, rm",
    fp="rd rs1 rs2",
    reserved=RESERVED_RM,
)
def fsub_d(h: Hart, i: Operands) -> None:
    fp_common.sub(h, i, 11, 52)


@D.insn(
    "fmul.d",
    "0001001 rs2 rs1 rm rd 1010011",
    "rd, rs1, rs2, rm",
    fp="rd rs1 rs2",
    reserved=RESERVED_RM,
)
def fmul_d(h: Hart, i: Operands) -> None:
    fp_common.mul(h, i, 11, 52)


@D.insn(
    "fdiv.d",
    "0001101 rs2 rs1 rm rd 1010011",
    "rd, rs1, rs2, rm",
    fp="rd rs1 rs2",
    reserved=RESERVED_RM,
)
def fdiv_d(h: Hart, i: Operands) -> None:
    fp_common.div(h, i, 11, 52)


@D.insn(
    "fsqrt.d",
    "0101101 00000 rs1 rm rd 1010011",
    "rd, rs1, rm",
    fp="rd rs1",
    reserved=RESERVED_RM,
)
def fsqrt_d(h: Hart, i: Operands) -> None:
    fp_common.sqrt(h, i, 11, 52)


@D.insn("fsgnj.d", "0010001 rs2 rs1 000 rd 1010011", "rd, rs1, rs2", fp="rd rs1 rs2")
def fsgnj_d(h: Hart, i: Operands) -> None:
    fp_common.sgnj(h, i, 11, 52)


@D.insn("fsgnjn.d", "0010001 rs2 rs1 001 rd 1010011", "rd, rs1, rs2", fp="rd rs1 rs2")
def fsgnjn_d(h: Hart, i: Operands) -> None:
    fp_common.sgnjn(h, i, 11, 52)


@D.insn("fsgnjx.d", "0010001 rs2 rs1 010 rd 1010011", "rd, rs1, rs2", fp="rd rs1 rs2")
def fsgnjx_d(h: Hart, i: Operands) -> None:
    fp_common.sgnjx(h, i, 11, 52)


@D.insn("fmin.d", "0010101 rs2 rs1 000 rd 1010011", "rd, rs1, rs2", fp="rd rs1 rs2")
def fmin_d(h: Hart, i: Operands) -> None:
    fp_common.minimum(h, i, 11, 52)


@D.insn("fmax.d", "0010101 rs2 rs1 001 rd 1010011", "rd, rs1, rs2", fp="rd rs1 rs2")
def fmax_d(h: Hart, i: Operands) -> None:
    fp_common.maximum(h, i, 11, 52)


@D.insn("feq.d", "1010001 rs2 rs1 010 rd 1010011", "rd, rs1, rs2", fp="rs1 rs2")
def feq_d(h: Hart, i: Operands) -> None:
    fp_common.equal(h, i, 11, 52)


@D.insn("flt.d", "1010001 rs2 rs1 001 rd 1010011", "rd, rs1, rs2", fp="rs1 rs2")
def flt_d(h: Hart, i: Operands) -> None:
    fp_common.less(h, i, 11, 52)


@D.insn("fle.d", "1010001 rs2 rs1 000 rd 1010011", "rd, rs1, rs2", fp="rs1 rs2")
def fle_d(h: Hart, i: Operands) -> None:
    fp_common.less_or_equal(h, i, 11, 52)


@D.insn("fclass.d", "1110001 00000 rs1 001 rd 1010011", "rd, rs1", fp="rs1")
def fclass_d(h: Hart, i: Operands) -> None:
    fp_common.classify(h, i, 11, 52)


@D.insn(
    "fcvt.w.d",
    "1100001 00000 rs1 rm rd 1010011",
    "rd, rs1, rm",
    fp="rs1",
    reserved=RESERVED_RM,
)
def fcvt_w_d(h: Hart, i: Operands) -> None:
    fp_common.to_int(h, i, 11, 52, i32)


@D.insn(
    "fcvt.wu.d",
    "1100001 00001 rs1 rm rd 1010011",
    "rd, rs1, rm",
    fp="rs1",
    reserved=RESERVED_RM,
)
def fcvt_wu_d(h: Hart, i: Operands) -> None:
    fp_common.to_int(h, i, 11, 52, u32)


@D.insn(
    "fcvt.l.d",
    "1100001 00010 rs1 rm rd 1010011",
    "rd, rs1, rm",
    fp="rs1",
    reserved=RESERVED_RM,
)
def fcvt_l_d(h: Hart, i: Operands) -> None:
    fp_common.to_int(h, i, 11, 52, i64)


@D.insn(
    "fcvt.lu.d",
    "1100001 00011 rs1 rm rd 1010011",
    "rd, rs1, rm",
    fp="rs1",
    reserved=RESERVED_RM,
)
def fcvt_lu_d(h: Hart, i: Operands) -> None:
    fp_common.to_int(h, i, 11, 52, u64)


@D.insn("fcvt.d.w", "1101001 00000 rs1 rm rd 1010011", "rd, rs1, rm", fp="rd", reserved=RESERVED_RM)
def fcvt_d_w(h: Hart, i: Operands) -> None:
    fp_check_rm(h, i)
    h.f[i.rd] = f_from_int(h, 11, 52, i32, h.x[i.rs1], u32(DYN))


@D.insn(
    "fcvt.d.wu",
    "1101001 00001 rs1 rm rd 1010011",
    "rd, rs1, rm",
    fp="rd",
    reserved=RESERVED_RM,
)
def fcvt_d_wu(h: Hart, i: Operands) -> None:
    fp_check_rm(h, i)
    h.f[i.rd] = f_from_int(h, 11, 52, u32, h.x[i.rs1], u32(DYN))


@D.insn("fcvt.d.l", "1101001 00010 rs1 rm rd 1010011", "rd, rs1, rm", fp="rd", reserved=RESERVED_RM)
def fcvt_d_l(h: Hart, i: Operands) -> None:
    fp_common.from_int(h, i, 11, 52, i64)


@D.insn(
    "fcvt.d.lu",
    "1101001 00011 rs1 rm rd 1010011",
    "rd, rs1, rm",
    fp="rd",
    reserved=RESERVED_RM,
)
def fcvt_d_lu(h: Hart, i: Operands) -> None:
    fp_common.from_int(h, i, 11, 52, u64)


@D.insn(
    "fcvt.s.d",
    "0100000 00001 rs1 rm rd 1010011",
    "rd, rs1, rm",
    fp="rd rs1",
    reserved=RESERVED_RM,
)
def fcvt_s_d(h: Hart, i: Operands) -> None:
    fp_check_rm(h, i)
    put(h, 23, i.rd, f_convert(h, 11, 52, 8, 23, h.f[i.rs1], u32(i.imm)))


@D.insn(
    "fcvt.d.s",
    "0100001 00000 rs1 rm rd 1010011",
    "rd, rs1, rm",
    fp="rd rs1",
    reserved=RESERVED_RM,
)
def fcvt_d_s(h: Hart, i: Operands) -> None:
    fp_check_rm(h, i)
    h.f[i.rd] = f_convert(h, 8, 23, 11, 52, get(h, 23, i.rs1), u32(DYN))


@D.insn("fmv.x.d", "1110001 00000 rs1 000 rd 1010011", "rd, rs1", fp="rs1")
def fmv_x_d(h: Hart, i: Operands) -> None:
    fp_check(h, i)
    h.x[i.rd] = h.f[i.rs1]


@D.insn("fmv.d.x", "1111001 00000 rs1 000 rd 1010011", "rd, rs1", fp="rd")
def fmv_d_x(h: Hart, i: Operands) -> None:
    fp_check(h, i)
    h.f[i.rd] = h.x[i.rs1]
