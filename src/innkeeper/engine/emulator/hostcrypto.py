"""Guest cryptography on the host's own instructions: AES-NI and PCLMULQDQ (Intel SDM volume 2).

What replaces the arithmetic of `isa.riscv.aes` and `zbc` where the host has them: the same results,
and like those in a time that depends on no data.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from innkeeper.isa.riscv import aes, zbc
from innkeeper.native.intrinsics import inline, intrinsic
from innkeeper.native.types import u32, u64, u128
from innkeeper.native.values import Value

PAIR = "<2 x i64>"


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


REPLACED = {
    "pclmul": {zbc.carryless_product: carryless_product},
    "aes": {
        aes.encrypt_last: encrypt_last,
        aes.encrypt_middle: encrypt_middle,
        aes.decrypt_last: decrypt_last,
        aes.decrypt_middle: decrypt_middle,
        aes.inv_mix_columns: inv_mix_columns,
        aes.sub_word: sub_word,
    },
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
