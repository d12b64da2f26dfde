"""vsetvli, vsetivli, vsetvl: the vector length and type (Unprivileged 20240411, 30.6)."""

from __future__ import annotations

from innkeeper.isa.riscv.hart import SINK, VILL, Hart, Operands
from innkeeper.isa.riscv.status import VS
from innkeeper.isa.riscv.v_encoding import OP_V, V
from innkeeper.isa.riscv.v_state import MAX_SEW_LOG2, enable
from innkeeper.isa.riscv.v_whole import at_once, vlmax
from innkeeper.native.intrinsics import inline, noinline
from innkeeper.native.types import i32, u32, u64

VSEW_SHIFT, VTYPE_BITS = 3, 0xFF
VLMUL_RESERVED = 4
KEEP_VL = 0xFFFFFFFFFFFFFFFE
"""An AVL that stands for the current vl (30.6.2); as a number it would mean VLMAX anyway."""


@noinline
def set_config(h: Hart, avl: u64, vtype: u64) -> u64:
    """Set vtype and vl where vectors may be off; see `configure`."""
    enable(h)
    return configure(h, avl, vtype)


@inline
def configure(h: Hart, avl: u64, vtype: u64) -> u64:
    """Set vtype and vl for an application vector length; return the new vl.

    vl is the smaller of AVL and VLMAX. An unsupported vtype sets vill and vl to 0; so does keeping
    vl where VLMAX changes, which is reserved.
    """
    sew = u32(vtype >> VSEW_SHIFT) & 7
    lmul = i32((vtype & 7) ^ 4) - 4
    most = u64(0)
    if (vtype & ~u64(VTYPE_BITS)) == 0 and (vtype & 7) != VLMUL_RESERVED and sew <= MAX_SEW_LOG2:
        # SEW must not exceed LMUL * ELEN for a fractional LMUL (30.3.4.2).
        if i32(sew) <= lmul + MAX_SEW_LOG2:
            most = vlmax(sew, lmul)
    if avl == KEEP_VL and (h.vtype == VILL or most != vlmax(h.v_sew, h.v_lmul)):
        most = u64(0)
    h.vstart = u64(0)
    if most == 0:
        h.vtype = u64(VILL)
        h.vl = u64(0)
        h.v_whole = u32(0)
        return u64(0)
    h.vtype = vtype
    h.v_sew = sew
    h.v_lmul = lmul
    if avl != KEEP_VL:
        h.vl = avl if avl < most else most
    h.v_whole = sew + 1 if lmul >= 0 and h.vl == most else u32(0)
    h.v_count = u32(1) << u32(lmul) if lmul >= 0 else u32(1)
    return h.vl


@inline
def is_quick(h: Hart) -> bool:
    """Tell whether this is a short form, and vectors are on and Dirty already."""
    return at_once(h) and (h.mstatus & VS) == VS


@inline
def application_length(h: Hart, i: Operands) -> u64:
    """Return the AVL that rs1 and rd ask for (30.6.2, table)."""
    if i.rs1 != 0:
        asked = h.x[i.rs1]
        return ~u64(0) if asked == KEEP_VL else asked
    return u64(KEEP_VL) if i.rd == SINK else ~u64(0)


@V.insn("vsetvli", f"0 uimm[10:0] rs1 111 rd {OP_V}", "rd, rs1, vtypei")
def vsetvli(h: Hart, i: Operands) -> None:
    if not is_quick(h):
        h.x[i.rd] = set_config(h, application_length(h, i), u64(i.imm))
    else:
        h.x[i.rd] = configure(h, application_length(h, i), u64(i.imm))


@V.insn("vsetivli", f"11 uimm[9:0] rs1 111 rd {OP_V}", "rd, zimm, vtypei")
def vsetivli(h: Hart, i: Operands) -> None:
    if not is_quick(h):
        h.x[i.rd] = set_config(h, u64(i.rs1), u64(i.imm))
    else:
        h.x[i.rd] = configure(h, u64(i.rs1), u64(i.imm))


@V.insn("vsetvl", f"1000000 rs2 rs1 111 rd {OP_V}", "rd, rs1, rs2")
def vsetvl(h: Hart, i: Operands) -> None:
    if not is_quick(h):
        h.x[i.rd] = set_config(h, application_length(h, i), h.x[i.rs2])
    else:
        h.x[i.rd] = configure(h, application_length(h, i), h.x[i.rs2])
