"""Control and status registers: which exist, who may touch them, what writing does.

Source: Privileged 2.2 (numbers), 3.1 (machine), 4.1 (supervisor); Unprivileged 8 (Zicntr), 20.2
(fcsr), 30.3 (V); Sstc; Svadu; Svpbmt; Ssnpm; Sscofpmf, where no counter counts events and so
none overflows.
"""

from __future__ import annotations

from innkeeper.isa.riscv import status as st
from innkeeper.isa.riscv.causes import ILLEGAL_INSTRUCTION
from innkeeper.isa.riscv.fp import fp_read_flags, fp_update_ready, fp_write
from innkeeper.isa.riscv.hart import NS_PER_TICK, VLEN, Hart
from innkeeper.isa.riscv.mmu import flush_translations, switch_address_space
from innkeeper.isa.riscv.ops import Trap
from innkeeper.isa.riscv.trap import pending
from innkeeper.isa.riscv.v_whole import keep_whole
from innkeeper.native.intrinsics import addr, atomic_rmw, is_null, noinline, ref
from innkeeper.native.types import u8, u32, u64

CLOCK_MONOTONIC = 1

FFLAGS, FRM, FCSR = 0x001, 0x002, 0x003
VSTART, VXSAT, VXRM, VCSR, VL, VTYPE, VLENB = 0x008, 0x009, 0x00A, 0x00F, 0xC20, 0xC21, 0xC22
SSTATUS, SIE, STVEC, SCOUNTEREN, SENVCFG = 0x100, 0x104, 0x105, 0x106, 0x10A
SSCRATCH, SEPC, SCAUSE, STVAL, SIP, STIMECMP, SATP = (
    0x140, 0x141, 0x142, 0x143, 0x144, 0x14D, 0x180,
)  # fmt: skip
MSTATUS, MISA, MEDELEG, MIDELEG, MIE, MTVEC, MCOUNTEREN, MENVCFG = (
    0x300, 0x301, 0x302, 0x303, 0x304, 0x305, 0x306, 0x30A,
)  # fmt: skip
MCOUNTINHIBIT, SCOUNTOVF = 0x320, 0xDA0
MSCRATCH, MEPC, MCAUSE, MTVAL, MIP = 0x340, 0x341, 0x342, 0x343, 0x344
PMPCFG0, PMPADDR0 = 0x3A0, 0x3B0
MCYCLE, MINSTRET, MHPMCOUNTER3, MHPMEVENT3 = 0xB00, 0xB02, 0xB03, 0x323
CYCLE, TIME, INSTRET, HPMCOUNTER3 = 0xC00, 0xC01, 0xC02, 0xC03
MVENDORID, MARCHID, MIMPID, MHARTID, MCONFIGPTR = 0xF11, 0xF12, 0xF13, 0xF14, 0xF15


def illegal(h: Hart) -> None:
    """Raise an illegal-instruction exception."""
    raise Trap(ILLEGAL_INSTRUCTION, 0)


@noinline
def read_time(h: Hart) -> u64:
    """Return the time CSR: 10 MHz ticks of the host's clock or of virtual time, or retired
    instructions without either."""
    if h.icount != 0:
        return (h.virtual_ns + u64(h.slice - h.budget)) // NS_PER_TICK
    if is_null(h.clock_gettime):
        return retired(h)
    h.clock_gettime(u64(CLOCK_MONOTONIC), addr(h.timespec))
    ns = h.timespec[0] * 1000000000 + h.timespec[1]
    return (ns - h.time_base) // NS_PER_TICK


def retired(h: Hart) -> u64:
    """Return the number of instructions retired so far."""
    return h.instret + u64(h.slice - h.budget)


def counter_allowed(h: Hart, number: u32) -> bool:
    """Tell whether mcounteren and scounteren let this privilege read a counter (3.1.11)."""
    bit = u64(1) << (number & 31)
    if h.priv < st.PRIV_M and (h.mcounteren & bit) == 0:
        return False
    return h.priv != st.PRIV_U or (h.scounteren & bit) != 0


def check_access(h: Hart, number: u32, write: bool) -> None:
    """Raise illegal instruction for a register this privilege may not touch (2.1)."""
    if h.priv < ((number >> 8) & 3) or (write and (number >> 10) == 3):
        illegal(h)
    if number <= FCSR and (h.mstatus & st.FS) == 0:
        illegal(h)
    if is_vector(number) and (h.mstatus & st.VS) == 0:
        illegal(h)
    if number == SATP and h.priv == st.PRIV_S and (h.mstatus & st.TVM) != 0:
        illegal(h)
    if number == STIMECMP and h.priv == st.PRIV_S:
        if (h.menvcfg & st.ENVCFG_STCE) == 0 or (h.mcounteren & 2) == 0:
            illegal(h)


