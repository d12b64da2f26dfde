"""Vector integer arithmetic of one width (Unprivileged 20240411, 30.11).

An element function gets vs2's element as `a` and the second operand's as `b`, extended to 64 bits
by the sign of the families' types; `bits` is SEW. What it returns is cut to SEW.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from innkeeper.isa.riscv.v_encoding import OPI, OPM, SIGNED, UNSIGNED, chosen, forms, single
from innkeeper.isa.riscv.v_forms import BINARY, TERNARY, unary
from innkeeper.isa.riscv.v_state import EIGHTH, HALF, QUARTER, SINGLE, S, U
from innkeeper.isa.riscv.v_whole import LANES
from innkeeper.native.intrinsics import inline, noinline, sdiv, srem, wide_mul
from innkeeper.native.types import Const, i64, u64

Element = Callable[..., Any]


def elementwise(
    name: str,
    funct6: str,
    names: str,
    *,
    a: Any = U,
    b: Any = None,
    funct3: dict[str, str] = OPI,
    immediate: str = SIGNED,
    apart: bool = False,
) -> Callable[[Element], Element]:
    """Describe a family vd = op(vs2, other); `a` and `b` are the operands' types, U or S.

    The loops of one that is kept `apart` call it: no time is spent on vectorising them in vain.
    """

    def register(op: Element) -> Element:
        forms(
            name, funct6, chosen(BINARY, names), funct3, immediate=immediate,
            op=noinline(op) if apart else inline(op), a=a, b=a if b is None else b,
            k2=SINGLE, k1=SINGLE, kd=SINGLE,
        )  # fmt: skip
        return op

    return register


def accumulating(name: str, funct6: str) -> Callable[[Element], Element]:
    """Describe a multiply-add family vd = op(vd, vs2, other)."""

    def register(op: Element) -> Element:
        forms(name, funct6, TERNARY, OPM, reverse=True, op=inline(op), a=U, b=U, kd=SINGLE)
        return op

    return register


# ---- add, subtract, logic (30.11.1, 30.11.5)


@elementwise("vadd", "000000", "vv vx vi")
def add(a: u64, b: u64, bits: Const) -> u64:
    return a + b


@elementwise("vsub", "000010", "vv vx")
def sub(a: u64, b: u64, bits: Const) -> u64:
    return a - b


@elementwise("vrsub", "000011", "vx vi")
def rsub(a: u64, b: u64, bits: Const) -> u64:
    return b - a


@elementwise("vand", "001001", "vv vx vi")
def and_(a: u64, b: u64, bits: Const) -> u64:
    return a & b


@elementwise("vor", "001010", "vv vx vi")
def or_(a: u64, b: u64, bits: Const) -> u64:
    return a | b


@elementwise("vxor", "001011", "vv vx vi")
def xor(a: u64, b: u64, bits: Const) -> u64:
    return a ^ b


# ---- minimum, maximum (30.11.9)


@elementwise("vminu", "000100", "vv vx")
def minu(a: u64, b: u64, bits: Const) -> u64:
    return a if a < b else b


@elementwise("vmin", "000101", "vv vx", a=S)
def min_(a: u64, b: u64, bits: Const) -> u64:
    return a if i64(a) < i64(b) else b


@elementwise("vmaxu", "000110", "vv vx")
def maxu(a: u64, b: u64, bits: Const) -> u64:
    return b if a < b else a


@elementwise("vmax", "000111", "vv vx", a=S)
def max_(a: u64, b: u64, bits: Const) -> u64:
    return b if i64(a) < i64(b) else a


# ---- shifts (30.11.6): by the low lg2(SEW) bits


@elementwise("vsll", "100101", "vv vx vi", immediate=UNSIGNED)
def sll(a: u64, b: u64, bits: Const) -> u64:
    return a << (b & (bits - 1))


@elementwise("vsrl", "101000", "vv vx vi", immediate=UNSIGNED)
def srl(a: u64, b: u64, bits: Const) -> u64:
    return a >> (b & (bits - 1))


@elementwise("vsra", "101001", "vv vx vi", a=S, b=U, immediate=UNSIGNED)
def sra(a: u64, b: u64, bits: Const) -> u64:
    return u64(i64(a) >> (b & (bits - 1)))


# ---- multiply, divide (30.11.10, 30.11.11)


@elementwise("vmul", "100101", "vv vx", funct3=OPM)
def mul(a: u64, b: u64, bits: Const) -> u64:
    return a * b


@elementwise("vmulhu", "100100", "vv vx", funct3=OPM, apart=True)
def mulhu(a: u64, b: u64, bits: Const) -> u64:
    if bits == 64:
        return u64(wide_mul(a, b) >> 64)
    return (a * b) >> bits


@elementwise("vmulh", "100111", "vv vx", a=S, funct3=OPM, apart=True)
def mulh(a: u64, b: u64, bits: Const) -> u64:
    if bits == 64:
        high = u64(wide_mul(a, b) >> 64)
        return high - (b if i64(a) < 0 else u64(0)) - (a if i64(b) < 0 else u64(0))
    return (a * b) >> bits


@elementwise("vmulhsu", "100110", "vv vx", a=S, b=U, funct3=OPM, apart=True)
def mulhsu(a: u64, b: u64, bits: Const) -> u64:
    if bits == 64:
        return u64(wide_mul(a, b) >> 64) - (b if i64(a) < 0 else u64(0))
    return (a * b) >> bits


@elementwise("vdivu", "100000", "vv vx", funct3=OPM, apart=True)
def divu(a: u64, b: u64, bits: Const) -> u64:
    return ~u64(0) if b == 0 else a // (b if b != 0 else u64(1))


@elementwise("vdiv", "100001", "vv vx", a=S, funct3=OPM, apart=True)
def div(a: u64, b: u64, bits: Const) -> u64:
    if b == 0:
        return ~u64(0)
    if b == ~u64(0):
        return 0 - a
    return u64(sdiv(i64(a), i64(b)))


@elementwise("vremu", "100010", "vv vx", funct3=OPM, apart=True)
def remu(a: u64, b: u64, bits: Const) -> u64:
    return a if b == 0 else a % (b if b != 0 else u64(1))


@elementwise("vrem", "100011", "vv vx", a=S, funct3=OPM, apart=True)
def rem(a: u64, b: u64, bits: Const) -> u64:
    if b == 0:
        return a
    if b == ~u64(0):
        return u64(0)
    return u64(srem(i64(a), i64(b)))


# ---- multiply-add (30.11.13): `d` is vd's element, `a` vs2's, `b` the other operand's


@accumulating("vmacc", "101101")
def macc(d: u64, a: u64, b: u64) -> u64:
    return b * a + d


@accumulating("vnmsac", "101111")
def nmsac(d: u64, a: u64, b: u64) -> u64:
    return d - b * a


@accumulating("vmadd", "101001")
def madd(d: u64, a: u64, b: u64) -> u64:
    return b * d + a


@accumulating("vnmsub", "101011")
def nmsub(d: u64, a: u64, b: u64) -> u64:
    return a - b * d


LANES |= {
    add: "add", sub: "sub", rsub: "rsub", and_: "and", or_: "or", xor: "xor", minu: "umin",
    min_: "smin", maxu: "umax", max_: "smax", sll: "shl", srl: "lshr", sra: "ashr", mul: "mul",
}  # fmt: skip

# ---- extension (30.11.3): the source's elements are SEW/2, SEW/4, SEW/8 wide


@inline
def same(a: u64, bits: Const) -> u64:
    return a


for _name, _code, _kinds, _shape in (
    ("vzext.vf8", "00010", U, EIGHTH), ("vsext.vf8", "00011", S, EIGHTH),
    ("vzext.vf4", "00100", U, QUARTER), ("vsext.vf4", "00101", S, QUARTER),
    ("vzext.vf2", "00110", U, HALF), ("vsext.vf2", "00111", S, HALF),
):  # fmt: skip
    single(
        _name, f"010010 vm vs2 {_code} 010 vd", "vd, vs2, vm", unary, op=same, a=_kinds, k2=_shape
    )
