"""Zicond, Zbc, Zbkb, Zbkx, Zkn, Zimop: every instruction against a model written another way.

AES by tables that are made here, polynomials as lists of exponents, the rest on bytes and strings.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from innkeeper.isa.riscv import aes
from innkeeper.isa.riscv.codec import standard_set
from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.random_values import INTERESTING
from innkeeper.isa.riscv.zbc import ZBC
from innkeeper.isa.riscv.zbk import ZBKB, ZBKX
from innkeeper.isa.riscv.zicond import ZICOND
from innkeeper.isa.riscv.zimop import ZIMOP
from innkeeper.isa.riscv.zkn import ZKND, ZKNE, ZKNH
from innkeeper.native.types import u64

MASK = (1 << 64) - 1
INSTRUCTIONS = {
    i.name: i
    for e in (ZICOND, ZBC, ZBKB, ZBKX, ZKNE, ZKND, ZKNH)
    for i in e.instructions
    if i.name != "aes64ks1i"
}


def times(a: int, b: int) -> int:
    """Multiply in GF(2^8) (FIPS 197 4.2), bit by bit from the top."""
    product = 0
    for bit in f"{b:08b}":
        product = product << 1 ^ (0x11B if product & 0x80 else 0) ^ (a if bit == "1" else 0)
    return product


def affine(a: int) -> int:
    """Apply the map of FIPS 197 5.1.1, from its matrix."""
    bits = [a >> n & 1 for n in range(8)]
    rows = [sum(bits[(n + k) % 8] for k in (0, 4, 5, 6, 7)) for n in range(8)]
    return sum((row & 1) << n for n, row in enumerate(rows)) ^ 0x63


INVERSE = {a: next((b for b in range(256) if times(a, b) == 1), 0) for a in range(256)}
SBOX = [affine(INVERSE[a]) for a in range(256)]
INV_SBOX = [SBOX.index(a) for a in range(256)]


def state(low: int, high: int) -> list[list[int]]:
    """Return the rows of an AES state (FIPS 197 3.4)."""
    raw = low.to_bytes(8, "little") + high.to_bytes(8, "little")
    return [[raw[row + 4 * column] for column in range(4)] for row in range(4)]


def lower_half(rows: list[list[int]]) -> int:
    return int.from_bytes(bytes(rows[r][c] for c in (0, 1) for r in range(4)), "little")


def mixed(rows: list[list[int]], by: tuple[int, ...]) -> list[list[int]]:
    out = [[0] * 4 for _ in range(4)]
    for c in range(4):
        for r in range(4):
            for k in range(4):
                out[r][c] ^= times(rows[k][c], by[(k - r) % 4])
    return out


def aes_round(box: list[int], shift: int, mix: tuple[int, ...] | None) -> Callable[[int, int], int]:
    def half(low: int, high: int) -> int:
        rows = state(low, high)
        rows = [[box[rows[r][(c + shift * r) % 4]] for c in range(4)] for r in range(4)]
        return lower_half(rows if mix is None else mixed(rows, mix))

    return half


def polynomial(a: int, b: int) -> int:
    """Multiply over GF(2): an exponent that comes up an odd number of times stays."""
    terms: set[int] = set()
    for x in (n for n in range(64) if a >> n & 1):
        terms ^= {x + y for y in range(64) if b >> y & 1}
    return sum(1 << n for n in terms)


def bytes_of(a: int) -> bytes:
    return a.to_bytes(8, "little")


def looked_up(table: list[int], indices: list[int], width: int) -> int:
    values = [table[n] if n < len(table) else 0 for n in indices]
    return sum(value << n * width for n, value in enumerate(values))


def nibbles(a: int) -> list[int]:
    return [int(c, 16) for c in f"{a:016x}"[::-1]]


def sha(width: int, *turns: int, shift: int | None = None) -> Callable[[int, int], int]:
    """Rotate by each of `turns`, shift by `shift`; sum modulo 2 (FIPS 180-4 4.1.2, 4.1.3)."""

    def function(a: int, _b: int) -> int:
        text = f"{a & (1 << width) - 1:0{width}b}"
        result = 0
        for n in turns:
            result ^= int(text[-n:] + text[:-n], 2)
        if shift is not None:
            result ^= int(text[:-shift], 2)
        return result - (1 << width) if width == 32 and result >> 31 else result

    return function


def key_words(a: int, b: int) -> int:
    first = a >> 32 ^ b & 0xFFFFFFFF
    return first | (first ^ b >> 32) << 32


FORWARD, BACKWARD = (2, 3, 1, 1), (14, 11, 13, 9)
MODELS: dict[str, Callable[[int, int], int]] = {
    "czero.eqz": lambda a, b: a if b else 0,
    "czero.nez": lambda a, b: 0 if b else a,
    "clmul": polynomial,
    "clmulh": lambda a, b: polynomial(a, b) >> 64,
    "clmulr": lambda a, b: polynomial(a, b) >> 63,
    "pack": lambda a, b: int.from_bytes(bytes_of(a)[:4] + bytes_of(b)[:4], "little"),
    "packh": lambda a, b: int.from_bytes(bytes_of(a)[:1] + bytes_of(b)[:1], "little"),
    "packw": lambda a, b: int.from_bytes(bytes_of(a)[:2] + bytes_of(b)[:2], "little", signed=True),
    "brev8": lambda a, _: int.from_bytes(bytes(int(f"{x:08b}"[::-1], 2) for x in bytes_of(a)), "little"),
    "xperm4": lambda a, b: looked_up(nibbles(a), nibbles(b), 4),
    "xperm8": lambda a, b: looked_up(list(bytes_of(a)), list(bytes_of(b)), 8),
    "aes64es": aes_round(SBOX, 1, None),
    "aes64esm": aes_round(SBOX, 1, FORWARD),
    "aes64ds": aes_round(INV_SBOX, -1, None),
    "aes64dsm": aes_round(INV_SBOX, -1, BACKWARD),
    "aes64im": lambda a, _: lower_half(mixed(state(a, 0), BACKWARD)),
    "aes64ks2": key_words,
    "sha256sum0": sha(32, 2, 13, 22),
    "sha256sum1": sha(32, 6, 11, 25),
    "sha256sig0": sha(32, 7, 18, shift=3),
    "sha256sig1": sha(32, 17, 19, shift=10),
    "sha512sum0": sha(64, 28, 34, 39),
    "sha512sum1": sha(64, 14, 18, 41),
    "sha512sig0": sha(64, 1, 8, shift=7),
    "sha512sig1": sha(64, 19, 61, shift=6),
}  # fmt: skip


def run(name: str, a: int, b: int, imm: int = 0) -> int:
    h = Hart()
    h.x[10], h.x[11], h.x[12] = u64(99), u64(a), u64(b)
    standard_set().by_name[name][0].meaning(h, Operands(rd=10, rs1=11, rs2=12, imm=imm))
    return int(h.x[10])


def test_every_instruction_has_a_model() -> None:
    assert MODELS.keys() == INSTRUCTIONS.keys()


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_agrees_with_the_model(name: str) -> None:
    rng = random.Random(name)
    pairs = [(a, rng.choice(INTERESTING)) for a in INTERESTING]
    pairs += [(rng.getrandbits(64), rng.getrandbits(64)) for _ in range(20)]
    for a, b in pairs:
        assert run(name, a, b) == MODELS[name](a, b) & MASK, (hex(a), hex(b))


def test_the_s_box_of_every_byte() -> None:
    for first in range(0, 256, 8):
        word = int.from_bytes(bytes(range(first, first + 8)), "little")
        assert bytes_of(int(aes.sub_bytes(u64(word)))) == bytes(SBOX[first : first + 8])
        assert bytes_of(int(aes.inv_sub_bytes(u64(word)))) == bytes(INV_SBOX[first : first + 8])


@pytest.mark.parametrize("rnum", range(11))
def test_key_schedule_word(rnum: int) -> None:
    word = random.Random(rnum).getrandbits(32)
    turned = word if rnum == 10 else (word >> 8 | word << 24) & 0xFFFFFFFF
    constant = 1
    for _ in range(rnum):
        constant = times(constant, 2)
    wanted = int.from_bytes(bytes(SBOX[x] for x in turned.to_bytes(4, "little")), "little")
    wanted ^= 0 if rnum == 10 else constant
    assert run("aes64ks1i", word << 32 | 0x12345678, 0, rnum) == wanted << 32 | wanted


def test_reserved_round_numbers_are_illegal() -> None:
    bits = 0x31059513  # aes64ks1i a0, a1, 0
    legal = [n for n in range(16) if standard_set().find(bits | n << 20)]
    assert legal == list(range(11))


def test_may_be_operations_write_zero() -> None:
    assert len(ZIMOP.instructions) == 40
    for one in ZIMOP.instructions:
        assert run(one.name, 5, 7) == 0


def test_a_compressed_may_be_operation_is_no_load_of_an_upper_immediate() -> None:
    names = {n: standard_set().find(0x6001 | n << 7) for n in range(32)}
    found = {n: one.name for n, one in names.items() if one is not None}
    assert found == {n: f"c.mop.{n}" for n in range(1, 16, 2)}
