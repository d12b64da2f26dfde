"""Zvknhb and Zvkg: SHA-2 and GHASH on vectors (Vector Cryptography 1.0.0; FIPS 180-4, NIST
SP 800-38D)."""

from __future__ import annotations

from functools import partial

from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.spec import Extension
from innkeeper.isa.riscv.v_groups import FOUR, begin_groups, describe
from innkeeper.isa.riscv.v_state import NONE, SINGLE, group
from innkeeper.isa.riscv.zbc import carryless_product
from innkeeper.native.intrinsics import bitreverse, bswap, inline, noinline, ptr_cast, rotr
from innkeeper.native.types import Const, Ptr, u32, u64

ZVKNH = Extension("Zvknh")
ZVKG = Extension("Zvkg")


# ---- the functions of FIPS 180-4, 4.1.2 and 4.1.3: `t` is u32 for SHA-256, u64 for SHA-512


@inline
def rotations(t: Const, x: u64, a: Const, b: Const, c: Const, shift: Const) -> u64:
    """Return x rotated right by a, by b and, or shifted if `shift` is 1, by c, xored."""
    word = t(x)
    last = word >> c if shift else rotr(word, t(c))
    return u64(rotr(word, t(a)) ^ rotr(word, t(b)) ^ last)


@inline
def sum0(t: Const, x: u64) -> u64:
    return rotations(t, x, 2, 13, 22, 0) if t is u32 else rotations(t, x, 28, 34, 39, 0)


@inline
def sum1(t: Const, x: u64) -> u64:
    return rotations(t, x, 6, 11, 25, 0) if t is u32 else rotations(t, x, 14, 18, 41, 0)


@inline
def sig0(t: Const, x: u64) -> u64:
    return rotations(t, x, 7, 18, 3, 1) if t is u32 else rotations(t, x, 1, 8, 7, 1)


@inline
def sig1(t: Const, x: u64) -> u64:
    return rotations(t, x, 17, 19, 10, 1) if t is u32 else rotations(t, x, 19, 61, 6, 1)


# ---- SHA-2


