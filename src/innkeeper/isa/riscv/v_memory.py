"""Vector loads and stores: what they do (Unprivileged 20240411, 30.7 to 30.9).

A trap leaves the index of its element, or segment, in vstart; the elements before it are done and
those after it untouched. Addresses within a page that need no check are copied at once; everything
else goes element by element. The encodings are in `v_memory_table`.
"""

from __future__ import annotations

from innkeeper.isa.riscv.access import load_slow, span, store_slow
from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.mmu import ACCESS_READ, ACCESS_WRITE
from innkeeper.isa.riscv.ops import Trap
from innkeeper.isa.riscv.v_state import (
    VLENB,
    U,
    active,
    check_group,
    check_overlap,
    depend,
    dirty,
    get_sized,
    group,
    illegal,
    registers,
    set_element,
)
from innkeeper.isa.riscv.v_whole import keep_whole
from innkeeper.native.intrinsics import inline, is_null, noinline, ptr_cast
from innkeeper.native.types import Const, Ptr, i32, u8, u16, u32, u64

PAGE_BYTES = 4096
LAST_CAUSE = 63
"""Causes beyond are an engine's own: a watched address, which must not be lost (30.7.7)."""

REGISTERS = 32


# ---- the rules


@inline
def group_of(h: Hart, size: u32) -> i32:
    """Return the base-2 logarithm of the EMUL of elements of 2**size bytes (30.7.3)."""
    return h.v_lmul + i32(size) - i32(h.v_sew)


@inline
def check_fields(h: Hart, i: Operands, m: i32, size: u32) -> None:
    """Check the data registers: `imm` + 1 fields, each a group (30.7.8)."""
    check_group(h, i.rd, m, i32(size) + 3)
    fields = (u32(i.imm) + 1) * registers(m)
    if fields > 8 and i.imm != 0:
        illegal(h)
    if u32(i.rd) + fields > REGISTERS:
        illegal(h)
    if i.rs3 == 0 and i.rd == 0:
        illegal(h)


@noinline
def begin_plain(h: Hart, i: Operands, size: u32) -> None:
    """Start a unit-stride or strided access to elements of 2**size bytes."""
    depend(h)
    check_fields(h, i, group_of(h, size), size)
    dirty(h)


@noinline
def begin_indexed(h: Hart, i: Operands, size: u32, loads: bool) -> None:
    """Start an indexed access: the indices have 2**size bytes, the data SEW (30.7.6)."""
    depend(h)
    m = group_of(h, size)
    check_fields(h, i, h.v_lmul, h.v_sew)
    check_group(h, i.rs2, m, i32(size) + 3)
    fields = (u32(i.imm) + 1) * registers(h.v_lmul)
    if u32(i.rd) < u32(i.rs2) + registers(m) and u32(i.rs2) < u32(i.rd) + fields:
        if loads and i.imm == 0:
            data = i32(h.v_sew) + 3
            check_overlap(h, i.rd, h.v_lmul, data, i.rs2, m, i32(size) + 3)
        elif loads or size != h.v_sew:
            illegal(h)
    if i.rs3 == 0 and i.rs2 == 0:
        illegal(h)
    dirty(h)


# ---- one element


@inline
def load_element(h: Hart, va: u64, size: u32) -> u64:
    """Load an element of 2**size bytes; may raise `Trap`."""
    bytes_ = u64(1) << size
    if (va & (bytes_ - 1)) == 0:
        p = span(h, va, u32(ACCESS_READ))
        if not is_null(p):
            return get_sized(p, size, u64(0))
    return load_slow(h, va, u32(bytes_))


@inline
def store_element(h: Hart, va: u64, size: u32, value: u64) -> None:
    """Store an element of 2**size bytes; may raise `Trap`."""
    bytes_ = u64(1) << size
    if (va & (bytes_ - 1)) == 0:
        p = span(h, va, u32(ACCESS_WRITE))
        if not is_null(p):
            set_element(p, size, u64(0), value)
            return
    store_slow(h, va, value, u32(bytes_))


