"""Zawrs: waiting on a reservation set (Unprivileged 20240411, chapter 15).

Both end the hart's turn while its reservation holds: no other hart can store there sooner. That is
a bounded wait, so `wrs.nto` never comes to trap for mstatus.TW.
"""

from __future__ import annotations

from innkeeper.isa.riscv.hart import NO_RESERVATION, Hart, Operands
from innkeeper.isa.riscv.ops import resync
from innkeeper.isa.riscv.spec import Extension
from innkeeper.native.types import u32

ZAWRS = Extension("Zawrs")


@ZAWRS.insn("wrs.nto", "00000000110100000000000001110011", "")
def wrs_nto(h: Hart, i: Operands) -> None:
    if h.reservation != NO_RESERVATION:
        h.yielding = u32(1)
        resync(h, i)


@ZAWRS.insn("wrs.sto", "00000001110100000000000001110011", "")
def wrs_sto(h: Hart, i: Operands) -> None:
    if h.reservation != NO_RESERVATION:
        h.yielding = u32(1)
        resync(h, i)
