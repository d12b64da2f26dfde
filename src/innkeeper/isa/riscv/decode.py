"""The decoder: tables derived from the encodings, and one routine over them in kernel Python."""

from __future__ import annotations

from innkeeper.isa.riscv.hart import SINK, Operands
from innkeeper.isa.riscv.spec import Instruction, RegisterField
from innkeeper.native.types import Array, Struct, i32, u8, u16, u32

MAX_PIECES = 9
BUCKETS = 32 * 8 + 4 * 8
ILLEGAL = 0
"""The number of the pseudo-instruction that everything undefined decodes to."""


class Encoding(Struct):
    """One row: fixed bits, which instruction, and where its operands are."""

    mask: u32
    match: u32
    number: u16
    length: u8
    pieces: u8
    signed_bits: u8
    int_rd: u8
    registers: Array[u8, 12]
    """shift, bits and base for rd, rs1, rs2, rs3."""
    immediate: Array[u8, 27]
    """low bit, width and destination bit of each piece."""


class Tables(Struct):
    """Rows grouped by the opcode bits; row `first[b]` to `first[b + 1]` belong to bucket `b`."""

    first: Array[u16, 289]
    rows: Array[Encoding, 2048]


def bucket_of(bits: int) -> int:
    """Return the bucket of an instruction: opcode and funct3, or quadrant and funct3."""
    if bits & 3 == 3:
        return (bits >> 2 & 31) << 3 | bits >> 12 & 7
    return 256 + ((bits & 3) << 3 | bits >> 13 & 7)


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
    row.length, row.pieces, row.signed_bits = one.length, len(one.pieces), one.signed_bits
    row.int_rd = int("rd" not in one.float_registers)
    for n, name in enumerate(("rd", "rs1", "rs2", "rs3")):
        source = one.registers.get(name, RegisterField(0, 0, 0))
        for k, value in enumerate((source.shift, source.bits, source.base)):
            row.registers[n * 3 + k] = value
    for n, piece in enumerate(one.pieces):
        for k, value in enumerate(piece):
            row.immediate[n * 3 + k] = value


def register_operand(row: Encoding, which: u32, bits: u32) -> u8:
    """Extract a register number."""
    shift = row.registers[which * 3]
    width = row.registers[which * 3 + 1]
    field = (bits >> shift) & ((u32(1) << width) - 1)
    return u8(field) + row.registers[which * 3 + 2]


def decode(tables: Tables, bits: u32, out: Operands) -> u16:
    """Decode an instruction's bits into operands; return its number, `ILLEGAL` for none."""
    bucket = ((bits >> 2) & 31) << 3 | ((bits >> 12) & 7)
    if (bits & 3) != 3:
        bucket = (bits & 3) << 3 | ((bits >> 13) & 7)
        bucket = bucket + 256
    at = u32(tables.first[bucket])
    end = u32(tables.first[bucket + 1])
    while at < end:
        row = tables.rows[at]
        if (bits & row.mask) == row.match:
            out.rd = register_operand(row, u32(0), bits)
            if row.int_rd != 0 and out.rd == 0:
                out.rd = SINK
            out.rs1 = register_operand(row, u32(1), bits)
            out.rs2 = register_operand(row, u32(2), bits)
            out.rs3 = register_operand(row, u32(3), bits)
            imm = u32(0)
            for n in range(u32(row.pieces)):
                low = row.immediate[n * 3]
                width = row.immediate[n * 3 + 1]
                piece = (bits >> low) & ((u32(1) << width) - 1)
                imm = imm | (piece << row.immediate[n * 3 + 2])
            if row.signed_bits != 0:
                spare = u8(32) - row.signed_bits
                out.imm = i32(imm << spare) >> spare
            else:
                out.imm = i32(imm)
            return row.number
        at = at + 1
    return u16(ILLEGAL)


