"""The architectural state of a RISC-V hart and the operands of one instruction.

Source: RISC-V Unprivileged ISA 20240411 and Privileged ISA 20240411.
"""

from __future__ import annotations

from innkeeper.native.types import Array, Fn, Ptr, Struct, i32, i64, u8, u32, u64

NS_PER_TICK = 100
"""The time CSR counts at 10 MHz."""

NO_RESERVATION = 0xFFFFFFFFFFFFFFFF
"""`Hart.reservation` when there is none."""

VLEN = 128
"""Bits in a vector register."""

VILL = 1 << 63
"""vtype when it was given a value that is not supported, and after reset (Unprivileged 30.3.4)."""

SINK = 32
"""The register number that stands for x0 as a destination: written, never read."""


class Operands(Struct):
    """One decoded instruction as the handlers see it: the cell of engine.md, 16 bytes.

    `rd` is `SINK` where the encoding names x0 as an integer destination. `imm` is the immediate,
    sign-extended where the encoding says so; for CSR instructions the CSR's number, for atomics
    aq<<1|rl, for floating point the rounding-mode field.
    """

    handler: u64
    imm: i32
    rd: u8
    rs1: u8
    rs2: u8
    rs3: u8


class Hart(Struct):
    """What the architecture says a hart is, plus its ways out: RAM, MMIO and time.

    `x[SINK]` takes writes to x0. `fflags` holds accrued exceptions that the host's own sticky
    flags do not; see `fp.py`. `fp_ready` is 1 while mstatus.FS is Dirty and `frm` is one of the
    host's rounding modes (0 to 3): floating-point instructions check only that.

    Pending interrupts are `mip` (what software wrote) with `irq_lines` (written by the host side
    alone) and `timer_lines` (written by the hart alone). `instret` counts what had retired when
    the running slice began; `slice - budget` instructions of it are done. `stop` is the SBI HSM
    state (0 runs, 1 stopped, 2 suspended). `harts` lists the addresses of all harts.

    `v` holds the vector registers one after the other, VLEN (128) bits each. `v_sew` and `v_lmul`
    are what `vtype` says: the base-2 logarithms of SEW in bytes and of LMUL. An instruction works
    in `v_result` and `v_scalar`, which have the size of the largest register group. `v_whole` is
    `v_sew` + 1 while unmasked operands fill the `v_count` registers of their groups and all else
    allows short forms (`v_whole.py`), or 0, which is always right.
    """

    x: Array[u64, 33]
    f: Array[u64, 32]
    pc: u64
    npc: u64
    priv: u32
    hart_id: u32
    fp_ready: u32
    fflags: u32
    frm: u32
    trap_pending: u32
    trap_cause: u64
    trap_tval: u64
    mstatus: u64
    misa: u64
    medeleg: u64
    mideleg: u64
    mie: u64
    mip: u64
    mtvec: u64
    mscratch: u64
    mepc: u64
    mcause: u64
    mtval: u64
    mcounteren: u64
    mcountinhibit: u64
    menvcfg: u64
    stvec: u64
    sscratch: u64
    sepc: u64
    scause: u64
    stval: u64
    scounteren: u64
    senvcfg: u64
    satp: u64
    stimecmp: u64
    mtimecmp: u64
    pmpaddr: Array[u64, 16]
    pmpcfg: Array[u8, 16]
    pmp_count: u32
    mcycle_offset: u64
    minstret_offset: u64
    instret: u64
    reservation: u64
    reservation_value: u64
    reservation_size: u32
    wfi: u32
    yielding: u32
    icount: u32
    """Time is a nanosecond an instruction; `virtual_ns` is what it was when the slice began."""
    virtual_ns: u64
    """WRS.NTO or WRS.STO ends this hart's turn."""
    max_satp_mode: u32
    sbi_enabled: u32
    irq_lines: u64
    timer_lines: u64
    budget: i64
    slice: i64
    stop: u32
    mmio_fault: u32
    flush_request: u32
    fence_taken: u32
    fence_start: u64
    fence_size: u64
    fence_asid: u64
    """The range of FLUSH_RANGE; `fence_taken` is 1 from before it is written until it is obeyed."""
    hart_count: u32
    harts: Ptr[u64]
    ram_base: u64
    ram_size: u64
    ram: Ptr[u8]
    mmio_read: Fn[u64, u64, u64, u64]
    mmio_write: Fn[None, u64, u64, u64, u64]
    sbi_call: Fn[None, u64]
    clock_gettime: Fn[i32, u64, u64]
    timespec: Array[u64, 2]
    time_base: u64
    v: Array[u64, 64]
    v_result: Array[u64, 16]
    v_scalar: Array[u64, 16]
    vl: u64
    vtype: u64
    vstart: u64
    vxrm: u32
    vxsat: u32
    v_sew: u32
    v_lmul: i32
    v_whole: u32
    v_count: u32
