"""Debian's kernel switches vector state between processes (it lives in the guest's task structs)."""

from __future__ import annotations

from pathlib import Path

import pytest

from innkeeper.api import Guest
from innkeeper.base.errors import DownloadError, NotFoundError
from innkeeper.images import debian
from innkeeper.isa.riscv.asm import assemble, elf_image

pytestmark = pytest.mark.guest

# Every register of v8 to v31 depends on the process; a system call would let the kernel forget them.
PROGRAM = """
.option norvc
_start:
    li a7, 172
    ecall
    vsetvli t0, zero, e32, m8, ta, ma
    vmv.v.x v8, a0
    vid.v v16
    vadd.vv v8, v8, v16
    vadd.vx v24, v8, a0
    vmv.v.v v16, v24
    li s1, 12000
again:
    li s2, 200
spin:
    vxor.vv v16, v16, v8
    vxor.vv v16, v16, v8
    addi s2, s2, -1
    bnez s2, spin
    vmsne.vv v0, v16, v24
    vcpop.m a0, v0
    bnez a0, out
    addi s1, s1, -1
    bnez s1, again
out:
    li a7, 93
    ecall
"""

SCRIPT = """
grep -o 'hart isa.*' /proc/cpuinfo
/v/spin & a=$!; /v/spin & b=$!; /v/spin & c=$!
wait $a; echo $?; wait $b; echo $?; wait $c; echo $?
"""


def test_processes_keep_their_vectors(tmp_path: Path) -> None:
    try:
        debian.build("busybox")
    except (DownloadError, NotFoundError) as error:
        pytest.skip(f"no Debian mirror: {error}")
    program = tmp_path / "spin"
    program.write_bytes(elf_image(assemble(PROGRAM, base=0x10000)))
    program.chmod(0o755)
    done = Guest.run("busybox", ["sh", "-c", SCRIPT], volumes=[f"{tmp_path}:/v:ro"])
    isa, *statuses = done.stdout.decode().split("\n")
    assert "rv64imafdcv_" in isa and "_zvbb_" in isa and "_zvfh" in isa
    assert statuses == ["0", "0", "0", ""], (done.stdout, done.stderr)
