"""Guest floating point on the host's floating-point unit.

The guest's dynamic rounding mode lives in MXCSR while it runs, and the host's sticky flags are the
guest's accrued ones. Other rounding modes, and hosts other than x86-64, take the softfloat of
`isa.riscv`. Constrained intrinsics keep LLVM from moving work across reads of the flags.
"""

from __future__ import annotations

from typing import Any

from innkeeper.engine.emulator.sync import enter_guest, leave_guest
from innkeeper.engine.emulator.tlb import emu
from innkeeper.isa.riscv import access, sbi, softfloat
from innkeeper.isa.riscv.hart import Hart
from innkeeper.isa.riscv.sbi import FLUSH_NOTHING
from innkeeper.isa.riscv.softfloat_convert import to_int
from innkeeper.isa.riscv.trap import interrupt_to_take
from innkeeper.native.intrinsics import addr, atomic_rmw, inline, intrinsic, noinline, ref
from innkeeper.native.types import Const, i32, i64, u32, u64

DYN, RTZ = 7, 1
DOUBLE = 11
"""The exponent bits of a double."""
LOWEST_32, LOWEST_64 = -(1 << 31), -(1 << 63)
MXCSR_DEFAULT = 0x1F80
HALF = 5
"""The exponent bits of binary16, which takes the softfloat: x86 has no scalar half everywhere."""


@intrinsic
def mxcsr_read(h: Hart) -> u32:
    """Return MXCSR (Intel SDM volume 1, 10.2.3)."""
    raise NotImplementedError


@intrinsic
def mxcsr_write(h: Hart, value: u32) -> None:
    """Set MXCSR."""
    raise NotImplementedError


@intrinsic
def host_binary(op: str, e: Const, a: u64, b: u64) -> u64:
    """Do fadd, fsub, fmul or fdiv on raw bits in the current rounding mode; NaNs are canonical.

    So they are in the results of all that follow.
    """
    raise NotImplementedError


@intrinsic
def host_sqrt(e: Const, a: u64) -> u64:
    """Take a square root on raw bits."""
    raise NotImplementedError


@intrinsic
def host_fma(e: Const, a: u64, b: u64, c: u64) -> u64:
    """Do a fused multiply-add on raw bits."""
    raise NotImplementedError


@intrinsic
def host_convert(from_e: Const, to_e: Const, a: u64) -> u64:
    """Convert between formats on raw bits."""
    raise NotImplementedError


@intrinsic
def host_from_int(e: Const, a: u64) -> u64:
    """Convert a signed 64-bit integer to a float's raw bits."""
    raise NotImplementedError


@intrinsic
def host_compare(op: str, e: Const, a: u64, b: u64) -> bool:
    """Compare raw bits: `eq` quietly, `lt` and `le` with any NaN an invalid operation."""
    raise NotImplementedError


@intrinsic
def host_is_nan(e: Const, a: u64) -> bool:
    """Tell whether raw bits are a NaN; raises no exception."""
    raise NotImplementedError


@intrinsic
def host_truncate(e: Const, kind: Const, a: u64) -> Any:
    """Convert raw bits to i32 or i64 toward zero as the host does it."""
    raise NotImplementedError


def riscv_flags(mxcsr: u32) -> u32:
    """Turn MXCSR's sticky flags into fflags: NV DZ OF UF NX."""
    f = mxcsr
    flags = (f & 1) << 4 | ((f >> 2) & 1) << 3 | ((f >> 3) & 1) << 2
    return flags | ((f >> 4) & 1) << 1 | ((f >> 5) & 1)


def mxcsr_for(frm: u32) -> u32:
    """Return MXCSR with this rounding mode, all exceptions masked, no flags."""
    control = u32(0)
    if frm == 1:
        control = u32(3)
    elif frm == 2:
        control = u32(1)
    elif frm == 3:
        control = u32(2)
    return control << 13 | MXCSR_DEFAULT


@noinline
def fp_enter(h: Hart) -> None:
    """Give the floating-point unit to the guest."""
    e = emu(h)
    e.mxcsr_host = mxcsr_read(h)
    mxcsr_write(h, mxcsr_for(h.frm))


