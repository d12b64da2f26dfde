"""Svinval: invalidating translations apart from ordering them (Privileged 20240411, 5.3 Svinval).

SINVAL.VMA is SFENCE.VMA here: translations go at once, and program order is all the order that
one hart needs, so that the two fences around it have nothing to do.
"""

from __future__ import annotations

from innkeeper.isa.riscv import status as st
from innkeeper.isa.riscv.csr import illegal
from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.ops import resync
from innkeeper.isa.riscv.spec import Extension
from innkeeper.isa.riscv.system import fence_for

SVINVAL = Extension("Svinval")


@SVINVAL.insn("sinval.vma", "0001011 rs2 rs1 000 00000 1110011", "rs1, rs2")
def sinval_vma(h: Hart, i: Operands) -> None:
    fence_for(h, i)
    resync(h, i)


@SVINVAL.insn("sfence.w.inval", "00011000000000000000000001110011", "")
def sfence_w_inval(h: Hart, i: Operands) -> None:
    if h.priv == st.PRIV_U:
        illegal(h)


@SVINVAL.insn("sfence.inval.ir", "00011000000100000000000001110011", "")
def sfence_inval_ir(h: Hart, i: Operands) -> None:
    if h.priv == st.PRIV_U:
        illegal(h)
