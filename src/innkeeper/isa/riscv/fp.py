"""RV64F: single-precision floating point (RISC-V Unprivileged 20240411, chapter 20).

The meanings F and D share are in `fp_common`; here are the encodings, and what only S has. The
names the rest of the house needs (flags, `frm`, `fp_ready`) can be had from here.
"""

from __future__ import annotations

from innkeeper.isa.riscv import fp_common
from innkeeper.isa.riscv.fp_common import (
    RESERVED_RM,
    S_BOX,
    fp_check,
    fp_check_rm,
    fp_read_flags,
    fp_update_ready,
    fp_write,
)
from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.ops import load, store
from innkeeper.isa.riscv.spec import Extension
from innkeeper.native.types import i32, i64, u32, u64

__all__ = ["F", "fp_check", "fp_check_rm", "fp_read_flags", "fp_update_ready", "fp_write"]

F = Extension("F")


@F.insn("flw", "imm[11:0] rs1 010 rd 0000111", "rd, imm(rs1)", fp="rd")
def flw(h: Hart, i: Operands) -> None:
    fp_check(h, i)
    h.f[i.rd] = u64(load(h, u32, h.x[i.rs1] + u64(i.imm))) | S_BOX


@F.insn("fsw", "imm[11:5] rs2 rs1 010 imm[4:0] 0100111", "rs2, imm(rs1)", fp="rs2")
def fsw(h: Hart, i: Operands) -> None:
    fp_check(h, i)
    store(h, u32, h.x[i.rs1] + u64(i.imm), u32(h.f[i.rs2]))


@F.insn(
    "fmadd.s",
    "rs3 00 rs2 rs1 rm rd 1000011",
    "rd, rs1, rs2, rs3, rm",
    fp="rd rs1 rs2 rs3",
    reserved=RESERVED_RM,
)
def fmadd_s(h: Hart, i: Operands) -> None:
    fp_common.fma(h, i, 8, 23, 0, 0)


@F.insn(
    "fmsub.s",
    "rs3 00 rs2 rs1 rm rd 1000111",
    "rd, rs1, rs2, rs3, rm",
    fp="rd rs1 rs2 rs3",
    reserved=RESERVED_RM,
)
def fmsub_s(h: Hart, i: Operands) -> None:
    fp_common.fma(h, i, 8, 23, 0, 1)


@F.insn(
    "fnmsub.s",
    "rs3 00 rs2 rs1 rm rd 1001011",
    "rd, rs1, rs2, rs3, rm",
    fp="rd rs1 rs2 rs3",
    reserved=RESERVED_RM,
)
def fnmsub_s(h: Hart, i: Operands) -> None:
    fp_common.fma(h, i, 8, 23, 1, 0)


@F.insn(
    "fnmadd.s",
    "rs3 00 rs2 rs1 rm rd 1001111",
    "rd, rs1, rs2, rs3, rm",
    fp="rd rs1 rs2 rs3",
    reserved=RESERVED_RM,
)
def fnmadd_s(h: Hart, i: Operands) -> None:
    fp_common.fma(h, i, 8, 23, 1, 1)


@F.insn(
    "fadd.s",
    "0000000 rs2 rs1 rm rd 1010011",
    "rd, rs1, rs2, rm",
    fp="rd rs1 rs2",
    reserved=RESERVED_RM,
)
def fadd_s(h: Hart, i: Operands) -> None:
    fp_common.add(h, i, 8, 23)


@F.insn(
    "fsub.s",
    "0000100 rs2 rs1 rm rd 1010011",
    "rd, rs1, rs2, rm",
    fp="rd rs1 rs2",
    reserved=RESERVED_RM,
)
def fsub_s(h: Hart, i: Operands) -> None:
    fp_common.sub(h, i, 8, 23)


@F.insn(
    "fmul.s",
    "0001000 rs2 rs1 rm rd 1010011",
    "rd, rs1, rs2, rm",
    fp="rd rs1 rs2",
    reserved=RESERVED_RM,
)
def fmul_s(h: Hart, i: Operands) -> None:
    fp_common.mul(h, i, 8, 23)


@F.insn(
    "fdiv.s",
    "0001100 rs2 rs1 rm rd 1010011",
    "rd, rs1, rs2, rm",
    fp="rd rs1 rs2",
    reserved=RESERVED_RM,
)
def fdiv_s(h: Hart, i: Operands) -> None:
    fp_common.div(h, i, 8, 23)


@F.insn(
    "fsqrt.s",
    "0101100 00000 rs1 rm rd 1010011",
    "rd, rs1, rm",
    fp="rd rs1",
    reserved=RESERVED_RM,
)
def fsqrt_s(h: Hart, i: Operands) -> None:
    fp_common.sqrt(h, i, 8, 23)


@F.insn("fsgnj.s", "0010000 rs2 rs1 000 rd 1010011", "rd, rs1, rs2", fp="rd rs1 rs2")
def fsgnj_s(h: Hart, i: Operands) -> None:
    fp_common.sgnj(h, i, 8, 23)


