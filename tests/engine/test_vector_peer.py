"""Random vector programs under Debian's `qemu-riscv64`, an independent implementation of RVV 1.0."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from innkeeper.isa.riscv.asm import assemble, elf_image
from innkeeper.isa.riscv.disasm import disassemble
from innkeeper.isa.riscv.vector import VECTOR
from tests.engine.harness import RAM_BASE
from tests.engine.vector_program import WINDOW_BYTES, VectorProgram, generate, names_of

QEMU = shutil.which("qemu-riscv64") or shutil.which("qemu-riscv64-static")
pytestmark = pytest.mark.skipif(QEMU is None, reason="qemu-riscv64 (user mode) is not installed")

CPU = "rv64,v=true,vext_spec=v1.0,vlen=128,elen=64"
BASE = RAM_BASE + 0x1000
WINDOW = RAM_BASE + 0x1_0000
COUNT = 100
DUMP_BYTES = 32 * 8 + 32 * 8 + 32 * 16 + 4 * 8

PEER_IS_WRONG = (".rtz.", ".rod.")
"""QEMU 7.2 aborts when it translates a conversion with a rounding mode of its own."""


def source(made: VectorProgram) -> str:
    """Load the state, run the program, write registers and window to stdout."""
    load = "\n".join(f"    fld f{n}, {n * 8}(x31)" for n in range(32))
    load += "\n    addi x30, x31, 512" + "".join(
        f"\n    vl8re8.v v{n}, (x30)\n    addi x30, x30, 128" for n in (0, 8, 16, 24)
    )
    load += "\n" + "\n".join(f"    ld x{n}, {256 + n * 8}(x31)" for n in range(1, 31))
    save = "\n".join(f"    sd x{n}, {n * 8}(x2)" for n in range(1, 32) if n != 2)
    save += "\n" + "\n".join(f"    fsd f{n}, {256 + n * 8}(x2)" for n in range(32))
    values = ", ".join(f"{v:#x}" for v in (*made.f, *made.x))
    return f"""
.option norvc
_start:
    la x31, values
{load}
    ld x31, {256 + 31 * 8}(x31)
    fsrmi {made.frm}
    csrwi vxrm, {made.vxrm}
    j program
.align 3
values: .dword {values}
    .byte {", ".join(map(str, made.v))}
.org {BASE - RAM_BASE:#x}
program: .word {", ".join(map(hex, made.words))}
finished:
    la x2, dump
{save}
    csrr x5, vl
    csrr x6, vtype
    csrr x7, vcsr
    frflags x8
    sd x5, 1024(x2)
    sd x6, 1032(x2)
    sd x7, 1040(x2)
    sd x8, 1048(x2)
    addi x30, x2, 512
    vs8r.v v0, (x30)
    addi x30, x30, 128
    vs8r.v v8, (x30)
    addi x30, x30, 128
    vs8r.v v16, (x30)
    addi x30, x30, 128
    vs8r.v v24, (x30)
    li a7, 64
    li a0, 1
    mv a1, x2
    li a2, {DUMP_BYTES}
    ecall
    li a7, 64
    li a0, 1
    li a1, {WINDOW:#x}
    li a2, {WINDOW_BYTES}
    ecall
    li a7, 93
    li a0, 0
    ecall
.align 4
dump: .zero {DUMP_BYTES}
.org {WINDOW - RAM_BASE:#x}
    .zero {WINDOW_BYTES}
"""


def in_qemu(made: VectorProgram, folder: Path) -> bytes:
    assert QEMU is not None
    path = folder / "program"
    program = assemble(source(made), base=RAM_BASE)
    image = program.image[: WINDOW - RAM_BASE] + made.window
    path.write_bytes(elf_image(replace(program, image=image)))
    path.chmod(0o755)
    done = subprocess.run(
        [QEMU, str(path)], capture_output=True, env={**os.environ, "QEMU_CPU": CPU}, timeout=60
    )
    assert done.returncode == 0, done
    assert len(done.stdout) == DUMP_BYTES + WINDOW_BYTES
    return done.stdout


def expected(made: VectorProgram) -> list[tuple[str, int]]:
    end = made.end.raw
    words = [(f"x{n}", end.x[n]) for n in range(32)] + [(f"f{n}", end.f[n]) for n in range(32)]
    words += [(f"v{n // 2}", end.v[n]) for n in range(64)]
    vcsr = end.vxsat | end.vxrm << 1
    return [*words, ("vl", end.vl), ("vtype", end.vtype), ("vcsr", vcsr), ("fflags", end.fflags)]


@pytest.mark.parametrize("seed", range(12))
def test_random_programs_as_qemu_runs_them(seed: int, tmp_path: Path) -> None:
    names = [n for n in names_of(VECTOR[0]) if not any(part in n for part in PEER_IS_WRONG)]
    frm = seed % 5
    made = generate(
        seed + 1000, names, count=COUNT, base=BASE, window=WINDOW, frm=frm, half=False
    )  # QEMU 7.2 has no Zvfh
    theirs = in_qemu(made, tmp_path)
    wrong = []
    for n, (name, value) in enumerate(expected(made)):
        got = int.from_bytes(theirs[n * 8 : n * 8 + 8], "little")
        if got != value and name not in ("x0", "x2"):  # x2 points to the dump by then
            wrong.append(f"{name}: qemu {got:#x}, ours {value:#x}")
    if theirs[DUMP_BYTES:] != made.window_after:
        wrong.append("memory")
    assert not wrong, "\n".join([*wrong, *(disassemble(w) for w in made.words)])
