"""Random user-level programs under Debian's `qemu-riscv64`, an independent implementation."""

from __future__ import annotations

import random
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from innkeeper.isa.riscv.asm import assemble, elf_image
from innkeeper.isa.riscv.random_program import SCRATCH_BYTES, RandomProgram, generate
from tests.engine.harness import FS_DIRTY, RAM_BASE, State, run_tier0
from tests.isa import peer

pytestmark = pytest.mark.skipif(
    peer.QEMU is None, reason="qemu-riscv64 (user mode) is not installed"
)

BASE = RAM_BASE + 0x1000
SCRATCH = RAM_BASE + 0x1_0000
WORDS = 32 + 32 + 1
SIZE = WORDS * 8 + SCRATCH_BYTES

LOAD = "\n".join(f"    fld f{n}, {n * 8}(x31)" for n in range(32))
LOAD_X = "\n".join(f"    ld x{n}, {256 + n * 8}(x31)" for n in range(1, 31))
SAVE = "\n".join(f"    sd x{n}, {n * 8}(x2)\n    fsd f{n}, {256 + n * 8}(x2)" for n in range(32))


def source(made: RandomProgram) -> str:
    """Load the registers, run the program, write registers and scratch window to stdout."""
    values = ", ".join(f"{v:#x}" for v in (*made.f, *made.x))
    code = ", ".join(str(b) for b in made.code)
    return f"""
.option norvc
_start:
    la x31, values
{LOAD}
{LOAD_X}
    ld x31, {256 + 31 * 8}(x31)
    j program
.align 3
values: .dword {values}
.align 12
program: .byte {code}
.option norvc
finished:
    la x2, dump
{SAVE}
    frcsr a0
    sd a0, 512(x2)
    li a7, 64
    li a0, 1
    mv a1, x2
    li a2, {SIZE}
    ecall
    li a7, 93
    li a0, 0
    ecall
.org {SCRATCH - WORDS * 8 - RAM_BASE:#x}
dump: .zero {SIZE}
"""


def in_qemu(elf: bytes, folder: Path) -> bytes:
    path = folder / "program"
    path.write_bytes(elf)
    path.chmod(0o755)
    done = subprocess.run(
        [str(peer.QEMU), path], capture_output=True, env=peer.ENVIRONMENT, timeout=60
    )
    assert done.returncode == 0, done
    assert len(done.stdout) == SIZE
    return done.stdout


def flat(end: State) -> bytes:
    words = [end.x(n) for n in range(32)] + [end.values[f"f{n}"] for n in range(32)]
    words.append(end.fflags | end.frm << 5)
    return struct.pack(f"<{WORDS}Q", *words) + end.bytes_at(SCRATCH, SCRATCH_BYTES)


@pytest.mark.parametrize("seed", range(20))
def test_random_programs_as_qemu_runs_them(seed: int, tmp_path: Path) -> None:
    made = generate(
        random.Random(seed + 10_000),
        count=400,
        base=BASE,
        scratch=SCRATCH,
        extensions=peer.peer_extensions(),
    )
    program = assemble(source(made), base=RAM_BASE)
    assert program.symbols["program"] == BASE and program.symbols["dump"] == SCRATCH - WORDS * 8
    theirs = in_qemu(elf_image(program), tmp_path)

    def setup(raw: Any) -> None:
        raw.mstatus, raw.fp_ready = FS_DIRTY, 1

    ours = flat(run_tier0(program.image, program.entry, (program.symbols["finished"],), setup))
    names = [f"x{n}" for n in range(32)] + [f"f{n}" for n in range(32)] + ["fcsr"]
    pairs = zip(
        names,
        struct.unpack_from(f"<{WORDS}Q", theirs),
        struct.unpack_from(f"<{WORDS}Q", ours),
        strict=True,
    )
    # x2 points to the dump in QEMU's.
    wrong = [f"{n}: qemu {a:#x}, ours {b:#x}" for n, a, b in pairs if a != b and n != "x2"]
    assert not wrong, "\n".join(wrong)
    assert theirs[WORDS * 8 :] == ours[WORDS * 8 :]
