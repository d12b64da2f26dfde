"""The kernel's view of the hart: what it lists, what it tells programs, and what it then uses."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from innkeeper.api import Guest
from innkeeper.images.store import Manifest
from innkeeper.isa.riscv.asm import assemble, elf_image
from innkeeper.isa.riscv.profiles import EXTENSION_NAMES

pytestmark = pytest.mark.guest

LISTED_BY_LINUX_6_12 = (
    "zicbom_zicboz_zicntr_zicond_zicsr_zifencei_zihintntl_zihintpause_zihpm_zimop_zawrs_zfa_zfh_"
    "zfhmin_zca_zcb_zcd_zcmop_zba_zbb_zbc_zbkb_zbkc_zbkx_zbs_zknd_zkne_zknh_sscofpmf_sstc_svinval_"
    "svnapot_svpbmt_svvptc"
)

HWPROBE = {
    "Zba": 3, "Zbb": 4, "Zbs": 5, "Zicboz": 6, "Zbc": 7, "Zbkb": 8, "Zbkc": 9, "Zbkx": 10,
    "Zknd": 11, "Zkne": 12, "Zknh": 13, "Zfh": 27, "Zfhmin": 28, "Zihintntl": 29, "Zfa": 32,
    "Zicond": 35, "Zihintpause": 36, "Zimop": 42, "Zca": 43, "Zcb": 44, "Zcd": 45, "Zcmop": 47,
    "Zawrs": 48,
}  # fmt: skip
"""Bits of RISCV_HWPROBE_KEY_IMA_EXT_0 (Linux, Documentation/arch/riscv/hwprobe.rst)."""

PROGRAM = """
# Ask riscv_hwprobe for IMA_EXT_0; write it, and what a 64 KiB huge page holds, to stdout.
_start:
    la a0, pair
    li a1, 1
    li a2, 0
    li a3, 0
    li a4, 0
    li a7, 258
    ecall
    li a0, 0
    li a1, 1 << 16
    li a2, 3
    li a3, 0x22 | 0x40000 | 16 << 26    # MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, 64 KiB
    li a4, -1
    li a5, 0
    li a7, 222
    ecall
    la s1, found
    sd a0, 0(s1)
    bltz a0, out
    li t0, 16
    mv t1, a0
fill:
    sd t0, 0(t1)
    lui t2, 1
    add t1, t1, t2
    addi t0, t0, -1
    bnez t0, fill
    li t0, 16
    li t3, 0
    mv t1, a0
sum:
    ld t4, 0(t1)
    add t3, t3, t4
    lui t2, 1
    add t1, t1, t2
    addi t0, t0, -1
    bnez t0, sum
    sd t3, 8(s1)
    cbo.zero (a0)
    ld t4, 0(a0)
    sd t4, 16(s1)
out:
    li a0, 1
    la a1, pair
    li a2, 40
    li a7, 64
    ecall
    li a0, 0
    li a7, 93
    ecall
.data
pair: .dword 4, 0
found: .dword 0, 0, 99
"""


def test_linux_lists_and_uses_the_extensions(image: Manifest, tmp_path: Path) -> None:
    program = tmp_path / "probe"
    program.write_bytes(elf_image(assemble(PROGRAM, base=0x10000)))
    program.chmod(0o755)
    script = (
        "grep -m1 ^isa /proc/cpuinfo; echo 1 >/sys/kernel/mm/hugepages/hugepages-64kB/nr_hugepages;"
        " /v/probe >/v/answer"
    )
    done = Guest.run("busybox", ["sh", "-c", script], volumes=[f"{tmp_path}:/v"])
    assert done.status == 0, done.stderr
    listed = done.stdout.decode().split(":")[1].strip().split("_")[1:]
    assert set(LISTED_BY_LINUX_6_12.split("_")) <= set(listed)
    scalar = {name for name in listed if not name.startswith("zv")}  # V implies names of its own
    assert scalar <= set(EXTENSION_NAMES)
    key, bits, page, total, zeroed = struct.unpack("<5q", (tmp_path / "answer").read_bytes())
    assert key == 4
    assert [name for name, bit in HWPROBE.items() if not bits >> bit & 1] == []
    assert page > 0 and page % (1 << 16) == 0, "no 64 KiB page (Svnapot)"
    assert (total, zeroed) == (sum(range(1, 17)), 0)
