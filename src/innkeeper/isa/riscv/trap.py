"""Entering and leaving traps, and choosing interrupts (Privileged 3.1.6 to 3.1.9, 3.3.2)."""

from __future__ import annotations

from innkeeper.isa.riscv import status as st
from innkeeper.isa.riscv.causes import ECALL_S, INTERRUPT
from innkeeper.isa.riscv.hart import Hart
from innkeeper.isa.riscv.sbi import sbi_ecall
from innkeeper.native.intrinsics import noinline
from innkeeper.native.types import u32, u64


def pending(h: Hart) -> u64:
    """Return mip as software reads it: what it wrote, the lines from outside, the timers."""
    return h.mip | h.irq_lines | h.timer_lines


def interrupt_to_take(h: Hart) -> u64:
    """Return the cause of the interrupt that must be taken now, 0 for none (3.1.9)."""
    ready = pending(h) & h.mie
    if ready == 0:
        return u64(0)
    chosen = ready & ~h.mideleg
    machine_on = h.priv < st.PRIV_M or (h.mstatus & st.MIE) != 0
    if chosen == 0 or not machine_on:
        chosen = ready & h.mideleg
        supervisor_on = h.priv == st.PRIV_S and (h.mstatus & st.SIE) != 0
        if chosen == 0 or not (h.priv == st.PRIV_U or supervisor_on):
            return u64(0)
    for n in (11, 3, 7, 9, 1, 5, 13):
        if (chosen >> n) & 1 != 0:
            return INTERRUPT | u64(n)
    return u64(0)


@noinline
def enter_trap(h: Hart, cause: u64, tval: u64, pc: u64) -> None:
    """Take a trap from `pc`: registers, privilege and the vector, into `h.pc`."""
    h.v_whole = u32(0)  # vstart may be where a vector instruction got to
    if cause == ECALL_S and h.sbi_enabled != 0:
        h.pc = pc + 4
        sbi_ecall(h)
        return
    interrupt = (cause & INTERRUPT) != 0
    number = cause & 63
    delegated = h.mideleg if interrupt else h.medeleg
    vector = h.mtvec
    if h.priv <= st.PRIV_S and ((delegated >> number) & 1) != 0:
        h.scause, h.sepc, h.stval = cause, pc, tval
        kept = h.mstatus & ~u64(st.SPIE | st.SPP | st.SIE)
        if (h.mstatus & st.SIE) != 0:
            kept = kept | st.SPIE
        if h.priv == st.PRIV_S:
            kept = kept | st.SPP
        h.mstatus = kept
        h.priv = st.PRIV_S
        vector = h.stvec
    else:
        h.mcause, h.mepc, h.mtval = cause, pc, tval
        kept = h.mstatus & ~u64(st.MPIE | st.MPP | st.MIE)
        if (h.mstatus & st.MIE) != 0:
            kept = kept | st.MPIE
        h.mstatus = kept | (u64(h.priv) << st.MPP_SHIFT)
        h.priv = st.PRIV_M
    base = vector & ~u64(3)
    if interrupt and (vector & 3) == 1:
        base = base + number * 4
    h.pc = base


@noinline
def leave_to_supervisor(h: Hart) -> None:
    """Do SRET."""
    s = h.mstatus
    h.priv = u32(1) if (s & st.SPP) != 0 else u32(0)
    kept = s & ~u64(st.SIE | st.SPP | st.MPRV)
    if (s & st.SPIE) != 0:
        kept = kept | st.SIE
    h.mstatus = kept | st.SPIE
    h.npc = h.sepc


@noinline
def leave_to_machine(h: Hart) -> None:
    """Do MRET."""
    s = h.mstatus
    h.priv = u32((s & st.MPP) >> st.MPP_SHIFT)
    kept = s & ~u64(st.MIE | st.MPP)
    if h.priv != st.PRIV_M:
        kept = kept & ~u64(st.MPRV)
    if (s & st.MPIE) != 0:
        kept = kept | st.MIE
    h.mstatus = kept | st.MPIE
    h.npc = h.mepc
