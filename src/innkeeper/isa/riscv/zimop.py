"""Zimop and Zcmop: may-be-operations (Unprivileged 20240411, chapter 11).

Those that no other extension has redefined write 0 to rd; the 16-bit ones do nothing.
"""

from __future__ import annotations

from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.spec import Extension
from innkeeper.native.types import u64

ZIMOP = Extension("Zimop")
ZCMOP = Extension("Zcmop")

UNARY, BINARY = 32, 8


def mop(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(0)


def c_mop(h: Hart, i: Operands) -> None:
    """Do nothing."""


for _n in range(UNARY):
    ZIMOP.insn(
        f"mop.r.{_n}",
        f"1 {_n >> 4:01b} 00 {_n >> 2 & 3:02b} 0111 {_n & 3:02b} rs1 100 rd 1110011",
        "rd, rs1",
    )(mop)

for _n in range(BINARY):
    ZIMOP.insn(
        f"mop.rr.{_n}",
        f"1 {_n >> 2:01b} 00 {_n & 3:02b} 1 rs2 rs1 100 rd 1110011",
        "rd, rs1, rs2",
    )(mop)

for _n in range(1, 16, 2):
    ZCMOP.insn(f"c.mop.{_n}", f"01100 {_n >> 1:03b} 1 00000 01", "", length=2)(c_mop)