@inline
def field_group(h: Hart, i: Operands, m: i32, f: u32) -> Ptr[u8]:
    """Return the register group of a segment's field."""
    return group(h, i.rd) + u64(f * registers(m)) * VLENB


@inline
def whole_segment(h: Hart, i: Operands, size: u32, va: u64, access: u32) -> Ptr[u8]:
    """Return RAM that holds an aligned segment in a page that needs no check, else null."""
    fields = u64(u32(i.imm) + 1)
    if (va & ((u64(1) << size) - 1)) != 0 or run_length(va, size, fields) < fields:
        return ptr_cast(Ptr[u8], u64(0))
    return span(h, va, access)


@inline
def move_element(to: Ptr[u8], of: Ptr[u8], size: u32) -> None:
    """Copy an element of 2**size bytes, in one piece."""
    if size == 2:
        ptr_cast(Ptr[u32], to)[0] = ptr_cast(Ptr[u32], of)[0]
    elif size == 3:
        ptr_cast(Ptr[u64], to)[0] = ptr_cast(Ptr[u64], of)[0]
    elif size == 1:
        ptr_cast(Ptr[u16], to)[0] = ptr_cast(Ptr[u16], of)[0]
    else:
        to[0] = of[0]


@noinline
def load_segment(h: Hart, i: Operands, m: i32, size: u32, n: u64, va: u64) -> None:
    """Load the fields of segment `n`; a trap is this segment's."""
    h.vstart = n
    p = whole_segment(h, i, size, va, u32(ACCESS_READ))
    if not is_null(p):
        for f in range(u32(i.imm) + 1):
            move_element(field_group(h, i, m, u32(f)) + (n << size), p + (u64(f) << size), size)
        return
    for f in range(u32(i.imm) + 1):
        value = load_element(h, va + (u64(f) << size), size)
        set_element(field_group(h, i, m, u32(f)), size, n, value)


@noinline
def store_segment(h: Hart, i: Operands, m: i32, size: u32, n: u64, va: u64) -> None:
    """Store the fields of segment `n`; a trap is this segment's."""
    h.vstart = n
    p = whole_segment(h, i, size, va, u32(ACCESS_WRITE))
    if not is_null(p):
        for f in range(u32(i.imm) + 1):
            move_element(p + (u64(f) << size), field_group(h, i, m, u32(f)) + (n << size), size)
        return
    for f in range(u32(i.imm) + 1):
        value = get_sized(field_group(h, i, m, u32(f)), size, n)
        store_element(h, va + (u64(f) << size), size, value)


# ---- all elements


@noinline
def strided(h: Hart, i: Operands, size: u32, stride: u64, loads: Const) -> None:
    """Access segments that lie `stride` bytes apart (30.7.5)."""
    m = group_of(h, size)
    base = h.x[i.rs1]
    for n in range(h.vstart, h.vl):
        if active(h, i.rs3, u64(n)):
            if loads:
                load_segment(h, i, m, size, u64(n), base + u64(n) * stride)
            else:
                store_segment(h, i, m, size, u64(n), base + u64(n) * stride)
    h.vstart = u64(0)


@noinline
def indexed(h: Hart, i: Operands, size: u32, loads: Const) -> None:
    """Access segments at the offsets in vs2, zero-extended, in element order (30.7.6)."""
    base = h.x[i.rs1]
    for n in range(h.vstart, h.vl):
        if active(h, i.rs3, u64(n)):
            va = base + get_sized(group(h, i.rs2), size, u64(n))
            if loads:
                load_segment(h, i, h.v_lmul, h.v_sew, u64(n), va)
            else:
                store_segment(h, i, h.v_lmul, h.v_sew, u64(n), va)
    h.vstart = u64(0)


