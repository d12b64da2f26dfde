"""Zkne, Zknd and Zknh: AES and SHA-2 (RISC-V Cryptography Extensions 1.0.1; FIPS 197, FIPS 180-4).

aes64ks1i and aes64ks2 belong to Zkne and to Zknd alike.
"""

from __future__ import annotations

from innkeeper.isa.riscv.aes import (
    LAST_ROUND,
    ROUND_CONSTANTS,
    decrypt_last,
    decrypt_middle,
    encrypt_last,
    encrypt_middle,
    inv_mix_columns,
    sub_word,
)
from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.spec import Extension
from innkeeper.native.intrinsics import rotr
from innkeeper.native.types import i32, u32, u64

ZKNE = Extension("Zkne")
ZKND = Extension("Zknd")
ZKNH = Extension("Zknh")

RNUM_RESERVED = ((0xF << 20, 0xB << 20), (0xC << 20, 0xC << 20))
"""Round numbers 0xB to 0xF (aes64ks1i)."""


@ZKNE.insn("aes64es", "0011001 rs2 rs1 000 rd 0110011", "rd, rs1, rs2")
def aes64es(h: Hart, i: Operands) -> None:
    h.x[i.rd] = encrypt_last(h.x[i.rs1], h.x[i.rs2])


@ZKNE.insn("aes64esm", "0011011 rs2 rs1 000 rd 0110011", "rd, rs1, rs2")
def aes64esm(h: Hart, i: Operands) -> None:
    h.x[i.rd] = encrypt_middle(h.x[i.rs1], h.x[i.rs2])


@ZKNE.insn(
    "aes64ks1i", "00110001 uimm[3:0] rs1 001 rd 0010011", "rd, rs1, imm", reserved=RNUM_RESERVED
)
def aes64ks1i(h: Hart, i: Operands) -> None:
    word = sub_word(u32(h.x[i.rs1] >> 32))
    if i.imm != LAST_ROUND:
        word = rotr(word, u32(8))
    word = word ^ u32(ROUND_CONSTANTS[i.imm])
    h.x[i.rd] = u64(word) | u64(word) << 32


@ZKNE.insn("aes64ks2", "0111111 rs2 rs1 000 rd 0110011", "rd, rs1, rs2")
def aes64ks2(h: Hart, i: Operands) -> None:
    first = u32(h.x[i.rs1] >> 32) ^ u32(h.x[i.rs2])
    second = first ^ u32(h.x[i.rs2] >> 32)
    h.x[i.rd] = u64(first) | u64(second) << 32


@ZKND.insn("aes64ds", "0011101 rs2 rs1 000 rd 0110011", "rd, rs1, rs2")
def aes64ds(h: Hart, i: Operands) -> None:
    h.x[i.rd] = decrypt_last(h.x[i.rs1], h.x[i.rs2])


@ZKND.insn("aes64dsm", "0011111 rs2 rs1 000 rd 0110011", "rd, rs1, rs2")
def aes64dsm(h: Hart, i: Operands) -> None:
    h.x[i.rd] = decrypt_middle(h.x[i.rs1], h.x[i.rs2])


@ZKND.insn("aes64im", "001100000000 rs1 001 rd 0010011", "rd, rs1")
def aes64im(h: Hart, i: Operands) -> None:
    h.x[i.rd] = inv_mix_columns(h.x[i.rs1])


@ZKNH.insn("sha256sum0", "000100000000 rs1 001 rd 0010011", "rd, rs1")
def sha256sum0(h: Hart, i: Operands) -> None:
    a = u32(h.x[i.rs1])
    h.x[i.rd] = u64(i32(rotr(a, u32(2)) ^ rotr(a, u32(13)) ^ rotr(a, u32(22))))


@ZKNH.insn("sha256sum1", "000100000001 rs1 001 rd 0010011", "rd, rs1")
def sha256sum1(h: Hart, i: Operands) -> None:
    a = u32(h.x[i.rs1])
    h.x[i.rd] = u64(i32(rotr(a, u32(6)) ^ rotr(a, u32(11)) ^ rotr(a, u32(25))))


@ZKNH.insn("sha256sig0", "000100000010 rs1 001 rd 0010011", "rd, rs1")
def sha256sig0(h: Hart, i: Operands) -> None:
    a = u32(h.x[i.rs1])
    h.x[i.rd] = u64(i32(rotr(a, u32(7)) ^ rotr(a, u32(18)) ^ (a >> 3)))


@ZKNH.insn("sha256sig1", "000100000011 rs1 001 rd 0010011", "rd, rs1")
def sha256sig1(h: Hart, i: Operands) -> None:
    a = u32(h.x[i.rs1])
    h.x[i.rd] = u64(i32(rotr(a, u32(17)) ^ rotr(a, u32(19)) ^ (a >> 10)))


@ZKNH.insn("sha512sum0", "000100000100 rs1 001 rd 0010011", "rd, rs1")
def sha512sum0(h: Hart, i: Operands) -> None:
    a = h.x[i.rs1]
    h.x[i.rd] = rotr(a, u64(28)) ^ rotr(a, u64(34)) ^ rotr(a, u64(39))


@ZKNH.insn("sha512sum1", "000100000101 rs1 001 rd 0010011", "rd, rs1")
def sha512sum1(h: Hart, i: Operands) -> None:
    a = h.x[i.rs1]
    h.x[i.rd] = rotr(a, u64(14)) ^ rotr(a, u64(18)) ^ rotr(a, u64(41))


@ZKNH.insn("sha512sig0", "000100000110 rs1 001 rd 0010011", "rd, rs1")
def sha512sig0(h: Hart, i: Operands) -> None:
    a = h.x[i.rs1]
    h.x[i.rd] = rotr(a, u64(1)) ^ rotr(a, u64(8)) ^ (a >> 7)


@ZKNH.insn("sha512sig1", "000100000111 rs1 001 rd 0010011", "rd, rs1")
def sha512sig1(h: Hart, i: Operands) -> None:
    a = h.x[i.rs1]
    h.x[i.rd] = rotr(a, u64(19)) ^ rotr(a, u64(61)) ^ (a >> 6)
