"""The decoder: one routine in kernel Python over tables that `decode_tables` derives."""

from __future__ import annotations

from innkeeper.isa.riscv.hart import SINK, Operands
from innkeeper.native.types import Array, Struct, i32, u8, u16, u32

BUCKETS = 32 * 8 + 4 * 8
ILLEGAL = 0
"""The number of the pseudo-instruction that everything undefined decodes to."""

MAX_ROWS = 4096
"""Rows of all buckets together: an encoding with a free `funct3` has one in each of eight."""


class Encoding(Struct):
    """One row: fixed bits, which instruction, and where its operands are."""

    mask: u32
    match: u32
    fixed_imm: i32
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

    first: Array[u16, BUCKETS + 1]
    rows: Array[Encoding, MAX_ROWS]


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
            imm = u32(row.fixed_imm)
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
