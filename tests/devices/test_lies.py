"""Every lie that a driver can put in a ring stops the device, which says why; a reset makes it good again."""

from __future__ import annotations

import logging
import struct

import pytest

from tests.devices.driver import RAM_BYTES, RAM_GPA, Driver, Flavour, make_memory
from tests.devices.test_queue import Echo

NEXT, WRITE, INDIRECT, AVAIL = 1, 2, 4, 1 << 7
SIZE = 8
DATA = RAM_GPA + (1 << 20)
TABLE = RAM_GPA + (2 << 20)


def split(address, length, flags, following=0):
    return struct.pack("<QIHH", address, length, flags, following)


def packed(address, length, flags, ident=0):
    return struct.pack("<QIHH", address, length, ident, flags | AVAIL)


def lie(driver, descriptors, *, head=0, available=1):
    ring = driver.rings[0]
    for n, descriptor in enumerate(descriptors):
        driver.memory.write(ring.desc + 16 * n, descriptor)
    if not driver.flavour.packed:
        driver.memory.write_u16(ring.driver + 4, head)
        driver.memory.write_u16(ring.driver + 2, available)
    driver.transport.kick(0)


def check(driver, caplog, why):
    assert driver.needs_reset
    assert driver.transport.take_interrupts() & 2
    assert why in caplog.text
    caplog.clear()
    driver.start(queue_size=SIZE)
    assert driver.submit(0, [b"well"], [4]).answer == b"well"


SPLIT_LIES = {
    "outside RAM": ([split(RAM_GPA + RAM_BYTES - 4, 8, 0)], {}, "not RAM"),
    "address wraps": ([split((1 << 64) - 8, 64, 0)], {}, "not RAM"),
    "length wraps": ([split(DATA, 0xFFFF_FFFF, 0)], {}, "not RAM"),
    "head": ([], {"head": SIZE}, "descriptor 8 in a queue of 8"),
    "index": ([split(DATA, 8, 0)], {"available": SIZE + 1}, "9 chains available"),
    "next": ([split(DATA, 8, NEXT, SIZE)], {}, "leaves its table"),
    "loop": ([split(DATA, 8, NEXT, 0)], {}, "never ends"),
    "two-step loop": ([split(DATA, 8, NEXT, 1), split(DATA, 8, NEXT, 0)], {}, "never ends"),
    "order": ([split(DATA, 8, NEXT | WRITE, 1), split(DATA, 8, 0)], {}, "after a device-writable"),
    "not negotiated": ([split(TABLE, 16, INDIRECT)], {}, "not negotiated"),
}


@pytest.mark.parametrize("name", SPLIT_LIES)
def test_split_lies(name, caplog):
    descriptors, how, why = SPLIT_LIES[name]
    driver = Driver(Echo(make_memory())).start(queue_size=SIZE)
    with caplog.at_level(logging.WARNING):
        lie(driver, descriptors, **how)
        check(driver, caplog, why)


PACKED_LIES = {
    "outside RAM": ([packed(RAM_GPA - 1, 8, 0)], "not RAM"),
    "endless": ([packed(DATA, 8, NEXT)] * SIZE, "longer than its ring"),
    "order": ([packed(DATA, 8, NEXT | WRITE), packed(DATA, 8, 0)], "after a device-writable"),
    "not negotiated": ([packed(TABLE, 16, INDIRECT)], "not negotiated"),
}


@pytest.mark.parametrize("name", PACKED_LIES)
def test_packed_lies(name, caplog):
    descriptors, why = PACKED_LIES[name]
    driver = Driver(Echo(make_memory()), Flavour(packed=True)).start(queue_size=SIZE)
    with caplog.at_level(logging.WARNING):
        lie(driver, descriptors)
        check(driver, caplog, why)


def test_a_packed_driver_that_makes_more_available_than_the_ring_holds(caplog):
    driver = Driver(Echo(make_memory()), Flavour(packed=True)).start(queue_size=SIZE)
    driver.device.held = []
    lie(driver, [packed(DATA, 8, 0)] * SIZE)
    assert len(driver.device.held) == SIZE and not driver.needs_reset
    used_then_available = struct.pack("<QIHH", DATA, 8, 0, 1 << 15)
    with caplog.at_level(logging.WARNING):
        lie(driver, [used_then_available])
        driver.device.held = None
        check(driver, caplog, "longer than its ring")


INDIRECT_LIES = {
    "empty table": ([(TABLE, 0, INDIRECT)], [], "table of 0 bytes"),
    "odd table": ([(TABLE, 40, INDIRECT)], [], "table of 40 bytes"),
    "table outside RAM": ([(RAM_GPA - 16, 16, INDIRECT)], [], "not RAM"),
    "with a next one": ([(TABLE, 16, INDIRECT | NEXT)], [], "with a next one"),
    "nested": ([(TABLE, 16, INDIRECT)], [(TABLE, 16, INDIRECT)], "inside an indirect table"),
    "order": (
        [(TABLE, 32, INDIRECT)],
        [(DATA, 8, WRITE | NEXT, 1), (DATA, 8, 0)],
        "after a device-writable",
    ),
    "too many": (
        [(TABLE, 16 * 1100, INDIRECT)],
        [(DATA, 1, NEXT, n + 1) for n in range(1100)],
        "more than 1024 segments",
    ),
}


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("name", INDIRECT_LIES)
def test_indirect_lies(name, is_packed, caplog):
    ring, table, why = INDIRECT_LIES[name]
    driver = Driver(Echo(make_memory()), Flavour(packed=is_packed, indirect=True))
    driver.start(queue_size=SIZE)
    for n, (address, length, flags, *following) in enumerate(table):
        if is_packed:
            entry = struct.pack("<QIHH", address, length, 0, flags & ~NEXT)
        else:
            entry = split(address, length, flags, *following)
        driver.memory.write(TABLE + 16 * n, entry)
    with caplog.at_level(logging.WARNING):
        lie(driver, [(packed if is_packed else split)(*fields) for fields in ring])
        check(driver, caplog, why)


def test_a_split_chain_that_leaves_its_indirect_table(caplog):
    driver = Driver(Echo(make_memory()), Flavour(indirect=True)).start(queue_size=SIZE)
    driver.memory.write(TABLE, split(DATA, 8, NEXT, 1))
    with caplog.at_level(logging.WARNING):
        lie(driver, [split(TABLE, 16, INDIRECT)])
        check(driver, caplog, "leaves its table")


@pytest.mark.parametrize(
    ("size", "offset", "why"),
    [(0, 0, "of 0 entries"), (65, 0, "of 65 entries"), (6, 0, "power of two"), (8, 2, "aligned")],
)
def test_rings_that_cannot_be(size, offset, why, caplog):
    driver = Driver(Echo(make_memory())).start(queue_size=SIZE)
    t = driver.transport
    t.w(0x30, 0)
    t.w(0x44, 0)
    t.w(0x38, size)
    t.w(0x80, (driver.rings[0].desc & 0xFFFF_FFFF) + offset)
    with caplog.at_level(logging.WARNING):
        t.w(0x44, 1)
        check(driver, caplog, why)


def test_the_log_does_not_grow_with_the_lies(caplog):
    driver = Driver(Echo(make_memory())).start(queue_size=SIZE)
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            lie(driver, [], head=SIZE)
            assert driver.needs_reset
            driver.start(queue_size=SIZE)
    assert len(caplog.records) == 4
