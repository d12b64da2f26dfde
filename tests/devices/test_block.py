"""The virtio block device over every ring flavour, with a real image file behind it."""

from __future__ import annotations

import errno
import logging
import struct

import pytest

from innkeeper.backends.block_file import FileDisk
from innkeeper.devices.virtio.block import Block, BlockConfig
from tests.devices.driver import FLAVOURS, Driver, Flavour, make_memory

IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES = 0, 1, 4, 8, 11, 13
OK, IOERR, UNSUPP = 0, 1, 2
SECTORS = 256


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "disk.img"
    path.write_bytes(b"".join(struct.pack("<I", n) * 128 for n in range(SECTORS)))
    return path


@pytest.fixture
def disk(image):
    disk = FileDisk(image)
    yield disk
    disk.close()


def header(kind: int, sector: int = 0) -> bytes:
    return struct.pack("<IIQ", kind, 0, sector)


def request(driver, kind, sector=0, data=(), room=()):
    buffer = driver.submit(0, [header(kind, sector), *data], [*room, 1])
    return buffer.answer[-1], buffer.answer[:-1]


@pytest.mark.parametrize("flavour", FLAVOURS, ids=str)
def test_what_is_written_is_read_back_and_is_in_the_file(disk, image, flavour):
    driver = Driver(Block(make_memory(), disk), flavour).start()
    assert request(driver, OUT, 3, [b"x" * 512, b"y" * 1024]) == (OK, b"")
    assert request(driver, IN, 3, room=[1000, 536]) == (OK, b"x" * 512 + b"y" * 1024)
    assert request(driver, IN, 2, room=[512]) == (OK, struct.pack("<I", 2) * 128)
    assert image.read_bytes()[3 * 512 : 6 * 512] == b"x" * 512 + b"y" * 1024
    assert request(driver, FLUSH) == (OK, b"")


def test_any_framing_of_a_request_is_taken(disk):
    driver = Driver(Block(make_memory(), disk)).start()
    whole = header(OUT, 1) + b"q" * 512
    assert driver.submit(0, [whole[:5], whole[5:20], whole[20:]], [1]).answer == b"\0"
    buffer = driver.submit(0, [header(IN, 1)[:7], header(IN, 1)[7:]], [513])
    assert buffer.answer == b"q" * 512 + b"\0"


def test_configuration_space(disk):
    block = Block(make_memory(), disk, BlockConfig(queue_count=4, physical_block_bytes=4096))
    driver = Driver(block).start()
    t = driver.transport
    assert t.config(0, 4) | t.config(4, 4) << 32 == SECTORS
    assert (t.config(12, 4), t.config(20, 4), t.config(24, 1)) == (254, 512, 3)
    assert (t.config(32, 1), t.config(34, 2)) == (1, 4)
    assert t.config(36, 4) > 0 and t.config(56, 1) == 1
    assert t.config(60, 4) == 0 and t.config(4000, 4) == 0
    buffer = driver.submit(3, [header(IN, 7)], [512, 1])
    assert buffer.answer[:4] == struct.pack("<I", 7)


def test_the_serial_number_is_cut_to_twenty_bytes(disk):
    driver = Driver(Block(make_memory(), disk, BlockConfig(serial="root"))).start()
    assert request(driver, GET_ID, room=[20]) == (OK, b"root".ljust(20, b"\0"))


def test_beyond_the_end_and_odd_lengths_are_io_errors(disk):
    driver = Driver(Block(make_memory(), disk)).start()
    assert request(driver, IN, SECTORS, room=[512])[0] == IOERR
    assert request(driver, IN, SECTORS - 1, room=[1024])[0] == IOERR
    assert request(driver, OUT, (1 << 64) - 1, [b"z" * 512])[0] == IOERR
    assert request(driver, OUT, 0, [b"z" * 100])[0] == IOERR
    assert request(driver, 77)[0] == UNSUPP
    assert not driver.needs_reset


