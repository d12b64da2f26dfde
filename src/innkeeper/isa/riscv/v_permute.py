"""Vector permutation: moves, slides, gathers, compress (Unprivileged 20240411, 30.11.16, 30.16)."""

from __future__ import annotations

from innkeeper.isa.riscv.hart import VLEN, Hart, Operands
from innkeeper.isa.riscv.v_encoding import OPI, UNSIGNED, forms, single
from innkeeper.isa.riscv.v_state import (
    ELEMENT,
    MASK,
    NONE,
    SINGLE,
    VLENB,
    U,
    begin,
    check_apart,
    check_group,
    check_sources,
    commit,
    copy_bytes,
    depend,
    dirty,
    eew,
    emul,
    from_the_start,
    get_element,
    group,
    illegal,
    mask_bit,
    result,
    set_element,
    splat,
)
from innkeeper.isa.riscv.v_whole import not_whole, whole_copy, whole_fill, whole_width
from innkeeper.native.intrinsics import inline, noinline, ptr_cast
from innkeeper.native.types import Const, Ptr, i32, i64, u8, u16, u32, u64


@inline
def most_elements(h: Hart) -> u64:
    """Return VLMAX."""
    return (u64(VLEN) << (h.v_lmul + 3)) >> (h.v_sew + 6)


# ---- whole groups: vmv.v.v, vmv.v.x, vmv.v.i, vmv<nr>r.v


def vmv_v_v(h: Hart, i: Operands) -> None:
    if not_whole(h, i, i.rd | i.rs1):
        begin(h, i, SINGLE, NONE, SINGLE)
        commit(h, group(h, i.rs1), i.rd, u8(1), h.v_sew)
    else:
        whole_copy(h, i.rd, i.rs1, h.v_count)


def vmv_v_x(h: Hart, i: Operands) -> None:
    if not_whole(h, i, i.rd):
        begin(h, i, SINGLE, NONE, NONE)
        commit(h, splat(h, h.x[i.rs1]), i.rd, u8(1), h.v_sew)
    else:
        whole_fill(h, i, h.x[i.rs1])


def vmv_v_i(h: Hart, i: Operands) -> None:
    if not_whole(h, i, i.rd):
        begin(h, i, SINGLE, NONE, NONE)
        commit(h, splat(h, u64(i.imm)), i.rd, u8(1), h.v_sew)
    else:
        whole_fill(h, i, u64(i.imm))


single("vmv.v.v", "010111 vm=1 00000 vs1 000 vd", "vd, vs1", vmv_v_v)
single("vmv.v.x", "010111 vm=1 00000 rs1 100 vd", "vd, rs1", vmv_v_x)
single("vmv.v.i", "010111 vm=1 00000 imm[4:0] 011 vd", "vd, imm", vmv_v_i)


def move_registers(h: Hart, i: Operands) -> None:
    """Copy whole registers; they need a valid vtype, for vstart counts elements of SEW."""
    if whole_width(h) == 0 or (u32(i.rd | i.rs2) & u32(i.imm)) != 0:
        move_from_vstart(h, i)
    else:
        whole_copy(h, i.rd, i.rs2, u32(i.imm) + 1)


@noinline
def move_from_vstart(h: Hart, i: Operands) -> None:
    """Copy whole registers from where vstart says."""
    depend(h)
    count = u32(i.imm) + 1
    if ((u32(i.rd) | u32(i.rs2)) & (count - 1)) != 0:
        illegal(h)
    dirty(h)
    done = h.vstart << h.v_sew
    size = u64(count) * VLENB
    if done < size:
        copy_bytes(group(h, i.rd) + done, group(h, i.rs2) + done, size - done)
    h.vstart = u64(0)


for _count in (1, 2, 4, 8):
    single(
        f"vmv{_count}r.v", f"100111 vm=1 vs2 00 nf={_count - 1:03b} 011 vd", "vd, vs2",
        move_registers,
    )  # fmt: skip

# ---- element 0 (30.16.1)


def vmv_x_s(h: Hart, i: Operands) -> None:
    begin(h, i, NONE, ELEMENT, NONE)
    value = get_element(h, group(h, i.rs2), u64(0))
    unused = u64(56) - (u64(8) << h.v_sew) + 8
    h.x[i.rd] = u64(i64(value << unused) >> unused)
    h.vstart = u64(0)


