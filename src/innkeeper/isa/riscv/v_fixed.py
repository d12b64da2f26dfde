"""Vector fixed-point arithmetic: saturation and rounding by vxrm (Unprivileged 20240411, 30.12).

Element functions get the operands extended to 64 bits, as in `v_integer`; only active elements are
computed, for any of them may set vxsat.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.v_encoding import OPI, OPM, SIGNED, UNSIGNED, chosen, forms
from innkeeper.isa.riscv.v_integer import mulh
from innkeeper.isa.riscv.v_state import (
    MAX_SEW_LOG2,
    SINGLE,
    WIDE,
    S,
    U,
    active,
    commit,
    group,
    result,
    start_vv,
    start_vx,
)
from innkeeper.native.intrinsics import inline, noinline, ptr_cast
from innkeeper.native.types import Const, Ptr, i64, u8, u32, u64

Element = Callable[..., Any]
RNU, RNE, RDN, ROD = 0, 1, 2, 3
"""Rounding modes (30.3.8): nearest up, nearest even, down, to odd."""


@noinline
def rounding(h: Hart, v: u64, d: u64) -> u64:
    """Return what to add to `v >> d`: the increment r of 30.3.8; `d` is 0 to 63."""
    if d == 0:
        return u64(0)
    below = v & ((u64(1) << d) - 1)
    half = u64(1) << (d - 1)
    odd = (v >> d) & 1
    if h.vxrm == RNU:
        return u64(below >= half)
    if h.vxrm == RNE:
        return u64(below > half or (below == half and odd != 0))
    if h.vxrm == ROD:
        return u64(odd == 0 and below != 0)
    return u64(0)


@inline
def saturated(h: Hart, value: u64) -> u64:
    """Note that a result did not fit, and return the one that takes its place."""
    h.vxsat = u32(1)
    return value


@inline
def greatest(bits: Const) -> u64:
    """Return the greatest unsigned number."""
    return ~u64(0) >> (64 - bits) if bits < 64 else ~u64(0)


@inline
def greatest_signed(bits: Const) -> u64:
    """Return the greatest signed number; its complement is the least."""
    return (u64(1) << (bits - 1)) - 1


# ---- the forms


@noinline
def apply_fixed(h: Hart, i: Operands, y: Ptr[u8], op: Const, a: Const, b: Const, ka: Const) -> None:
    """Compute vd = op(vs2, y) for every active element."""
    sew = h.v_sew
    for k in (0, 1, 2, 3):
        if k + ka <= MAX_SEW_LOG2:
            if sew == k:
                fixed_loop(h, i, y, op, a[k + ka], b[k], U[k])
    commit(h, result(h), i.rd, i.rs3, sew)


@inline
def fixed_loop(h: Hart, i: Operands, y: Ptr[u8], op: Const, a: Const, b: Const, d: Const) -> None:
    """Compute elements of one type."""
    first = ptr_cast(Ptr[a], group(h, i.rs2))
    second = ptr_cast(Ptr[b], y)
    out = ptr_cast(Ptr[d], result(h))
    for n in range(h.vstart, h.vl):
        if active(h, i.rs3, u64(n)):
            out[n] = d(op(h, u64(first[n]), u64(second[n]), a.BITS))


def fixed_vv(h: Hart, i: Operands, op: Const, a: Const, b: Const, k2: Const) -> None:
    apply_fixed(h, i, start_vv(h, i, SINGLE, k2, SINGLE), op, a, b, k2)


def fixed_vx(h: Hart, i: Operands, op: Const, a: Const, b: Const, k2: Const) -> None:
    apply_fixed(h, i, start_vx(h, i, SINGLE, k2, h.x[i.rs1]), op, a, b, k2)


def fixed_vi(h: Hart, i: Operands, op: Const, a: Const, b: Const, k2: Const) -> None:
    apply_fixed(h, i, start_vx(h, i, SINGLE, k2, u64(i.imm)), op, a, b, k2)


FIXED = {"vv": fixed_vv, "vx": fixed_vx, "vi": fixed_vi}
NARROWING = {"wv": fixed_vv, "wx": fixed_vx, "wi": fixed_vi}


def fixed(
    name: str,
    funct6: str,
    names: str,
    a: Any,
    *,
    b: Any = None,
    funct3: dict[str, str] = OPI,
    immediate: str = SIGNED,
) -> Callable[[Element], Element]:
    """Describe a family vd = op(vs2, other); `a` and `b` are the operands' types, U or S."""

    def register(op: Element) -> Element:
        narrow = names[0] == "w"
        forms(
            name, funct6, chosen(NARROWING if narrow else FIXED, names), funct3,
            immediate=immediate, op=inline(op), a=a, b=a if b is None else b,
            k2=WIDE if narrow else SINGLE,
        )  # fmt: skip
        return op

    return register


