"""The vector spellings of assembly: vtypes, masks, aliases, and what is refused."""

from __future__ import annotations

import pytest

from innkeeper.isa.riscv.asm import AssemblyError, assemble
from innkeeper.isa.riscv.disasm import disassemble


def bits(line: str) -> int:
    return int.from_bytes(assemble(line, base=0x1000).image, "little")


@pytest.mark.parametrize(
    ("line", "word"),
    [  # as GNU binutils 2.40 assembles them
        ("vsetvli a0, a1, e32, m1, ta, ma", 0x0D05F557),
        ("vsetivli a0, 5, e8, mf8, tu, mu", 0xC052F557),
        ("vsetvl a0, a1, a2", 0x80C5F557),
        ("vadd.vv v8, v16, v24", 0x030C0457),
        ("vadd.vi v8, v16, -5, v0.t", 0x010DB457),
        ("vle32.v v8, (a0)", 0x02056407),
        ("vlseg3e16.v v8, (a0), v0.t", 0x40055407),
        ("vfmacc.vf v8, fa0, v16", 0xB3055457),
        ("vmv4r.v v8, v16", 0x9F01B457),
    ],
)
def test_encodings(line: str, word: int) -> None:
    assert bits(line) == word and disassemble(word) == line


@pytest.mark.parametrize(
    ("alias", "line"),
    [
        ("vneg.v v1, v2, v0.t", "vrsub.vx v1, v2, zero, v0.t"), ("vnot.v v1, v2", "vxor.vi v1, v2, -1"),
        ("vmsgt.vv v1, v2, v3", "vmslt.vv v1, v3, v2"), ("vmset.m v1", "vmxnor.mm v1, v1, v1"),
        ("vmmv.m v1, v2", "vmand.mm v1, v2, v2"), ("vl2r.v v2, (a0)", "vl2re8.v v2, (a0)"),
        ("vfabs.v v1, v2", "vfsgnjx.vv v1, v2, v2"), ("vsetvli a0, a1, 208", "vsetvli a0, a1, e32, m1, ta, ma"),
    ],
)  # fmt: skip
def test_aliases(alias: str, line: str) -> None:
    assert bits(alias) == bits(line)


@pytest.mark.parametrize(
    "line",
    ["vadd.vv v8, v16, a0", "vadd.vx v8, v16, v2", "vadd.vv v8, v16, v32", "vadd.vi v8, v16, 16",
     "vsetvli a0, a1, e32, m3, ta, ma", "vsetvli a0, a1, e32, m1", "vadd.vv v8, v16, v24, v1.t",
     "vadc.vvm v8, v16, v24, v1", "vle32.v v8, 4(a0)", "vle32.v a0, (a0)"],
)  # fmt: skip
def test_refusals(line: str) -> None:
    with pytest.raises(AssemblyError):
        bits(line)
