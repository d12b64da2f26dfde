"""`inn cpu` on small programs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HELLO = """\
_start:
    li a7, 64
    li a0, 1
    la a1, text
    li a2, 6
    ecall
    li a7, 93
    li a0, 5
    ecall
text: .ascii "hello\\n"
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "hello.s"
    path.write_text(HELLO)
    return path


def cpu(*words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "innkeeper", "cpu", *words]
    return subprocess.run(command, input=stdin, capture_output=True, check=False)


def test_a_program_runs_from_source_and_from_its_elf_file(source: Path) -> None:
    made = source.with_suffix(".elf")
    assert cpu("asm", str(source), "-o", str(made)).returncode == 0
    for file in (source, made):
        done = cpu("run", str(file))
        assert (done.returncode, done.stdout, done.stderr) == (5, b"hello\n", b"")


def test_assembling_lists_and_disassembling_reads_it_back(source: Path) -> None:
    listing = cpu("asm", "-", stdin=HELLO.encode()).stdout.decode().splitlines()
    assert listing[:2] == ["_start:", "0x80000000:  04000893     li a7, 64"]
    made = source.with_suffix(".bin")
    assert cpu("asm", str(source), "--format", "bin", "-o", str(made)).returncode == 0
    assert cpu("disasm", str(made)).stdout.decode().splitlines()[0] == listing[1]
    words = cpu("disasm", "--hex", "02a00513", "0x8082").stdout.decode().split("\n")
    assert [line.rsplit("  ", 1)[-1] for line in words[:2]] == ["li a0, 42", "ret"]


def test_a_trace_shows_what_each_instruction_changed(source: Path) -> None:
    done = cpu("trace", "--limit", "2", str(source))
    lines = done.stdout.decode().splitlines()
    assert [line.split()[0] for line in lines] == ["0x80000000", "0x80000004"]
    assert [line.split()[-1] for line in lines] == ["a7=0x40", "a0=0x1"]


def test_a_program_that_does_not_end_meets_its_limit(source: Path) -> None:
    source.write_text("_start: j _start\n")
    done = cpu("run", "--limit", "1000", "--registers", str(source))
    assert done.returncode == 124
    assert b"  pc 0000000080000000" in done.stderr


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ("_start: frob a0\n", 2, b"hello.s:1"),
        ("_start: .word 0\n", 125, b"illegal instruction"),
        ("_start: li a0, 16\n lw a0, (a0)\n", 125, b"access"),
    ],
)
def test_a_program_at_fault_is_told_so(source: Path, text: str, status: int, said: bytes) -> None:
    source.write_text(text)
    done = cpu("run", str(source))
    assert done.returncode == status
    assert done.stderr.startswith(b"inn: ") and said in done.stderr.lower()