@noinline
def fp_leave(h: Hart) -> None:
    """Give the floating-point unit back to the host, keeping the guest's flags."""
    e = emu(h)
    h.fflags = h.fflags | riscv_flags(mxcsr_read(h))
    mxcsr_write(h, e.mxcsr_host)


def go_out(h: Hart) -> None:
    """Leave the guest for a host call."""
    fp_leave(h)
    leave_guest(h)


def come_back(h: Hart) -> None:
    """Return from a host call; an interrupt that it has raised is taken after the instruction."""
    enter_guest(h)
    fp_enter(h)
    if interrupt_to_take(h) != 0:
        atomic_rmw("or", ref(h, "flush_request"), u32(FLUSH_NOTHING))


@noinline
def device_read(h: Hart, pa: u64, size: u32) -> u64:
    """Read from a device with the host's own floating-point state."""
    go_out(h)
    value = h.mmio_read(addr(h), pa, u64(size))
    come_back(h)
    return value


@noinline
def device_write(h: Hart, pa: u64, value: u64, size: u32) -> None:
    """Write to a device with the host's own floating-point state."""
    go_out(h)
    h.mmio_write(addr(h), pa, value, u64(size))
    come_back(h)


@noinline
def host_sbi_call(h: Hart) -> None:
    """Let the host answer an SBI call with its own floating-point state."""
    go_out(h)
    h.sbi_call(addr(h))
    come_back(h)


@inline
def f_add(h: Hart, e: Const, m: Const, a: u64, b: u64, rm: u32) -> u64:
    """Add on the host where its rounding mode is the one asked for."""
    if e == HALF:
        return softfloat.f_add(h, e, m, a, b, rm)
    if rm == DYN and h.fp_ready != 0:
        return host_binary("fadd", e, a, b)
    return softfloat.f_add(h, e, m, a, b, rm)


@inline
def f_sub(h: Hart, e: Const, m: Const, a: u64, b: u64, rm: u32) -> u64:
    """Subtract on the host where its rounding mode is the one asked for."""
    if e == HALF:
        return softfloat.f_sub(h, e, m, a, b, rm)
    if rm == DYN and h.fp_ready != 0:
        return host_binary("fsub", e, a, b)
    return softfloat.f_sub(h, e, m, a, b, rm)


@inline
def f_mul(h: Hart, e: Const, m: Const, a: u64, b: u64, rm: u32) -> u64:
    """Multiply on the host where its rounding mode is the one asked for."""
    if e == HALF:
        return softfloat.f_mul(h, e, m, a, b, rm)
    if rm == DYN and h.fp_ready != 0:
        return host_binary("fmul", e, a, b)
    return softfloat.f_mul(h, e, m, a, b, rm)


@inline
def f_div(h: Hart, e: Const, m: Const, a: u64, b: u64, rm: u32) -> u64:
    """Divide on the host where its rounding mode is the one asked for."""
    if e == HALF:
        return softfloat.f_div(h, e, m, a, b, rm)
    if rm == DYN and h.fp_ready != 0:
        return host_binary("fdiv", e, a, b)
    return softfloat.f_div(h, e, m, a, b, rm)


@inline
def f_sqrt(h: Hart, e: Const, m: Const, a: u64, rm: u32) -> u64:
    """Take a square root on the host where its rounding mode is the one asked for."""
    if e == HALF:
        return softfloat.f_sqrt(h, e, m, a, rm)
    if rm == DYN and h.fp_ready != 0:
        return host_sqrt(e, a)
    return softfloat.f_sqrt(h, e, m, a, rm)


@inline
def f_fma(h: Hart, e: Const, m: Const, a: u64, b: u64, c: u64, rm: u32) -> u64:
    """Multiply and add on the host where its rounding mode is the one asked for.

    Infinity times zero is invalid even with a quiet NaN as addend (Unprivileged 20.6); x86 raises
    nothing there, so a NaN addend takes the long way.
    """
    if e == HALF:
        return softfloat.f_fma(h, e, m, a, b, c, rm)
    if rm == DYN and h.fp_ready != 0:
        if not host_is_nan(e, c):
            return host_fma(e, a, b, c)
    return softfloat.f_fma(h, e, m, a, b, c, rm)


