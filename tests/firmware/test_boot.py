"""Boot plans: what goes where, who starts how, and what does not fit."""

from __future__ import annotations

import shutil
import struct
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innkeeper.base.errors import LoadError, UsageError
from innkeeper.base.record import replace
from innkeeper.base.units import GIB, KIB, MIB
from innkeeper.firmware.boot import BootPlan, Mode, plan_boot
from innkeeper.firmware.fdt_read import unflatten
from innkeeper.firmware.loader import FileSpan, Kind, Raw, write_all
from innkeeper.firmware.placement import DTB_ALIGN, DTB_SPARE, LOW_LIMIT, place
from innkeeper.firmware.virt_layout import DRAM_BASE, Region, dram
from innkeeper.firmware.virt_tree import HartSpec, VirtBoard
from tests.firmware import files

BOARD = VirtBoard(64 * MIB, (HartSpec(), HartSpec(), HartSpec()), rng_seed=b"\1" * 32)
OPENSBI = Path("/usr/lib/riscv64-linux-gnu/opensbi/generic")


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    path = tmp_path / "Image"
    path.write_bytes(files.riscv_image(pe_machine=files.PE_RISCV64))
    return path


@pytest.fixture
def initrd(tmp_path: Path) -> Path:
    path = tmp_path / "initrd"
    path.write_bytes(b"070701" * 3000)
    return path


@pytest.fixture
def bios(tmp_path: Path) -> Path:
    path = tmp_path / "firmware.bin"
    path.write_bytes(b"\x13\x05\x10\x00" * 500)
    return path


def written(plan: BootPlan, size: int = BOARD.ram_bytes) -> files.PlainMemory:
    ram = files.PlainMemory(DRAM_BASE, size)
    plan.write(ram)
    return ram


def apart(plan: BootPlan) -> bool:
    """Whether no two pieces overlap."""
    pieces = sorted(plan.pieces, key=lambda piece: piece.gpa)
    return all(low.end <= high.gpa for low, high in pairwise(pieces))


def test_without_firmware_the_boot_hart_starts_the_kernel_in_s_mode(kernel: Path) -> None:
    plan = plan_boot(replace(BOARD, boot_hart=1), kernel=kernel)
    assert plan.mode is Mode.SUPERVISOR
    assert [start.running for start in plan.harts] == [False, True, False]
    start = plan.harts[1]
    assert (start.pc, start.a0, start.a1) == (DRAM_BASE + 2 * MIB, 1, plan.dtb.base)
    assert written(plan).read(start.pc, 2) == b"MZ"


def test_the_tree_says_where_the_initrd_is(kernel: Path, initrd: Path) -> None:
    plan = plan_boot(BOARD, kernel=kernel, initrd=initrd, cmdline="console=ttyS0 quiet")
    ram = written(plan)
    chosen = unflatten(ram.read(plan.dtb.base, plan.dtb.size)).find("/chosen")
    _, start = chosen.cells("linux,initrd-start")
    _, end = chosen.cells("linux,initrd-end")
    assert ram.read(start, end - start) == initrd.read_bytes()
    assert chosen.strings("bootargs") == ("console=ttyS0 quiet",)
    assert plan.dtb.base % DTB_ALIGN == 0 and start % (4 * KIB) == 0
    assert apart(plan)


def test_firmware_starts_every_hart_in_m_mode_and_is_told_of_the_kernel(
    kernel: Path, bios: Path
) -> None:
    plan = plan_boot(BOARD, kernel=kernel, bios=bios)
    assert plan.mode is Mode.MACHINE and plan.bios is not None and plan.bios.info.kind is Kind.RAW
    assert [(s.running, s.pc, s.a0) for s in plan.harts] == [(True, DRAM_BASE, i) for i in range(3)]
    ram = written(plan)
    magic, version, entry, mode, _, hart = struct.unpack("<6Q", ram.read(plan.harts[0].a2, 48))
    assert (magic, version, entry, mode, hart) == (0x4942534F, 2, DRAM_BASE + 2 * MIB, 1, 0)
    assert ram.read(DRAM_BASE, 2000) == bios.read_bytes()
    assert plan.harts[2].a2 % 8 == 0 and apart(plan)


def test_an_m_mode_elf_starts_at_its_entry_without_a_kernel(tmp_path: Path) -> None:
    path = tmp_path / "test.elf"
    path.write_bytes(files.elf([(DRAM_BASE, DRAM_BASE, b"x" * 64, 64)], entry=DRAM_BASE + 16))
    plan = plan_boot(BOARD, bios=path)
    assert plan.harts[0].pc == DRAM_BASE + 16 and plan.kernel is None


def test_a_raw_kernel_must_be_asked_for(bios: Path) -> None:
    with pytest.raises(LoadError):
        plan_boot(BOARD, kernel=bios)
    plan = plan_boot(BOARD, kernel=bios, raw=Raw.ALWAYS)
    assert plan.harts[0].pc == DRAM_BASE + 2 * MIB


