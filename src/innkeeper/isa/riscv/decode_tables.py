"""Making the decoder's tables from the instructions' encodings."""

from __future__ import annotations

from innkeeper.isa.riscv.decode import BUCKETS, ILLEGAL, MAX_ROWS, Encoding, Tables
from innkeeper.isa.riscv.spec import Instruction, RegisterField
from innkeeper.native.types import i32, u16, u32


def _in_bucket(mask: int, match: int, length: int, bucket: int) -> bool:
    if bucket < 256:
        if length != 4:
            return False
        fixed, value = 0x707F, (bucket >> 3) << 2 | 3 | (bucket & 7) << 12
    else:
        if length != 2:
            return False
        fixed, value = 0xE003, (bucket - 256 >> 3 & 3) | (bucket & 7) << 13
    return (match ^ value) & mask & fixed == 0


def build_tables(instructions: tuple[Instruction, ...]) -> Tables:
    """Fill the tables; the number of an instruction is its index plus one.

    The more specific encoding comes first; two that overlap with equal specificity are an error.
    """
    rows = []
    for number, one in enumerate(instructions, 1):
        rows.append((one.mask, one.match, number, one))
        for mask, match in one.reserved:
            rows.append((one.mask | mask, one.match | match, ILLEGAL, one))
    rows.sort(key=lambda r: (-r[0].bit_count(), r[2] == ILLEGAL))
    _check_overlap(rows)
    tables, at = Tables(), 0
    for bucket in range(BUCKETS):
        tables.first[bucket] = u16(at)
        for mask, match, number, one in rows:
            if _in_bucket(mask, match, one.length, bucket):
                if at == MAX_ROWS:
                    raise ValueError(f"{one.name}: the decoder's tables hold {MAX_ROWS} rows")
                _fill(tables.rows[at], mask, match, number, one)
                at += 1
    tables.first[BUCKETS] = u16(at)
    return tables


def _check_overlap(rows: list[tuple[int, int, int, Instruction]]) -> None:
    for n, (mask, match, number, one) in enumerate(rows):
        for mask2, match2, number2, other in rows[n + 1 :]:
            if mask2.bit_count() != mask.bit_count():
                break
            if one.length == other.length and ILLEGAL != number != number2 != ILLEGAL:
                if (match ^ match2) & mask & mask2 == 0:
                    raise ValueError(f"{one.name} and {other.name} overlap")


def _fill(row: Encoding, mask: int, match: int, number: int, one: Instruction) -> None:
    row.mask, row.match, row.number = u32(mask), u32(match), u16(number)
    row.fixed_imm = i32(one.fixed_imm)
    row.length, row.pieces, row.signed_bits = one.length, len(one.pieces), one.signed_bits
    row.int_rd = int(one.writes_x)
    for n, name in enumerate(("rd", "rs1", "rs2", "rs3")):
        source = one.registers.get(name, RegisterField(0, 0, 0))
        for k, value in enumerate((source.shift, source.bits, source.base)):
            row.registers[n * 3 + k] = value
    for n, piece in enumerate(one.pieces):
        for k, value in enumerate(piece):
            row.immediate[n * 3 + k] = value
