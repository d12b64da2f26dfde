"""Every F, D, Zfh and Zfa instruction at the edges: the host's unit against softfloat, flags too."""

from __future__ import annotations

import random
from typing import Any

import pytest

from innkeeper.isa.riscv.codec import encode
from innkeeper.isa.riscv.profiles import extensions
from innkeeper.isa.riscv.random_values import INTERESTING, random_float, random_integer
from innkeeper.isa.riscv.spec import Instruction
from tests.engine.harness import FS_DIRTY, RAM_BASE, both, program, run_tier0

TABLE = RAM_BASE + 0x4_0000
RESULTS = RAM_BASE + 0x8_0000
VALUES = 64
SAMPLES = 5
MEMORY = ("flw", "fsw", "fld", "fsd", "flh", "fsh")
ARITHMETIC = [
    i
    for e in extensions()
    if e.name in ("F", "D", "Zfh", "Zfa")
    for i in e.instructions
    if i.name not in MEMORY
]
HEAD = f"""
_start:
    li s0, {TABLE}
    li s1, {RESULTS}
"""
DYN = 7


def one(rng: random.Random, instruction: Instruction, mode: int) -> list[int | str]:
    """Return source and words: load operands, clear the flags, execute, store result and flags."""
    lines: list[int | str] = []
    for n in range(3):
        lines.append(f"fld fa{n}, {rng.randrange(VALUES) * 8}(s0)")
    lines.append(f"ld a0, {(VALUES + rng.randrange(VALUES)) * 8}(s0)")
    lines.append("csrw fflags, x0")
    if instruction.name == "fcvtmod.w.d":
        mode = 1
    values = {"rd": 13, "rs1": 10, "rs2": 11, "rs3": 12}
    values = {k: v for k, v in values.items() if k in instruction.registers}
    lines.append(encode(instruction, values | ({"imm": mode} if instruction.pieces else {})))
    store = "fsd fa3" if "rd" in instruction.float_registers else "sd a3"
    lines += [f"{store}, 0(s1)", "csrr a4, fflags", "sd a4, 8(s1)", "addi s1, s1, 16"]
    return lines


@pytest.mark.parametrize("mode", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("dynamic", [True, False], ids=["dynamic", "static"])
def test_edges_in_every_rounding_mode(mode: int, dynamic: bool) -> None:
    rng = random.Random(f"{mode} {dynamic}")
    table = [random_float(rng) for _ in range(VALUES)]
    table += [random_integer(rng) for _ in range(VALUES - len(INTERESTING))] + list(INTERESTING)
    lines: list[int | str] = []
    for instruction in ARITHMETIC:
        for _ in range(SAMPLES):
            lines += one(rng, instruction, DYN if dynamic else mode)
    text = "\n".join(line if isinstance(line, str) else f".word {line:#x}" for line in lines)
    made = program(f"{HEAD}\n{text}\nj done\ndone: nop\n")
    assert len(made.image) < TABLE - RAM_BASE
    image = made.image + bytes(TABLE - RAM_BASE - len(made.image))
    image += b"".join(v.to_bytes(8, "little") for v in table)

    def setup(raw: Any) -> None:
        raw.mstatus, raw.frm = FS_DIRTY, mode if dynamic else 0
        raw.fp_ready = int(raw.frm <= 3)

    end = both(image, made.entry, (made.symbols["done"],), setup)
    assert end.x(9) == RESULTS + len(ARITHMETIC) * SAMPLES * 16


def test_flags_survive_slices_and_devices() -> None:
    """Accrued flags are kept across device accesses, traps and the end of a slice."""
    made = program(
        """
_start:
    la t0, trap
    csrw mtvec, t0
    li s0, DEVICE
    li t0, 1
    fcvt.d.l fa0, t0
    li t0, 3
    fcvt.d.l fa1, t0
    fmv.d.x fa2, x0
    fdiv.d fa3, fa0, fa1
    sw x0, 0(s0)
    li t0, 50000
1:  addi t0, t0, -1
    bnez t0, 1b
    csrr a0, fflags
    fdiv.d fa4, fa0, fa2
    ecall
    csrr a1, fflags
    csrwi frm, 2
    lw a2, 0(s0)
    fdiv.d fa5, fa0, fa1
    fmv.x.d a3, fa5
    fmv.x.d a4, fa3
    j done
.align 2
trap: csrr t0, mepc
    addi t0, t0, 4
    csrw mepc, t0
    mret
done: nop
"""
    )

    def setup(raw: Any) -> None:
        raw.mstatus, raw.fp_ready = FS_DIRTY | 3 << 11, 1

    end = run_tier0(made.image, made.entry, (made.symbols["done"],), setup)
    assert (end.x(10), end.x(11)) == (1, 9)
    assert end.x(13) == 0x3FD5555555555555 == end.x(14)
