"""The guest-physical map of the `virt` board; docs/virt-board.md says the same in a table.

Addresses and interrupt numbers are those of QEMU's board of the same name, so that firmware,
boot loaders and kernels built for it run here unchanged.
"""

from __future__ import annotations

from innkeeper.base.record import record
from innkeeper.base.units import GIB, MIB, align_up

MAX_HARTS = 64
"""As many as one SBI hart mask names (SBI 2.0 3.1: XLEN harts a call)."""

MAX_RAM_BYTES = 1 << 42
"""4 TiB: RAM and the 64-bit PCIe window stay well inside RV64's 56-bit physical space."""

TIMEBASE_HZ = 10_000_000

UART_CLOCK_HZ = 3_686_400

UART_IRQ = 10
RTC_IRQ = 11
VIRTIO_SLOTS = 8
VIRTIO_IRQ_FIRST = 1
PCIE_IRQ_FIRST = 32
PCIE_IRQS = 4

PLIC_SOURCES = 95
"""Interrupt sources 1..95; source 0 does not exist (PLIC 1.0.0, Interrupt Sources)."""

PLIC_CONTEXTS_PER_HART = 2
"""Context 2*hart takes the hart's M-mode external interrupt, 2*hart+1 its S-mode one."""

TEST_POWEROFF = 0x5555
TEST_REBOOT = 0x7777
TEST_FAIL = 0x3333

LINUX_ALIGN = 2 * MIB
"""RV64 Linux starts on a 2 MiB boundary (boot-image-header: Image placement)."""

KERNEL_OFFSET = 2 * MIB
"""A kernel sits this far above the bottom of RAM, where `fw_jump` looks for it too."""


@record
class Region:
    """A range of guest-physical addresses."""

    base: int
    size: int

    @property
    def end(self) -> int:
        """The first address past the region."""
        return self.base + self.size

    def contains(self, gpa: int, size: int = 1) -> bool:
        """Say whether `size` bytes at `gpa` lie wholly inside."""
        return self.base <= gpa and size >= 0 and gpa + size <= self.end


TEST = Region(0x0010_0000, 0x1000)
RTC = Region(0x0010_1000, 0x1000)
CLINT = Region(0x0200_0000, 0x1_0000)
SSWI = Region(0x02F0_0000, 0x4000)
PCIE_PIO = Region(0x0300_0000, 0x1_0000)
PLIC = Region(0x0C00_0000, 0x60_0000)
UART = Region(0x1000_0000, 0x100)
VIRTIO_MMIO = Region(0x1000_1000, VIRTIO_SLOTS * 0x1000)
PCIE_ECAM = Region(0x3000_0000, 0x1000_0000)
PCIE_MMIO32 = Region(0x4000_0000, 0x4000_0000)
DRAM_BASE = 0x8000_0000

CLINT_MSIP_OFFSET = 0x0000
CLINT_MTIMECMP_OFFSET = 0x4000
CLINT_MTIME_OFFSET = 0xBFF8

PCIE_MMIO64_BYTES = 16 * GIB


def virtio_slot(slot: int) -> Region:
    """Return the register window of virtio-mmio slot `slot` (0..7)."""
    if not 0 <= slot < VIRTIO_SLOTS:
        raise IndexError(f"virtio-mmio slot {slot} of {VIRTIO_SLOTS}")
    return Region(VIRTIO_MMIO.base + slot * 0x1000, 0x1000)


def virtio_irq(slot: int) -> int:
    """Return the PLIC source of virtio-mmio slot `slot` (0..7)."""
    if not 0 <= slot < VIRTIO_SLOTS:
        raise IndexError(f"virtio-mmio slot {slot} of {VIRTIO_SLOTS}")
    return VIRTIO_IRQ_FIRST + slot


def pcie_irq(device: int, pin: int) -> int:
    """Return the PLIC source of PCI device number `device`'s pin 1..4 (INTA..INTD), swizzled."""
    return PCIE_IRQ_FIRST + (device + pin - 1) % PCIE_IRQS


def dram(ram_bytes: int) -> Region:
    """Return where `ram_bytes` of RAM lie."""
    return Region(DRAM_BASE, ram_bytes)


def pcie_mmio64(ram_bytes: int) -> Region:
    """Return the 64-bit PCIe memory window: the first multiple of its size above RAM."""
    return Region(align_up(DRAM_BASE + ram_bytes, PCIE_MMIO64_BYTES), PCIE_MMIO64_BYTES)
