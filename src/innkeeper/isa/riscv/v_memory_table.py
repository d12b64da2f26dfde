"""Vector loads and stores: their encodings (Unprivileged 20240411, 30.7)."""

from __future__ import annotations

from functools import partial

from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.ops import resync
from innkeeper.isa.riscv.v_encoding import V
from innkeeper.isa.riscv.v_memory import (
    begin_indexed,
    begin_plain,
    fault_only_first,
    indexed,
    load_run,
    store_run,
    strided,
    whole_last,
)
from innkeeper.isa.riscv.v_state import depend, dirty, enable
from innkeeper.isa.riscv.v_whole import (
    not_whole,
    whole_load,
    whole_store,
    whole_width,
)
from innkeeper.native.intrinsics import inline, noinline
from innkeeper.native.types import Const, u32, u64

WIDTHS = ("000", "101", "110", "111")
"""The width field for elements of 1, 2, 4 and 8 bytes (30.7.3, table 13)."""

LOAD_FP, STORE_FP = "0000111", "0100111"
MOST_FIELDS = 8


@inline
def finish(h: Hart, i: Operands) -> None:
    """End an access: a device may have stopped the machine."""
    if h.stop != 0:
        resync(h, i)


def load_unit(h: Hart, i: Operands, size: Const) -> None:
    if not_whole(h, i, i.rd) or h.v_whole != size + 1 or i.imm != 0:
        begin_plain(h, i, size)
        if i.imm == 0:
            load_run(h, i.rd, i.rs3, size, h.vl, h.x[i.rs1])
        else:
            strided(h, i, size, u64(u32(i.imm) + 1) << size, True)
        finish(h, i)
    else:
        whole_load(h, i, h.v_count, size)


def store_unit(h: Hart, i: Operands, size: Const) -> None:
    if not_whole(h, i, i.rd) or h.v_whole != size + 1 or i.imm != 0:
        begin_plain(h, i, size)
        if i.imm == 0:
            store_run(h, i.rd, i.rs3, size, h.vl, h.x[i.rs1])
        else:
            strided(h, i, size, u64(u32(i.imm) + 1) << size, False)
        finish(h, i)
    else:
        whole_store(h, i, h.v_count, size)


def load_strided(h: Hart, i: Operands, size: Const) -> None:
    begin_plain(h, i, size)
    strided(h, i, size, h.x[i.rs2], True)
    finish(h, i)


def store_strided(h: Hart, i: Operands, size: Const) -> None:
    begin_plain(h, i, size)
    strided(h, i, size, h.x[i.rs2], False)
    finish(h, i)


def load_indexed(h: Hart, i: Operands, size: Const) -> None:
    begin_indexed(h, i, size, True)
    indexed(h, i, size, True)
    finish(h, i)


def store_indexed(h: Hart, i: Operands, size: Const) -> None:
    begin_indexed(h, i, size, False)
    indexed(h, i, size, False)
    finish(h, i)


def load_first(h: Hart, i: Operands, size: Const) -> None:
    begin_plain(h, i, size)
    fault_only_first(h, i, size)
    finish(h, i)


@noinline
def load_registers(h: Hart, i: Operands, size: Const) -> None:
    """Load whole registers from vstart on."""
    last = whole_last(h, i, size)
    enable(h)
    load_run(h, i.rd, i.rs3, size, last, h.x[i.rs1])


def load_whole(h: Hart, i: Operands, size: Const) -> None:
    if whole_width(h) == 0 or (u32(i.rd) & u32(i.imm)) != 0:
        load_registers(h, i, size)
        finish(h, i)
    else:
        whole_load(h, i, u32(i.imm) + 1, size)


@noinline
def store_registers(h: Hart, i: Operands, size: Const) -> None:
    """Store whole registers from vstart on."""
    last = whole_last(h, i, size)
    enable(h)
    store_run(h, i.rd, i.rs3, size, last, h.x[i.rs1])


def store_whole(h: Hart, i: Operands, size: Const) -> None:
    if whole_width(h) == 0 or (u32(i.rd) & u32(i.imm)) != 0:
        store_registers(h, i, size)
        finish(h, i)
    else:
        whole_store(h, i, u32(i.imm) + 1, size)


def vlm(h: Hart, i: Operands) -> None:
    depend(h)
    dirty(h)
    load_run(h, i.rd, i.rs3, u32(0), (h.vl + 7) >> 3, h.x[i.rs1])
    finish(h, i)


def vsm(h: Hart, i: Operands) -> None:
    depend(h)
    dirty(h)
    store_run(h, i.rd, i.rs3, u32(0), (h.vl + 7) >> 3, h.x[i.rs1])
    finish(h, i)


# name of the plain and of the segment form, mop, vm and the operand field, syntax, meaning
_LOADS = (
    ("vle{e}.v", "vlseg{n}e{e}.v", "00", "00000", "vd, (rs1), vm", load_unit),
    ("vle{e}ff.v", "vlseg{n}e{e}ff.v", "00", "10000", "vd, (rs1), vm", load_first),
    ("vlse{e}.v", "vlsseg{n}e{e}.v", "10", "rs2", "vd, (rs1), rs2, vm", load_strided),
    ("vluxei{e}.v", "vluxseg{n}ei{e}.v", "01", "vs2", "vd, (rs1), vs2, vm", load_indexed),
    ("vloxei{e}.v", "vloxseg{n}ei{e}.v", "11", "vs2", "vd, (rs1), vs2, vm", load_indexed),
)
_STORES = (
    ("vse{e}.v", "vsseg{n}e{e}.v", "00", "00000", "vs3, (rs1), vm", store_unit),
    ("vsse{e}.v", "vssseg{n}e{e}.v", "10", "rs2", "vs3, (rs1), rs2, vm", store_strided),
    ("vsuxei{e}.v", "vsuxseg{n}ei{e}.v", "01", "vs2", "vs3, (rs1), vs2, vm", store_indexed),
    ("vsoxei{e}.v", "vsoxseg{n}ei{e}.v", "11", "vs2", "vs3, (rs1), vs2, vm", store_indexed),
)

for _table, _register, _opcode in ((_LOADS, "vd", LOAD_FP), (_STORES, "vs3", STORE_FP)):
    for _one, _many, _mop, _field, _syntax, _meaning in _table:
        for _size, _width in enumerate(WIDTHS):
            for _fields in range(1, MOST_FIELDS + 1):
                V.insn(
                    (_one if _fields == 1 else _many).format(e=8 << _size, n=_fields),
                    f"nf={_fields - 1:03b} 0 {_mop} vm {_field} rs1 {_width} {_register} {_opcode}",
                    _syntax,
                )(partial(_meaning, size=_size))

for _fields in (1, 2, 4, 8):
    _nf = f"nf={_fields - 1:03b} 000 vm=1 01000 rs1"
    for _size, _width in enumerate(WIDTHS):
        _name = f"vl{_fields}re{8 << _size}.v"
        V.insn(_name, f"{_nf} {_width} vd {LOAD_FP}", "vd, (rs1)")(partial(load_whole, size=_size))
    V.insn(f"vs{_fields}r.v", f"{_nf} 000 vs3 {STORE_FP}", "vs3, (rs1)")(
        partial(store_whole, size=0)
    )

V.insn("vlm.v", f"nf=000 000 vm=1 01011 rs1 000 vd {LOAD_FP}", "vd, (rs1)")(vlm)
V.insn("vsm.v", f"nf=000 000 vm=1 01011 rs1 000 vs3 {STORE_FP}", "vs3, (rs1)")(vsm)