def is_vector(number: u32) -> bool:
    """Tell whether a CSR belongs to the vector extension (Unprivileged 30.3)."""
    if number >= VSTART and number <= VCSR:
        return True
    return number >= VL and number <= VLENB


def is_dirty(status: u64) -> bool:
    """Tell whether floating-point or vector state is Dirty: mstatus.SD (3.1.6.6)."""
    return (status & st.FS) == st.FS or (status & st.VS) == st.VS


def read_status(h: Hart) -> u64:
    """Return mstatus with its derived bits."""
    value = h.mstatus | st.UXL | st.SXL
    if is_dirty(value):
        value = value | st.SD
    return value


@noinline
def csr_read(h: Hart, number: u32, write: bool) -> u64:
    """Read a CSR; `write` tells that the instruction will also write it."""
    check_access(h, number, write)
    if number >= CYCLE and number <= CYCLE + 31:
        if not counter_allowed(h, number):
            illegal(h)
        return read_counter(h, number - CYCLE)
    if number < 0x200:
        return read_supervisor(h, number)
    if number == SCOUNTOVF:
        return u64(0)
    return read_machine(h, number)


def read_counter(h: Hart, n: u32) -> u64:
    """Read cycle, time, instret or one of the absent event counters (always 0)."""
    if n == 0:
        return retired(h) + h.mcycle_offset
    if n == 1:
        return read_time(h)
    if n == 2:
        return retired(h) + h.minstret_offset
    return u64(0)


@noinline
def read_supervisor(h: Hart, number: u32) -> u64:
    """Read a CSR below 0x200."""
    if number == SSTATUS:
        return read_status(h) & st.SSTATUS_READABLE
    if number == SSCRATCH:
        return h.sscratch
    if number == SEPC:
        return h.sepc
    if number == SCAUSE:
        return h.scause
    if number == STVAL:
        return h.stval
    if number == SATP:
        return h.satp
    if number == SIE:
        return h.mie & h.mideleg
    if number == SIP:
        return pending(h) & h.mideleg
    if number == STVEC:
        return h.stvec
    if number == STIMECMP:
        return h.stimecmp
    if number == SCOUNTEREN:
        return h.scounteren
    if number == SENVCFG:
        return h.senvcfg
    if number == FFLAGS:
        return u64(fp_read_flags(h))
    if number == FRM:
        return u64(h.frm)
    if number == FCSR:
        return u64(fp_read_flags(h) | (h.frm << 5))
    if is_vector(number):
        return read_vector(h, number)
    illegal(h)
    return u64(0)