def vmv_s_x(h: Hart, i: Operands) -> None:
    begin(h, i, ELEMENT, NONE, NONE)
    put_first(h, i, h.x[i.rs1])


@inline
def put_first(h: Hart, i: Operands, value: u64) -> None:
    """Set element 0 of vd, unless there is no body."""
    if h.vstart < h.vl:
        set_element(group(h, i.rd), h.v_sew, u64(0), value)
    h.vstart = u64(0)


single("vmv.x.s", "010000 vm=1 vs2 00000 010 rd", "rd, vs2", vmv_x_s)
single("vmv.s.x", "010000 vm=1 00000 rs1 110 vd", "vd, rs1", vmv_s_x)

# ---- slides (30.16.3): vd must not overlap vs2 when elements move up


@noinline
def slide_up(h: Hart, i: Operands, offset: u64) -> None:
    """Move elements up by `offset`; those below it stay."""
    begin(h, i, SINGLE, SINGLE, NONE)
    check_apart(h, i.rd, emul(h, SINGLE), i.rs2, emul(h, SINGLE))
    if offset < h.vl and h.vstart < h.vl:
        size = (h.vl - offset) << h.v_sew
        copy_bytes(result(h) + (offset << h.v_sew), group(h, i.rs2), size)
        if h.vstart < offset:
            h.vstart = offset
        commit(h, result(h), i.rd, i.rs3, h.v_sew)
    h.vstart = u64(0)


@inline
def moved_down(h: Hart, i: Operands, offset: u64) -> None:
    """Gather vs2's elements from `offset` on, zeros where there are none."""
    most = most_elements(h)
    start = offset if offset < most else most
    have = (most - start) << h.v_sew
    copy_bytes(result(h), group(h, i.rs2) + (start << h.v_sew), have)
    for n in range(have, most << h.v_sew):
        result(h)[n] = u8(0)


@noinline
def slide_down(h: Hart, i: Operands, offset: u64) -> None:
    """Move elements down by `offset`."""
    begin(h, i, SINGLE, SINGLE, NONE)
    moved_down(h, i, offset)
    commit(h, result(h), i.rd, i.rs3, h.v_sew)


def vslideup_vx(h: Hart, i: Operands) -> None:
    slide_up(h, i, h.x[i.rs1])


def vslideup_vi(h: Hart, i: Operands) -> None:
    slide_up(h, i, u64(i.imm))


def vslidedown_vx(h: Hart, i: Operands) -> None:
    slide_down(h, i, h.x[i.rs1])


def vslidedown_vi(h: Hart, i: Operands) -> None:
    slide_down(h, i, u64(i.imm))


forms("vslideup", "001110", {"vx": vslideup_vx, "vi": vslideup_vi}, OPI, immediate=UNSIGNED)
forms("vslidedown", "001111", {"vx": vslidedown_vx, "vi": vslidedown_vi}, OPI, immediate=UNSIGNED)


@noinline
def slide_one_up(h: Hart, i: Operands, value: u64) -> None:
    """Move elements up by one and put a scalar at the bottom."""
    begin(h, i, SINGLE, SINGLE, NONE)
    check_apart(h, i.rd, emul(h, SINGLE), i.rs2, emul(h, SINGLE))
    if h.vl != 0:
        size = u64(1) << h.v_sew
        copy_bytes(result(h) + size, group(h, i.rs2), (h.vl - 1) << h.v_sew)
        set_element(result(h), h.v_sew, u64(0), value)
    commit(h, result(h), i.rd, i.rs3, h.v_sew)


@noinline
def slide_one_down(h: Hart, i: Operands, value: u64) -> None:
    """Move elements down by one and put a scalar at the top."""
    begin(h, i, SINGLE, SINGLE, NONE)
    if h.vl != 0:
        moved_down(h, i, u64(1))
        set_element(result(h), h.v_sew, h.vl - 1, value)
    commit(h, result(h), i.rd, i.rs3, h.v_sew)


def vslide1up(h: Hart, i: Operands) -> None:
    slide_one_up(h, i, h.x[i.rs1])


def vslide1down(h: Hart, i: Operands) -> None:
    slide_one_down(h, i, h.x[i.rs1])


