"""Vector instructions on whole registers: the shape that an engine does without looking further.

An operand is whole if it is unmasked and its elements fill 1, 2, 4 or 8 registers: `Hart.v_whole`
says so, and how wide they are, whenever the rest of the state allows it (Unprivileged 20240411,
30.3: vectors on and Dirty, LMUL at least 1, vl=VLMAX, vstart=0). Nothing is then left to check but
that groups begin at a multiple of their size. Whatever else there is takes the general way, which
the reference always does: an instruction has both, the general one first.
"""

from __future__ import annotations

from typing import Any

from innkeeper.isa.riscv.hart import VILL, VLEN, Hart, Operands
from innkeeper.isa.riscv.status import VS
from innkeeper.native.intrinsics import bitreverse, bswap, inline, intrinsic, ptr_offset, ref
from innkeeper.native.intrinsics import rotl as rotate_left
from innkeeper.native.intrinsics import rotr as rotate_right
from innkeeper.native.types import Const, Ptr, PtrValue, i32, u8, u32, u64, u128

VLENB = VLEN // 8
BLOCK_BITS = 128
"""What is worked on at once: one register."""

SEW32, SEW64 = 3, 4
"""`Hart.v_whole` for these widths."""
BITWISE = frozenset({"and", "or", "xor", "andn"})
"""Operations to which it makes no difference how wide elements are."""

LANES: dict[Any, str] = {}
"""The operation of `lanes` that does what an element function does to each element."""


@inline
def vlmax(sew: u32, lmul: i32) -> u64:
    """Return how many elements a group holds; 0 where not even one fits."""
    return (u64(VLEN) << u32(3 + lmul)) >> (sew + 6)


def keep_whole(h: Hart) -> None:
    """Work out `v_whole` and `v_count` from what they depend on."""
    ready = (h.mstatus & VS) == VS and h.vtype != VILL and h.vstart == 0
    whole = ready and h.v_lmul >= 0 and h.vl == vlmax(h.v_sew, h.v_lmul)
    h.v_whole = h.v_sew + 1 if whole else u32(0)
    h.v_count = u32(1) << u32(h.v_lmul) if h.v_lmul > 0 else u32(1)


@intrinsic
def at_once(h: Hart) -> bool:
    """Tell whether this is the short form of an instruction, which calls the long one for the rest.

    The reference has long forms only.
    """
    return False


@intrinsic
def block(p: Any, n: Any) -> Any:
    """Return the 16 bytes, as u128, that lie 16 * n bytes after a `Ptr[u8]`."""
    half = PtrValue(u64, p.address + 16 * int(n))
    return u128(int(half[0]) | int(half[1]) << 64)


@intrinsic
def set_block(p: Any, n: Any, value: Any) -> None:
    """Set 16 bytes; see `block`."""
    half = PtrValue(u64, p.address + 16 * int(n))
    half[0], half[1] = u64(int(value)), u64(int(value) >> 64)


@intrinsic
def guest_block(p: Any, n: Any) -> Any:
    """Return 16 bytes of guest memory; see `block`."""
    return block(p, n)


@intrinsic
def set_guest_block(p: Any, n: Any, value: Any) -> None:
    """Set 16 bytes of guest memory; see `block`."""
    set_block(p, n, value)


@intrinsic
def room(h: Hart, va: Any, count: Any, size: Any, access: str) -> Any:
    """Return RAM (`Ptr[u8]`) at an address whose elements of `size` bytes are aligned.

    The `count` blocks from there lie in one page that may be accessed (`access` is `read_tag` or
    `write_tag`); where they do not, the long form is taken. So there is none in the reference.
    """
    raise NotImplementedError


def _signed(kind: Any, a: int) -> int:
    return a - (kind.MASK + 1) if a >> (kind.BITS - 1) else a


