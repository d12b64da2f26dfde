"""What F, D and Zfh share: register access, the checks, and the meaning of each format-generic
instruction.

Source: RISC-V Unprivileged 20240411, chapters 20 (F), 21 (D) and 23 (Zfh); Privileged 3.1.6.6
(FS). A format is `e` exponent and `m` fraction bits: 5 and 10 are H, 8 and 23 S, 11 and 52 D.
"""

from __future__ import annotations

from innkeeper.isa.riscv.causes import ILLEGAL_INSTRUCTION
from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.ops import Trap, host_fp_flags, host_fp_set
from innkeeper.isa.riscv.softfloat import (
    DYN,
    RMM,
    RUP,
    f_add,
    f_class,
    f_convert,
    f_div,
    f_eq,
    f_fma,
    f_from_int,
    f_le,
    f_lt,
    f_max,
    f_min,
    f_mul,
    f_sqrt,
    f_sub,
    f_to_int,
)
from innkeeper.isa.riscv.softfloat_core import sign_bit
from innkeeper.isa.riscv.status import FS, SD
from innkeeper.native.intrinsics import inline, noinline
from innkeeper.native.types import Const, u8, u32, u64

S_BOX = 0xFFFFFFFF00000000
S_NAN = 0x7FC00000
H_BOX = 0xFFFFFFFFFFFF0000
H_NAN = 0x7E00
FFLAGS_MASK = 31
FRM_MASK = 7
RESERVED_RM = ((7 << 12, 5 << 12), (7 << 12, 6 << 12))
"""Static rounding modes that are reserved (Unprivileged 20.2): patterns (mask, match)."""


@inline
def fp_check(h: Hart, i: Operands) -> None:
    """Start an instruction that does not round: floating point must be on; it becomes dirty."""
    if h.fp_ready == 0:
        fp_slow(h, u32(0))


@inline
def fp_check_rm(h: Hart, i: Operands) -> None:
    """Start an instruction that rounds: `fp_check`, and the rounding mode must be a valid one."""
    if h.fp_ready == 0:
        fp_slow(h, u32(i.imm))


@noinline
def fp_slow(h: Hart, rm: u32) -> None:
    """Check what `fp_ready` being 0 leaves open, mark the state dirty, be ready if `frm` allows."""
    mode = h.frm if rm == DYN else rm
    if h.mstatus & FS == 0 or mode > RMM:
        raise Trap(ILLEGAL_INSTRUCTION, 0)
    h.mstatus = h.mstatus | (FS | SD)
    fp_update_ready(h)


def fp_update_ready(h: Hart) -> None:
    """Recompute `fp_ready`; to be called after every write of mstatus."""
    h.fp_ready = u32(h.mstatus & FS == FS and h.frm <= RUP)


def fp_read_flags(h: Hart) -> u32:
    """Return fflags: what soft-float accrued and what the host did."""
    return h.fflags | host_fp_flags()


def fp_write(h: Hart, fflags: u32, frm: u32) -> None:
    """Write fflags and frm; the host takes over the mode if it has it, and forgets its flags."""
    h.fflags = fflags & FFLAGS_MASK
    h.frm = frm & FRM_MASK
    host_fp_set(h.frm if h.frm <= RUP else u32(0))
    h.mstatus = h.mstatus | (FS | SD)
    fp_update_ready(h)


@inline
def get(h: Hart, m: Const, r: u8) -> u64:
    """Read a register in a format; what is not NaN-boxed reads as the canonical NaN (21.2)."""
    if m == 10:
        return h.f[r] & 0xFFFF if h.f[r] >= H_BOX else u64(H_NAN)
    if m == 23:
        return h.f[r] & 0xFFFFFFFF if h.f[r] >= S_BOX else u64(S_NAN)
    return h.f[r]


@inline
def put(h: Hart, m: Const, r: u8, value: u64) -> None:
    """Write a register in a format; an H or S is NaN-boxed."""
    if m == 10:
        h.f[r] = value | H_BOX
    elif m == 23:
        h.f[r] = value | S_BOX
    else:
        h.f[r] = value


@inline
def add(h: Hart, i: Operands, e: Const, m: Const) -> None:
    fp_check_rm(h, i)
    put(h, m, i.rd, f_add(h, e, m, get(h, m, i.rs1), get(h, m, i.rs2), u32(i.imm)))


@inline
def sub(h: Hart, i: Operands, e: Const, m: Const) -> None:
    fp_check_rm(h, i)
    put(h, m, i.rd, f_sub(h, e, m, get(h, m, i.rs1), get(h, m, i.rs2), u32(i.imm)))


