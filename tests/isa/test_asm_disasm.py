"""The disassembler, and that it and the assembler are each other's inverse for every instruction."""

from __future__ import annotations

import random

import pytest

from innkeeper.isa.riscv import decode as native
from innkeeper.isa.riscv import decode_tables
from innkeeper.isa.riscv.asm import assemble
from innkeeper.isa.riscv.codec import (
    OperandRange,
    encode,
    has_field,
    immediate_range,
    operands,
    standard_set,
)
from innkeeper.isa.riscv.csr_names import CSR_NAMES, CSR_NUMBERS, csr_name
from innkeeper.isa.riscv.disasm import decode, disassemble, disassemble_all
from innkeeper.isa.riscv.hart import SINK, Operands
from innkeeper.isa.riscv.profiles import instructions
from innkeeper.isa.riscv.spec import Instruction
from innkeeper.native.types import u32

PC = 0x8000_0000

# Every field of these that the assembly does not show is reserved, and written as 0.
HIDDEN_FIELDS = ("fence", "fence.i")


def samples(instruction: Instruction, count: int) -> list[int]:
    """Return valid encodings with random operands."""
    rng, found = random.Random(instruction.name), []
    while len(found) < count:
        values = {
            name: f.base + rng.randrange(1 << f.bits) for name, f in instruction.registers.items()
        }
        if instruction.pieces:
            low, high, step = immediate_range(instruction)
            values["imm"] = rng.randrange(low, high + 1, step)
        if has_field(instruction, "rm"):
            values["imm"] = rng.choice((0, 1, 2, 3, 4, 7))
        if instruction.name in HIDDEN_FIELDS:
            values = {"imm": values["imm"] if instruction.name == "fence" else 0}
        try:
            bits = encode(instruction, values)
        except OperandRange:  # two names for one field, with different values
            continue
        if standard_set().find(bits) is instruction:
            found.append(bits)
    return found


@pytest.mark.parametrize("instruction", instructions(), ids=lambda i: i.name)
def test_assembling_the_disassembly_gives_the_same_bits(instruction: Instruction) -> None:
    for bits in samples(instruction, 8):
        code = bits.to_bytes(instruction.length, "little")
        assert assemble(disassemble(bits, aliases=False), base=PC).image == code
        assert assemble(disassemble(bits, PC, aliases=False), base=PC).image == code
        if instruction.length == 4:
            assert assemble(disassemble(bits, PC), base=PC).image == code
        else:  # shown as what it expands to; another spelling may be chosen for the same effect
            assert assemble(disassemble(bits, PC), base=PC, rvc=True).image


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        (0x00000013, "nop"), (0x00058513, "mv a0, a1"), (0xFFF00513, "li a0, -1"),
        (0x00008067, "ret"), (0x00050067, "jr a0"), (0xFE050EE3, "beqz a0, 0x7ffffffc"),
        (0x0080006F, "j 0x80000008"), (0x30002573, "csrr a0, mstatus"),
        (0x7C002573, "csrr a0, 0x7c0"), (0x00012537, "lui a0, 0x12"), (0x80000537, "lui a0, 0x80000"),
        (0xFE42BC23, "sd tp, -8(t0)"), (0x06B6252F, "amoadd.w.aqrl a0, a1, (a2)"),
        (0x00C5F553, "fadd.s fa0, fa1, fa2"), (0x00C59553, "fadd.s fa0, fa1, fa2, rtz"),
        (0xD2050553, "fcvt.d.w fa0, a0"), (0x0FF0000F, "fence"), (0x0310000F, "fence rw, w"),
        (0x0100000F, "pause"), (0x4501, "li a0, 0"), (0x8082, "ret"), (0x6588, "ld a0, 8(a1)"),
        (0x00100073, "ebreak"), (0x12000073, "sfence.vma"),
    ],
)  # fmt: skip
def test_standard_aliases(bits: int, text: str) -> None:
    assert disassemble(bits, PC) == text


def test_prefetch_is_told_from_ori() -> None:
    assert disassemble(0xFC356013) == "prefetch.w -64(a0)"
    assert disassemble(0xFC356513) == "ori a0, a0, -61"


def test_plain_spelling_and_relative_targets() -> None:
    assert disassemble(0x00000013, aliases=False) == "addi zero, zero, 0"
    assert disassemble(0x8082, aliases=False) == "c.jr ra"
    assert disassemble(0x0080006F) == "j . + 8"
    assert disassemble(0xFE050EE3) == "beqz a0, . - 4"


def test_what_is_no_instruction_becomes_data() -> None:
    assert disassemble(0xFFFFFFFF) == ".word 0xffffffff"
    assert disassemble(0x0000) == "c.unimp"
    assert disassemble(0x0004) == ".half 0x4"
    assert decode(0xFFFFFFFF) is None and decode(0) is None


def test_a_stretch_of_code_with_a_truncated_end() -> None:
    code = bytes.fromhex("0145930510001305")
    assert list(disassemble_all(code, PC)) == [
        (PC, 0x4501, 2, "li a0, 0"), (PC + 2, 0x00100593, 4, "li a1, 1"),
        (PC + 6, 0x0513, 2, ".half 0x513"),
    ]  # fmt: skip
    assert [t for *_, t in disassemble_all(b"\x13")] == [".byte 0x13"]


def test_decoding_agrees_with_the_native_decoder() -> None:
    rng, tables, out = random.Random(5), decode_tables.build_tables(instructions()), Operands()
    chosen = [bits for one in instructions() for bits in samples(one, 1)]
    chosen += [rng.getrandbits(32) for _ in range(800)] + [rng.getrandbits(16) for _ in range(800)]
    for bits in chosen:
        bits &= 0xFFFFFFFF if bits & 3 == 3 else 0xFFFF
        number, found = int(native.decode(tables, u32(bits), out)), decode(bits)
        assert (number == native.ILLEGAL) == (found is None), hex(bits)
        if found is None:
            continue
        instruction, values = found
        assert instructions()[number - 1] is instruction
        assert values == operands(instruction, bits)
        if values.get("rd") == 0 and instruction.writes_x:
            values["rd"] = SINK
        assert all(getattr(out, name) == value for name, value in values.items()), hex(bits)


def test_csr_names() -> None:
    assert len(CSR_NAMES) == len(CSR_NUMBERS) and max(CSR_NAMES) < 4096
    expected = {"fflags": 1, "sstatus": 0x100, "stimecmp": 0x14D, "satp": 0x180, "mstatus": 0x300,
                "menvcfg": 0x30A, "pmpaddr63": 0x3EF, "mhpmevent31": 0x33F, "mcycle": 0xB00,
                "hpmcounter31": 0xC1F, "mhartid": 0xF14, "mseccfg": 0x747}  # fmt: skip
    assert {name: CSR_NUMBERS[name] for name in expected} == expected
    assert csr_name(0xC01) == "time" and csr_name(0x7C0) == "0x7c0"
