"""What every vector instruction is made of: register groups, their rules, masks, writing results.

Source: RISC-V Unprivileged 20240411, chapter 30 (V 1.0), sections 30.3 to 30.5. Tail and masked-off
elements are always left undisturbed, which the agnostic policies allow (30.3.4). Encodings that are
reserved, for whatever `vtype` makes of the registers they name, are illegal instructions.
"""

from __future__ import annotations

from innkeeper.isa.riscv.causes import ILLEGAL_INSTRUCTION
from innkeeper.isa.riscv.hart import VILL, VLEN, Hart, Operands
from innkeeper.isa.riscv.ops import Trap
from innkeeper.isa.riscv.status import SD, VS
from innkeeper.isa.riscv.v_whole import block, keep_whole, set_block
from innkeeper.native.intrinsics import inline, noinline, ptr_cast, ptr_offset, ref
from innkeeper.native.types import Const, Ptr, i8, i16, i32, i64, u8, u16, u32, u64, u128

VLENB = VLEN // 8
LOW_BITS = 0x0101010101010101
WORDS = VLEN // 64
"""Words of a mask register."""

MAX_LMUL_LOG2, MIN_LMUL_LOG2, MAX_SEW_LOG2 = 3, -3, 3
"""LMUL is 1/8 to 8, SEW 8 to 64: in logarithms, SEW counted in bytes."""

U = (u8, u16, u32, u64)
S = (i8, i16, i32, i64)
"""The unsigned and signed element types by the logarithm of their size."""

WIDE, SINGLE, HALF, QUARTER, EIGHTH = 1, 0, -1, -2, -3
"""An operand's shape: a group whose elements are twice SEW, SEW, SEW/2..."""

MASK_EEW = -1
"""Stands for 1 bit: less than any EEW, and not what EEW=SEW/8 gives for SEW=8."""

MASK, ELEMENT, WIDE_ELEMENT, NONE = 8, 16, 17, 32
"""Other shapes: a mask register, element 0 of one register (SEW or twice SEW), no operand."""


def illegal(h: Hart) -> None:
    """Raise an illegal-instruction exception."""
    raise Trap(ILLEGAL_INSTRUCTION, 0)


@inline
def group(h: Hart, r: u8) -> Ptr[u8]:
    """Return the bytes of the register group that begins with a register."""
    return ptr_offset(ref(h, "v"), u8, u64(r) * VLENB)


@inline
def result(h: Hart) -> Ptr[u8]:
    """Return where results are gathered before they replace a group."""
    return ptr_offset(ref(h, "v_result"), u8, u64(0))


