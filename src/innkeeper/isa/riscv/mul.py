"""M (Unprivileged 13): multiplication and division."""

from __future__ import annotations

from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.spec import Extension
from innkeeper.native.intrinsics import inline, sdiv, srem
from innkeeper.native.types import Const, i32, i64, i128, u32, u64, u128

M = Extension("M")


@inline
def divide(kind: Const, a: i64, b: i64) -> i64:
    """Divide as RISC-V asks: by zero gives -1, overflow gives the dividend (13.2)."""
    if kind(b) == 0:
        return i64(-1)
    if kind(b) == -1:
        return i64(-kind(a))
    return i64(sdiv(kind(a), kind(b)))


@inline
def remainder(kind: Const, a: i64, b: i64) -> i64:
    """Return the remainder: of zero the dividend, of overflow 0 (13.2)."""
    if kind(b) == 0:
        return i64(kind(a))
    if kind(b) == -1:
        return i64(0)
    return i64(srem(kind(a), kind(b)))


@M.insn("mul", "0000001 rs2 rs1 000 rd 0110011", "rd, rs1, rs2")
def mul(h: Hart, i: Operands) -> None:
    h.x[i.rd] = h.x[i.rs1] * h.x[i.rs2]


@M.insn("mulh", "0000001 rs2 rs1 001 rd 0110011", "rd, rs1, rs2")
def mulh(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64((i128(i64(h.x[i.rs1])) * i128(i64(h.x[i.rs2]))) >> 64)


@M.insn("mulhsu", "0000001 rs2 rs1 010 rd 0110011", "rd, rs1, rs2")
def mulhsu(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64((i128(i64(h.x[i.rs1])) * i128(h.x[i.rs2])) >> 64)


@M.insn("mulhu", "0000001 rs2 rs1 011 rd 0110011", "rd, rs1, rs2")
def mulhu(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64((u128(h.x[i.rs1]) * u128(h.x[i.rs2])) >> 64)


@M.insn("div", "0000001 rs2 rs1 100 rd 0110011", "rd, rs1, rs2")
def div(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(divide(i64, i64(h.x[i.rs1]), i64(h.x[i.rs2])))


@M.insn("divu", "0000001 rs2 rs1 101 rd 0110011", "rd, rs1, rs2")
def divu(h: Hart, i: Operands) -> None:
    if h.x[i.rs2] == 0:
        h.x[i.rd] = ~u64(0)
    else:
        h.x[i.rd] = h.x[i.rs1] // h.x[i.rs2]


@M.insn("rem", "0000001 rs2 rs1 110 rd 0110011", "rd, rs1, rs2")
def rem(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(remainder(i64, i64(h.x[i.rs1]), i64(h.x[i.rs2])))


@M.insn("remu", "0000001 rs2 rs1 111 rd 0110011", "rd, rs1, rs2")
def remu(h: Hart, i: Operands) -> None:
    if h.x[i.rs2] == 0:
        h.x[i.rd] = h.x[i.rs1]
    else:
        h.x[i.rd] = h.x[i.rs1] % h.x[i.rs2]


@M.insn("mulw", "0000001 rs2 rs1 000 rd 0111011", "rd, rs1, rs2")
def mulw(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(i32(h.x[i.rs1]) * i32(h.x[i.rs2]))


@M.insn("divw", "0000001 rs2 rs1 100 rd 0111011", "rd, rs1, rs2")
def divw(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(divide(i32, i64(h.x[i.rs1]), i64(h.x[i.rs2])))


@M.insn("divuw", "0000001 rs2 rs1 101 rd 0111011", "rd, rs1, rs2")
def divuw(h: Hart, i: Operands) -> None:
    if u32(h.x[i.rs2]) == 0:
        h.x[i.rd] = ~u64(0)
    else:
        h.x[i.rd] = u64(i32(u32(h.x[i.rs1]) // u32(h.x[i.rs2])))


@M.insn("remw", "0000001 rs2 rs1 110 rd 0111011", "rd, rs1, rs2")
def remw(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(remainder(i32, i64(h.x[i.rs1]), i64(h.x[i.rs2])))


@M.insn("remuw", "0000001 rs2 rs1 111 rd 0111011", "rd, rs1, rs2")
def remuw(h: Hart, i: Operands) -> None:
    if u32(h.x[i.rs2]) == 0:
        h.x[i.rd] = u64(i32(h.x[i.rs1]))
    else:
        h.x[i.rd] = u64(i32(u32(h.x[i.rs1]) % u32(h.x[i.rs2])))