def test_a_request_beyond_the_announced_limits_is_refused(disk):
    huge = Flushes(disk)
    huge.size_bytes = 1 << 40
    driver = Driver(Block(make_memory(), huge), Flavour(indirect=True)).start()
    room = driver.alloc.take(4 << 20)
    head, status = driver.alloc.take(16), driver.alloc.take(1)
    driver.memory.write(head, header(IN))
    driver.memory.write(status, b"?")
    table = driver.alloc.take(16 * 100)
    parts = [(head, 16, 1)] + [(room, 4 << 20, 3)] * 70 + [(status, 1, 2)]
    for n, (gpa, size, flags) in enumerate(parts):
        driver.memory.write(table + 16 * n, struct.pack("<QIHH", gpa, size, flags, n + 1))
    ring = driver.rings[0]
    entry = struct.pack("<QIHH", table, 16 * len(parts), 4, 0)
    driver.memory.write(ring.desc, entry)
    driver.memory.write_u16(ring.driver + 4, 0)
    driver.memory.write_u16(ring.driver + 2, 1)
    driver.transport.kick(0)
    assert driver.memory.read(status, 1) == b"\1" and not driver.needs_reset


def test_discard_and_write_zeroes(disk, image):
    driver = Driver(Block(make_memory(), disk)).start()
    ranges = struct.pack("<QII", 8, 8, 0) + struct.pack("<QII", 32, 4, 1)
    assert request(driver, WRITE_ZEROES, data=[ranges]) == (OK, b"")
    assert request(driver, DISCARD, data=[struct.pack("<QII", 64, 64, 0)]) == (OK, b"")
    content = image.read_bytes()
    assert content[8 * 512 : 16 * 512] == bytes(8 * 512)
    assert content[32 * 512 : 36 * 512] == bytes(4 * 512)
    assert content[16 * 512 : 16 * 512 + 4] == struct.pack("<I", 16)
    for bad, status in (
        (struct.pack("<QII", SECTORS - 1, 2, 0), IOERR),
        (struct.pack("<QII", 0, 1, 2), UNSUPP),
        (b"short", IOERR),
        (b"", IOERR),
        (struct.pack("<QII", 0, 0xFFFF_FFFF, 0), IOERR),
    ):
        assert request(driver, WRITE_ZEROES, data=[bad] if bad else [])[0] == status
    assert request(driver, DISCARD, data=[struct.pack("<QII", 0, 1, 1)])[0] == UNSUPP


def test_a_read_only_disk_refuses_writes(image):
    disk = FileDisk(image, read_only=True)
    driver = Driver(Block(make_memory(), disk)).start()
    assert driver.transport.device_features() & 1 << 5
    before = image.read_bytes()
    assert request(driver, OUT, 0, [b"z" * 512])[0] == IOERR
    assert request(driver, WRITE_ZEROES, data=[struct.pack("<QII", 0, 1, 0)])[0] == IOERR
    assert image.read_bytes() == before
    disk.close()


class Flushes:
    """A disk that counts its flushes, or is full."""

    def __init__(self, disk, error=None):
        self.disk, self.flushes, self.error = disk, 0, error
        self.size_bytes, self.read_only, self.name = disk.size_bytes, False, "disk"
        self.readv = disk.readv

    def writev(self, views, offset):
        if self.error:
            raise OSError(self.error, "No space left on device")
        self.disk.writev(views, offset)

    def flush(self):
        self.flushes += 1


def test_write_through_when_the_driver_wants_or_cannot_flush(disk):
    counting = Flushes(disk)
    driver = Driver(Block(make_memory(), counting)).start()
    request(driver, OUT, 0, [b"z" * 512])
    assert counting.flushes == 0
    driver.transport.set_config(32, 1, 0)
    assert driver.transport.config(32, 1) == 0
    request(driver, OUT, 0, [b"z" * 512])
    assert counting.flushes == 1
    driver.start(features=0)
    request(driver, OUT, 0, [b"z" * 512])
    assert counting.flushes == 2


def test_a_full_host_disk_is_an_io_error_and_one_message(disk, caplog):
    driver = Driver(Block(make_memory(), Flushes(disk, errno.ENOSPC))).start()
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert request(driver, OUT, 0, [b"z" * 512])[0] == IOERR
    assert len([r for r in caplog.records if "No space left" in r.getMessage()]) == 1
    assert not driver.needs_reset


@pytest.mark.parametrize(("readable", "writable"), [([b"short"], [1]), ([header(IN)], [])])
def test_a_request_without_header_or_status_stops_the_device(disk, readable, writable):
    driver = Driver(Block(make_memory(), disk)).start()
    driver.submit(0, readable, writable)
    assert driver.needs_reset
    driver.start()
    assert request(driver, IN, 5, room=[512])[0] == OK