# ---- saturating add and subtract (30.12.1)


@fixed("vsaddu", "100000", "vv vx vi", U)
def saddu(h: Hart, a: u64, b: u64, bits: Const) -> u64:
    total = a + b
    if total < a or total > greatest(bits):
        return saturated(h, greatest(bits))
    return total


@fixed("vsadd", "100001", "vv vx vi", S)
def sadd(h: Hart, a: u64, b: u64, bits: Const) -> u64:
    total = a + b
    # The sign bit of SEW tells an overflow, whatever lies above it.
    if (((a ^ total) & (b ^ total)) >> (bits - 1)) & 1 != 0:
        return saturated(h, greatest_signed(bits) + (a >> 63))
    return total


@fixed("vssubu", "100010", "vv vx", U)
def ssubu(h: Hart, a: u64, b: u64, bits: Const) -> u64:
    if a < b:
        return saturated(h, u64(0))
    return a - b


@fixed("vssub", "100011", "vv vx", S)
def ssub(h: Hart, a: u64, b: u64, bits: Const) -> u64:
    total = a - b
    if (((a ^ b) & (a ^ total)) >> (bits - 1)) & 1 != 0:
        return saturated(h, greatest_signed(bits) + (a >> 63))
    return total


# ---- averaging add and subtract (30.12.2): the sum has one bit more than its operands


@inline
def halved(h: Hart, total: u64, top: u64) -> u64:
    """Return roundoff(top:total, 1)."""
    return ((total >> 1) | (top << 63)) + rounding(h, total, u64(1))


@fixed("vaaddu", "001000", "vv vx", U, funct3=OPM)
def aaddu(h: Hart, a: u64, b: u64, bits: Const) -> u64:
    total = a + b
    return halved(h, total, u64(total < a))


@fixed("vaadd", "001001", "vv vx", S, funct3=OPM)
def aadd(h: Hart, a: u64, b: u64, bits: Const) -> u64:
    total = a + b
    return halved(h, total, (a >> 63) ^ (b >> 63) ^ u64(total < a))


@fixed("vasubu", "001010", "vv vx", U, funct3=OPM)
def asubu(h: Hart, a: u64, b: u64, bits: Const) -> u64:
    return halved(h, a - b, u64(a < b))


@fixed("vasub", "001011", "vv vx", S, funct3=OPM)
def asub(h: Hart, a: u64, b: u64, bits: Const) -> u64:
    return halved(h, a - b, (a >> 63) ^ (b >> 63) ^ u64(a < b))


# ---- fractional multiply (30.12.3)


@fixed("vsmul", "100111", "vv vx", S)
def smul(h: Hart, a: u64, b: u64, bits: Const) -> u64:
    least = ~greatest_signed(bits)
    if a == least and b == least:
        return saturated(h, greatest_signed(bits))
    low = a * b
    r = rounding(h, low, u64(bits - 1))
    if bits == 64:
        return ((mulh(a, b, 64) << 1) | (low >> 63)) + r
    return u64(i64(low) >> (bits - 1)) + r


# ---- scaling shifts (30.12.4)


@fixed("vssrl", "101010", "vv vx vi", U, immediate=UNSIGNED)
def ssrl(h: Hart, a: u64, b: u64, bits: Const) -> u64:
    d = b & (bits - 1)
    return (a >> d) + rounding(h, a, d)


@fixed("vssra", "101011", "vv vx vi", S, b=U, immediate=UNSIGNED)
def ssra(h: Hart, a: u64, b: u64, bits: Const) -> u64:
    d = b & (bits - 1)
    return u64(i64(a) >> d) + rounding(h, a, d)


# ---- narrowing clips (30.12.5): `bits` is 2*SEW


@fixed("vnclipu", "101110", "wv wx wi", U, b=U, immediate=UNSIGNED)
def nclipu(h: Hart, a: u64, b: u64, bits: Const) -> u64:
    d = b & (bits - 1)
    value = (a >> d) + rounding(h, a, d)
    if value > greatest(bits // 2):
        return saturated(h, greatest(bits // 2))
    return value


@fixed("vnclip", "101111", "wv wx wi", S, b=U, immediate=UNSIGNED)
def nclip(h: Hart, a: u64, b: u64, bits: Const) -> u64:
    d = b & (bits - 1)
    value = i64(a >> d) if d == 0 else (i64(a) >> d) + i64(rounding(h, a, d))
    most = i64(greatest_signed(bits // 2))
    if value > most:
        return saturated(h, u64(most))
    if value < -1 - most:
        return saturated(h, u64(-1 - most))
    return u64(value)