@inline
def schedule(h: Hart, i: Operands, t: Const) -> None:
    """Compute four words of the message schedule for every group."""
    old = ptr_cast(Ptr[t], group(h, i.rd))
    middle = ptr_cast(Ptr[t], group(h, i.rs2))
    recent = ptr_cast(Ptr[t], group(h, i.rs1))
    for n in range(h.vstart // FOUR, h.vl // FOUR):
        at = u64(n) * 4
        w16 = sig1(t, u64(recent[at + 2])) + u64(middle[at + 1])
        w16 = w16 + sig0(t, u64(old[at + 1])) + u64(old[at])
        w17 = sig1(t, u64(recent[at + 3])) + u64(middle[at + 2])
        w17 = w17 + sig0(t, u64(old[at + 2])) + u64(old[at + 1])
        w18 = sig1(t, w16) + u64(middle[at + 3])
        w18 = w18 + sig0(t, u64(old[at + 3])) + u64(old[at + 2])
        w19 = sig1(t, w17) + u64(recent[at])
        w19 = w19 + sig0(t, u64(middle[at])) + u64(old[at + 3])
        old[at] = t(w16)
        old[at + 1] = t(w17)
        old[at + 2] = t(w18)
        old[at + 3] = t(w19)


@noinline
def vsha2ms_loop(h: Hart, i: Operands) -> None:
    """Choose the hash by SEW."""
    if h.v_sew == 2:
        schedule(h, i, u32)
    else:
        schedule(h, i, u64)
    h.vstart = u64(0)


def vsha2ms(h: Hart, i: Operands) -> None:
    begin_groups(h, i, SINGLE, FOUR, True, True)
    vsha2ms_loop(h, i)


@inline
def compress(h: Hart, i: Operands, t: Const, first: u64) -> None:
    """Do two rounds on every group, with the words of vs1 from `first` on.

    vs2 holds f, e, b, a and vd h, g, d, c, in this order; vd gets the new f, e, b, a.
    """
    one = ptr_cast(Ptr[t], group(h, i.rs2))
    other = ptr_cast(Ptr[t], group(h, i.rd))
    message = ptr_cast(Ptr[t], group(h, i.rs1))
    for n in range(h.vstart // FOUR, h.vl // FOUR):
        at = u64(n) * 4
        f = u64(one[at])
        e = u64(one[at + 1])
        b = u64(one[at + 2])
        a = u64(one[at + 3])
        last = u64(other[at])
        g = u64(other[at + 1])
        d = u64(other[at + 2])
        c = u64(other[at + 3])
        for k in range(u64(2)):
            t1 = last + sum1(t, e) + ((e & f) ^ (~e & g)) + u64(message[at + first + k])
            t2 = sum0(t, a) + ((a & b) ^ (a & c) ^ (b & c))
            last = g
            g = f
            f = e
            e = u64(t(d + t1))
            d = c
            c = b
            b = a
            a = u64(t(t1 + t2))
        other[at] = t(f)
        other[at + 1] = t(e)
        other[at + 2] = t(b)
        other[at + 3] = t(a)


@noinline
def vsha2c_loop(h: Hart, i: Operands, first: u64) -> None:
    """Choose the hash by SEW."""
    if h.v_sew == 2:
        compress(h, i, u32, first)
    else:
        compress(h, i, u64, first)
    h.vstart = u64(0)


def vsha2c(h: Hart, i: Operands, first: Const) -> None:
    begin_groups(h, i, SINGLE, FOUR, True, True)
    vsha2c_loop(h, i, u64(first))


describe(ZVKNH, "vsha2ms.vv", "101101 vm=1 vs2 vs1", "vd, vs2, vs1", vsha2ms)
describe(ZVKNH, "vsha2ch.vv", "101110 vm=1 vs2 vs1", "vd, vs2, vs1", partial(vsha2c, first=2))
describe(ZVKNH, "vsha2cl.vv", "101111 vm=1 vs2 vs1", "vd, vs2, vs1", partial(vsha2c, first=0))


# ---- GHASH: polynomials with their coefficients from the first byte's highest bit on

REDUCTION = 0x87
"""x^128 = x^7 + x^2 + x + 1."""


@inline
def ordered(a: u64) -> u64:
    """Reverse the bits of each byte: then bit n is the coefficient of x^n, and back."""
    return bswap(bitreverse(a))


@noinline
def multiply_blocks(h: Hart, i: Operands, y: Ptr[u64], add: Const) -> None:
    """Replace each of vd's blocks, plus the block of `y` if `add` is 1, by its product with vs2's.

    x^64 and above of the product are brought down by x^128 = REDUCTION, in two steps.
    """
    state = ptr_cast(Ptr[u64], group(h, i.rd))
    keys = ptr_cast(Ptr[u64], group(h, i.rs2))
    for n in range(h.vstart // FOUR, h.vl // FOUR):
        at = u64(n) * 2
        a0 = state[at]
        a1 = state[at + 1]
        if add:
            a0 = a0 ^ y[at]
            a1 = a1 ^ y[at + 1]
        a0 = ordered(a0)
        a1 = ordered(a1)
        b0 = ordered(keys[at])
        b1 = ordered(keys[at + 1])
        low = carryless_product(a0, b0)
        middle = carryless_product(a0, b1) ^ carryless_product(a1, b0)
        high = carryless_product(a1, b1) ^ (middle >> 64)
        low = low ^ (middle << 64)
        upper = carryless_product(u64(high >> 64), u64(REDUCTION))
        low = low ^ carryless_product(u64(high), u64(REDUCTION)) ^ (upper << 64)
        low = low ^ carryless_product(u64(upper >> 64), u64(REDUCTION))
        state[at] = ordered(u64(low))
        state[at + 1] = ordered(u64(low >> 64))
    h.vstart = u64(0)


def vghsh(h: Hart, i: Operands) -> None:
    begin_groups(h, i, SINGLE, FOUR, False, False)
    multiply_blocks(h, i, ptr_cast(Ptr[u64], group(h, i.rs1)), 1)


def vgmul(h: Hart, i: Operands) -> None:
    begin_groups(h, i, NONE, FOUR, False, False)
    multiply_blocks(h, i, ptr_cast(Ptr[u64], group(h, i.rs2)), 0)


describe(ZVKG, "vghsh.vv", "101100 vm=1 vs2 vs1", "vd, vs2, vs1", vghsh)
describe(ZVKG, "vgmul.vv", "101000 vm=1 vs2 10001", "vd, vs2", vgmul)
