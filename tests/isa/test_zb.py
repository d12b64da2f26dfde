"""Zba, Zbb and Zbs: every instruction against a model that works on bit strings and bytes."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from innkeeper.isa.riscv.codec import encode
from innkeeper.isa.riscv.hart import SINK, Hart, Operands
from innkeeper.isa.riscv.random_values import INTERESTING
from innkeeper.isa.riscv.zba import ZBA
from innkeeper.isa.riscv.zbb import ZBB
from innkeeper.isa.riscv.zbs import ZBS
from innkeeper.native.types import u64

MASK = (1 << 64) - 1
INSTRUCTIONS = {i.name: i for e in (ZBA, ZBB, ZBS) for i in e.instructions}


def bits(a: int, width: int = 64) -> str:
    return f"{a & (1 << width) - 1:0{width}b}"


def signed(a: int, width: int = 64) -> int:
    a &= (1 << width) - 1
    return a - (1 << width) if a >> (width - 1) else a


def rotated_left(a: int, n: int, width: int) -> int:
    text = bits(a, width)
    n %= width
    return int(text[n:] + text[:n], 2)


def word(a: int) -> int:
    return signed(a, 32) & MASK


def low(a: int) -> int:
    return a & 0xFFFFFFFF


def trailing(text: str) -> int:
    return len(text) - len(text.rstrip("0"))


def leading(text: str) -> int:
    return len(text) - len(text.lstrip("0"))


def with_bit(a: int, n: int, new: Callable[[str], str]) -> int:
    text = list(bits(a)[::-1])
    text[n % 64] = new(text[n % 64])
    return int("".join(text)[::-1], 2)


MODELS: dict[str, Callable[[int, int], int]] = {
    "add.uw": lambda a, b: low(a) + b,
    "sh1add": lambda a, b: a * 2 + b,
    "sh2add": lambda a, b: a * 4 + b,
    "sh3add": lambda a, b: a * 8 + b,
    "sh1add.uw": lambda a, b: low(a) * 2 + b,
    "sh2add.uw": lambda a, b: low(a) * 4 + b,
    "sh3add.uw": lambda a, b: low(a) * 8 + b,
    "slli.uw": lambda a, b: low(a) * 2 ** (b % 64),
    "andn": lambda a, b: a - (a & b),
    "orn": lambda a, b: a | MASK - b,
    "xnor": lambda a, b: MASK - (a ^ b),
    "clz": lambda a, _: leading(bits(a)),
    "ctz": lambda a, _: trailing(bits(a)),
    "cpop": lambda a, _: bits(a).count("1"),
    "clzw": lambda a, _: leading(bits(a, 32)),
    "ctzw": lambda a, _: trailing(bits(a, 32)),
    "cpopw": lambda a, _: bits(a, 32).count("1"),
    "max": lambda a, b: max(signed(a), signed(b)),
    "maxu": max,
    "min": lambda a, b: min(signed(a), signed(b)),
    "minu": min,
    "sext.b": lambda a, _: signed(a, 8),
    "sext.h": lambda a, _: signed(a, 16),
    "zext.h": lambda a, _: a & 0xFFFF,
    "rol": lambda a, b: rotated_left(a, b, 64),
    "rolw": lambda a, b: word(rotated_left(a, b, 32)),
    "ror": lambda a, b: rotated_left(a, -b, 64),
    "rorw": lambda a, b: word(rotated_left(a, -b, 32)),
    "rori": lambda a, b: rotated_left(a, -b, 64),
    "roriw": lambda a, b: word(rotated_left(a, -b, 32)),
    "orc.b": lambda a, _: int.from_bytes(
        bytes(255 * (x != 0) for x in a.to_bytes(8, "big")), "big"
    ),
    "rev8": lambda a, _: int.from_bytes(a.to_bytes(8, "little"), "big"),
    "bclr": lambda a, b: with_bit(a, b, lambda _: "0"),
    "bset": lambda a, b: with_bit(a, b, lambda _: "1"),
    "binv": lambda a, b: with_bit(a, b, lambda x: "10"[int(x)]),
    "bext": lambda a, b: int(bits(a)[::-1][b % 64]),
}
MODELS |= {name + "i": MODELS[name] for name in ("bclr", "bset", "binv", "bext")}

# The encodings as GNU binutils 2.40 reads them, with rd 10, rs1 11 and rs2 12 or immediate 12.
WORDS = {
    "add.uw": 0x08C5853B, "sh1add": 0x20C5A533, "sh2add": 0x20C5C533, "sh3add": 0x20C5E533,
    "sh1add.uw": 0x20C5A53B, "sh2add.uw": 0x20C5C53B, "sh3add.uw": 0x20C5E53B, "andn": 0x40C5F533,
    "orn": 0x40C5E533, "xnor": 0x40C5C533, "max": 0x0AC5E533, "maxu": 0x0AC5F533, "min": 0x0AC5C533,
    "minu": 0x0AC5D533, "rol": 0x60C59533, "rolw": 0x60C5953B, "ror": 0x60C5D533,
    "rorw": 0x60C5D53B, "bclr": 0x48C59533, "bext": 0x48C5D533, "binv": 0x68C59533,
    "bset": 0x28C59533, "clz": 0x60059513, "ctz": 0x60159513, "cpop": 0x60259513,
    "clzw": 0x6005951B, "ctzw": 0x6015951B, "cpopw": 0x6025951B, "sext.b": 0x60459513,
    "sext.h": 0x60559513, "zext.h": 0x0805C53B, "orc.b": 0x2875D513, "rev8": 0x6B85D513,
    "slli.uw": 0x08C5951B, "rori": 0x60C5D513, "roriw": 0x60C5D51B, "bclri": 0x48C59513,
    "bexti": 0x48C5D513, "binvi": 0x68C59513, "bseti": 0x28C59513,
}  # fmt: skip


def run(name: str, a: int, b: int) -> int:
    instruction, h = INSTRUCTIONS[name], Hart()
    h.x[11], h.x[12] = u64(a), u64(b)
    if "imm" in instruction.syntax:
        width = 5 if name.endswith("iw") else 6
        instruction.meaning(h, Operands(rd=10, rs1=11, imm=b % (1 << width)))
    else:
        instruction.meaning(h, Operands(rd=10, rs1=11, rs2=12))
    assert (h.x[11], h.x[12]) == (a, b)
    return int(h.x[10])


def test_every_instruction_has_a_model() -> None:
    assert MODELS.keys() == INSTRUCTIONS.keys()


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_agrees_with_the_model(name: str) -> None:
    rng = random.Random(name)
    pairs = [(a, b) for a in INTERESTING for b in rng.sample(INTERESTING, 4)]
    pairs += [(rng.getrandbits(64), rng.getrandbits(64)) for _ in range(40)]
    for a, b in pairs:
        assert run(name, a, b) == MODELS[name](a, b) & MASK, (hex(a), hex(b))


def test_shift_counts_are_taken_modulo_the_width() -> None:
    assert run("rol", 1, 65) == 2
    assert run("rolw", 1, 33) == 2
    assert run("bset", 0, 64 + 3) == 8


def test_word_results_are_sign_extended_and_upper_input_bits_ignored() -> None:
    assert run("rorw", 0xDEAD_0000_0000_0001, 1) == 0xFFFF_FFFF_8000_0000
    assert run("ctzw", 0x0400_0000_0000_0000, 0) == 32


def test_writes_to_x0_go_to_the_sink() -> None:
    h = Hart()
    h.x[11] = u64(5)
    INSTRUCTIONS["cpop"].meaning(h, Operands(rd=SINK, rs1=11))
    assert (h.x[0], h.x[SINK]) == (0, 2)


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_encodings(name: str) -> None:
    assert encode(INSTRUCTIONS[name], {"rd": 10, "rs1": 11, "rs2": 12, "imm": 12}) == WORDS[name]
