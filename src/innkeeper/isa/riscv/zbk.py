"""Zbkb and Zbkx: bit manipulation for cryptography (Unprivileged 20240411, 28.4).

The rest of Zbkb is Zbb's: andn, orn, xnor, rol, ror and rev8. Zbkc is a part of Zbc.
"""

from __future__ import annotations

from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.spec import Extension
from innkeeper.native.intrinsics import bitreverse, bswap
from innkeeper.native.types import i32, u8, u16, u32, u64

ZBKB = Extension("Zbkb")
ZBKX = Extension("Zbkx")


@ZBKB.insn("pack", "0000100 rs2 rs1 100 rd 0110011", "rd, rs1, rs2")
def pack(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(u32(h.x[i.rs1])) | h.x[i.rs2] << 32


@ZBKB.insn("packh", "0000100 rs2 rs1 111 rd 0110011", "rd, rs1, rs2")
def packh(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(u8(h.x[i.rs1])) | u64(u8(h.x[i.rs2])) << 8


@ZBKB.insn("packw", "0000100 rs2 rs1 100 rd 0111011", "rd, rs1, rs2")
def packw(h: Hart, i: Operands) -> None:
    h.x[i.rd] = u64(i32(u32(u16(h.x[i.rs1])) | u32(h.x[i.rs2]) << 16))


@ZBKB.insn("brev8", "011010000111 rs1 101 rd 0010011", "rd, rs1")
def brev8(h: Hart, i: Operands) -> None:
    h.x[i.rd] = bswap(bitreverse(h.x[i.rs1]))


def permute_nibbles(table: u64, indices: u64) -> u64:
    """Look 16 nibbles up in a table of 16."""
    result = u64(0)
    for n in range(16):
        index = (indices >> (n * 4)) & 15
        result = result | ((table >> (index * 4)) & 15) << (n * 4)
    return result


def permute_bytes(table: u64, indices: u64) -> u64:
    """Look 8 bytes up in a table of 8; an index beyond it gives 0."""
    result = u64(0)
    for n in range(8):
        index = (indices >> (n * 8)) & 255
        inside = -u64(index < 8)
        result = result | ((table >> (index * 8)) & 255 & inside) << (n * 8)
    return result


@ZBKX.insn("xperm4", "0010100 rs2 rs1 010 rd 0110011", "rd, rs1, rs2")
def xperm4(h: Hart, i: Operands) -> None:
    h.x[i.rd] = permute_nibbles(h.x[i.rs1], h.x[i.rs2])


@ZBKX.insn("xperm8", "0010100 rs2 rs1 100 rd 0110011", "rd, rs1, rs2")
def xperm8(h: Hart, i: Operands) -> None:
    h.x[i.rd] = permute_bytes(h.x[i.rs1], h.x[i.rs2])