@noinline
def load_run(h: Hart, r: u8, vm: u8, size: u32, last: u64, base: u64) -> None:
    """Load elements `vstart` to `last` that lie one after the other (30.7.4)."""
    n = h.vstart
    while n < last:
        va = base + (n << size)
        count = run_length(va, size, last - n)
        p = span(h, va, u32(ACCESS_READ))
        if count != 0 and not is_null(p):
            copy_active(h, group(h, r) + (n << size), p, vm, size, n, count)
            n = n + count
        else:
            if active(h, vm, n):
                h.vstart = n
                set_element(group(h, r), size, n, load_slow(h, va, u32(1) << size))
            n = n + 1
    h.vstart = u64(0)
    keep_whole(h)


@noinline
def store_run(h: Hart, r: u8, vm: u8, size: u32, last: u64, base: u64) -> None:
    """Store elements `vstart` to `last` one after the other."""
    n = h.vstart
    while n < last:
        va = base + (n << size)
        count = run_length(va, size, last - n)
        p = span(h, va, u32(ACCESS_WRITE))
        if count != 0 and not is_null(p):
            copy_active(h, p, group(h, r) + (n << size), vm, size, n, count)
            n = n + count
        else:
            if active(h, vm, n):
                h.vstart = n
                store_slow(h, va, get_sized(group(h, r), size, n), u32(1) << size)
            n = n + 1
    h.vstart = u64(0)
    keep_whole(h)


@inline
def run_length(va: u64, size: u32, most: u64) -> u64:
    """Return how many elements from an address on lie in its page, `most` at most."""
    room = (u64(PAGE_BYTES) - (va & (PAGE_BYTES - 1))) >> size
    return room if room < most else most


@noinline
def copy_active(
    h: Hart, target: Ptr[u8], source: Ptr[u8], vm: u8, size: u32, first: u64, count: u64
) -> None:
    """Copy the active ones of elements `first` to `first + count`."""
    for k in (0, 1, 2, 3):
        if size == k:
            copy_kind(h, U[k], target, source, vm, first, count)


@inline
def copy_kind(
    h: Hart, kind: Const, target: Ptr[u8], source: Ptr[u8], vm: u8, first: u64, count: u64
) -> None:
    """Copy elements of one type: each in one piece, as other harts may look on."""
    to = ptr_cast(Ptr[kind], target)
    of = ptr_cast(Ptr[kind], source)
    if vm != 0:
        for n in range(count):
            to[n] = of[n]
    else:
        for n in range(count):
            if active(h, vm, first + u64(n)):
                to[n] = of[n]


# ---- fault-only-first (30.7.7)


def loads_whole(h: Hart, i: Operands, m: i32, size: u32, n: u64, va: u64) -> bool:
    """Load a segment that is not the first; tell whether it could be loaded."""
    faulted = False
    try:
        load_segment(h, i, m, size, n, va)
    except Trap:
        faulted = True
    if faulted and h.trap_cause > LAST_CAUSE:
        raise Trap(h.trap_cause, h.trap_tval)
    return not faulted


@noinline
def fault_only_first(h: Hart, i: Operands, size: u32) -> None:
    """Load segments; where one after the first faults, vl becomes its index instead."""
    m = group_of(h, size)
    step = u64(u32(i.imm) + 1) << size
    n = h.vstart
    last = h.vl
    while n < last:
        if active(h, i.rs3, n):
            va = h.x[i.rs1] + n * step
            if n == 0:
                load_segment(h, i, m, size, n, va)
            elif not loads_whole(h, i, m, size, n, va):
                h.vl = n
                h.v_whole = u32(0)
                last = n
        n = n + 1
    h.vstart = u64(0)


# ---- whole registers and masks (30.7.4, 30.7.9)


@inline
def whole_last(h: Hart, i: Operands, size: u32) -> u64:
    """Check the registers of a whole-register access; return its effective vector length."""
    count = u32(i.imm) + 1
    if (u32(i.rd) & (count - 1)) != 0:
        illegal(h)
    return (u64(count) * VLENB) >> size
