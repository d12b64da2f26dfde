"""Zfa: additional floating-point instructions (RISC-V Unprivileged 20240411, chapter 24).

For H, S and D. FMVH.X.D and FMVP.D.X are RV32's alone.
"""

from __future__ import annotations

from math import frexp, isinf

from innkeeper.isa.riscv.fp_common import RESERVED_RM, fp_check, fp_check_rm, get, put
from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.names import FLI_VALUES
from innkeeper.isa.riscv.softfloat import (
    f_le_quiet,
    f_lt_quiet,
    f_max_nan,
    f_min_nan,
    f_round,
    f_to_word_modular,
)
from innkeeper.isa.riscv.spec import Extension
from innkeeper.native.intrinsics import inline
from innkeeper.native.types import Const, const_array, u32, u64

ZFA = Extension("Zfa")

NOT_RTZ = ((7 << 12, 0), (6 << 12, 2 << 12), (4 << 12, 4 << 12))
"""FCVTMOD.W.D rounds towards zero; every other mode is reserved."""


def _bits(e: int, m: int, value: float) -> int:
    """Return the bits of an FLI constant, which is a short multiple of a power of two, or NaN."""
    bias = (1 << (e - 1)) - 1
    top = ((1 << e) - 1) << m
    if value != value:
        return top | 1 << (m - 1)
    sign, value = (1 << (e + m), -value) if value < 0 else (0, value)
    exponent = max(1 - bias, frexp(value)[1] - 1)
    if isinf(value) or exponent > bias:
        return sign | top
    whole = int(value * 2.0 ** (m - exponent))
    return sign | (exponent - 1 + bias << m) + whole


def _table(e: int, m: int) -> list[int]:
    smallest = 1 << m
    return [smallest if v is None else _bits(e, m, v) for v in FLI_VALUES]


H_CONSTANTS = const_array(u64, _table(5, 10))
S_CONSTANTS = const_array(u64, _table(8, 23))
D_CONSTANTS = const_array(u64, _table(11, 52))


@inline
def minimum(h: Hart, i: Operands, e: Const, m: Const) -> None:
    fp_check(h, i)
    put(h, m, i.rd, f_min_nan(h, e, m, get(h, m, i.rs1), get(h, m, i.rs2)))


@inline
def maximum(h: Hart, i: Operands, e: Const, m: Const) -> None:
    fp_check(h, i)
    put(h, m, i.rd, f_max_nan(h, e, m, get(h, m, i.rs1), get(h, m, i.rs2)))


@inline
def round_integral(h: Hart, i: Operands, e: Const, m: Const, exact: Const) -> None:
    fp_check_rm(h, i)
    put(h, m, i.rd, f_round(h, e, m, exact, get(h, m, i.rs1), u32(i.imm)))


@inline
def less(h: Hart, i: Operands, e: Const, m: Const) -> None:
    fp_check(h, i)
    h.x[i.rd] = f_lt_quiet(h, e, m, get(h, m, i.rs1), get(h, m, i.rs2))


@inline
def less_or_equal(h: Hart, i: Operands, e: Const, m: Const) -> None:
    fp_check(h, i)
    h.x[i.rd] = f_le_quiet(h, e, m, get(h, m, i.rs1), get(h, m, i.rs2))


@ZFA.insn("fli.s", "1111000 00001 rs1 000 rd 1010011", "rd, fli", fp="rd")
def fli_s(h: Hart, i: Operands) -> None:
    fp_check(h, i)
    put(h, 23, i.rd, S_CONSTANTS[i.rs1])


@ZFA.insn("fminm.s", "0010100 rs2 rs1 010 rd 1010011", "rd, rs1, rs2", fp="rd rs1 rs2")
def fminm_s(h: Hart, i: Operands) -> None:
    minimum(h, i, 8, 23)


@ZFA.insn("fmaxm.s", "0010100 rs2 rs1 011 rd 1010011", "rd, rs1, rs2", fp="rd rs1 rs2")
def fmaxm_s(h: Hart, i: Operands) -> None:
    maximum(h, i, 8, 23)


@ZFA.insn("fleq.s", "1010000 rs2 rs1 100 rd 1010011", "rd, rs1, rs2", fp="rs1 rs2")
def fleq_s(h: Hart, i: Operands) -> None:
    less_or_equal(h, i, 8, 23)


@ZFA.insn("fltq.s", "1010000 rs2 rs1 101 rd 1010011", "rd, rs1, rs2", fp="rs1 rs2")
def fltq_s(h: Hart, i: Operands) -> None:
    less(h, i, 8, 23)


@ZFA.insn(
    "fround.s", "0100000 00100 rs1 rm rd 1010011", "rd, rs1, rm", fp="rd rs1", reserved=RESERVED_RM
)
def fround_s(h: Hart, i: Operands) -> None:
    round_integral(h, i, 8, 23, 0)


