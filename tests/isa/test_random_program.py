"""The random-program generator: reproducible, valid, self-contained; and qemu-riscv64 agrees."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from innkeeper.isa.riscv.asm import assemble, elf_image
from innkeeper.isa.riscv.base import I
from innkeeper.isa.riscv.codec import standard_set
from innkeeper.isa.riscv.compressed import C
from innkeeper.isa.riscv.disasm import disassemble_all
from innkeeper.isa.riscv.fp import fp_read_flags
from innkeeper.isa.riscv.random_program import (
    BASE_REGISTERS,
    DEFAULT_LEFT_OUT,
    SCRATCH_BYTES,
    RandomProgram,
    generate,
)
from innkeeper.isa.riscv.spec import Extension
from tests.isa import peer
from tests.isa.bare import Bare

RAM, CODE, SCRATCH = 0x10000, 0x20000, 0x40000
FILL = (0x0123456789ABCDEF).to_bytes(8, "little") * (SCRATCH_BYTES // 8)


def make(
    seed: int, count: int = 120, extensions: Iterable[Extension] | None = None
) -> RandomProgram:
    return generate(
        random.Random(seed), count=count, base=CODE, scratch=SCRATCH, extensions=extensions
    )


def run(program: RandomProgram) -> Bare:
    m = Bare(base=RAM, size=SCRATCH + SCRATCH_BYTES - RAM)
    m.write(program.base, program.code)
    m.write(program.scratch, FILL)
    m.set_state(program.x, program.f)
    m.hart.pc = program.base
    m.run(program.end)
    return m


def test_same_seed_same_program() -> None:
    assert make(1) == make(1) != make(2)


def test_every_instruction_is_valid() -> None:
    for seed in range(20):
        program = make(seed)
        texts = [text for *_, text in disassemble_all(program.code, program.base)]
        assert not [t for t in texts if t.startswith(".") or t == "c.unimp"]


def test_covers_the_instruction_set() -> None:
    seen = set()
    for seed in range(120):
        program = make(seed)
        for _, bits, _, _ in disassemble_all(program.code):
            found = standard_set().find(bits)
            assert found is not None
            seen.add(found.name)
    never = {"ecall", "ebreak", "c.ebreak", "mret", "sret", "wfi", "sfence.vma", "c.addi16sp"}
    never |= {i.name for i in standard_set().instructions if i.extension in DEFAULT_LEFT_OUT}
    assert standard_set().by_name.keys() - seen == never


@pytest.mark.parametrize("seed", range(12))
def test_runs_to_its_end_without_leaving_the_window(seed: int) -> None:
    program = make(seed)
    m = run(program)
    assert m.read(program.base, len(program.code)) == program.code
    assert m.read(program.end, SCRATCH - program.end) == bytes(SCRATCH - program.end)
    assert all(m.hart.x[n] == program.x[n] for n in BASE_REGISTERS)
    assert m.hart.x[0] == 0


def test_extensions_limit_the_instructions() -> None:
    program = generate(random.Random(1), count=300, base=0, scratch=SCRATCH, extensions=[I, C])
    used = {standard_set().find(b).extension for _, b, _, _ in disassemble_all(program.code)}  # type: ignore[union-attr]
    assert used == {"I", "C"}
    with pytest.raises(ValueError, match="base instruction set"):
        generate(random.Random(1), count=1, base=0, scratch=SCRATCH, extensions=[C])


def dwords(values: tuple[int, ...]) -> str:
    return ".dword " + ", ".join(map(hex, values))


def peer_source(program: RandomProgram) -> str:
    """Return a Linux program that sets the state, runs the code and writes out what came of it."""
    newline = "\n"
    return f"""
        _start: la x2, floats
        {newline.join(f"fld f{n}, {n * 8}(x2)" for n in range(32))}
        la x1, integers
        {newline.join(f"ld x{n}, {n * 8}(x1)" for n in range(2, 32))}
        ld x1, 8(x1)
        j code
        integers: {dwords(program.x)}
        floats: {dwords(program.f)}
        save: .space 8 * 65
        .org {CODE - RAM}
        code: .byte {", ".join(map(str, program.code))}
        mv x31, x8
        la x8, save
        {newline.join(f"sd x{n}, {n * 8}(x8)" for n in range(1, 31) if n != 8)}
        sd x31, 64(x8)
        {newline.join(f"fsd f{n}, {256 + n * 8}(x8)" for n in range(32))}
        frcsr t0
        sd t0, 512(x8)
        li a0, 1; mv a1, x8; li a2, 8 * 65; li a7, 64; ecall
        li a0, 1; li a1, {SCRATCH}; li a2, {SCRATCH_BYTES}; ecall
        li a0, 0; li a7, 93; ecall
        .org {SCRATCH - RAM}
        .fill {SCRATCH_BYTES // 8}, 8, 0x0123456789abcdef
    """


@pytest.mark.skipif(peer.QEMU is None, reason="qemu-riscv64 is not installed")
@pytest.mark.parametrize("seed", range(100, 112))
def test_the_reference_agrees_with_qemu(seed: int, tmp_path: Path) -> None:
    program = make(seed, extensions=peer.peer_extensions())
    path = tmp_path / "guest"
    path.write_bytes(elf_image(assemble(peer_source(program), base=RAM)))
    path.chmod(0o755)
    done = subprocess.run(
        [str(peer.QEMU), path], env=peer.ENVIRONMENT, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    words = [int.from_bytes(done.stdout[n : n + 8], "little") for n in range(0, 8 * 65, 8)]
    m = run(program)
    assert [int(m.hart.x[n]) for n in range(1, 31)] == words[1:31]
    assert [int(m.hart.f[n]) for n in range(32)] == words[32:64]
    assert int(m.hart.frm) << 5 | int(fp_read_flags(m.hart)) == words[64]
    assert m.read(SCRATCH, SCRATCH_BYTES) == done.stdout[8 * 65 :]
