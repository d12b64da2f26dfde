"""Zvknhb and Zvkg: SHA-2 and GHASH on vectors (Vector Cryptography 1.0.0; FIPS 180-4, NIST
SP 800-38D)."""

from __future__ import annotations

from functools import partial

from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.spec import Extension
from innkeeper.isa.riscv.v_groups import FOUR, begin_groups, describe
from innkeeper.isa.riscv.v_state import NONE, SINGLE, group
from innkeeper.isa.riscv.v_whole import SEW32, keep_whole, unaligned, whole_width
from innkeeper.isa.riscv.zbc import carryless_product
from innkeeper.native.intrinsics import bitreverse, bswap, inline, leaf, noinline, ptr_cast, rotr
from innkeeper.native.types import Const, Ptr, u8, u32, u64

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


# ---- SHA-2 on one group: `old` and `other` are vd's, which they replace


@inline
def next_words(t: Const, old: Ptr[u8], middle: Ptr[u8], recent: Ptr[u8]) -> None:
    """Compute four words of the message schedule from words 0-3, 4 9 10 11 and 12-15."""
    w = ptr_cast(Ptr[t], old)
    m = ptr_cast(Ptr[t], middle)
    r = ptr_cast(Ptr[t], recent)
    w16 = sig1(t, u64(r[2])) + u64(m[1]) + sig0(t, u64(w[1])) + u64(w[0])
    w17 = sig1(t, u64(r[3])) + u64(m[2]) + sig0(t, u64(w[2])) + u64(w[1])
    w18 = sig1(t, w16) + u64(m[3]) + sig0(t, u64(w[3])) + u64(w[2])
    w19 = sig1(t, w17) + u64(r[0]) + sig0(t, u64(m[0])) + u64(w[3])
    w[0] = t(w16)
    w[1] = t(w17)
    w[2] = t(w18)
    w[3] = t(w19)


@inline
def two_rounds(t: Const, other: Ptr[u8], one: Ptr[u8], words: Ptr[u8]) -> None:
    """Do two rounds with two words; `one` holds f, e, b, a and `other` h, g, d, c, in this order.

    `other` gets the new f, e, b, a.
    """
    old = ptr_cast(Ptr[t], other)
    new = ptr_cast(Ptr[t], one)
    message = ptr_cast(Ptr[t], words)
    f = u64(new[0])
    e = u64(new[1])
    b = u64(new[2])
    a = u64(new[3])
    last = u64(old[0])
    g = u64(old[1])
    d = u64(old[2])
    c = u64(old[3])
    for k in range(u64(2)):
        t1 = last + sum1(t, e) + ((e & f) ^ (~e & g)) + u64(message[k])
        t2 = sum0(t, a) + ((a & b) ^ (a & c) ^ (b & c))
        last = g
        g = f
        f = e
        e = u64(t(d + t1))
        d = c
        c = b
        b = a
        a = u64(t(t1 + t2))
    old[0] = t(f)
    old[1] = t(e)
    old[2] = t(b)
    old[3] = t(a)


@leaf
def schedule_256(old: Ptr[u8], middle: Ptr[u8], recent: Ptr[u8]) -> None:
    """Do SHA-256's message schedule; an engine may have the host do it."""
    next_words(u32, old, middle, recent)


@leaf
def schedule_512(old: Ptr[u8], middle: Ptr[u8], recent: Ptr[u8]) -> None:
    """Do SHA-512's message schedule."""
    next_words(u64, old, middle, recent)


@leaf
def rounds_256(other: Ptr[u8], one: Ptr[u8], words: Ptr[u8]) -> None:
    """Do two rounds of SHA-256; an engine may have the host do it."""
    two_rounds(u32, other, one, words)


@leaf
def rounds_512(other: Ptr[u8], one: Ptr[u8], words: Ptr[u8]) -> None:
    """Do two rounds of SHA-512."""
    two_rounds(u64, other, one, words)


# ---- SHA-2


@inline
def on_group(h: Hart, i: Operands, op: Const, at: u64, first: u64) -> None:
    """Apply an operation to the groups that begin `at` bytes into the operands.

    `first` is where in vs1's group its words begin.
    """
    op(group(h, i.rd) + at, group(h, i.rs2) + at, group(h, i.rs1) + (at + first))


