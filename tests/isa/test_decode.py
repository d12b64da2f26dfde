"""The decoder's tables against the descriptions: every encoding, its operands, and nothing else."""

from __future__ import annotations

import random

import pytest

from innkeeper.isa.riscv.codec import encode, has_field, immediate_range, standard_set
from innkeeper.isa.riscv.decode import ILLEGAL, decode
from innkeeper.isa.riscv.decode_tables import build_tables
from innkeeper.isa.riscv.hart import SINK, Operands
from innkeeper.isa.riscv.profiles import instructions
from innkeeper.isa.riscv.spec import Extension, Instruction
from innkeeper.native.types import u32

ALL = instructions()
TABLES = build_tables(ALL)
NUMBER = {id(one): n for n, one in enumerate(ALL, 1)}
every = pytest.mark.parametrize("one", ALL, ids=[f"{i.name}.{i.length}" for i in ALL])


def look_up(bits: int) -> tuple[int, Operands]:
    out = Operands()
    return int(decode(TABLES, u32(bits), out)), out


def fits(one: Instruction, bits: int) -> bool:
    """Tell by the description alone whether bits are this instruction, reserved forms apart."""
    return (
        (bits & 3 == 3) == (one.length == 4)
        and bits & one.mask == one.match
        and not any(bits & mask == match for mask, match in one.reserved)
    )


def expected(bits: int) -> Instruction | None:
    """Return the most specific description, found by looking at all of them."""
    if bits & 3 != 3:
        bits &= 0xFFFF
    rows = [(i.mask.bit_count(), True, i) for i in ALL if (bits & 3 == 3) == (i.length == 4)
            and bits & i.mask == i.match]  # fmt: skip
    reserved = [
        ((i.mask | mask).bit_count(), False, i) for _, _, i in rows for mask, match in i.reserved
        if bits & (i.mask | mask) == i.match | match
    ]  # fmt: skip
    best = max([*rows, *reserved], key=lambda r: (r[0], r[1]), default=None)
    return best[2] if best is not None and best[1] else None


def random_bits(rng: random.Random, one: Instruction) -> int:
    width = (1 << one.length * 8) - 1
    return (rng.getrandbits(32) & width & ~one.mask) | one.match


@every
def test_every_instruction_is_found_with_its_operands(one: Instruction) -> None:
    rng = random.Random(one.name)
    for _ in range(12):
        bits = random_bits(rng, one)
        if expected(bits) is not one:
            continue
        number, out = look_up(bits)
        assert number == NUMBER[id(one)]
        for name in ("rd", "rs1", "rs2", "rs3"):
            field = one.registers.get(name)
            value = (
                0 if field is None else (bits >> field.shift & (1 << field.bits) - 1) + field.base
            )
            if name == "rd" and value == 0 and one.writes_x:
                value = SINK
            assert getattr(out, name) == value, name
        imm = one.fixed_imm + sum(
            (bits >> low & (1 << width) - 1) << to for low, width, to in one.pieces
        )
        if one.signed_bits and imm >> (one.signed_bits - 1):
            imm -= 1 << one.signed_bits
        assert out.imm == imm


@every
def test_what_the_assembler_writes_the_decoder_reads(one: Instruction) -> None:
    rng = random.Random(one.name + "asm")
    for _ in range(8):
        drawn = {f.shift: rng.randrange(1 << f.bits) for f in one.registers.values() if f.bits}
        values = {n: f.base + drawn[f.shift] for n, f in one.registers.items() if f.bits}
        if one.pieces:
            special = has_field(one, "rm") or has_field(one, "csr") or has_field(one, "aq")
            low, high, step = (0, 3, 1) if special else immediate_range(one)
            values["imm"] = rng.randrange(low, high + 1, step)
        bits = encode(one, values)
        if expected(bits) is not one:
            continue
        number, out = look_up(bits)
        assert number == NUMBER[id(one)]
        for name, value in values.items():
            want = SINK if name == "rd" and value == 0 and one.writes_x else value
            assert int(getattr(out, name)) == want, name


@pytest.mark.parametrize("seed", range(8))
def test_random_bits(seed: int) -> None:
    """Tables, descriptions and the assembler's own decoder agree on anything."""
    rng = random.Random(seed)
    for _ in range(250):
        bits = rng.getrandbits(32)
        if rng.randrange(3) == 0:
            bits = random_bits(rng, rng.choice(ALL)) ^ 1 << rng.randrange(2, 32)
        number, _ = look_up(bits)
        found = expected(bits)
        assert number == (ILLEGAL if found is None else NUMBER[id(found)]), f"{bits:#010x}"
        other = standard_set().decode(bits if bits & 3 == 3 else bits & 0xFFFF)
        assert (other is None) == (found is None), f"{bits:#010x}"


def test_every_compressed_encoding() -> None:
    """All 49152 of them: legal exactly where a description says so."""
    rows = [i for i in ALL if i.length == 2]
    legal = 0
    for bits in range(1 << 16):
        if bits & 3 == 3:
            continue
        found = standard_set().decode(bits)
        assert (found is not None) == any(fits(i, bits) for i in rows), f"{bits:#06x}"
        legal += found is not None
    assert 40000 < legal < 49152


@pytest.mark.parametrize(
    "bits",
    [0, 0xFFFFFFFF, 0x0000, 0x9C79, 0x8C40, 0x6101 & ~0x107C, 0x2001 & ~0xF80, 0x8002],
)
def test_defined_illegal_encodings(bits: int) -> None:
    """All zeroes, all ones, and reserved compressed forms (Unprivileged 1.5, 27.8)."""
    assert look_up(bits)[0] == ILLEGAL


@pytest.mark.parametrize(
    ("bits", "name"),
    [
        (0x00000013, "addi"), (0x0085, "c.addi"), (0x8082, "c.jr"), (0x9002, "c.ebreak"),
        (0x00008067, "jalr"), (0x0FF0000F, "fence"), (0x0000100F, "fence.i"), (0x30200073, "mret"),
        (0xC0002573, "csrrs"), (0x02B50533, "mul"), (0x100525AF, "lr.w"), (0x6122, "c.ldsp"),
        (0x02B57553, "fadd.d"), (0x7119, "c.addi16sp"), (0x4501, "c.li"),
        (0x12000073, "sfence.vma"),
    ],
)  # fmt: skip
def test_well_known_encodings(bits: int, name: str) -> None:
    """As GNU binutils prints them."""
    number, _ = look_up(bits)
    assert number != ILLEGAL and ALL[number - 1].name == name


def test_overlapping_encodings_are_refused() -> None:
    one = Extension("X")
    for name in ("a", "b"):
        one.insn(name, "000000000000 rs1 000 rd 0001011", "rd, rs1")(lambda h, i: None)
    with pytest.raises(ValueError, match="a and b overlap"):
        build_tables(tuple(one.instructions))


def test_an_encoding_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="off by"):
        Extension("X").insn("a", "0000000 rs1 000 rd 0001011", "rd")(lambda h, i: None)
