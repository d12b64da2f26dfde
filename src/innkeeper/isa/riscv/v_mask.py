"""Vector mask instructions (Unprivileged 20240411, 30.15)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from innkeeper.isa.riscv.hart import VLEN, Hart, Operands
from innkeeper.isa.riscv.v_encoding import single
from innkeeper.isa.riscv.v_state import (
    MASK,
    NONE,
    SINGLE,
    U,
    active,
    begin,
    body_word,
    check_apart,
    commit,
    emul,
    from_the_start,
    illegal,
    mask_bit,
    mask_word,
    put_mask_word,
    result,
)
from innkeeper.native.intrinsics import ctz, inline, noinline, popcount, ptr_cast
from innkeeper.native.types import Const, Ptr, i32, u8, u64

Element = Callable[..., Any]
WORDS = VLEN // 64

# ---- logic on masks (30.15.1): `a` and `b` are 64 elements each of vs2 and vs1


def logical(name: str, funct6: str) -> Callable[[Element], Element]:
    """Describe a logical operation on whole mask registers."""

    def register(op: Element) -> Element:
        encoding = f"{funct6} vm=1 vs2 vs1 010 vd"
        single(f"{name}.mm", encoding, "vd, vs2, vs1", mask_logic, op=inline(op))
        return op

    return register


def mask_logic(h: Hart, i: Operands, op: Const) -> None:
    begin(h, i, MASK, MASK, MASK)
    for w in range(u64(WORDS)):
        bits = op(mask_word(h, i.rs2, u64(w)), mask_word(h, i.rs1, u64(w)))
        put_mask_word(h, i.rd, u64(w), bits, body_word(h, u8(1), u64(w)))
    h.vstart = u64(0)


@logical("vmandn", "011000")
def andn(a: u64, b: u64) -> u64:
    return a & ~b


@logical("vmand", "011001")
def and_(a: u64, b: u64) -> u64:
    return a & b


@logical("vmor", "011010")
def or_(a: u64, b: u64) -> u64:
    return a | b


@logical("vmxor", "011011")
def xor(a: u64, b: u64) -> u64:
    return a ^ b


@logical("vmorn", "011100")
def orn(a: u64, b: u64) -> u64:
    return a | ~b


@logical("vmnand", "011101")
def nand(a: u64, b: u64) -> u64:
    return ~(a & b)


@logical("vmnor", "011110")
def nor(a: u64, b: u64) -> u64:
    return ~(a | b)


@logical("vmxnor", "011111")
def xnor(a: u64, b: u64) -> u64:
    return ~(a ^ b)


# ---- counting and finding (30.15.2, 30.15.3)


@inline
def first_set(h: Hart, i: Operands) -> u64:
    """Return the index of the first active element of vs2 that is 1, all ones for none."""
    found = ~u64(0)
    for w in range(u64(WORDS)):
        bits = mask_word(h, i.rs2, u64(w)) & body_word(h, i.rs3, u64(w))
        if bits != 0 and found == ~u64(0):
            found = u64(w) * 64 + ctz(bits)
    return found


def vcpop(h: Hart, i: Operands) -> None:
    begin(h, i, NONE, MASK, NONE)
    from_the_start(h)
    count = u64(0)
    for w in range(u64(WORDS)):
        count = count + popcount(mask_word(h, i.rs2, u64(w)) & body_word(h, i.rs3, u64(w)))
    h.x[i.rd] = count


def vfirst(h: Hart, i: Operands) -> None:
    begin(h, i, NONE, MASK, NONE)
    from_the_start(h)
    h.x[i.rd] = first_set(h, i)


single("vcpop.m", "010000 vm vs2 10000 010 rd", "rd, vs2, vm", vcpop)
single("vfirst.m", "010000 vm vs2 10001 010 rd", "rd, vs2, vm", vfirst)

# ---- set before, including, only the first (30.15.4 to 30.15.6)


@inline
def before_bits(first: u64, base: u64) -> u64:
    """Return the bits of a word, which begins with element `base`, for elements before `first`."""
    if first <= base:
        return u64(0)
    return ~u64(0) if first - base >= 64 else (u64(1) << (first - base)) - 1


def set_first(h: Hart, i: Operands, including: Const, only: Const) -> None:
    """Set the active elements up to the first that is 1 in vs2: before it, with it, it alone."""
    begin(h, i, MASK, MASK, NONE)
    from_the_start(h)
    check_apart(h, i.rd, i32(0), i.rs2, i32(0))
    if i.rs3 == 0 and i.rd == 0:
        illegal(h)
    first = first_set(h, i)
    after = first if first == ~u64(0) else first + 1
    for w in range(u64(WORDS)):
        base = u64(w) * 64
        bits = before_bits(after if including else first, base)
        if only:
            bits = bits & ~before_bits(first, base)
        put_mask_word(h, i.rd, u64(w), bits, body_word(h, i.rs3, u64(w)))


for _name, _code, _including, _only in (
    ("vmsbf.m", "00001", False, False),
    ("vmsof.m", "00010", True, True),
    ("vmsif.m", "00011", True, False),
):
    single(
        _name, f"010100 vm vs2 {_code} 010 vd", "vd, vs2, vm", set_first,
        including=_including, only=_only,
    )  # fmt: skip

# ---- iota and index (30.15.8, 30.15.9)


def viota(h: Hart, i: Operands) -> None:
    begin(h, i, SINGLE, MASK, NONE)
    from_the_start(h)
    check_apart(h, i.rd, emul(h, SINGLE), i.rs2, i32(0))
    count_elements(h, i, True)


def vid(h: Hart, i: Operands) -> None:
    begin(h, i, SINGLE, NONE, NONE)
    count_elements(h, i, False)


@noinline
def count_elements(h: Hart, i: Operands, bits: Const) -> None:
    """Number the elements: by the active 1 bits of vs2 before each, or by all before it."""
    sew = h.v_sew
    for k in (0, 1, 2, 3):
        if sew == k:
            count_loop(h, i, bits, U[k])
    commit(h, result(h), i.rd, i.rs3, sew)


@inline
def count_loop(h: Hart, i: Operands, bits: Const, kind: Const) -> None:
    """Number elements of one type."""
    out = ptr_cast(Ptr[kind], result(h))
    total = u64(0)
    for n in range(h.vl):
        out[n] = kind(total)
        if bits:
            total = total + u64(active(h, i.rs3, u64(n)) and mask_bit(h, i.rs2, u64(n)))
        else:
            total = total + 1


single("viota.m", "010100 vm vs2 10000 010 vd", "vd, vs2, vm", viota)
single("vid.v", "010100 vm 00000 10001 010 vd", "vd, vm", vid)