@inline
def mul(h: Hart, i: Operands, e: Const, m: Const) -> None:
    fp_check_rm(h, i)
    put(h, m, i.rd, f_mul(h, e, m, get(h, m, i.rs1), get(h, m, i.rs2), u32(i.imm)))


@inline
def div(h: Hart, i: Operands, e: Const, m: Const) -> None:
    fp_check_rm(h, i)
    put(h, m, i.rd, f_div(h, e, m, get(h, m, i.rs1), get(h, m, i.rs2), u32(i.imm)))


@inline
def sqrt(h: Hart, i: Operands, e: Const, m: Const) -> None:
    fp_check_rm(h, i)
    put(h, m, i.rd, f_sqrt(h, e, m, get(h, m, i.rs1), u32(i.imm)))


@inline
def fma(h: Hart, i: Operands, e: Const, m: Const, flip_product: Const, flip_addend: Const) -> None:
    """Multiply and add with the signs flipped (1) or kept (0) first: all four of the family."""
    fp_check_rm(h, i)
    a = get(h, m, i.rs1) ^ (sign_bit(e, m) * u64(flip_product))
    c = get(h, m, i.rs3) ^ (sign_bit(e, m) * u64(flip_addend))
    put(h, m, i.rd, f_fma(h, e, m, a, get(h, m, i.rs2), c, u32(i.imm)))


@inline
def sgnj(h: Hart, i: Operands, e: Const, m: Const) -> None:
    fp_check(h, i)
    b = get(h, m, i.rs2) & sign_bit(e, m)
    put(h, m, i.rd, (get(h, m, i.rs1) & (sign_bit(e, m) - 1)) | b)


@inline
def sgnjn(h: Hart, i: Operands, e: Const, m: Const) -> None:
    fp_check(h, i)
    b = (get(h, m, i.rs2) & sign_bit(e, m)) ^ sign_bit(e, m)
    put(h, m, i.rd, (get(h, m, i.rs1) & (sign_bit(e, m) - 1)) | b)


@inline
def sgnjx(h: Hart, i: Operands, e: Const, m: Const) -> None:
    fp_check(h, i)
    put(h, m, i.rd, get(h, m, i.rs1) ^ (get(h, m, i.rs2) & sign_bit(e, m)))


@inline
def minimum(h: Hart, i: Operands, e: Const, m: Const) -> None:
    fp_check(h, i)
    put(h, m, i.rd, f_min(h, e, m, get(h, m, i.rs1), get(h, m, i.rs2)))


@inline
def maximum(h: Hart, i: Operands, e: Const, m: Const) -> None:
    fp_check(h, i)
    put(h, m, i.rd, f_max(h, e, m, get(h, m, i.rs1), get(h, m, i.rs2)))


@inline
def equal(h: Hart, i: Operands, e: Const, m: Const) -> None:
    fp_check(h, i)
    h.x[i.rd] = f_eq(h, e, m, get(h, m, i.rs1), get(h, m, i.rs2))


@inline
def less(h: Hart, i: Operands, e: Const, m: Const) -> None:
    fp_check(h, i)
    h.x[i.rd] = f_lt(h, e, m, get(h, m, i.rs1), get(h, m, i.rs2))


@inline
def less_or_equal(h: Hart, i: Operands, e: Const, m: Const) -> None:
    fp_check(h, i)
    h.x[i.rd] = f_le(h, e, m, get(h, m, i.rs1), get(h, m, i.rs2))


@inline
def classify(h: Hart, i: Operands, e: Const, m: Const) -> None:
    fp_check(h, i)
    h.x[i.rd] = f_class(h, e, m, get(h, m, i.rs1))


@inline
def to_int(h: Hart, i: Operands, e: Const, m: Const, kind: Const) -> None:
    fp_check_rm(h, i)
    h.x[i.rd] = f_to_int(h, e, m, kind, get(h, m, i.rs1), u32(i.imm))


@inline
def from_int(h: Hart, i: Operands, e: Const, m: Const, kind: Const) -> None:
    fp_check_rm(h, i)
    put(h, m, i.rd, f_from_int(h, e, m, kind, h.x[i.rs1], u32(i.imm)))


@inline
def convert(h: Hart, i: Operands, from_e: Const, from_m: Const, to_e: Const, to_m: Const) -> None:
    """Convert between formats; to a wider one nothing rounds, and the mode goes unused."""
    fp_check_rm(h, i)
    a = get(h, from_m, i.rs1)
    put(h, to_m, i.rd, f_convert(h, from_e, from_m, to_e, to_m, a, u32(i.imm)))