@noinline
def read_vector(h: Hart, number: u32) -> u64:
    """Read a vector CSR (Unprivileged 30.3)."""
    if number == VSTART:
        return h.vstart
    if number == VXSAT:
        return u64(h.vxsat)
    if number == VXRM:
        return u64(h.vxrm)
    if number == VCSR:
        return u64(h.vxsat | (h.vxrm << 1))
    if number == VL:
        return h.vl
    if number == VTYPE:
        return h.vtype
    if number == VLENB:
        return u64(VLEN // 8)
    illegal(h)
    return u64(0)


@noinline
def write_vector(h: Hart, number: u32, value: u64) -> None:
    """Write a vector CSR; vstart holds no more than an element's index can be."""
    if number == VSTART:
        h.vstart = value & (VLEN - 1)
    elif number == VXSAT:
        h.vxsat = u32(value) & 1
    elif number == VXRM:
        h.vxrm = u32(value) & 3
    elif number == VCSR:
        h.vxsat = u32(value) & 1
        h.vxrm = (u32(value) >> 1) & 3
    h.mstatus = h.mstatus | (st.VS | st.SD)
    keep_whole(h)


@noinline
def read_machine(h: Hart, number: u32) -> u64:
    """Read a machine-level CSR."""
    if number == MSTATUS:
        return read_status(h)
    if number == MISA:
        return h.misa
    if number == MEDELEG:
        return h.medeleg
    if number == MIDELEG:
        return h.mideleg
    if number == MIE:
        return h.mie
    if number == MTVEC:
        return h.mtvec
    if number == MCOUNTEREN:
        return h.mcounteren
    if number == MENVCFG:
        return h.menvcfg
    if number == MSCRATCH:
        return h.mscratch
    if number == MEPC:
        return h.mepc
    if number == MCAUSE:
        return h.mcause
    if number == MTVAL:
        return h.mtval
    if number == MIP:
        return pending(h)
    if number == MHARTID:
        return u64(h.hart_id)
    if number >= PMPCFG0 and number < PMPCFG0 + 4 and (number & 1) == 0:
        value = u64(0)
        for n in range(u32(8)):
            value = value | (u64(h.pmpcfg[(number - PMPCFG0) * 4 + n]) << (n * 8))
        return value
    if number >= PMPADDR0 and number < PMPADDR0 + 16:
        return h.pmpaddr[number - PMPADDR0]
    if number == MCYCLE or (number >= MINSTRET and number < MCYCLE + 32):
        return read_counter(h, number - MCYCLE)
    if number == MCOUNTINHIBIT or (number >= MHPMEVENT3 and number < 0x340):
        return u64(0)
    if number in (MVENDORID, MARCHID, MIMPID, MCONFIGPTR):
        return u64(0)
    if is_vector(number):
        return read_vector(h, number)
    illegal(h)
    return u64(0)


@noinline
def csr_change(h: Hart, number: u32, old: u64, ones: u64, zeros: u64) -> None:
    """Set and clear bits of a CSR that was read as `old`.

    In mip only what software wrote changes, never the lines from outside (3.1.9), and only the
    bits named: other harts set SSIP meanwhile.
    """
    if number == MIP or number == SIP:
        change_pending(h, writable_pending(h, number), ones, zeros)
    else:
        csr_write(h, number, (old | ones) & ~zeros)


def writable_pending(h: Hart, number: u32) -> u64:
    """Return the bits of mip that a write to mip or sip reaches."""
    if number == SIP:
        return h.mideleg & (2 | st.LCOFI)
    if (h.menvcfg & st.ENVCFG_STCE) != 0:
        return u64(st.S_INTERRUPTS & ~(1 << 5))  # STIP is stimecmp's alone (Sstc 2)
    return u64(st.S_INTERRUPTS)


def change_pending(h: Hart, writable: u64, ones: u64, zeros: u64) -> None:
    """Set and clear bits of what software has written to mip."""
    if (zeros & writable) != 0:
        atomic_rmw("and", ref(h, "mip"), ~(zeros & writable))
    if (ones & writable) != 0:
        atomic_rmw("or", ref(h, "mip"), ones & writable)


@noinline
def csr_write(h: Hart, number: u32, value: u64) -> None:
    """Write a CSR that `csr_read` has already admitted; fields keep only legal values."""
    if number < 0x200:
        write_supervisor(h, number, value)
    else:
        write_machine(h, number, value)


@noinline
def write_supervisor(h: Hart, number: u32, value: u64) -> None:
    """Write a CSR below 0x200."""
    if number == SSTATUS:
        write_status(h, value, u64(st.SSTATUS_WRITABLE))
    elif number == SSCRATCH:
        h.sscratch = value
    elif number == SEPC:
        h.sepc = value & ~u64(1)
    elif number == SCAUSE:
        h.scause = value
    elif number == STVAL:
        h.stval = value
    elif number == SATP:
        write_satp(h, value)
    elif number == SIE:
        h.mie = (h.mie & ~h.mideleg) | (value & h.mideleg)
    elif number == SIP:
        change_pending(h, writable_pending(h, number), value, ~value)
    elif number == STVEC:
        h.stvec = value & ~u64(2)
    elif number == STIMECMP:
        h.stimecmp = value
        update_timers(h)
        timer_has_moved(h)
    elif number == SCOUNTEREN:
        h.scounteren = value & 0xFFFFFFFF
    elif number == SENVCFG:
        masking = value & st.ENVCFG_PMM
        if masking != 0 and masking != st.ENVCFG_PMLEN_7:
            masking = h.senvcfg & st.ENVCFG_PMM
        h.senvcfg = (value & st.SENVCFG_WRITABLE) | masking
    elif number == FFLAGS:
        fp_write(h, u32(value) & 31, h.frm)
    elif number == FRM:
        fp_write(h, fp_read_flags(h), u32(value) & 7)
    elif number == FCSR:
        fp_write(h, u32(value) & 31, (u32(value) >> 5) & 7)
    elif is_vector(number):
        write_vector(h, number, value)


@noinline
def update_timers(h: Hart) -> None:
    """Recompute the timer interrupt lines from the clock (3.2.1, Sstc 2)."""
    now = read_time(h)
    lines = u64(0)
    if now >= h.mtimecmp:
        lines = lines | (1 << 7)
    if now >= h.stimecmp and (h.sbi_enabled != 0 or (h.menvcfg & st.ENVCFG_STCE) != 0):
        lines = lines | (1 << 5)
    h.timer_lines = lines


def changes_world(h: Hart, number: u32, status: u64) -> bool:
    """Tell whether what follows a CSR write must be looked up anew; `status` was mstatus before.

    Not so after those that only hold a value, nor after the supervisor has turned interrupts off,
    or on with none to take.
    """
    if number == SSTATUS:
        kept = ((h.mstatus ^ status) & ~u64(st.SIE | st.SPIE | st.SPP)) == 0
        return not kept or ((h.mstatus & st.SIE) != 0 and (pending(h) & h.mie) != 0)
    return number > FCSR and (number < SSCRATCH or number > STVAL)


def timer_has_moved(h: Hart) -> None:
    """End the slice where time is counted in instructions: the next ends when the timer is due."""
    if h.icount != 0:
        h.yielding = u32(1)


def write_status(h: Hart, value: u64, writable: u64) -> None:
    """Write mstatus or its view sstatus; MPP keeps to the privileges that exist."""
    if ((value & st.MPP) >> st.MPP_SHIFT) == 2:
        writable = writable & ~u64(st.MPP)
    before = h.mstatus
    fresh = (before & ~writable) | (value & writable)
    h.mstatus = fresh
    if is_dirty(fresh):
        h.mstatus = fresh | st.SD
    else:
        h.mstatus = fresh & ~u64(st.SD)
    if ((fresh ^ before) & st.MXR) != 0:
        flush_translations(h)
    fp_update_ready(h)
    keep_whole(h)


def write_satp(h: Hart, value: u64) -> None:
    """Write satp; an unsupported mode leaves it as it was (4.1.11). ASIDs have all 16 bits."""
    mode = value >> st.SATP_MODE_SHIFT
    if mode == 0 or (mode >= st.SATP_SV39 and mode <= u64(h.max_satp_mode)):
        before = h.satp
        h.satp = value
        switch_address_space(h, before)


def write_pmpcfg(h: Hart, first: u32, value: u64) -> None:
    """Write eight pmpcfg fields; a locked one stays, W without R is not taken (3.7.1)."""
    for n in range(u32(8)):
        cfg = (value >> (n * 8)) & 0x9F
        if (h.pmpcfg[first + n] & 128) == 0 and (cfg & 3) != 2:
            h.pmpcfg[first + n] = u8(cfg)
    flush_translations(h)


def write_pmpaddr(h: Hart, n: u32, value: u64) -> None:
    """Write a pmpaddr unless it is locked, itself or as the base of a locked TOR entry."""
    if (h.pmpcfg[n] & 128) != 0:
        return
    if n < 15 and (h.pmpcfg[n + 1] & 0x98) == 0x88:
        return
    h.pmpaddr[n] = value & ((1 << 54) - 1)
    flush_translations(h)


@noinline
def write_machine(h: Hart, number: u32, value: u64) -> None:
    """Write a machine-level CSR."""
    if number == MSTATUS:
        write_status(h, value, u64(st.MSTATUS_WRITABLE))
    elif number == MEDELEG:
        h.medeleg = value & st.DELEGABLE_EXCEPTIONS
    elif number == MIDELEG:
        h.mideleg = value & st.S_INTERRUPTS
    elif number == MIE:
        h.mie = value & (st.S_INTERRUPTS | st.M_INTERRUPTS)
    elif number == MTVEC:
        h.mtvec = value & ~u64(2)
    elif number == MCOUNTEREN:
        h.mcounteren = value & 0xFFFFFFFF
    elif number == MENVCFG:
        h.menvcfg = value & st.MENVCFG_WRITABLE
        flush_translations(h)
        update_timers(h)
    elif number == MSCRATCH:
        h.mscratch = value
    elif number == MEPC:
        h.mepc = value & ~u64(1)
    elif number == MCAUSE:
        h.mcause = value
    elif number == MTVAL:
        h.mtval = value
    elif number == MIP:
        change_pending(h, writable_pending(h, number), value, ~value)
    elif number >= PMPCFG0 and number < PMPCFG0 + 4:
        write_pmpcfg(h, (number - PMPCFG0) * 4, value)
    elif number >= PMPADDR0 and number < PMPADDR0 + 16:
        write_pmpaddr(h, number - PMPADDR0, value)
    elif number == MCYCLE:
        h.mcycle_offset = value - retired(h) - 1
    elif number == MINSTRET:
        h.minstret_offset = value - retired(h) - 1  # what is written is what comes next (Zicsr)
