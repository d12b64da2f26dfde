"""The virtio device: a driver-side ring of one chain at a time, built by hand in guest memory."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from ninep_client import Client, frame, text

from innkeeper.backends.share import NinePServer
from innkeeper.base.errors import UsageError
from innkeeper.devices.virtio.device import STATUS_NEEDS_RESET
from innkeeper.devices.virtio.p9 import F_MOUNT_TAG, NineP
from innkeeper.devices.virtio.ring import DESC_NEXT, DESC_WRITE, F_VERSION_1
from innkeeper.memory import GuestMemory, GuestRam

BASE = 0x8000_0000
DESC, AVAIL, USED, OUT, IN = BASE, BASE + 0x1000, BASE + 0x2000, BASE + 0x10000, BASE + 0x40000


class Driver:
    """Sends each message as one readable and one writable descriptor."""

    def __init__(self, device: NineP, memory: GuestMemory, *, room: int = 65536) -> None:
        self.device, self.memory, self.room = device, memory, room
        self.sent = 0
        self.msize = room
        device.set_status(1)
        device.set_status(3)
        device.set_features(F_VERSION_1 | F_MOUNT_TAG)
        device.set_status(11)
        queue = device.queues[0]
        queue.desc_gpa, queue.driver_gpa, queue.device_gpa = DESC, AVAIL, USED
        device.enable_queue(queue)
        device.set_status(15)

    def handle(self, request: bytes) -> bytes:
        self.memory.write(OUT, request)
        self.memory.write(DESC, struct.pack("<QIHH", OUT, len(request), DESC_NEXT, 1))
        self.memory.write(DESC + 16, struct.pack("<QIHH", IN, self.room, DESC_WRITE, 0))
        self.memory.write_u16(AVAIL + 4 + 2 * (self.sent % 128), 0)
        self.sent += 1
        self.memory.write_u16(AVAIL + 2, self.sent)
        self.device.kick(0)
        assert self.memory.read_u16(USED + 2) == self.sent
        head, written = struct.unpack(
            "<II", self.memory.read(USED + 4 + 8 * ((self.sent - 1) % 128), 8)
        )
        assert head == 0
        return self.memory.read(IN, written)


@pytest.fixture
def memory() -> GuestMemory:
    return GuestMemory([GuestRam(BASE, 1 << 20)])


@pytest.fixture
def device(root: Path, memory: GuestMemory) -> Iterator[NineP]:
    with NinePServer(root, msize=65536) as server:
        yield NineP(memory, server, tag="home")


def test_the_configuration_holds_the_tag(device: NineP) -> None:
    assert device.device_id == 9
    assert device.offered_features & F_MOUNT_TAG
    assert device.read_config(0, 2) == 4
    assert bytes(device.config[2:]) == b"home"


def test_messages_go_through_the_ring(device: NineP, memory: GuestMemory, root: Path) -> None:
    client = Client(Driver(device, memory))  # type: ignore[arg-type]
    fid = client.walk(b"hello")
    client.open(fid)
    assert client.read(fid) == b"hello from the host\n"
    new = client.create(b"new")
    assert client.write(new, bytes(range(256)) * 200) == 51200
    assert (root / "new").read_bytes() == bytes(range(256)) * 200
    assert client.read(new) == bytes(range(256)) * 200


def test_a_reply_that_does_not_fit_is_an_error(device: NineP, memory: GuestMemory) -> None:
    driver = Driver(device, memory)
    client = Client(driver)  # type: ignore[arg-type]
    fid = client.walk(b"hello")
    client.open(fid)
    driver.room = 16
    reply = driver.handle(frame(116, struct.pack("<IQI", fid, 0, 100), 7))
    assert reply == frame(7, struct.pack("<I", 90), 7)


def test_no_room_for_any_reply_stops_the_device(device: NineP, memory: GuestMemory) -> None:
    driver = Driver(device, memory, room=10)
    with pytest.raises(AssertionError):  # nothing was used
        driver.handle(frame(100, struct.pack("<I", 8192) + text(b"9P2000.L")))
    assert device.status & STATUS_NEEDS_RESET


def test_noise_and_long_messages_are_answered(device: NineP, memory: GuestMemory) -> None:
    driver = Driver(device, memory)
    assert driver.handle(b"\1\2\3")[4] == 7
    assert driver.handle(frame(100, bytes(100_000)))[4] == 7
    assert not device.status & STATUS_NEEDS_RESET


def test_a_reset_closes_what_was_open(device: NineP, memory: GuestMemory) -> None:
    client = Client(Driver(device, memory))  # type: ignore[arg-type]
    fid = client.walk(b"hello")
    device.reset()
    memory.write(DESC, bytes(0x3000))
    again = Client(Driver(device, memory))  # type: ignore[arg-type]
    with pytest.raises(OSError, match="Bad file descriptor"):
        again.getattr(fid)


def test_tags_that_cannot_be(device: NineP, memory: GuestMemory) -> None:
    for tag in ("", "x" * 256, "a\0b"):
        with pytest.raises(UsageError, match="mount tag"):
            NineP(memory, device.backend, tag=tag)
