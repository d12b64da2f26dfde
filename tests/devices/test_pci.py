"""PCIe host, PCI functions, and virtio over PCI."""

from __future__ import annotations

import pytest

from innkeeper.base.errors import MachineError
from innkeeper.devices.pci import Bar, PciFunction, PciIdentity
from innkeeper.devices.virtio.console import Console
from innkeeper.devices.virtio.console_port import PortConfig
from innkeeper.devices.virtio.entropy import Entropy
from tests.devices.driver import FLAVOURS, Driver, make_memory
from tests.devices.pci_driver import ECAM_GPA, PciBoard, PciDriver
from tests.devices.test_queue import Echo

IDENTITY = PciIdentity(vendor=0x1234, device=0x5678, class_code=0x010203, revision=9)


class Scratch:
    def __init__(self):
        self.log = []

    def read(self, offset, size):
        return offset

    def write(self, offset, size, value):
        self.log.append((offset, value))


@pytest.mark.parametrize("flavour", FLAVOURS, ids=str)
def test_buffers_travel_over_pci(flavour):
    device = Echo(make_memory(), sizes=(16, 16))
    driver = Driver(device, flavour, transport=PciDriver(device)).start()
    for n in range(40):
        assert driver.submit(n % 2, [b"%d" % n], [8]).answer == b"%d" % n
    irq = driver.transport.irq
    assert irq.line.level
    assert driver.transport.take_interrupts() == 1
    assert not irq.line.level and driver.transport.take_interrupts() == 0


def test_configuration_changes_interrupt():
    console = Console(make_memory(), [PortConfig(name="a", is_console=True)], columns=1, rows=2)
    driver = Driver(console, transport=PciDriver(console)).start(features=1)
    t = driver.transport
    before = t.generation()
    console.resize(3, 4)
    assert t.take_interrupts() == 2 and t.generation() != before
    assert (t.config(0, 2), t.config(2, 2), t.config(4, 4)) == (3, 4, 1)


def test_the_window_in_configuration_space_reaches_the_bar():
    device = Entropy(make_memory())
    t = PciDriver(device)
    board, slot, cap = t.board, t.slot, t.pci_cfg
    board.cw(slot, cap + 4, 1, 0)
    board.cw(slot, cap + 8, 4, 20)
    board.cw(slot, cap + 12, 4, 1)
    board.cw(slot, cap + 16, 1, 3)
    assert t.status() == 3 and board.cr(slot, cap + 16, 1) == 3
    for bar, offset, length in ((1, 20, 1), (0, 0x4000, 1), (0, 21, 2), (0, 20, 3), (0, 20, 0)):
        board.cw(slot, cap + 4, 1, bar)
        board.cw(slot, cap + 8, 4, offset)
        board.cw(slot, cap + 12, 4, length)
        board.cw(slot, cap + 16, 1, 0x5A)
        assert t.status() == 3 and board.cr(slot, cap + 16, 1) == 0x5A


def test_intx_can_be_switched_off_and_is_shared():
    first, second = Entropy(make_memory()), Entropy(make_memory())
    driver = Driver(first, transport=PciDriver(first)).start()
    board, slot = driver.transport.board, driver.transport.slot
    from innkeeper.devices.virtio.pci import VirtioPci

    other = VirtioPci(second)
    assert board.host.plug(other, slot=slot + 4) == slot + 4
    line = driver.transport.irq.line
    driver.submit(0, [], [4])
    other.set_intx(True)
    assert line.level and board.cr(slot, 6, 2) & 8
    driver.transport.take_interrupts()
    assert line.level
    other.set_intx(False)
    assert not line.level
    driver.submit(0, [], [4])
    board.cw(slot, 4, 2, 0x406)
    assert not line.level and board.cr(slot, 6, 2) & 8
    board.cw(slot, 4, 2, 6)
    assert line.level


def test_absent_functions_read_as_all_ones():
    board = PciBoard()
    board.host.plug(PciFunction(IDENTITY, {}), slot=3)
    assert board.cr(3, 0, 4) == 0x5678_1234 and board.cr(3, 8, 4) == 0x0102_0309
    assert board.cr(4, 0, 4) == 0xFFFF_FFFF
    assert board.bus.read(ECAM_GPA + (3 << 15) + (1 << 12), 2) == 0xFFFF
    assert board.cr(3, 0x100, 4) == 0  # no extended capabilities
    board.cw(4, 4, 2, 6)
    board.cw(3, 0, 4, 0)
    assert board.cr(3, 0, 4) == 0x5678_1234


@pytest.mark.parametrize("wide", [False, True])
def test_bars_are_sized_placed_and_moved(wide):
    board, regs = PciBoard(), Scratch()
    slot = board.host.plug(PciFunction(IDENTITY, {2: Bar(0x2000, regs, is_64_bit=wide)}))
    assert board.bus.read(0x4000_0000, 4) == 0xFFFF_FFFF
    gpa = board.assign(slot, 2)
    assert gpa % 0x2000 == 0 and board.next_bar - gpa == 0x2000
    assert board.bus.read(gpa + 0x10, 4) == 0x10
    board.bus.write(gpa + 0x1FFC, 4, 7)
    assert regs.log == [(0x1FFC, 7)]
    assert board.bus.read(gpa + 0x2000, 4) == 0xFFFF_FFFF
    board.cw(slot, 0x18, 4, 0x4800_0000)
    assert board.bus.read(gpa + 0x10, 4) == 0xFFFF_FFFF
    assert board.bus.read(0x4800_0020, 4) == 0x20
    board.cw(slot, 4, 2, 0)
    assert board.bus.read(0x4800_0020, 4) == 0xFFFF_FFFF


def test_impossible_functions_are_refused():
    for bars in ({0: Bar(100, Scratch())}, {5: Bar(0x1000, Scratch(), is_64_bit=True)}):
        with pytest.raises(MachineError):
            PciFunction(IDENTITY, bars)
    board = PciBoard()
    for _ in range(31):
        board.host.plug(PciFunction(IDENTITY, {}))
    with pytest.raises(MachineError, match="no free PCI slot"):
        board.host.plug(PciFunction(IDENTITY, {}))
    function = PciFunction(IDENTITY, {})
    with pytest.raises(MachineError, match="do not fit"):
        for _ in range(100):
            function.add_capability(9, bytes(14))
