"""Zicond: integer conditional operations (Unprivileged 20240411, chapter 12)."""

from __future__ import annotations

from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.spec import Extension
from innkeeper.native.types import u64

ZICOND = Extension("Zicond")


@ZICOND.insn("czero.eqz", "0000111 rs2 rs1 101 rd 0110011", "rd, rs1, rs2")
def czero_eqz(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(0) if h.x[i.rs2] == 0 else h.x[i.rs1]


@ZICOND.insn("czero.nez", "0000111 rs2 rs1 111 rd 0110011", "rd, rs1, rs2")
def czero_nez(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(0) if h.x[i.rs2] != 0 else h.x[i.rs1]