@F.insn("fsgnjn.s", "0010000 rs2 rs1 001 rd 1010011", "rd, rs1, rs2", fp="rd rs1 rs2")
def fsgnjn_s(h: Hart, i: Operands) -> None:
    fp_common.sgnjn(h, i, 8, 23)


@F.insn("fsgnjx.s", "0010000 rs2 rs1 010 rd 1010011", "rd, rs1, rs2", fp="rd rs1 rs2")
def fsgnjx_s(h: Hart, i: Operands) -> None:
    fp_common.sgnjx(h, i, 8, 23)


@F.insn("fmin.s", "0010100 rs2 rs1 000 rd 1010011", "rd, rs1, rs2", fp="rd rs1 rs2")
def fmin_s(h: Hart, i: Operands) -> None:
    fp_common.minimum(h, i, 8, 23)


@F.insn("fmax.s", "0010100 rs2 rs1 001 rd 1010011", "rd, rs1, rs2", fp="rd rs1 rs2")
def fmax_s(h: Hart, i: Operands) -> None:
    fp_common.maximum(h, i, 8, 23)


@F.insn("feq.s", "1010000 rs2 rs1 010 rd 1010011", "rd, rs1, rs2", fp="rs1 rs2")
def feq_s(h: Hart, i: Operands) -> None:
    fp_common.equal(h, i, 8, 23)


@F.insn("flt.s", "1010000 rs2 rs1 001 rd 1010011", "rd, rs1, rs2", fp="rs1 rs2")
def flt_s(h: Hart, i: Operands) -> None:
    fp_common.less(h, i, 8, 23)


@F.insn("fle.s", "1010000 rs2 rs1 000 rd 1010011", "rd, rs1, rs2", fp="rs1 rs2")
def fle_s(h: Hart, i: Operands) -> None:
    fp_common.less_or_equal(h, i, 8, 23)


@F.insn("fclass.s", "1110000 00000 rs1 001 rd 1010011", "rd, rs1", fp="rs1")
def fclass_s(h: Hart, i: Operands) -> None:
    fp_common.classify(h, i, 8, 23)


@F.insn(
    "fcvt.w.s",
    "1100000 00000 rs1 rm rd 1010011",
    "rd, rs1, rm",
    fp="rs1",
    reserved=RESERVED_RM,
)
def fcvt_w_s(h: Hart, i: Operands) -> None:
    fp_common.to_int(h, i, 8, 23, i32)


@F.insn(
    "fcvt.wu.s",
    "1100000 00001 rs1 rm rd 1010011",
    "rd, rs1, rm",
    fp="rs1",
    reserved=RESERVED_RM,
)
def fcvt_wu_s(h: Hart, i: Operands) -> None:
    fp_common.to_int(h, i, 8, 23, u32)


@F.insn(
    "fcvt.l.s",
    "1100000 00010 rs1 rm rd 1010011",
    "rd, rs1, rm",
    fp="rs1",
    reserved=RESERVED_RM,
)
def fcvt_l_s(h: Hart, i: Operands) -> None:
    fp_common.to_int(h, i, 8, 23, i64)


@F.insn(
    "fcvt.lu.s",
    "1100000 00011 rs1 rm rd 1010011",
    "rd, rs1, rm",
    fp="rs1",
    reserved=RESERVED_RM,
)
def fcvt_lu_s(h: Hart, i: Operands) -> None:
    fp_common.to_int(h, i, 8, 23, u64)


@F.insn("fcvt.s.w", "1101000 00000 rs1 rm rd 1010011", "rd, rs1, rm", fp="rd", reserved=RESERVED_RM)
def fcvt_s_w(h: Hart, i: Operands) -> None:
    fp_common.from_int(h, i, 8, 23, i32)


@F.insn(
    "fcvt.s.wu",
    "1101000 00001 rs1 rm rd 1010011",
    "rd, rs1, rm",
    fp="rd",
    reserved=RESERVED_RM,
)
def fcvt_s_wu(h: Hart, i: Operands) -> None:
    fp_common.from_int(h, i, 8, 23, u32)


@F.insn("fcvt.s.l", "1101000 00010 rs1 rm rd 1010011", "rd, rs1, rm", fp="rd", reserved=RESERVED_RM)
def fcvt_s_l(h: Hart, i: Operands) -> None:
    fp_common.from_int(h, i, 8, 23, i64)


@F.insn(
    "fcvt.s.lu",
    "1101000 00011 rs1 rm rd 1010011",
    "rd, rs1, rm",
    fp="rd",
    reserved=RESERVED_RM,
)
def fcvt_s_lu(h: Hart, i: Operands) -> None:
    fp_common.from_int(h, i, 8, 23, u64)


@F.insn("fmv.x.w", "1110000 00000 rs1 000 rd 1010011", "rd, rs1", fp="rs1")
def fmv_x_w(h: Hart, i: Operands) -> None:
    fp_check(h, i)
    h.x[i.rd] = u64(i32(h.f[i.rs1]))


@F.insn("fmv.w.x", "1111000 00000 rs1 000 rd 1010011", "rd, rs1", fp="rd")
def fmv_w_x(h: Hart, i: Operands) -> None:
    fp_check(h, i)
    h.f[i.rd] = u64(u32(h.x[i.rs1])) | S_BOX
