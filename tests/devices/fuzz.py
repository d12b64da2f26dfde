"""Attack the devices as a hostile guest would: `python -m tests.devices.fuzz --seconds N --seed S`.

Three attacks: rings full of lies (random descriptors, indices, addresses, lengths), honest rings with lying
contents, and registers hit at any offset with any size and value. Whatever comes, nothing may be raised but `BusError`, and no memory
outside the guest's may change. The tests run a few rounds of the same code.
"""

from __future__ import annotations

import argparse
import logging
import random
import struct
import sys
import time
from collections.abc import Callable

from innkeeper.backends.char import MemorySink
from innkeeper.devices.aclint import AclintMswi, AclintMtimer, AclintSswi
from innkeeper.devices.bus import Bus, BusError, IrqLine
from innkeeper.devices.plic import Plic
from innkeeper.devices.rtc_goldfish import GoldfishRtc
from innkeeper.devices.test_finisher import TestFinisher
from innkeeper.devices.uart16550 import Uart16550
from innkeeper.devices.virtio.block import Block
from innkeeper.devices.virtio.console import Console
from innkeeper.devices.virtio.console_port import PortConfig
from innkeeper.devices.virtio.device import VirtioDevice
from innkeeper.devices.virtio.entropy import Entropy
from innkeeper.devices.virtio.mmio import VirtioMmio
from innkeeper.memory import GuestMemory
from tests.devices.driver import FLAVOURS, RAM_BYTES, RAM_GPA, Driver, make_memory
from tests.devices.pci_driver import PciBoard, PciDriver

INTERESTING = (0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 255, 512, 4095, 4096, 0x7FFF, 0x8000, 0xFFFF)
HUGE = (1 << 31, (1 << 32) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, (1 << 64) - 4096)


class RamDisk:
    """A small disk in memory."""

    name, read_only = "fuzz", False

    def __init__(self, size_bytes: int = 1 << 16) -> None:
        self.size_bytes = size_bytes
        self._data = bytearray(size_bytes)

    def readv(self, views: list[memoryview], offset: int) -> None:
        for view in views:
            view[:] = self._data[offset : offset + len(view)]
            offset += len(view)
        assert offset <= self.size_bytes

    def writev(self, views: list[memoryview], offset: int) -> None:
        for view in views:
            self._data[offset : offset + len(view)] = view
            offset += len(view)
        assert offset <= self.size_bytes and len(self._data) == self.size_bytes

    def flush(self) -> None:
        """Nothing to do."""

    def discard(self, offset: int, length: int) -> None:
        assert offset + length <= self.size_bytes

    def write_zeroes(self, offset: int, length: int, *, may_unmap: bool) -> None:
        assert offset + length <= self.size_bytes
        self._data[offset : offset + length] = bytes(length)


def make_devices(memory: GuestMemory) -> list[Callable[[], VirtioDevice]]:
    """Return a maker for each kind of device."""
    ports = [
        PortConfig(name="c", is_console=True, sink=MemorySink(limit_bytes=100)),
        PortConfig(name="d", sink=MemorySink()),
    ]
    return [
        lambda: Block(memory, RamDisk()),
        lambda: Console(memory, ports, columns=80, rows=25),
        lambda: Entropy(memory),
    ]


def number(rng: random.Random, bits: int) -> int:
    """Return a number that is likely to hurt."""
    kind = rng.randrange(4)
    if kind == 0:
        value = rng.choice(INTERESTING)
    elif kind == 1:
        value = rng.choice(HUGE)
    else:
        value = rng.getrandbits(rng.randrange(1, bits + 1))
    return value & ((1 << bits) - 1)


def address(rng: random.Random) -> int:
    """Return an address: mostly RAM, sometimes its edge, sometimes anything."""
    kind = rng.randrange(10)
    if kind < 7:
        return RAM_GPA + rng.randrange(1 << 16)
    if kind < 8:
        return RAM_GPA + RAM_BYTES - rng.randrange(64)
    return number(rng, 64)