forms("vslide1up", "001110", {"vx": vslide1up}, {"x": "110"})
forms("vslide1down", "001111", {"vx": vslide1down}, {"x": "110"})

# ---- gathers (30.16.4): vd must not overlap a source


@noinline
def gather_vector(h: Hart, i: Operands, index: Const) -> None:
    """Compute vd[n] = vs2[index[n]], 0 for an index beyond VLMAX; indices are `index` wide."""
    sew = h.v_sew
    for k in (0, 1, 2, 3):
        if sew == k:
            gather_loop(h, i, index[k], U[k])
    commit(h, result(h), i.rd, i.rs3, sew)


@inline
def gather_loop(h: Hart, i: Operands, index: Const, kind: Const) -> None:
    """Gather elements of one type."""
    source = ptr_cast(Ptr[kind], group(h, i.rs2))
    where = ptr_cast(Ptr[index], group(h, i.rs1))
    out = ptr_cast(Ptr[kind], result(h))
    most = most_elements(h)
    for n in range(h.vl):
        at = u64(where[n])
        out[n] = source[at] if at < most else kind(0)


SIXTEEN = (u16, u16, u16, u16)


def vrgather_vv(h: Hart, i: Operands) -> None:
    begin(h, i, SINGLE, SINGLE, SINGLE)
    check_apart(h, i.rd, emul(h, SINGLE), i.rs2, emul(h, SINGLE))
    check_apart(h, i.rd, emul(h, SINGLE), i.rs1, emul(h, SINGLE))
    gather_vector(h, i, U)


def vrgatherei16_vv(h: Hart, i: Operands) -> None:
    begin(h, i, SINGLE, SINGLE, NONE)
    m = h.v_lmul + 1 - i32(h.v_sew)
    check_group(h, i.rs1, m, i32(4))
    check_sources(h, i.rs1, m, i32(4), i.rs2, emul(h, SINGLE), eew(h, SINGLE))
    if i.rs3 == 0 and i.rs1 == 0:
        illegal(h)
    check_apart(h, i.rd, emul(h, SINGLE), i.rs2, emul(h, SINGLE))
    check_apart(h, i.rd, emul(h, SINGLE), i.rs1, m)
    gather_vector(h, i, SIXTEEN)


@noinline
def gather_scalar(h: Hart, i: Operands, at: u64) -> None:
    """Copy one element of vs2, or 0 for an index beyond VLMAX, to all of vd."""
    begin(h, i, SINGLE, SINGLE, NONE)
    check_apart(h, i.rd, emul(h, SINGLE), i.rs2, emul(h, SINGLE))
    value = u64(0)
    if at < most_elements(h):
        value = get_element(h, group(h, i.rs2), at)
    commit(h, splat(h, value), i.rd, i.rs3, h.v_sew)


def vrgather_vx(h: Hart, i: Operands) -> None:
    gather_scalar(h, i, h.x[i.rs1])


def vrgather_vi(h: Hart, i: Operands) -> None:
    gather_scalar(h, i, u64(i.imm))


forms(
    "vrgather", "001100", {"vv": vrgather_vv, "vx": vrgather_vx, "vi": vrgather_vi}, OPI,
    immediate=UNSIGNED,
)  # fmt: skip
forms("vrgatherei16", "001110", {"vv": vrgatherei16_vv}, OPI)

# ---- compress (30.16.5)


def vcompress(h: Hart, i: Operands) -> None:
    begin(h, i, SINGLE, SINGLE, MASK)
    from_the_start(h)
    check_apart(h, i.rd, emul(h, SINGLE), i.rs2, emul(h, SINGLE))
    check_apart(h, i.rd, emul(h, SINGLE), i.rs1, i32(0))
    compress(h, i)


@noinline
def compress(h: Hart, i: Operands) -> None:
    """Pack the elements of vs2 that vs1 selects into the first ones of vd."""
    count = u64(0)
    for n in range(h.vl):
        if mask_bit(h, i.rs1, u64(n)):
            value = get_element(h, group(h, i.rs2), u64(n))
            set_element(group(h, i.rd), h.v_sew, count, value)
            count = count + 1


single("vcompress.vm", "010111 vm=1 vs2 vs1 010 vd", "vd, vs2, vs1", vcompress)
