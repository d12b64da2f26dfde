"""Zcb: each 16-bit instruction does what the manual's expansion of it does."""

from __future__ import annotations

import pytest

from innkeeper.isa.riscv.asm import assemble
from innkeeper.isa.riscv.disasm import disassemble
from tests.isa.bare import Bare

BASE = 0x8000_0000
DATA = BASE + 0x100
VALUE = 0xFEDC_BA98_7654_F281


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("c.lbu a0, 3(a1)", "lbu a0, 3(a1)"),
        ("c.lhu a0, 2(a1)", "lhu a0, 2(a1)"),
        ("c.lh a0, 2(a1)", "lh a0, 2(a1)"),
        ("c.sb a2, 1(a1)", "sb a2, 1(a1)"),
        ("c.sh a2, 2(a1)", "sh a2, 2(a1)"),
        ("c.zext.b a2", "andi a2, a2, 255"),
        ("c.sext.b a2", "sext.b a2, a2"),
        ("c.zext.h a2", "zext.h a2, a2"),
        ("c.sext.h a2", "sext.h a2, a2"),
        ("c.zext.w a2", "add.uw a2, a2, zero"),
        ("c.not a2", "xori a2, a2, -1"),
        ("c.mul a2, a1", "mul a2, a2, a1"),
    ],
)
def test_expansion(short: str, long: str) -> None:
    ends = []
    for text, size in ((short, 2), (long, 4)):
        code = assemble(text, base=BASE).image
        assert len(code) == size
        m = Bare()
        m.write(BASE, code)
        m.write(DATA, VALUE.to_bytes(8, "little"))
        m.hart.x[11], m.hart.x[12] = DATA, VALUE
        m.step()
        ends.append((list(m.hart.x), m.read(DATA, 8)))
    assert ends[0] == ends[1]
    assert assemble(long, base=BASE, rvc=True).image == assemble(short, base=BASE).image


def test_an_implied_immediate_is_the_only_one() -> None:
    assert len(assemble("andi a2, a2, 254", base=BASE, rvc=True).image) == 4
    assert len(assemble("xori a2, a2, -2", base=BASE, rvc=True).image) == 4


def test_disassembly_shows_the_expansion() -> None:
    assert disassemble(0x9E61) == "zext.b a2, a2"
    assert disassemble(0x9E75) == "not a2, a2"
