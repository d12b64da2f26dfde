"""A bare supervisor program reads and writes the console by SBI calls."""

from __future__ import annotations

from pathlib import Path

import pytest

from innkeeper.api import Guest
from innkeeper.isa.riscv.asm import assemble
from innkeeper.machines.outcome import End

LEGACY = """
read:
    li a7, 2            # legacy console getchar
    ecall
    bltz a0, read
"""
DEBUG_CONSOLE = """
read:
    li a7, 0x4442434E   # DBCN
    li a6, 1            # console read
    li a0, 1
    la a1, buffer
    li a2, 0
    ecall
    bnez a0, fail
    beqz a1, read
    la t0, buffer
    lbu a0, 0(t0)
"""
REST = """
    addi a0, a0, 1
    li a7, 1            # legacy console putchar
    ecall
    li a7, 0x53525354   # SRST shutdown
    li a6, 0
    li a0, 0
    li a1, 0
    ecall
after:
    li t0, 0x10000000   # a machine that was powered off does not get here
    li t1, 0x21
    sb t1, 0(t0)
fail:
    j fail
.align 3
buffer: .zero 8
"""


@pytest.mark.parametrize("reader", [LEGACY, DEBUG_CONSOLE], ids=["getchar", "debug console"])
def test_a_byte_comes_in_and_another_goes_out(reader: str, tmp_path: Path) -> None:
    path = tmp_path / "program.bin"
    path.write_bytes(assemble(reader + REST, base=0x80200000).image)
    with Guest.boot(kernel=path, raw=True, memory_bytes=64 << 20) as guest:
        guest.console.send("A")
        guest.console.expect(b"B", timeout_s=30)
        assert guest.wait(30).end is End.POWER_OFF
        assert guest.console.output == b"B"
