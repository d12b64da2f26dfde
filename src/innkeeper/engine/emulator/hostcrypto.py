"""Guest cryptography on the host's own instructions: AES, PCLMULQDQ, SHA (Intel SDM volume 2).

What replaces the arithmetic of `isa.riscv.aes`, `zbc`, `zvkned` and `zvknh` where the host has
them: the same results, and like those in a time that depends on no data.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from innkeeper.isa.riscv import aes, zbc, zvkned, zvknh
from innkeeper.isa.riscv.v_whole import block, set_block
from innkeeper.native.intrinsics import inline, intrinsic, ptr_cast
from innkeeper.native.types import Ptr, u8, u32, u64, u128
from innkeeper.native.values import Value

PAIR, FOUR = "<2 x i64>", "<4 x i32>"


@intrinsic
def host_clmul(a: u64, b: u64) -> u128:
    """Multiply without carries."""
    raise NotImplementedError


@intrinsic
def host_aes(op: str, low: u64, high: u64) -> u64:
    """Apply an AES instruction to a state, with a round key of 0; return the lower half."""
    raise NotImplementedError


@inline
def carryless_product(a: u64, b: u64) -> u128:
    """Multiply by PCLMULQDQ."""
    return host_clmul(a, b)


@inline
def encrypt_last(low: u64, high: u64) -> u64:
    """Do the last round by AESENCLAST."""
    return host_aes("aesenclast", low, high)


@inline
def encrypt_middle(low: u64, high: u64) -> u64:
    """Do a round by AESENC."""
    return host_aes("aesenc", low, high)


@inline
def decrypt_last(low: u64, high: u64) -> u64:
    """Do the last inverse round by AESDECLAST."""
    return host_aes("aesdeclast", low, high)


@inline
def decrypt_middle(low: u64, high: u64) -> u64:
    """Do an inverse round by AESDEC."""
    return host_aes("aesdec", low, high)


@inline
def inv_mix_columns(a: u64) -> u64:
    """Mix two columns by AESIMC."""
    return host_aes("aesimc", a, u64(0))


@inline
def sub_word(word: u32) -> u32:
    """Apply the S-box by AESKEYGENASSIST."""
    return u32(host_aes("aeskeygenassist", u64(word) << 32, u64(0)))


@intrinsic
def host_aes_block(op: str, state: u128, key: u128) -> u128:
    """Apply an AES instruction to a state; AESIMC has no key."""
    raise NotImplementedError


@inline
def final_encryption(state: u128, key: u128) -> u128:
    """Do the last round of a block."""
    return host_aes_block("aesenclast", state, key)


@inline
def middle_encryption(state: u128, key: u128) -> u128:
    """Do a round of a block."""
    return host_aes_block("aesenc", state, key)


@inline
def final_decryption(state: u128, key: u128) -> u128:
    """Do the last inverse round of a block."""
    return host_aes_block("aesdeclast", state, key)


@inline
def middle_decryption(state: u128, key: u128) -> u128:
    """Do an inverse round of a block: the key comes before the columns are mixed."""
    return host_aes_block("aesimc", host_aes_block("aesdeclast", state, key), u128(0))


@intrinsic
def host_sha256(op: str, a: u128, b: u128, c: u128) -> u128:
    """Do SHA256RNDS2 or MSG1; or add words 9 to 12, which `b` and `c` have, to `a` and do MSG2."""
    raise NotImplementedError


@inline
def rounds_256(other: Ptr[u8], one: Ptr[u8], words: Ptr[u8]) -> None:
    """Do two rounds by SHA256RNDS2, whose operands are in the order of vsha2c's."""
    message = u128(ptr_cast(Ptr[u64], words)[0])
    old = block(other, u64(0))
    set_block(other, u64(0), host_sha256("rnds2", old, block(one, u64(0)), message))


@inline
def schedule_256(old: Ptr[u8], middle: Ptr[u8], recent: Ptr[u8]) -> None:
    """Do the message schedule by SHA256MSG1, which adds sig0, and SHA256MSG2, which adds sig1."""
    m = block(middle, u64(0))
    r = block(recent, u64(0))
    w = host_sha256("msg1", block(old, u64(0)), m, u128(0))
    set_block(old, u64(0), host_sha256("msg2", w, m, r))