@noinline
def on_groups(h: Hart, i: Operands, op256: Const, op512: Const, first: Const) -> None:
    """Apply an operation to every group; `first` counts words."""
    for n in range(h.vstart // FOUR, h.vl // FOUR):
        if h.v_sew == 2:
            on_group(h, i, op256, u64(n) * 16, u64(first * 4))
        else:
            on_group(h, i, op512, u64(n) * 32, u64(first * 8))
    h.vstart = u64(0)
    keep_whole(h)


@inline
def sha2(h: Hart, i: Operands, op256: Const, op512: Const, first: Const) -> None:
    """Do an instruction; vd must not be a source."""
    width = whole_width(h)
    if width < SEW32 or h.v_count < width - 2 or unaligned(h, i.rd | i.rs2 | i.rs1):
        begin_groups(h, i, SINGLE, FOUR, True, True)
        on_groups(h, i, op256, op512, first)
    elif i.rd == i.rs2 or i.rd == i.rs1:
        begin_groups(h, i, SINGLE, FOUR, True, True)
    elif width == SEW32:
        on_group(h, i, op256, u64(0), u64(first * 4))
        if h.v_count > 1:
            for n in range(u32(1), h.v_count):
                on_group(h, i, op256, u64(n) * 16, u64(first * 4))
    else:
        on_group(h, i, op512, u64(0), u64(first * 8))
        if h.v_count > 2:
            for n in range(u32(1), h.v_count >> 1):
                on_group(h, i, op512, u64(n) * 32, u64(first * 8))


def vsha2ms(h: Hart, i: Operands) -> None:
    sha2(h, i, schedule_256, schedule_512, 0)


def vsha2c(h: Hart, i: Operands, first: Const) -> None:
    sha2(h, i, rounds_256, rounds_512, first)


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


@leaf
def multiply_blocks(d: Ptr[u8], x: Ptr[u8], y: Ptr[u8], first: u64, last: u64, add: Const) -> None:
    """Replace blocks of `d`, plus those of `y` if `add` is 1, by their products with `x`'s.

    x^64 and above of the product are brought down by x^128 = REDUCTION, in two steps.
    """
    state = ptr_cast(Ptr[u64], d)
    keys = ptr_cast(Ptr[u64], x)
    more = ptr_cast(Ptr[u64], y)
    for n in range(first, last):
        at = u64(n) * 2
        a0 = state[at]
        a1 = state[at + 1]
        if add:
            a0 = a0 ^ more[at]
            a1 = a1 ^ more[at + 1]
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


@noinline
def multiply_groups(h: Hart, i: Operands, add: Const) -> None:
    """Multiply from vstart on."""
    first = h.vstart // FOUR
    last = h.vl // FOUR
    multiply_blocks(group(h, i.rd), group(h, i.rs2), group(h, i.rs1), first, last, add)
    h.vstart = u64(0)
    keep_whole(h)


@inline
def multiply_whole(h: Hart, i: Operands, add: Const) -> None:
    """Multiply whole registers."""
    last = u64(h.v_count)
    multiply_blocks(group(h, i.rd), group(h, i.rs2), group(h, i.rs1), u64(0), last, add)


def vghsh(h: Hart, i: Operands) -> None:
    if whole_width(h) != SEW32 or unaligned(h, i.rd | i.rs2 | i.rs1):
        begin_groups(h, i, SINGLE, FOUR, False, False)
        multiply_groups(h, i, 1)
    else:
        multiply_whole(h, i, 1)


def vgmul(h: Hart, i: Operands) -> None:
    if whole_width(h) != SEW32 or unaligned(h, i.rd | i.rs2):
        begin_groups(h, i, NONE, FOUR, False, False)
        multiply_groups(h, i, 0)
    else:
        multiply_whole(h, i, 0)


describe(ZVKG, "vghsh.vv", "101100 vm=1 vs2 vs1", "vd, vs2, vs1", vghsh)
describe(ZVKG, "vgmul.vv", "101000 vm=1 vs2 10001", "vd, vs2", vgmul)
