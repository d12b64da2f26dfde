"""The device tree of the `virt` board, held against what QEMU's board of that name says."""

from __future__ import annotations

import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from innkeeper.base.errors import UsageError
from innkeeper.base.record import replace
from innkeeper.base.units import GIB, MIB
from innkeeper.firmware import virt_layout as at
from innkeeper.firmware.fdt import Node
from innkeeper.firmware.fdt_read import unflatten
from innkeeper.firmware.virt_tree import HartSpec, VirtBoard, build_tree

BOARD = VirtBoard(256 * MIB, (HartSpec(), HartSpec()))


def tree(board: VirtBoard = BOARD) -> Node:
    return unflatten(build_tree(board))


def intcs(root: Node) -> list[int]:
    return [root.find(f"/cpus/cpu@{i}/interrupt-controller").cells("phandle")[0] for i in range(2)]


# From `qemu-system-riscv64 -M virt,dumpdtb=... -smp 2 -m 256M` 7.2: what guests are built for.
QEMU_CELLS = {
    ("/memory@80000000", "reg"): (0, 0x8000_0000, 0, 0x1000_0000),
    ("/soc/rtc@101000", "reg"): (0, 0x10_1000, 0, 0x1000),
    ("/soc/rtc@101000", "interrupts"): (0x0B,),
    ("/soc/serial@10000000", "reg"): (0, 0x1000_0000, 0, 0x100),
    ("/soc/serial@10000000", "interrupts"): (0x0A,),
    ("/soc/serial@10000000", "clock-frequency"): (0x38_4000,),
    ("/soc/test@100000", "reg"): (0, 0x10_0000, 0, 0x1000),
    ("/soc/plic@c000000", "reg"): (0, 0xC00_0000, 0, 0x60_0000),
    ("/soc/clint@2000000", "reg"): (0, 0x200_0000, 0, 0x1_0000),
    ("/soc/sswi@2f00000", "reg"): (0, 0x2F0_0000, 0, 0x4000),
    ("/soc/virtio_mmio@10001000", "interrupts"): (1,),
    ("/soc/virtio_mmio@10008000", "reg"): (0, 0x1000_8000, 0, 0x1000),
    ("/soc/virtio_mmio@10008000", "interrupts"): (8,),
    ("/soc/pci@30000000", "reg"): (0, 0x3000_0000, 0, 0x1000_0000),
    ("/soc/pci@30000000", "bus-range"): (0, 0xFF),
    ("/soc/pci@30000000", "interrupt-map-mask"): (0x1800, 0, 0, 7),
    ("/soc/pci@30000000", "ranges"): (
        0x100_0000, 0, 0, 0, 0x300_0000, 0, 0x1_0000,
        0x200_0000, 0, 0x4000_0000, 0, 0x4000_0000, 0, 0x4000_0000,
        0x300_0000, 4, 0, 4, 0, 4, 0,
    ),
    ("/poweroff", "value"): (0x5555,),
    ("/reboot", "value"): (0x7777,),
    ("/cpus", "timebase-frequency"): (0x98_9680,),
}  # fmt: skip


@pytest.mark.parametrize(("path", "name"), QEMU_CELLS)
def test_a_property_is_what_qemus_board_has(path: str, name: str) -> None:
    assert tree().find(path).cells(name) == QEMU_CELLS[path, name]


def test_interrupts_reach_each_hart() -> None:
    root = tree()
    a, b = intcs(root)
    assert root.find("/soc/clint@2000000").cells("interrupts-extended") == (a, 3, a, 7, b, 3, b, 7)
    assert root.find("/soc/plic@c000000").cells("interrupts-extended") == (a, 11, a, 9, b, 11, b, 9)
    assert root.find("/soc/sswi@2f00000").cells("interrupts-extended") == (a, 1, b, 1)


def test_pci_interrupts_are_swizzled_over_four_sources() -> None:
    root = tree()
    (plic,) = root.find("/soc/plic@c000000").cells("phandle")
    cells = root.find("/soc/pci@30000000").cells("interrupt-map")
    rows = [cells[i : i + 6] for i in range(0, len(cells), 6)]
    assert len(rows) == 16
    assert rows[0] == (0, 0, 0, 1, plic, 0x20)
    assert rows[7] == (0x800, 0, 0, 4, plic, 0x20)
    assert rows[15] == (0x1800, 0, 0, 4, plic, 0x22)
    assert all(row[5] == at.pcie_irq(row[0] >> 11, row[3]) for row in rows)


def test_power_nodes_point_at_the_finisher() -> None:
    root = tree()
    (finisher,) = root.find("/soc/test@100000").cells("phandle")
    assert root.find("/poweroff").cells("regmap") == (finisher,)
    assert root.find("/reboot").strings("compatible") == ("syscon-reboot",)