REPLACED = {
    "pclmul": {zbc.carryless_product: carryless_product},
    "aes": {
        aes.encrypt_last: encrypt_last,
        aes.encrypt_middle: encrypt_middle,
        aes.decrypt_last: decrypt_last,
        aes.decrypt_middle: decrypt_middle,
        aes.inv_mix_columns: inv_mix_columns,
        aes.sub_word: sub_word,
        zvkned.final_encryption: final_encryption,
        zvkned.middle_encryption: middle_encryption,
        zvkned.final_decryption: final_decryption,
        zvkned.middle_decryption: middle_decryption,
    },
    "sha": {zvknh.rounds_256: rounds_256, zvknh.schedule_256: schedule_256},
}
"""Replacements by the host feature (LLVM's name) that they need."""

AES_ARGUMENTS = {
    "aesenc": (f", {PAIR} zeroinitializer", f", {PAIR}"),
    "aesenclast": (f", {PAIR} zeroinitializer", f", {PAIR}"),
    "aesdec": (f", {PAIR} zeroinitializer", f", {PAIR}"),
    "aesdeclast": (f", {PAIR} zeroinitializer", f", {PAIR}"),
    "aesimc": ("", ""),
    "aeskeygenassist": (", i8 0", ", i8"),
}
"""What follows the state: the key or the round constant, and its type."""


if TYPE_CHECKING:
    from innkeeper.native.compiler import FunctionCompiler as _Base
else:
    _Base = object


class CryptoLowering(_Base):
    """The part of the engine's compiler that knows these instructions."""

    def vector(self, low: str, high: str) -> str:
        """Put two i64 into a vector."""
        first = self.assign(f"insertelement {PAIR} zeroinitializer, i64 {low}, i32 0")
        return self.assign(f"insertelement {PAIR} {first}, i64 {high}, i32 1")

    def lower_host_clmul(self, nodes: list[ast.expr]) -> Value:
        a, b = (self.vector(self.coerce(self.expr(n), u64).ir, "0") for n in nodes)
        name = "@llvm.x86.pclmulqdq"
        self.module.declare(name, f"declare {PAIR} {name}({PAIR}, {PAIR}, i8)")
        product = self.assign(f"call {PAIR} {name}({PAIR} {a}, {PAIR} {b}, i8 0)")
        return Value(u128, self.assign(f"bitcast {PAIR} {product} to i128"))

    def lower_host_aes(self, nodes: list[ast.expr]) -> Value:
        op: Any = self.static(nodes[0])
        low, high = (self.coerce(self.expr(n), u64).ir for n in nodes[1:])
        name, (more, types) = f"@llvm.x86.aesni.{op}", AES_ARGUMENTS[op]
        self.module.declare(name, f"declare {PAIR} {name}({PAIR}{types})")
        result = self.assign(f"call {PAIR} {name}({PAIR} {self.vector(low, high)}{more})")
        return Value(u64, self.assign(f"extractelement {PAIR} {result}, i32 0"))

    def lower_host_aes_block(self, nodes: list[ast.expr]) -> Value:
        op: Any = self.static(nodes[0])
        blocks = [self.coerce(self.expr(n), u128).ir for n in nodes[1:]]
        state, key = (self.assign(f"bitcast i128 {b} to {PAIR}") for b in blocks)
        one = op == "aesimc"
        name, types = f"@llvm.x86.aesni.{op}", PAIR if one else f"{PAIR}, {PAIR}"
        self.module.declare(name, f"declare {PAIR} {name}({types})")
        operands = f"{PAIR} {state}" if one else f"{PAIR} {state}, {PAIR} {key}"
        result = self.assign(f"call {PAIR} {name}({operands})")
        return Value(u128, self.assign(f"bitcast {PAIR} {result} to i128"))

    def lower_host_sha256(self, nodes: list[ast.expr]) -> Value:
        op: Any = self.static(nodes[0])
        blocks = [self.coerce(self.expr(n), u128).ir for n in nodes[1:]]
        a, b, c = (self.assign(f"bitcast i128 {v} to {FOUR}") for v in blocks)
        if op == "msg2":
            order = "<4 x i32> <i32 1, i32 2, i32 3, i32 4>"
            words = self.assign(f"shufflevector {FOUR} {b}, {FOUR} {c}, {order}")
            a, b = self.assign(f"add {FOUR} {a}, {words}"), c
        operands = [a, b, c] if op == "rnds2" else [a, b]
        name = f"@llvm.x86.sha256{op}"
        self.module.declare(name, f"declare {FOUR} {name}({', '.join([FOUR] * len(operands))})")
        text = ", ".join(f"{FOUR} {operand}" for operand in operands)
        result = self.assign(f"call {FOUR} {name}({text})")
        return Value(u128, self.assign(f"bitcast {FOUR} {result} to i128"))