@ZFA.insn(
    "froundnx.s",
    "0100000 00101 rs1 rm rd 1010011",
    "rd, rs1, rm",
    fp="rd rs1",
    reserved=RESERVED_RM,
)
def froundnx_s(h: Hart, i: Operands) -> None:
    round_integral(h, i, 8, 23, 1)


@ZFA.insn("fli.d", "1111001 00001 rs1 000 rd 1010011", "rd, fli", fp="rd")
def fli_d(h: Hart, i: Operands) -> None:
    fp_check(h, i)
    put(h, 52, i.rd, D_CONSTANTS[i.rs1])


@ZFA.insn("fminm.d", "0010101 rs2 rs1 010 rd 1010011", "rd, rs1, rs2", fp="rd rs1 rs2")
def fminm_d(h: Hart, i: Operands) -> None:
    minimum(h, i, 11, 52)


@ZFA.insn("fmaxm.d", "0010101 rs2 rs1 011 rd 1010011", "rd, rs1, rs2", fp="rd rs1 rs2")
def fmaxm_d(h: Hart, i: Operands) -> None:
    maximum(h, i, 11, 52)


@ZFA.insn("fleq.d", "1010001 rs2 rs1 100 rd 1010011", "rd, rs1, rs2", fp="rs1 rs2")
def fleq_d(h: Hart, i: Operands) -> None:
    less_or_equal(h, i, 11, 52)


@ZFA.insn("fltq.d", "1010001 rs2 rs1 101 rd 1010011", "rd, rs1, rs2", fp="rs1 rs2")
def fltq_d(h: Hart, i: Operands) -> None:
    less(h, i, 11, 52)


@ZFA.insn(
    "fround.d", "0100001 00100 rs1 rm rd 1010011", "rd, rs1, rm", fp="rd rs1", reserved=RESERVED_RM
)
def fround_d(h: Hart, i: Operands) -> None:
    round_integral(h, i, 11, 52, 0)


@ZFA.insn(
    "froundnx.d",
    "0100001 00101 rs1 rm rd 1010011",
    "rd, rs1, rm",
    fp="rd rs1",
    reserved=RESERVED_RM,
)
def froundnx_d(h: Hart, i: Operands) -> None:
    round_integral(h, i, 11, 52, 1)


@ZFA.insn("fli.h", "1111010 00001 rs1 000 rd 1010011", "rd, fli", fp="rd")
def fli_h(h: Hart, i: Operands) -> None:
    fp_check(h, i)
    put(h, 10, i.rd, H_CONSTANTS[i.rs1])


@ZFA.insn("fminm.h", "0010110 rs2 rs1 010 rd 1010011", "rd, rs1, rs2", fp="rd rs1 rs2")
def fminm_h(h: Hart, i: Operands) -> None:
    minimum(h, i, 5, 10)


@ZFA.insn("fmaxm.h", "0010110 rs2 rs1 011 rd 1010011", "rd, rs1, rs2", fp="rd rs1 rs2")
def fmaxm_h(h: Hart, i: Operands) -> None:
    maximum(h, i, 5, 10)


@ZFA.insn("fleq.h", "1010010 rs2 rs1 100 rd 1010011", "rd, rs1, rs2", fp="rs1 rs2")
def fleq_h(h: Hart, i: Operands) -> None:
    less_or_equal(h, i, 5, 10)


@ZFA.insn("fltq.h", "1010010 rs2 rs1 101 rd 1010011", "rd, rs1, rs2", fp="rs1 rs2")
def fltq_h(h: Hart, i: Operands) -> None:
    less(h, i, 5, 10)


@ZFA.insn(
    "fround.h", "0100010 00100 rs1 rm rd 1010011", "rd, rs1, rm", fp="rd rs1", reserved=RESERVED_RM
)
def fround_h(h: Hart, i: Operands) -> None:
    round_integral(h, i, 5, 10, 0)


@ZFA.insn(
    "froundnx.h",
    "0100010 00101 rs1 rm rd 1010011",
    "rd, rs1, rm",
    fp="rd rs1",
    reserved=RESERVED_RM,
)
def froundnx_h(h: Hart, i: Operands) -> None:
    round_integral(h, i, 5, 10, 1)


@ZFA.insn(
    "fcvtmod.w.d", "1100001 01000 rs1 rm rd 1010011", "rd, rs1, rm", fp="rs1", reserved=NOT_RTZ
)
def fcvtmod_w_d(h: Hart, i: Operands) -> None:
    fp_check(h, i)
    h.x[i.rd] = f_to_word_modular(h, h.f[i.rs1])