ELEMENTS: dict[str, Any] = {
    "add": lambda kind, a, b: a + b,
    "sub": lambda kind, a, b: a - b,
    "rsub": lambda kind, a, b: b - a,
    "mul": lambda kind, a, b: a * b,
    "and": lambda kind, a, b: a & b,
    "or": lambda kind, a, b: a | b,
    "xor": lambda kind, a, b: a ^ b,
    "andn": lambda kind, a, b: a & ~b,
    "shl": lambda kind, a, b: a << (b % kind.BITS),
    "lshr": lambda kind, a, b: a >> (b % kind.BITS),
    "ashr": lambda kind, a, b: _signed(kind, a) >> (b % kind.BITS),
    "rotl": lambda kind, a, b: int(rotate_left(kind(a), kind(b))),
    "rotr": lambda kind, a, b: int(rotate_right(kind(a), kind(b))),
    "umin": lambda kind, a, b: min(a, b),
    "umax": lambda kind, a, b: max(a, b),
    "smin": lambda kind, a, b: min(_signed(kind, a), _signed(kind, b)),
    "smax": lambda kind, a, b: max(_signed(kind, a), _signed(kind, b)),
    "bswap": lambda kind, a, b: int(bswap(kind(a))),
    "brev8": lambda kind, a, b: int(bswap(bitreverse(kind(a)))),
}
"""What the operations of `lanes` mean for one element; those on one operand get it twice."""


@intrinsic
def lanes(op: str, kind: Any, a: Any, b: Any) -> Any:
    """Apply an operation to all elements of type `kind` in two u128."""
    result = 0
    for at in range(0, BLOCK_BITS, kind.BITS):
        one, other = (int(v) >> at & kind.MASK for v in (a, b))
        result |= (int(ELEMENTS[op](kind, one, other)) & kind.MASK) << at
    return u128(result)


@intrinsic
def spread(value: Any) -> Any:
    """Return a u128 both halves of which are a u64."""
    return u128(int(value) | int(value) << 64)


@intrinsic
def choose(kind: Any, mask: Any, a: Any, b: Any) -> Any:
    """Take each element from `b` where its bit in a mask (u64) is set, else from `a`."""
    result = 0
    for n, at in enumerate(range(0, BLOCK_BITS, kind.BITS)):
        source = b if int(mask) >> n & 1 else a
        result |= (int(source) >> at & kind.MASK) << at
    return u128(result)


@inline
def register(h: Hart, r: u8) -> Ptr[u8]:
    """Return the bytes of a vector register and those after it."""
    return ptr_offset(ref(h, "v"), u8, u64(r) * VLENB)


@inline
def whole_width(h: Hart) -> u32:
    """Return `v_whole` in short forms; in long ones 0."""
    return h.v_whole if at_once(h) else u32(0)


@inline
def unaligned(h: Hart, registers: u8) -> bool:
    """Tell whether a group is not aligned whose first register's number is or-ed into this."""
    return (u32(registers) & (h.v_count - 1)) != 0


@inline
def not_whole(h: Hart, i: Operands, registers: u8) -> bool:
    """Tell whether an instruction on these registers, or-ed, must go the general way."""
    return whole_width(h) == 0 or i.rs3 == 0 or unaligned(h, registers)


@inline
def not_in_lanes(h: Hart, i: Operands, op: Const, registers: u8) -> bool:
    """Tell the same for an operation of `lanes`: elements are of 32 or 64 bits where it matters.

    Smaller ones are rarer and would double the code.
    """
    width = whole_width(h)
    if width == 0 or (op not in BITWISE and width < SEW32):
        return True
    return i.rs3 == 0 or unaligned(h, registers)


@inline
def whole_vv(h: Hart, i: Operands, op: Const, y: u8) -> None:
    """Compute vd = op(vs2, group y)."""
    if op in BITWISE or h.v_whole == SEW64:
        whole_loop(h, i, op, u64, y)
    else:
        whole_loop(h, i, op, u32, y)


@inline
def whole_loop(h: Hart, i: Operands, op: Const, kind: Const, y: u8) -> None:
    """Compute elements of one type; the usual one register costs no loop."""
    one_vv(h, i, op, kind, y, u64(0))
    if h.v_count > 1:
        for n in range(u32(1), h.v_count):
            one_vv(h, i, op, kind, y, u64(n))


@inline
def one_vv(h: Hart, i: Operands, op: Const, kind: Const, y: u8, n: u64) -> None:
    """Compute one register."""
    one = block(register(h, i.rs2), n)
    set_block(register(h, i.rd), n, lanes(op, kind, one, block(register(h, y), n)))