def lie(rng: random.Random, driver: Driver) -> None:
    """Write nonsense into a ring and its surroundings."""
    ring = rng.choice(driver.rings)
    memory = driver.memory
    for _ in range(rng.randrange(1, 8)):
        flags = rng.choice((0, 1, 2, 3, 4, 5, 6, 7, 0x80, 0x81, 0x82, 0x83, 0x84, 0x8000, 0xFFFF))
        length = rng.choice((0, 1, 8, 16, 17, 512, 513, 4096, number(rng, 32)))
        entry = struct.pack("<QIHH", address(rng), length, rng.randrange(ring.size + 2), flags)
        if not driver.flavour.packed:
            entry = struct.pack(
                "<QIHH", address(rng), length, flags & 7, rng.randrange(ring.size + 1)
            )
        memory.write(ring.desc + 16 * rng.randrange(ring.size), entry)
    for base in (ring.driver, ring.device):
        if rng.randrange(2):
            at = base + 2 * rng.randrange(2 if driver.flavour.packed else ring.size + 2)
            memory.write_u16(at, rng.choice((rng.randrange(ring.size + 2), number(rng, 16))))
    if not driver.flavour.packed and rng.randrange(2):
        index = (memory.read_u16(ring.device + 2) + rng.randrange(ring.size)) & 0xFFFF
        memory.write_u16(ring.driver + 2, index)
    header = struct.pack("<IIQ", rng.choice((0, 1, 4, 8, 11, 13, 99)), 0, number(rng, 64))
    memory.write(RAM_GPA + rng.randrange(1 << 16), header)


def attack_rings(rng: random.Random, *, rounds: int = 30) -> int:
    """Drive one random device through lies and honest requests; return how often it gave up."""
    memory = make_memory()
    device = rng.choice(make_devices(memory))()
    flavour = rng.choice(FLAVOURS)
    transport = PciDriver(device) if rng.randrange(2) else None
    driver = Driver(device, flavour, transport=transport)
    driver.alloc.take(1 << 16)  # what the random addresses hit
    resets = 0
    driver.start(queue_size=rng.choice((1, 2, 8, 16)))
    for _ in range(rounds):
        lie(rng, driver)
        driver.transport.kick(rng.randrange(len(device.queues) + 1))
        if isinstance(device, Console):
            port = rng.choice(device.ports)
            rng.choice((port.close, port.open, port.resume, lambda p=port: p.feed(b"x" * 100)))()
            device.resize(number(rng, 16), number(rng, 16))
        if driver.needs_reset:
            resets += 1
            driver.start(queue_size=rng.choice((1, 2, 8, 16)))
    return resets


def attack_payloads(rng: random.Random, *, rounds: int = 30) -> int:
    """Drive one random device by honest rings with lying contents; return how often it answered."""
    device = rng.choice(make_devices(make_memory()))()
    driver = Driver(device, rng.choice(FLAVOURS)).start(rng.choice((~0, 0, rng.getrandbits(32))))
    answers = 0
    for _ in range(rounds):
        kind, sector = (
            rng.choice((0, 1, 4, 8, 11, 13, 99)),
            rng.choice((0, 1, 127, number(rng, 64))),
        )
        heads = (
            struct.pack("<IIQ", kind, number(rng, 32), sector),
            struct.pack("<IHH", rng.choice((0, 1, 2, number(rng, 32))), rng.randrange(9), 1),
            rng.randbytes(rng.randrange(1, 40)),
        )
        body = struct.pack("<QII", rng.choice((0, 100, number(rng, 64))), number(rng, 32), kind & 3)
        parts = [rng.choice(heads), *[rng.choice((body, bytes(512)))] * rng.randrange(3)]
        room = [rng.choice((1, 3, 512, 4097)) for _ in range(rng.randrange(4))]
        queue = rng.randrange(len(driver.rings))
        if len(getattr(driver.rings[queue], "free", range(16))) < 8 or not parts[0]:
            continue
        if driver.flavour.packed and len(driver.rings[queue].in_flight) > 1:  # type: ignore[attr-defined]
            continue
        buffer = driver.submit(queue, parts, room)
        if isinstance(device, Console):
            rng.choice(device.ports).feed(rng.randbytes(rng.randrange(100)))
            driver.poll(queue)
        if buffer.written is not None:
            answers += 1
            assert buffer.written <= sum(room), "the device claims more than there was room for"
        if driver.needs_reset:
            driver.start()
    return answers


