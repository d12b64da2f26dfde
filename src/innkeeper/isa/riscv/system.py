"""Zicsr, Zifencei and the privileged instructions (Unprivileged 6, 7; Privileged 3.3, 4.2)."""

from __future__ import annotations

from innkeeper.isa.riscv import status as st
from innkeeper.isa.riscv.causes import BREAKPOINT, ECALL_U
from innkeeper.isa.riscv.csr import changes_world, csr_change, csr_read, csr_write, illegal
from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.mmu import fence_instructions, fence_translations
from innkeeper.isa.riscv.ops import Trap, pc_of, publish, resync, resync_to
from innkeeper.isa.riscv.spec import Extension
from innkeeper.isa.riscv.trap import leave_to_machine, leave_to_supervisor
from innkeeper.native.types import u32, u64

SYSTEM = Extension("Zicsr")


@SYSTEM.insn("csrrw", "csr rs1 001 rd 1110011", "rd, csr, rs1")
def csrrw(h: Hart, i: Operands) -> None:
    publish(h)
    status = h.mstatus
    value = h.x[i.rs1]
    h.x[i.rd] = csr_read(h, u32(i.imm), True)
    csr_write(h, u32(i.imm), value)
    if changes_world(h, u32(i.imm), status):
        resync(h, i)


@SYSTEM.insn("csrrs", "csr rs1 010 rd 1110011", "rd, csr, rs1")
def csrrs(h: Hart, i: Operands) -> None:
    publish(h)
    status = h.mstatus
    bits = h.x[i.rs1]
    old = csr_read(h, u32(i.imm), i.rs1 != 0)
    h.x[i.rd] = old
    if i.rs1 != 0:
        csr_change(h, u32(i.imm), old, bits, u64(0))
        if changes_world(h, u32(i.imm), status):
            resync(h, i)


@SYSTEM.insn("csrrc", "csr rs1 011 rd 1110011", "rd, csr, rs1")
def csrrc(h: Hart, i: Operands) -> None:
    publish(h)
    status = h.mstatus
    bits = h.x[i.rs1]
    old = csr_read(h, u32(i.imm), i.rs1 != 0)
    h.x[i.rd] = old
    if i.rs1 != 0:
        csr_change(h, u32(i.imm), old, u64(0), bits)
        if changes_world(h, u32(i.imm), status):
            resync(h, i)


@SYSTEM.insn("csrrwi", "csr rs1 101 rd 1110011", "rd, csr, zimm")
def csrrwi(h: Hart, i: Operands) -> None:
    publish(h)
    status = h.mstatus
    h.x[i.rd] = csr_read(h, u32(i.imm), True)
    csr_write(h, u32(i.imm), u64(i.rs1))
    if changes_world(h, u32(i.imm), status):
        resync(h, i)


@SYSTEM.insn("csrrsi", "csr rs1 110 rd 1110011", "rd, csr, zimm")
def csrrsi(h: Hart, i: Operands) -> None:
    publish(h)
    status = h.mstatus
    old = csr_read(h, u32(i.imm), i.rs1 != 0)
    h.x[i.rd] = old
    if i.rs1 != 0:
        csr_change(h, u32(i.imm), old, u64(i.rs1), u64(0))
        if changes_world(h, u32(i.imm), status):
            resync(h, i)


@SYSTEM.insn("csrrci", "csr rs1 111 rd 1110011", "rd, csr, zimm")
def csrrci(h: Hart, i: Operands) -> None:
    publish(h)
    status = h.mstatus
    old = csr_read(h, u32(i.imm), i.rs1 != 0)
    h.x[i.rd] = old
    if i.rs1 != 0:
        csr_change(h, u32(i.imm), old, u64(0), u64(i.rs1))
        if changes_world(h, u32(i.imm), status):
            resync(h, i)


@SYSTEM.insn("ecall", "00000000000000000000000001110011", "")
def ecall(h: Hart, i: Operands) -> None:
    publish(h)
    raise Trap(u64(ECALL_U) + u64(h.priv), 0)


@SYSTEM.insn("ebreak", "00000000000100000000000001110011", "")
def ebreak(h: Hart, i: Operands) -> None:
    raise Trap(BREAKPOINT, pc_of(h, i))


@SYSTEM.insn("mret", "00110000001000000000000001110011", "")
def mret(h: Hart, i: Operands) -> None:
    if h.priv != st.PRIV_M:
        illegal(h)
    leave_to_machine(h)
    resync_to(h, i, h.npc)


@SYSTEM.insn("sret", "00010000001000000000000001110011", "")
def sret(h: Hart, i: Operands) -> None:
    if h.priv == st.PRIV_U or (h.priv == st.PRIV_S and (h.mstatus & st.TSR) != 0):
        illegal(h)
    leave_to_supervisor(h)
    resync_to(h, i, h.npc)


@SYSTEM.insn("wfi", "00010000010100000000000001110011", "")
def wfi(h: Hart, i: Operands) -> None:
    if h.priv == st.PRIV_U or (h.priv == st.PRIV_S and (h.mstatus & st.TW) != 0):
        illegal(h)
    h.wfi = 1
    resync(h, i)


def fence_for(h: Hart, i: Operands) -> None:
    """Forget the translations that rs1 (an address) and rs2 (an ASID) name (4.2.1)."""
    if h.priv == st.PRIV_U or (h.priv == st.PRIV_S and (h.mstatus & st.TVM) != 0):
        illegal(h)
    asid = h.x[i.rs2] & (st.SATP_ASID >> st.SATP_ASID_SHIFT)
    fence_translations(h, h.x[i.rs1], asid, i.rs1 != 0, i.rs2 != 0)


@SYSTEM.insn("sfence.vma", "0001001 rs2 rs1 000 00000 1110011", "rs1, rs2")
def sfence_vma(h: Hart, i: Operands) -> None:
    fence_for(h, i)
    resync(h, i)


@SYSTEM.insn("fence.i", "uimm[11:0] rs1 001 rd 0001111", "")
def fence_i(h: Hart, i: Operands) -> None:
    fence_instructions(h)
    resync(h, i)