@inline
def pattern(h: Hart, value: u64) -> u64:
    """Return what 8 bytes are when all elements are the low bits of `value`."""
    width = h.v_whole
    if width == SEW32:
        return (value & 0xFFFFFFFF) * 0x0000000100000001
    if width == 1:
        return (value & 0xFF) * 0x0101010101010101
    if width == 2:
        return (value & 0xFFFF) * 0x0001000100010001
    return value


@inline
def whole_vx(h: Hart, i: Operands, op: Const, value: u64) -> None:
    """Compute vd = op(vs2, a scalar)."""
    other = spread(pattern(h, value))
    if op in BITWISE or h.v_whole == SEW64:
        whole_loop_vx(h, i, op, u64, other)
    else:
        whole_loop_vx(h, i, op, u32, other)


@inline
def whole_loop_vx(h: Hart, i: Operands, op: Const, kind: Const, other: u128) -> None:
    """Compute elements of one type."""
    one_vx(h, i, op, kind, other, u64(0))
    if h.v_count > 1:
        for n in range(u32(1), h.v_count):
            one_vx(h, i, op, kind, other, u64(n))


@inline
def one_vx(h: Hart, i: Operands, op: Const, kind: Const, other: u128, n: u64) -> None:
    """Compute one register."""
    set_block(register(h, i.rd), n, lanes(op, kind, block(register(h, i.rs2), n), other))


@inline
def whole_copy(h: Hart, to: u8, of: u8, count: u32) -> None:
    """Copy registers."""
    set_block(register(h, to), u64(0), block(register(h, of), u64(0)))
    if count > 1:
        for n in range(u32(1), count):
            set_block(register(h, to), u64(n), block(register(h, of), u64(n)))


@inline
def whole_fill(h: Hart, i: Operands, value: u64) -> None:
    """Set all elements of vd to a scalar."""
    other = spread(pattern(h, value))
    set_block(register(h, i.rd), u64(0), other)
    if h.v_count > 1:
        for n in range(u32(1), h.v_count):
            set_block(register(h, i.rd), u64(n), other)


@inline
def whole_merge(h: Hart, i: Operands, y: Ptr[u8], step: u64) -> None:
    """Take elements of the blocks from `y` on where v0 says so, else of vs2; see `not_in_lanes`."""
    if h.v_whole == SEW64:
        merge_loop(h, i, u64, y, step)
    else:
        merge_loop(h, i, u32, y, step)


@inline
def merge_loop(h: Hart, i: Operands, kind: Const, y: Ptr[u8], step: u64) -> None:
    """Merge elements of one type: 32 of them at most, in 8 registers."""
    bits = h.v[0]
    merge_one(h, i, kind, bits, y, u64(0), u64(0))
    if h.v_count > 1:
        for n in range(u32(1), h.v_count):
            bits = bits >> (BLOCK_BITS // kind.BITS)
            merge_one(h, i, kind, bits, y, u64(n), u64(n) * step)


@inline
def merge_one(h: Hart, i: Operands, kind: Const, bits: u64, y: Ptr[u8], n: u64, at: u64) -> None:
    """Merge one register."""
    one = block(register(h, i.rs2), n)
    set_block(register(h, i.rd), n, choose(kind, bits, one, block(y, at)))


@inline
def whole_load(h: Hart, i: Operands, count: u32, size: Const) -> None:
    """Load registers from where x[rs1] points."""
    p = room(h, h.x[i.rs1], count, size, "read_tag")
    set_block(register(h, i.rd), u64(0), guest_block(p, u64(0)))
    if count > 1:
        for n in range(u32(1), count):
            set_block(register(h, i.rd), u64(n), guest_block(p, u64(n)))


@inline
def whole_store(h: Hart, i: Operands, count: u32, size: Const) -> None:
    """Store registers where x[rs1] points."""
    p = room(h, h.x[i.rs1], count, size, "write_tag")
    set_guest_block(p, u64(0), block(register(h, i.rd), u64(0)))
    if count > 1:
        for n in range(u32(1), count):
            set_guest_block(p, u64(n), block(register(h, i.rd), u64(n)))