def test_a_hart_says_what_it_is_in_old_and_new_words() -> None:
    hart = HartSpec(
        extensions=("i", "m", "a", "f", "d", "c", "sstc", "zba", "zicsr", "svadu", "zicbom"),
        mmu="sv48", cbom_block_bytes=64, cboz_block_bytes=128,
    )  # fmt: skip
    cpu = tree(VirtBoard(64 * MIB, (hart,))).find("/cpus/cpu@0")
    assert cpu.strings("riscv,isa") == ("rv64imafdc_zicbom_zicsr_zba_sstc_svadu",)
    assert cpu.strings("riscv,isa-base") == ("rv64i",)
    assert cpu.strings("riscv,isa-extensions") == hart.extensions
    assert cpu.strings("mmu-type") == ("riscv,sv48",)
    assert cpu.cells("riscv,cbom-block-size") == (64,)
    assert cpu.cells("riscv,cboz-block-size") == (128,)
    assert "riscv,cbop-block-size" not in cpu.properties


def test_chosen_holds_command_line_initrd_console_and_seed() -> None:
    board = BOARD.with_chosen(
        bootargs="console=ttyS0", initrd=(0x8800_0000, 0x1_0000_0000), rng_seed=b"\7" * 32
    )
    chosen = tree(board).find("/chosen")
    assert chosen.strings("bootargs") == ("console=ttyS0",)
    assert chosen.cells("linux,initrd-start") == (0, 0x8800_0000)
    assert chosen.cells("linux,initrd-end") == (1, 0)
    assert chosen.raw("rng-seed") == b"\7" * 32
    assert tree(board).find(chosen.strings("stdout-path")[0]).strings("compatible") == ("ns16550a",)


def test_parts_that_a_board_lacks_are_not_in_its_tree() -> None:
    board = replace(BOARD, virtio_slots=2, pcie=False, sswi=False, rtc=False)
    soc = tree(board).find("/soc")
    assert {name.split("@")[0] for name in soc.children} == {
        "clint", "plic", "test", "serial", "virtio_mmio",
    }  # fmt: skip
    assert len(soc.children) == 6
    assert "initrd" not in str(tree(board).find("/chosen").properties)


@pytest.mark.parametrize(
    "board",
    [
        VirtBoard(256 * MIB, ()), VirtBoard(256 * MIB, (HartSpec(),) * 65), VirtBoard(0),
        VirtBoard(64 * MIB + 1), VirtBoard(1 << 50), replace(BOARD, virtio_slots=9),
        replace(BOARD, bootargs="x" * 2048), replace(BOARD, bootargs="a\0b"),
        replace(BOARD, rng_seed=bytes(513)), replace(BOARD, boot_hart=2),
    ],
)  # fmt: skip
def test_a_board_that_cannot_be_is_a_usage_error(board: VirtBoard) -> None:
    with pytest.raises(UsageError):
        build_tree(board)


def test_the_wide_pcie_window_is_above_any_ram() -> None:
    for size in (64 * MIB, 8 * GIB, 14 * GIB, 100 * GIB):
        window = at.pcie_mmio64(size)
        assert window.base >= at.dram(size).end and window.base % window.size == 0
    ranges = tree(VirtBoard(64 * GIB)).find("/soc/pci@30000000").cells("ranges")
    assert ranges[-6] << 32 == at.pcie_mmio64(64 * GIB).base


def test_regions_do_not_overlap() -> None:
    regions = sorted(
        [at.TEST, at.RTC, at.CLINT, at.SSWI, at.PCIE_PIO, at.PLIC, at.UART, at.VIRTIO_MMIO,
         at.PCIE_ECAM, at.PCIE_MMIO32, at.dram(GIB), at.pcie_mmio64(GIB)],
        key=lambda region: region.base,
    )  # fmt: skip
    assert all(low.end <= high.base for low, high in pairwise(regions))
    with pytest.raises(IndexError):
        at.virtio_slot(8)
    with pytest.raises(IndexError):
        at.virtio_irq(-1)


def test_sixty_four_harts_fit() -> None:
    root = tree(VirtBoard(GIB, (HartSpec(),) * 64))
    assert len(root.find("/soc/plic@c000000").cells("interrupts-extended")) == 64 * 4
    assert at.PLIC.size >= 0x20_0000 + 64 * at.PLIC_CONTEXTS_PER_HART * 0x1000


def test_the_page_in_the_docs_has_every_address() -> None:
    page = (Path(__file__).parents[2] / "docs" / "virt-board.md").read_text()
    for region in (at.TEST, at.RTC, at.CLINT, at.SSWI, at.PCIE_PIO, at.PLIC, at.UART,
                   at.VIRTIO_MMIO, at.PCIE_ECAM, at.PCIE_MMIO32):  # fmt: skip
        assert f"`{region.base:#x}` | `{region.size:#x}`" in page


def test_dtc_has_no_errors_to_tell() -> None:
    dtc = shutil.which("dtc")
    if dtc is None:
        pytest.skip("dtc is not installed")
    command = [dtc, "-I", "dtb", "-O", "dts", "-W", "no-interrupt_provider", "-"]
    done = subprocess.run(command, input=build_tree(BOARD), capture_output=True, check=True)
    assert done.stderr == b""