def make_board(memory: GuestMemory) -> Bus:
    """Return a bus with one of everything."""
    pci = PciBoard()
    bus = pci.bus
    plic = Plic(source_count=40, context_count=4, set_eip=lambda context, level: None)
    bus.map(0x1000, 0x4000, AclintMswi(4, set_msip=lambda hart, level: None), "mswi")
    timer = AclintMtimer(4, clock=lambda: 5, set_mtimecmp=lambda hart, value: None)
    bus.map(0x5000, 0x8000, timer, "mtimer")
    bus.map(0x1_0000, 0x4000, AclintSswi(4, set_ssip=lambda hart: None), "sswi")
    bus.map(0x2_0000, 0x100, Uart16550(plic.line(1), MemorySink(limit_bytes=50)), "uart")
    bus.map(0x2_1000, 0x1000, GoldfishRtc(plic.line(2), clock_ns=lambda: 99), "rtc")
    bus.map(0x2_2000, 0x1000, TestFinisher(lambda kind, code: None), "finisher")
    bus.map(0x400_0000, 0x400_0000, plic, "plic")
    from innkeeper.devices.virtio.pci import VirtioPci

    for n, make in enumerate(make_devices(memory)):
        bus.map(0x3_0000 + 0x1000 * n, 0x1000, VirtioMmio(make(), plic.line(8 + n)), "mmio")
        pci.assign(pci.host.plug(VirtioPci(make())), 0)
    bus.map(0x3_F000, 0x1000, VirtioMmio(None, IrqLine(lambda level: None)), "empty")
    return bus


def attack_registers(rng: random.Random, *, rounds: int = 2000) -> int:
    """Hit random registers; return how many accesses no device answered."""
    bus = make_board(make_memory())
    refused = 0
    for _ in range(rounds):
        mapping = rng.choice(bus.mappings)
        reach = min(mapping.size_bytes, rng.choice((64, 0x120, 0x4000, 1 << 28)))
        gpa = mapping.gpa + rng.randrange(reach)
        if rng.randrange(3):
            gpa &= ~3
        size = rng.choice((1, 2, 4, 4, 4, 8, 8, 3, 0, 16))
        try:
            if rng.randrange(2):
                value = bus.read(gpa, size)
                assert 0 <= value < 1 << 8 * size, (mapping.name, hex(gpa), size, value)
            else:
                bus.write(gpa, size, rng.choice((number(rng, 64), address(rng))))
        except BusError:
            refused += 1
    return refused


def main(argv: list[str]) -> int:
    """Run until the time is over; print the seed of the round that fails."""
    parser = argparse.ArgumentParser(description="fuzz the devices")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    log = logging.getLogger("innkeeper")
    level = log.level
    log.setLevel(logging.CRITICAL)  # what the guest did wrong is no news here
    try:
        return _run(options.seconds, options.seed)
    finally:
        log.setLevel(level)


def _run(seconds: float, first: int) -> int:
    end, seed = time.monotonic() + seconds, first
    while time.monotonic() < end:
        try:
            attack_rings(random.Random(seed))
            attack_payloads(random.Random(seed))
            attack_registers(random.Random(seed))
        except BaseException:
            print(
                f"failed: python -m tests.devices.fuzz --seconds 1 --seed {seed}", file=sys.stderr
            )
            raise
        seed += 1
    print(f"{seed - first} rounds, seeds {first}..{seed - 1}, nothing found")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