@inline
def f_eq(h: Hart, e: Const, m: Const, a: u64, b: u64) -> u64:
    """Return 1 if a = b; quiet."""
    if e == HALF:
        return softfloat.f_eq(h, e, m, a, b)
    return u64(host_compare("eq", e, a, b))


@inline
def f_lt(h: Hart, e: Const, m: Const, a: u64, b: u64) -> u64:
    """Return 1 if a < b; any NaN is invalid."""
    if e == HALF:
        return softfloat.f_lt(h, e, m, a, b)
    return u64(host_compare("lt", e, a, b))


@inline
def f_le(h: Hart, e: Const, m: Const, a: u64, b: u64) -> u64:
    """Return 1 if a <= b; any NaN is invalid."""
    if e == HALF:
        return softfloat.f_le(h, e, m, a, b)
    return u64(host_compare("le", e, a, b))


@inline
def f_to_int(h: Hart, e: Const, m: Const, kind: Const, a: u64, rm: u32) -> u64:
    """Convert to an integer on the host: toward zero, and what fits.

    x86 answers what does not fit with the lowest number and an invalid operation, which is what
    it is here too; so that answer alone, and all for an unsigned kind that a signed one of 64 bits
    cannot hold, takes the long way (Intel SDM volume 1, 4.8.3.7).
    """
    if e != HALF and rm == RTZ:
        if kind is i32:
            narrow = host_truncate(e, i32, a)
            if narrow != LOWEST_32:
                return u64(narrow)
        elif kind is i64:
            wide = host_truncate(e, i64, a)
            if wide != LOWEST_64:
                return u64(wide)
        elif a >> m < (u64(1) << (e - 1)) - 1 + kind.BITS - (1 if kind is u64 else 0):
            held = host_truncate(e, i64, a)
            return u64(i32(held)) if kind is u32 else u64(held)
    return to_int(h, e, m, kind, a, rm)


@inline
def f_from_int(h: Hart, e: Const, m: Const, kind: Const, a: u64, rm: u32) -> u64:
    """Convert from an integer on the host where it is exact or the rounding mode the one asked."""
    if e == DOUBLE and kind.BITS == 32:
        return host_from_int(e, u64(kind(a)))
    if e != HALF and rm == DYN and h.fp_ready != 0:
        if kind is not u64 or i64(a) >= 0:
            return host_from_int(e, u64(kind(a)))
    return softfloat.f_from_int(h, e, m, kind, a, rm)


@inline
def f_convert(
    h: Hart, from_e: Const, from_m: Const, to_e: Const, to_m: Const, a: u64, rm: u32
) -> u64:
    """Convert between formats on the host where its rounding mode is the one asked for."""
    if from_e == HALF or to_e == HALF:
        return softfloat.f_convert(h, from_e, from_m, to_e, to_m, a, rm)
    if rm == DYN and h.fp_ready != 0:
        return host_convert(from_e, to_e, a)
    return softfloat.f_convert(h, from_e, from_m, to_e, to_m, a, rm)


REPLACED = {
    softfloat.f_add: f_add,
    softfloat.f_sub: f_sub,
    softfloat.f_mul: f_mul,
    softfloat.f_div: f_div,
    softfloat.f_sqrt: f_sqrt,
    softfloat.f_convert: f_convert,
    softfloat.f_eq: f_eq,
    softfloat.f_lt: f_lt,
    softfloat.f_le: f_le,
    softfloat.f_to_int: f_to_int,
    softfloat.f_from_int: f_from_int,
}
REPLACED_WITH_FMA = {softfloat.f_fma: f_fma}
ALWAYS_REPLACED = {
    access.device_read: device_read,
    access.device_write: device_write,
    sbi.host_sbi_call: host_sbi_call,
}
