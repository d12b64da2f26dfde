"""The parts of an AES round (FIPS 197, chapters 4 and 5) on eight bytes at a time.

Arithmetic in GF(2^8) instead of tables: the time taken depends on no data, as Zkt asks. An engine
replaces the whole rounds by its host's instructions where there are some.

A state is two u64, columns 0 and 1 in `low` and 2 and 3 in `high`, its first byte lowest.
"""

from __future__ import annotations

from innkeeper.native.intrinsics import noinline, rotr
from innkeeper.native.types import const_array, u8, u32, u64

EACH_BYTE = 0x0101010101010101
SEVEN_BITS = 0x7F7F7F7F7F7F7F7F
POLYNOMIAL = 0x1B
"""x^8 = x^4 + x^3 + x + 1 (4.2)."""

LAST_ROUND = 10
ROUND_CONSTANTS = const_array(u8, [1, 2, 4, 8, 16, 32, 64, 128, 0x1B, 0x36, 0, 0, 0, 0, 0, 0])


def double(a: u64) -> u64:
    """Multiply each byte by x."""
    return ((a & SEVEN_BITS) << 1) ^ (((a >> 7) & EACH_BYTE) * POLYNOMIAL)


@noinline
def multiply(a: u64, b: u64) -> u64:
    """Multiply the bytes pairwise in GF(2^8)."""
    result = u64(0)
    for n in range(8):
        result = result ^ (a & (((b >> n) & EACH_BYTE) * 255))
        a = double(a)
    return result


@noinline
def inverse(a: u64) -> u64:
    """Raise each byte to the power of 254: its inverse, and 0 for 0."""
    square = multiply(a, a)
    result = square
    for _ in range(6):
        square = multiply(square, square)
        result = multiply(result, square)
    return result


def rotate_bytes(a: u64, n: u32) -> u64:
    """Rotate each byte left by `n`, 1 to 7."""
    low = EACH_BYTE * ((u64(1) << n) - 1)
    return ((a << n) & ~low) | ((a >> (8 - n)) & low)


@noinline
def sub_bytes(a: u64) -> u64:
    """Apply the S-box to each byte (5.1.1): the inverse, then an affine map."""
    b = inverse(a)
    mixed = b ^ rotate_bytes(b, u32(1)) ^ rotate_bytes(b, u32(2))
    return mixed ^ rotate_bytes(b, u32(3)) ^ rotate_bytes(b, u32(4)) ^ (EACH_BYTE * 0x63)


@noinline
def inv_sub_bytes(a: u64) -> u64:
    """Undo `sub_bytes` (5.3.2)."""
    b = rotate_bytes(a, u32(1)) ^ rotate_bytes(a, u32(3)) ^ rotate_bytes(a, u32(6))
    return inverse(b ^ (EACH_BYTE * 5))


def rotate_columns(a: u64, n: u64) -> u64:
    """Rotate each column's bytes down by `n` bits: row r gets what row r + n/8 had."""
    return u64(rotr(u32(a), n)) | u64(rotr(u32(a >> 32), n)) << 32


@noinline
def mix_columns(a: u64) -> u64:
    """Multiply each column by 03 x^3 + 01 x^2 + 01 x + 02 (5.1.3)."""
    next_row = rotate_columns(a, u64(8))
    others = rotate_columns(a ^ next_row, u64(16))
    return double(a ^ next_row) ^ next_row ^ others


@noinline
def inv_mix_columns(a: u64) -> u64:
    """Multiply each column by 0b x^3 + 0d x^2 + 09 x + 0e (5.3.3): `mix_columns` of another."""
    four = double(double(a ^ rotate_columns(a, u64(16))))
    return mix_columns(a ^ four)


def row_byte(a: u64, source: u32, target: u32) -> u64:
    """Return byte `source` of `a` in the place of byte `target`."""
    return ((a >> (source * 8)) & 255) << (target * 8)


def shift_rows(low: u64, high: u64) -> u64:
    """Return the lower half of the state with row r rotated left by r (5.1.2)."""
    first = (low & 0x000000FF_000000FF) | row_byte(low, u32(5), u32(1))
    first = first | row_byte(high, u32(2), u32(2)) | row_byte(high, u32(7), u32(3))
    second = row_byte(high, u32(1), u32(5)) | row_byte(high, u32(6), u32(6))
    return first | second | row_byte(low, u32(3), u32(7))


def inv_shift_rows(low: u64, high: u64) -> u64:
    """Return the lower half of the state with row r rotated right by r (5.3.1)."""
    first = (low & 0x000000FF_000000FF) | row_byte(high, u32(5), u32(1))
    first = first | row_byte(high, u32(2), u32(2)) | row_byte(low, u32(7), u32(3))
    second = row_byte(low, u32(1), u32(5)) | row_byte(high, u32(6), u32(6))
    return first | second | row_byte(high, u32(3), u32(7))


@noinline
def encrypt_last(low: u64, high: u64) -> u64:
    """Return the lower half after the last round but for its key."""
    return sub_bytes(shift_rows(low, high))


@noinline
def encrypt_middle(low: u64, high: u64) -> u64:
    """Return the lower half after a round but for its key."""
    return mix_columns(sub_bytes(shift_rows(low, high)))


@noinline
def decrypt_last(low: u64, high: u64) -> u64:
    """Return the lower half after the last inverse round but for its key."""
    return inv_sub_bytes(inv_shift_rows(low, high))


@noinline
def decrypt_middle(low: u64, high: u64) -> u64:
    """Return the lower half after a round of the equivalent inverse cipher but for its key."""
    return inv_mix_columns(inv_sub_bytes(inv_shift_rows(low, high)))


@noinline
def sub_word(word: u32) -> u32:
    """Apply the S-box to the four bytes of a word (5.2)."""
    return u32(sub_bytes(u64(word)))
