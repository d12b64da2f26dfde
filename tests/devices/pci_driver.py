"""The driver's side of PCI: enumeration by ECAM, BAR assignment, virtio capabilities."""

from __future__ import annotations

from innkeeper.devices.bus import Bus
from innkeeper.devices.pcie_ecam import PcieHost
from innkeeper.devices.virtio.device import VirtioDevice
from innkeeper.devices.virtio.pci import VirtioPci
from tests.devices.driver import DriverRing, IrqRecorder

ECAM_GPA, WINDOW_GPA, WINDOW_BYTES = 0x3000_0000, 0x4000_0000, 0x1000_0000


class PciBoard:
    """A bus with a PCIe host on it."""

    def __init__(self) -> None:
        self.irqs = [IrqRecorder() for _ in range(4)]
        self.host = PcieHost([irq.line for irq in self.irqs])
        self.bus = Bus()
        self.bus.map(ECAM_GPA, 1 << 20, self.host, "ecam")
        self.bus.map(WINDOW_GPA, WINDOW_BYTES, self.host.window(WINDOW_GPA), "pci memory")
        self.next_bar = WINDOW_GPA

    def cr(self, slot: int, offset: int, size: int) -> int:
        return self.bus.read(ECAM_GPA + (slot << 15) + offset, size)

    def cw(self, slot: int, offset: int, size: int, value: int) -> None:
        self.bus.write(ECAM_GPA + (slot << 15) + offset, size, value)

    def assign(self, slot: int, bar: int) -> int:
        """Size a memory BAR, give it an address and switch decoding on."""
        at = 0x10 + 4 * bar
        flags = self.cr(slot, at, 4) & 0xF
        self.cw(slot, at, 4, 0xFFFF_FFFF)
        mask = self.cr(slot, at, 4) & ~0xF
        if flags & 4:
            self.cw(slot, at + 4, 4, 0xFFFF_FFFF)
            mask |= self.cr(slot, at + 4, 4) << 32
        else:
            mask |= 0xFFFF_FFFF << 32
        size = (1 << 64) - mask
        gpa = (self.next_bar + size - 1) & -size
        self.next_bar = gpa + size
        self.cw(slot, at, 4, gpa & 0xFFFF_FFFF)
        if flags & 4:
            self.cw(slot, at + 4, 4, gpa >> 32)
        self.cw(slot, 4, 2, 6)
        return gpa

    def capabilities(self, slot: int) -> list[int]:
        assert self.cr(slot, 6, 2) & 0x10
        found, at = [], self.cr(slot, 0x34, 1)
        while at:
            found.append(at)
            at = self.cr(slot, at + 1, 1)
        return found


class PciDriver:
    """4.1, the driver's side; a `DriverTransport`."""

    def __init__(self, device: VirtioDevice) -> None:
        self.board = PciBoard()
        self.slot = self.board.host.plug(VirtioPci(device))
        self.irq = self.board.irqs[self.slot % 4]
        board, slot = self.board, self.slot
        assert board.cr(slot, 0, 2) == 0x1AF4
        assert board.cr(slot, 2, 2) == 0x1040 + device.device_id
        bars: dict[int, int] = {}
        self.at: dict[int, int] = {}
        for cap in board.capabilities(slot):
            assert board.cr(slot, cap, 1) == 9
            kind, bar = board.cr(slot, cap + 3, 1), board.cr(slot, cap + 4, 1)
            if kind == 5:
                self.pci_cfg = cap
                continue
            if bar not in bars:
                bars[bar] = board.assign(slot, bar)
            self.at[kind] = bars[bar] + board.cr(slot, cap + 8, 4)
            if kind == 2:
                self.multiplier = board.cr(slot, cap + 16, 4)

    def r(self, kind: int, offset: int, size: int) -> int:
        return self.board.bus.read(self.at[kind] + offset, size)

    def w(self, kind: int, offset: int, size: int, value: int) -> None:
        self.board.bus.write(self.at[kind] + offset, size, value)

    def status(self) -> int:
        return self.r(1, 20, 1)

    def set_status(self, value: int) -> None:
        self.w(1, 20, 1, value)

    def device_features(self) -> int:
        self.w(1, 0, 4, 0)
        low = self.r(1, 4, 4)
        self.w(1, 0, 4, 1)
        return self.r(1, 4, 4) << 32 | low

    def set_features(self, value: int) -> None:
        for half in (0, 1):
            self.w(1, 8, 4, half)
            self.w(1, 12, 4, value >> 32 * half & 0xFFFF_FFFF)

    def queue_max(self, index: int) -> int:
        self.w(1, 22, 2, index)
        return self.r(1, 24, 2)

    def set_queue(self, index: int, ring: DriverRing) -> None:
        self.w(1, 22, 2, index)
        assert self.r(1, 28, 2) == 0
        self.w(1, 24, 2, ring.size)
        for offset, gpa in ((32, ring.desc), (40, ring.driver), (48, ring.device)):
            self.w(1, offset, 4, gpa & 0xFFFF_FFFF)
            self.w(1, offset + 4, 4, gpa >> 32)
            assert self.r(1, offset, 8) == gpa
        self.w(1, 28, 2, 1)
        assert self.r(1, 28, 2) == 1

    def kick(self, index: int) -> None:
        self.w(1, 22, 2, index)
        self.w(2, self.r(1, 30, 2) * self.multiplier, 2, index)

    def take_interrupts(self) -> int:
        return self.r(3, 0, 1)

    def config(self, offset: int, size: int) -> int:
        return self.r(4, offset, size)

    def set_config(self, offset: int, size: int, value: int) -> None:
        self.w(4, offset, size, value)

    def generation(self) -> int:
        return self.r(1, 21, 1)