def test_a_plan_explains_itself(kernel: Path, initrd: Path, bios: Path) -> None:
    lines = plan_boot(BOARD, kernel=kernel, initrd=initrd).describe()
    assert "kernel: 0x80200000 to 0x80500000 (3 MiB)" in lines
    assert "hart 0: starts in S-mode at 0x80200000" in lines
    assert "hart 2: waits for SBI HSM" in lines
    lines = plan_boot(BOARD, bios=bios).describe()
    assert "hart 2: starts in M-mode at 0x80000000" in lines


def test_nothing_to_boot_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="nothing to boot"):
        plan_boot(BOARD)


def test_firmware_and_kernel_that_overlap_are_refused(kernel: Path, tmp_path: Path) -> None:
    big = tmp_path / "big.elf"
    big.write_bytes(files.elf([(DRAM_BASE, DRAM_BASE, b"x", 3 * MIB)], entry=DRAM_BASE))
    with pytest.raises(LoadError, match="beside each other"):
        plan_boot(BOARD, kernel=kernel, bios=big)


def test_an_initrd_that_is_too_large_says_what_to_use(kernel: Path, tmp_path: Path) -> None:
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(300 * MIB)
    with pytest.raises(LoadError) as caught:
        plan_boot(replace(BOARD, ram_bytes=256 * MIB), kernel=kernel, initrd=huge)
    assert caught.value.what == "initrd of 300 MiB does not fit in 256 MiB of RAM"
    assert caught.value.fix == "use --memory 1G"
    assert plan_boot(replace(BOARD, ram_bytes=GIB), kernel=kernel, initrd=huge).initrd is not None


def test_an_initrd_that_is_none_is_refused(kernel: Path, tmp_path: Path) -> None:
    for bad in (tmp_path, tmp_path / "none"):
        with pytest.raises(LoadError):
            plan_boot(BOARD, kernel=kernel, initrd=bad)
    (tmp_path / "empty").touch()
    with pytest.raises(LoadError, match="not an initrd"):
        plan_boot(BOARD, kernel=kernel, initrd=tmp_path / "empty")


def test_a_plan_for_more_ram_than_there_is_writes_nothing(kernel: Path) -> None:
    plan = plan_boot(BOARD, kernel=kernel)
    ram = files.PlainMemory(DRAM_BASE, 32 * MIB)
    with pytest.raises(LoadError, match="device tree is not in RAM"):
        write_all(plan.pieces, ram)
    assert not any(ram.data)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.integers(4, 8192), st.integers(1, 8192), st.integers(0, 6 << 30), st.integers(1, 200_000))
def test_places_are_in_ram_aligned_and_apart(
    ram_mib: int, kernel_mib: int, initrd_bytes: int, dtb_bytes: int
) -> None:
    ram = dram(ram_mib * MIB)
    taken = Region(ram.base, kernel_mib * MIB)
    try:
        places = place(ram=ram, taken=(taken,), initrd_bytes=initrd_bytes, dtb_bytes=dtb_bytes)
    except LoadError as error:
        smallest = kernel_mib * MIB + initrd_bytes + dtb_bytes
        assert "--memory" in error.fix and smallest > ram.size - 3 * DTB_ALIGN
        return
    tree = Region(places.dtb, dtb_bytes + DTB_SPARE)
    used = [taken, tree, Region(places.info, 48), *([places.initrd] if places.initrd else [])]
    assert all(ram.contains(region.base, region.size) for region in used[1:])
    used.sort(key=lambda region: region.base)
    assert all(low.end <= high.base for low, high in pairwise(used))
    assert places.dtb % DTB_ALIGN == 0
    if taken.end + 4 * DTB_ALIGN < min(ram.end, LOW_LIMIT):
        assert places.dtb < LOW_LIMIT


@pytest.mark.skipif(not OPENSBI.is_dir(), reason="Debian's opensbi package is not installed")
@pytest.mark.parametrize("name", ["fw_dynamic.elf", "fw_dynamic.bin", "fw_jump.elf", "fw_jump.bin"])
def test_debians_opensbi_is_taken_as_it_is(kernel: Path, name: str) -> None:
    plan = plan_boot(BOARD, kernel=kernel, bios=OPENSBI / name)
    assert plan.harts[0].pc == DRAM_BASE and apart(plan)
    assert isinstance(plan.pieces[0].data, FileSpan)


def test_a_program_from_a_real_linker_loads(tmp_path: Path) -> None:
    compiler = shutil.which("riscv64-linux-gnu-gcc")
    if compiler is None:
        pytest.skip("riscv64-linux-gnu-gcc is not installed")
    source, out = tmp_path / "a.s", tmp_path / "a.elf"
    source.write_text(".globl _start\n_start: li a0, 1\n j _start\n.data\n.word 0x12345678\n")
    flags = ["-nostdlib", "-static", "-Wl,-Ttext=0x80000000", "-Wl,--build-id=none"]
    subprocess.run([compiler, *flags, "-o", out, source], check=True, capture_output=True)
    plan = plan_boot(BOARD, bios=out)
    assert plan.harts[0].pc == DRAM_BASE
    assert written(plan).read(DRAM_BASE, 2) == b"\x05\x45"
