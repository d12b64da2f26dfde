"""Zvbb and Zvbc: vector bit manipulation and carry-less multiplication (Unprivileged, Vector
Cryptography 1.0.0, chapters Zvbb and Zvbc)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.spec import Extension
from innkeeper.isa.riscv.v_encoding import MASKABLE, OP_V, OPI, OPM, UNSIGNED, chosen, forms, single
from innkeeper.isa.riscv.v_forms import BINARY, binary_vi, binary_vv, binary_vx, unary
from innkeeper.isa.riscv.v_state import MAX_SEW_LOG2, SINGLE, WIDE, U, depend, illegal
from innkeeper.isa.riscv.v_whole import LANES
from innkeeper.isa.riscv.zbc import carryless_product
from innkeeper.native.intrinsics import bitreverse, bswap, clz, ctz, inline, noinline, popcount
from innkeeper.native.types import Const, u64

Element = Callable[..., Any]
ZVBB = Extension("Zvbb")
ZVBC = Extension("Zvbc")


def elementwise(
    name: str, funct6: str, names: str, *, wide: int = SINGLE, apart: bool = False
) -> Callable[[Element], Element]:
    """Describe a family vd = op(vs2, other) on unsigned elements; `bits` is SEW."""

    def register(op: Element) -> Element:
        forms(
            name, funct6, chosen(BINARY, names), OPI, immediate=UNSIGNED, extension=ZVBB,
            op=noinline(op) if apart else inline(op), a=U, b=U, k2=SINGLE, k1=SINGLE, kd=wide,
        )  # fmt: skip
        return op

    return register


def of_one(name: str, code: str) -> Callable[[Element], Element]:
    """Describe an instruction vd = op(vs2)."""

    def register(op: Element) -> Element:
        single(
            f"{name}.v", f"010010 vm vs2 {code} 010 vd", "vd, vs2, vm", unary, extension=ZVBB,
            op=noinline(op), a=U, k2=SINGLE,
        )  # fmt: skip
        return op

    return register


@elementwise("vandn", "000001", "vv vx")
def andn(a: u64, b: u64, bits: Const) -> u64:
    return a & ~b


@elementwise("vrol", "010101", "vv vx")
def rol(a: u64, b: u64, bits: Const) -> u64:
    n = b & (bits - 1)
    return (a << n) | (a >> ((bits - n) & (bits - 1)))


@elementwise("vror", "010100", "vv vx")
def ror(a: u64, b: u64, bits: Const) -> u64:
    n = b & (bits - 1)
    return (a >> n) | (a << ((bits - n) & (bits - 1)))


def vror_vi(h: Hart, i: Operands) -> None:
    binary_vi(h, i, ror, U, U, SINGLE, SINGLE, SINGLE)


ZVBB.insn("vror.vi", f"01010 uimm[5] {MASKABLE} vs2 {UNSIGNED} 011 vd {OP_V}", "vd, vs2, imm, vm")(
    vror_vi
)


@elementwise("vwsll", "110101", "vv vx vi", wide=WIDE, apart=True)
def wsll(a: u64, b: u64, bits: Const) -> u64:
    return a << (b & (2 * bits - 1))


@of_one("vbrev8", "01000")
def brev8(a: u64, bits: Const) -> u64:
    return bswap(bitreverse(a))


@of_one("vrev8", "01001")
def rev8(a: u64, bits: Const) -> u64:
    return bswap(a) >> (64 - bits)


@of_one("vbrev", "01010")
def brev(a: u64, bits: Const) -> u64:
    return bitreverse(a) >> (64 - bits)


@of_one("vclz", "01100")
def leading(a: u64, bits: Const) -> u64:
    return clz(a) - (64 - bits)


@of_one("vctz", "01101")
def trailing(a: u64, bits: Const) -> u64:
    if bits == 64:
        return ctz(a)
    return ctz(a | (u64(1) << bits))


@of_one("vcpop", "01110")
def population(a: u64, bits: Const) -> u64:
    return popcount(a)


LANES |= {
    andn: "andn", rol: "rotl", ror: "rotr", brev8: "brev8", rev8: "bswap",
}  # fmt: skip

# ---- carry-less multiplication: SEW is 64


@inline
def clmul(a: u64, b: u64, bits: Const) -> u64:
    return u64(carryless_product(a, b)) if bits == 64 else u64(0)


@inline
def clmulh(a: u64, b: u64, bits: Const) -> u64:
    return u64(carryless_product(a, b) >> 64) if bits == 64 else u64(0)


@inline
def check_sew64(h: Hart) -> None:
    """Refuse any other element width, which is reserved."""
    depend(h)
    if h.v_sew != MAX_SEW_LOG2:
        illegal(h)


def clmul_vv(h: Hart, i: Operands, op: Const) -> None:
    check_sew64(h)
    binary_vv(h, i, op, U, U, SINGLE, SINGLE, SINGLE)


def clmul_vx(h: Hart, i: Operands, op: Const) -> None:
    check_sew64(h)
    binary_vx(h, i, op, U, U, SINGLE, SINGLE, SINGLE)


for _name, _code, _op in (("vclmul", "001100", clmul), ("vclmulh", "001101", clmulh)):
    forms(_name, _code, {"vv": clmul_vv, "vx": clmul_vx}, OPM, extension=ZVBC, op=_op)
