"""Zvkned: AES on vectors of blocks (Vector Cryptography 1.0.0, chapter Zvkned; FIPS 197).

A block's columns 0 and 1 are the lower half of its group, its first byte lowest, as in `aes`. An
engine replaces the rounds where its host has instructions for them.
"""

from __future__ import annotations

from functools import partial

from innkeeper.isa.riscv.aes import (
    ROUND_CONSTANTS,
    decrypt_last,
    encrypt_last,
    encrypt_middle,
    inv_mix_columns,
    sub_word,
)
from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.spec import Extension
from innkeeper.isa.riscv.v_groups import FOUR, begin_groups, begin_scalar_group, describe
from innkeeper.isa.riscv.v_state import NONE, group
from innkeeper.isa.riscv.v_whole import (
    SEW32,
    block,
    keep_whole,
    set_block,
    unaligned,
    whole_width,
)
from innkeeper.native.intrinsics import inline, leaf, noinline, ptr_cast, rotr
from innkeeper.native.types import Const, Ptr, u32, u64, u128

ZVKNED = Extension("Zvkned")


# ---- rounds


@inline
def on_halves(op: Const, state: u128) -> u128:
    """Apply what computes the lower half of a state from its halves."""
    low = u64(state)
    high = u64(state >> 64)
    return u128(op(low, high)) | (u128(op(high, low)) << 64)


@leaf
def final_encryption(state: u128, key: u128) -> u128:
    return on_halves(encrypt_last, state) ^ key


@leaf
def middle_encryption(state: u128, key: u128) -> u128:
    return on_halves(encrypt_middle, state) ^ key


@leaf
def final_decryption(state: u128, key: u128) -> u128:
    return on_halves(decrypt_last, state) ^ key


@leaf
def middle_decryption(state: u128, key: u128) -> u128:
    mixed = on_halves(decrypt_last, state) ^ key
    return u128(inv_mix_columns(u64(mixed))) | (u128(inv_mix_columns(u64(mixed >> 64))) << 64)


@inline
def round_zero(state: u128, key: u128) -> u128:
    return state ^ key


@noinline
def rounds(h: Hart, i: Operands, op: Const, scalar: Const) -> None:
    """Do one round on every group of vd, with the keys in vs2 or with its first alone."""
    state = group(h, i.rd)
    keys = group(h, i.rs2)
    for n in range(h.vstart // FOUR, h.vl // FOUR):
        key = block(keys, u64(0) if scalar else u64(n))
        set_block(state, u64(n), op(block(state, u64(n)), key))
    h.vstart = u64(0)
    keep_whole(h)


@inline
def whole_rounds(h: Hart, i: Operands, op: Const, scalar: Const) -> None:
    """Do one round on whole registers."""
    one_round(h, i, op, u64(0), u64(0))
    if h.v_count > 1:
        for n in range(u32(1), h.v_count):
            one_round(h, i, op, u64(n), u64(0) if scalar else u64(n))


@inline
def one_round(h: Hart, i: Operands, op: Const, n: u64, key: u64) -> None:
    """Do one round on one register."""
    state = block(group(h, i.rd), n)
    set_block(group(h, i.rd), n, op(state, block(group(h, i.rs2), key)))


def round_vv(h: Hart, i: Operands, op: Const) -> None:
    if whole_width(h) != SEW32 or unaligned(h, i.rd | i.rs2):
        begin_groups(h, i, NONE, FOUR, False, False)
        rounds(h, i, op, False)
    else:
        whole_rounds(h, i, op, False)


def round_vs(h: Hart, i: Operands, op: Const) -> None:
    if whole_width(h) != SEW32 or unaligned(h, i.rd) or u32(i.rs2) - u32(i.rd) < h.v_count:
        begin_scalar_group(h, i)
        rounds(h, i, op, True)
    else:
        whole_rounds(h, i, op, True)


for _name, _code, _op in (
    ("vaesdm", "00000", middle_decryption), ("vaesdf", "00001", final_decryption),
    ("vaesem", "00010", middle_encryption), ("vaesef", "00011", final_encryption),
    ("vaesz", "00111", round_zero),
):  # fmt: skip
    for _form, _funct6, _meaning in (("vv", "101000", round_vv), ("vs", "101001", round_vs)):
        if (_name, _form) != ("vaesz", "vv"):
            describe(ZVKNED, f"{_name}.{_form}", f"{_funct6} vm=1 vs2 {_code}", "vd, vs2",
                     partial(_meaning, op=_op))  # fmt: skip


# ---- key schedules


@inline
def chain(next_key: Ptr[u32], at: u64, first: u32, source: Ptr[u32]) -> None:
    """Write a round key whose words follow from its first and the words of `source`."""
    word = first ^ source[at]
    next_key[at] = word
    for n in range(u64(3)):
        word = word ^ source[at + n + 1]
        next_key[at + n + 1] = word


@noinline
def schedule_128(h: Hart, i: Operands, number: u32) -> None:
    """Write the round key after each of vs2's."""
    out = ptr_cast(Ptr[u32], group(h, i.rd))
    current = ptr_cast(Ptr[u32], group(h, i.rs2))
    for n in range(h.vstart // FOUR, h.vl // FOUR):
        at = u64(n) * 4
        word = rotr(sub_word(current[at + 3]), u32(8)) ^ u32(ROUND_CONSTANTS[number - 1])
        chain(out, at, word, current)
    h.vstart = u64(0)


def vaeskf1(h: Hart, i: Operands) -> None:
    begin_groups(h, i, NONE, FOUR, False, False)
    number = u32(i.imm) & 15
    schedule_128(h, i, number ^ 8 if number == 0 or number > 10 else number)


@noinline
def schedule_256(h: Hart, i: Operands, number: u32) -> None:
    """Replace each of vd's round keys, the last but one, by the one after vs2's."""
    out = ptr_cast(Ptr[u32], group(h, i.rd))
    current = ptr_cast(Ptr[u32], group(h, i.rs2))
    for n in range(h.vstart // FOUR, h.vl // FOUR):
        at = u64(n) * 4
        word = sub_word(current[at + 3])
        if (number & 1) == 0:
            word = rotr(word, u32(8)) ^ u32(ROUND_CONSTANTS[(number >> 1) - 1])
        chain(out, at, word, out)
    h.vstart = u64(0)


def vaeskf2(h: Hart, i: Operands) -> None:
    begin_groups(h, i, NONE, FOUR, False, False)
    number = u32(i.imm) & 15
    schedule_256(h, i, number ^ 8 if number < 2 or number > 14 else number)


describe(ZVKNED, "vaeskf1.vi", "100010 vm=1 vs2 uimm[4:0]", "vd, vs2, imm", vaeskf1)
describe(ZVKNED, "vaeskf2.vi", "101010 vm=1 vs2 uimm[4:0]", "vd, vs2, imm", vaeskf2)