@inline
def mask_word(h: Hart, r: u8, w: u64) -> u64:
    """Return 64 elements of a mask register."""
    return h.v[u64(r) * (VLENB // 8) + w]


@noinline
def mask_bit(h: Hart, r: u8, n: u64) -> bool:
    """Return one element of a mask register (30.4.5).

    Out of line: LLVM would spend long on vectorising the loops that ask for it.
    """
    return (mask_word(h, r, n >> 6) >> (n & 63)) & 1 != 0


@inline
def active(h: Hart, vm: u8, n: u64) -> bool:
    """Tell whether a body element is active (30.5.4): unmasked, or its bit in v0 is set."""
    return vm != 0 or mask_bit(h, u8(0), n)


@inline
def ones_below(n: u64) -> u64:
    """Return `n` low bits set, all 64 for more."""
    return ~u64(0) if n >= 64 else (u64(1) << n) - 1


@inline
def body_word(h: Hart, vm: u8, w: u64) -> u64:
    """Return the active elements of a mask register's word, from vstart up to vl, as bits."""
    base = w * 64
    low = u64(0) if h.vstart <= base else ones_below(h.vstart - base)
    high = u64(0) if h.vl <= base else ones_below(h.vl - base)
    bits = high & ~low
    return bits if vm != 0 else bits & mask_word(h, u8(0), w)


@inline
def dirty(h: Hart) -> None:
    """Mark the vector state as changed (30.3.2)."""
    if (h.mstatus & VS) != VS:
        h.mstatus = h.mstatus | (VS | SD)


@inline
def enable(h: Hart) -> None:
    """Start an instruction that does not depend on vtype: vectors must be on; they become dirty."""
    if (h.mstatus & VS) == 0:
        illegal(h)
    dirty(h)


# ---- the registers that an operand takes up


@inline
def emul(h: Hart, k: i32) -> i32:
    """Return the base-2 logarithm of an operand's EMUL: EEW/EMUL = SEW/LMUL (30.5.2)."""
    return i32(0) if k >= MASK else h.v_lmul + k


@inline
def eew(h: Hart, k: i32) -> i32:
    """Return the base-2 logarithm of an operand's EEW in bits; `MASK_EEW` for a mask's 1 bit."""
    if k == MASK:
        return i32(MASK_EEW)
    return i32(h.v_sew) + 3 + (k - ELEMENT if k >= ELEMENT else k)


@inline
def registers(m: i32) -> u32:
    """Return how many registers a group of EMUL 2**m takes up."""
    return u32(1) << m if m > 0 else u32(1)


@inline
def check_group(h: Hart, r: u8, m: i32, e: i32) -> None:
    """Refuse a group whose EMUL or EEW does not exist or whose first register is not aligned."""
    if m > MAX_LMUL_LOG2 or m < MIN_LMUL_LOG2 or e > MAX_SEW_LOG2 + 3 or (e != MASK_EEW and e < 3):
        illegal(h)
    if (u32(r) & (registers(m) - 1)) != 0:
        illegal(h)


@inline
def overlaps(a: u8, m_a: i32, b: u8, m_b: i32) -> bool:
    """Tell whether two groups have a register in common."""
    return u32(a) < u32(b) + registers(m_b) and u32(b) < u32(a) + registers(m_a)


@inline
def check_overlap(h: Hart, d: u8, m_d: i32, e_d: i32, s: u8, m_s: i32, e_s: i32) -> None:
    """Refuse a destination that overlaps a source in a way that 30.5.2 does not allow."""
    if e_d != e_s and overlaps(d, m_d, s, m_s):
        if e_d < e_s:
            if d != s:
                illegal(h)
        elif m_s < 0 or u32(d) + registers(m_d) != u32(s) + registers(m_s):
            illegal(h)


@inline
def check_apart(h: Hart, d: u8, m_d: i32, s: u8, m_s: i32) -> None:
    """Refuse any overlap of a destination and a source, where an instruction forbids it."""
    if overlaps(d, m_d, s, m_s):
        illegal(h)


@inline
def check_sources(h: Hart, a: u8, m_a: i32, e_a: i32, b: u8, m_b: i32, e_b: i32) -> None:
    """Refuse reading one register with two EEWs (30.5.2)."""
    if e_a != e_b and overlaps(a, m_a, b, m_b):
        illegal(h)


@inline
def depend(h: Hart) -> None:
    """Refuse an instruction that depends on vtype while vectors are off or vtype is illegal."""
    if (h.mstatus & VS) == 0 or h.vtype == VILL:
        illegal(h)


@noinline
def begin(h: Hart, i: Operands, kd: i32, k2: i32, k1: i32) -> None:
    """Start an instruction on operands of these shapes: vd, vs2 and vs1; all rules are checked."""
    depend(h)
    if kd == SINGLE and k2 == SINGLE and (k1 == SINGLE or k1 == NONE) and i.rs3 != 0:
        # Groups of one kind, unmasked: there is nothing to refuse but where they begin.
        at = i.rd | i.rs2 | (i.rs1 if k1 == SINGLE else u8(0))
        if (u32(at) & (registers(h.v_lmul) - 1)) != 0:
            illegal(h)
        dirty(h)
        return
    m_d = emul(h, kd)
    e_d = eew(h, kd)
    if kd < ELEMENT:
        check_group(h, i.rd, m_d, e_d)
    if k2 != NONE:
        check_source(h, i, kd, i.rs2, k2)
    if k1 != NONE:
        check_source(h, i, kd, i.rs1, k1)
        if k2 != NONE and k1 != k2:
            check_sources(h, i.rs1, emul(h, k1), eew(h, k1), i.rs2, emul(h, k2), eew(h, k2))
    # A masked instruction must not write to v0 (30.5.3), nor read it as more than a mask.
    if i.rs3 == 0:
        if kd < MASK and i.rd == 0:
            illegal(h)
        if (k2 < MASK or k2 == ELEMENT) and i.rs2 == 0:
            illegal(h)
        if (k1 < MASK or k1 == ELEMENT or k1 == WIDE_ELEMENT) and i.rs1 == 0:
            illegal(h)
    dirty(h)


@inline
def check_source(h: Hart, i: Operands, kd: i32, r: u8, k: i32) -> None:
    """Check a source's group, and how the destination overlaps it."""
    m = emul(h, k)
    e = eew(h, k)
    check_group(h, r, m, e)
    if kd < ELEMENT and kd != k:
        check_overlap(h, i.rd, emul(h, kd), eew(h, kd), r, m, e)


@noinline
def check_accumulator(h: Hart, i: Operands, kd: i32, k1: i32) -> None:
    """Refuse a destination that is also read, and with another EEW than a source it overlaps."""
    check_sources(h, i.rd, emul(h, kd), eew(h, kd), i.rs2, emul(h, SINGLE), eew(h, SINGLE))
    if k1 != NONE:
        check_sources(h, i.rd, emul(h, kd), eew(h, kd), i.rs1, emul(h, k1), eew(h, k1))


@inline
def from_the_start(h: Hart) -> None:
    """Refuse a vstart that is not 0, where an instruction cannot be resumed."""
    if h.vstart != 0:
        illegal(h)


# ---- operands and results


@noinline
def splat(h: Hart, value: u64) -> Ptr[u8]:
    """Return a group whose elements, SEW wide, are all the low bits of `value`."""
    pattern = value
    if h.v_sew == 0:
        pattern = (value & 0xFF) * 0x0101010101010101
    elif h.v_sew == 1:
        pattern = (value & 0xFFFF) * 0x0001000100010001
    elif h.v_sew == 2:
        pattern = (value & 0xFFFFFFFF) * 0x0000000100000001
    words = registers(h.v_lmul) * (VLENB // 8)
    for w in range(words):
        h.v_scalar[w] = pattern
    return ptr_offset(ref(h, "v_scalar"), u8, u64(0))


@noinline
def commit(h: Hart, results: Ptr[u8], r: u8, vm: u8, size: u32) -> None:
    """Copy the active elements of the results to a group and end the instruction.

    `size` is the base-2 logarithm of an element's bytes.
    """
    size_bytes = h.vl << size
    if vm != 0 and h.vstart == 0 and size_bytes <= VLENB:
        put_some(h, results, r, size_bytes)
    else:
        for k in (0, 1, 2, 3):
            if size == k:
                put_active(h, U[k], results, r, vm)
    h.vstart = u64(0)
    keep_whole(h)


@inline
def put_some(h: Hart, results: Ptr[u8], r: u8, size_bytes: u64) -> None:
    """Replace the first bytes of one register."""
    new = block(results, u64(0))
    if size_bytes < VLENB:
        body = (u128(1) << (size_bytes * 8)) - 1
        new = (new & body) | (block(group(h, r), u64(0)) & ~body)
    set_block(group(h, r), u64(0), new)


@inline
def put_active(h: Hart, kind: Const, results: Ptr[u8], r: u8, vm: u8) -> None:
    """Copy active elements of one type."""
    source = ptr_cast(Ptr[kind], results)
    target = ptr_cast(Ptr[kind], group(h, r))
    first = h.vstart
    last = h.vl
    if vm != 0:
        for n in range(first, last):
            target[n] = source[n]
    else:
        for n in range(first, last):
            if (mask_word(h, u8(0), u64(n) >> 6) >> (u64(n) & 63)) & 1 != 0:
                target[n] = source[n]


@inline
def put_mask_word(h: Hart, r: u8, w: u64, bits: u64, where: u64) -> None:
    """Replace the elements `where` of a mask register's word by `bits`."""
    at = u64(r) * (VLENB // 8) + w
    h.v[at] = (h.v[at] & ~where) | (bits & where)


@inline
def get_element(h: Hart, p: Ptr[u8], n: u64) -> u64:
    """Return an element, SEW wide, zero-extended."""
    return get_sized(p, h.v_sew, n)


@noinline
def get_sized(p: Ptr[u8], size: u32, n: u64) -> u64:
    """Return an element of 2**size bytes, zero-extended."""
    if size == 0:
        return u64(p[n])
    if size == 1:
        return u64(ptr_cast(Ptr[u16], p)[n])
    if size == 2:
        return u64(ptr_cast(Ptr[u32], p)[n])
    return ptr_cast(Ptr[u64], p)[n]


@noinline
def set_element(p: Ptr[u8], size: u32, n: u64, value: u64) -> None:
    """Set an element of 2**size bytes."""
    if size == 0:
        p[n] = u8(value)
    elif size == 1:
        ptr_cast(Ptr[u16], p)[n] = u16(value)
    elif size == 2:
        ptr_cast(Ptr[u32], p)[n] = u32(value)
    else:
        ptr_cast(Ptr[u64], p)[n] = value


@noinline
def copy_bytes(target: Ptr[u8], source: Ptr[u8], count: u64) -> None:
    """Copy bytes that do not overlap."""
    for n in range(count):
        target[n] = source[n]


@noinline
def commit_mask(h: Hart, r: u8, vm: u8) -> None:
    """Pack results that are bytes, 0 or 1, into a mask's active elements; end the instruction."""
    source = ptr_cast(Ptr[u64], result(h))
    for w in range(u64(WORDS)):
        bits = u64(0)
        for n in range(u64(8)):
            # The product's top byte collects the lowest bit of each byte; past vl is anything.
            eight = ((source[u64(w) * 8 + n] & LOW_BITS) * 0x0102040810204080) >> 56
            bits = bits | (eight << (u64(n) * 8))
        put_mask_word(h, r, u64(w), bits, body_word(h, vm, u64(w)))
    h.vstart = u64(0)


@noinline
def start_vv(h: Hart, i: Operands, kd: i32, k2: i32, k1: i32) -> Ptr[u8]:
    """Start an instruction on vs2 and vs1; return the elements of vs1."""
    begin(h, i, kd, k2, k1)
    return group(h, i.rs1)


@noinline
def start_vx(h: Hart, i: Operands, kd: i32, k2: i32, value: u64) -> Ptr[u8]:
    """Start an instruction on vs2 and a scalar; return as many elements with its value."""
    begin(h, i, kd, k2, i32(NONE))
    return splat(h, value)
