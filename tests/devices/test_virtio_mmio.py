"""The virtio state machine and its MMIO registers."""

from __future__ import annotations

from innkeeper.devices.virtio.entropy import Entropy
from innkeeper.devices.virtio.mmio import VirtioMmio
from tests.devices.driver import VERSION_1, Driver, IrqRecorder, MmioDriver, make_memory


def test_an_empty_slot_has_device_id_zero():
    slot = VirtioMmio(None, IrqRecorder().line)
    assert slot.read(0, 4) == 0x74726976
    assert slot.read(8, 4) == 0
    slot.write(0x70, 4, 15)
    assert slot.read(0x70, 4) == 0


def test_features_need_version_1_and_nothing_unknown():
    t = MmioDriver(Entropy(make_memory()))
    for features, agreed in ((VERSION_1, 8), (0, 0), (VERSION_1 | 1 << 50, 0)):
        t.set_status(0)
        t.set_status(3)
        t.set_features(features)
        t.set_status(11)
        assert t.status() & 8 == agreed


def test_features_are_fixed_once_agreed():
    driver = Driver(Entropy(make_memory())).start()
    driver.transport.set_features(0)
    assert driver.device.features == VERSION_1


def test_driver_ok_without_features_ok_is_not_taken():
    t = MmioDriver(Entropy(make_memory()))
    t.set_status(7)
    assert t.status() == 3


def test_a_queue_outside_ram_stops_the_device():
    driver = Driver(Entropy(make_memory())).start()
    t = driver.transport
    t.w(0x30, 0)
    t.w(0x44, 0)
    t.w(0x84, 0xFFFF)
    t.w(0x44, 1)
    assert driver.needs_reset
    assert t.take_interrupts() & 2
    driver.start()
    assert len(driver.submit(0, [], [16]).answer) == 16


def test_registers_of_a_queue_that_is_not_there_read_zero():
    t = MmioDriver(Entropy(make_memory()))
    assert t.queue_max(0) == 64
    assert t.queue_max(1) == 0
    assert t.queue_max(0xFFFF_FFFF) == 0
    t.w(0x38, 4)
    t.w(0x50, 77)
    assert t.r(0x44) == 0


def test_entropy_fills_in_part_when_asked_for_very_much():
    driver = Driver(Entropy(make_memory(), source=lambda n: b"\xa5" * n)).start()
    buffer = driver.submit(0, [], [40000, 40000])
    assert buffer.answer == b"\xa5" * 65536


def test_reset_lowers_the_interrupt():
    driver = Driver(Entropy(make_memory())).start()
    driver.submit(0, [], [4])
    assert driver.transport.irq.line.level
    driver.transport.set_status(0)
    assert not driver.transport.irq.line.level
