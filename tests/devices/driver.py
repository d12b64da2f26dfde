"""The driver's side of virtio: real rings in guest memory, real register accesses.

Written from virtio 1.3, 2.7 and 2.8, apart from the device's code, so that each checks the other.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Protocol

from innkeeper.devices.bus import IrqLine
from innkeeper.devices.virtio.device import VirtioDevice
from innkeeper.devices.virtio.mmio import VirtioMmio
from innkeeper.memory import GuestMemory, GuestRam

RAM_GPA = 0x8000_0000
RAM_BYTES = 8 << 20
NEXT, WRITE, INDIRECT = 1, 2, 4
INDIRECT_DESC, EVENT_IDX, VERSION_1, PACKED = 1 << 28, 1 << 29, 1 << 32, 1 << 34
NEEDS_RESET = 0x40


def make_memory(size_bytes: int = RAM_BYTES) -> GuestMemory:
    """Return a small guest memory."""
    return GuestMemory([GuestRam(RAM_GPA, size_bytes)])


class Allocator:
    """Hand out guest memory, upwards, never twice."""

    def __init__(self, memory: GuestMemory) -> None:
        self._next = memory.regions[0].base_gpa
        self._end = memory.regions[0].end_gpa

    def take(self, size_bytes: int, align: int = 16) -> int:
        """Return the address of `size_bytes` fresh bytes."""
        gpa = (self._next + align - 1) & -align
        self._next = gpa + size_bytes
        assert self._next <= self._end, "the test needs more RAM"
        return gpa


@dataclass
class Buffer:
    """One buffer on its way through a queue."""

    segments: list[tuple[int, int, bool]]  # gpa, length, writable
    memory: GuestMemory
    slots: int = 1
    written: int | None = None

    @property
    def answer(self) -> bytes:
        """Return what the device wrote, as far as it says."""
        assert self.written is not None, "the device has not used this buffer"
        data = b"".join(self.memory.read(gpa, size) for gpa, size, out in self.segments if out)
        return data[: self.written]


class DriverRing(Protocol):
    """A ring of either format."""

    size: int
    desc: int
    driver: int
    device: int

    def add(self, buffer: Buffer, *, indirect_gpa: int | None = None) -> None: ...
    def poll(self) -> list[Buffer]: ...
    def wants_kick(self) -> bool: ...
    def want_interrupt(self, wanted: bool) -> None: ...


def _descriptors(buffer: Buffer) -> list[tuple[int, int, int]]:
    return [(gpa, size, WRITE if out else 0) for gpa, size, out in buffer.segments]


class SplitDriverRing:
    """2.7, the driver's side."""

    def __init__(self, memory: GuestMemory, alloc: Allocator, size: int, event_idx: bool) -> None:
        self.memory, self.size, self.event_idx = memory, size, event_idx
        self.desc = alloc.take(16 * size, 16)
        self.driver = alloc.take(6 + 2 * size, 2)
        self.device = alloc.take(6 + 8 * size, 4)
        self.free = list(range(size))
        self.in_flight: dict[int, tuple[Buffer, list[int]]] = {}
        self.avail = self.seen = self.kicked = 0

    def add(self, buffer: Buffer, *, indirect_gpa: int | None = None) -> None:
        parts = _descriptors(buffer)
        if indirect_gpa is not None:
            for n, (gpa, size, flags) in enumerate(parts):
                more = NEXT if n + 1 < len(parts) else 0
                entry = struct.pack("<QIHH", gpa, size, flags | more, n + 1 if more else 0)
                self.memory.write(indirect_gpa + 16 * n, entry)
            parts = [(indirect_gpa, 16 * len(parts), INDIRECT)]
        ids = [self.free.pop() for _ in parts]
        for n, (gpa, size, flags) in enumerate(parts):
            more = n + 1 < len(parts)
            entry = struct.pack(
                "<QIHH", gpa, size, flags | (NEXT if more else 0), ids[n + 1] if more else 0
            )
            self.memory.write(self.desc + 16 * ids[n], entry)
        self.in_flight[ids[0]] = (buffer, ids)
        self.memory.write_u16(self.driver + 4 + 2 * (self.avail % self.size), ids[0])
        self.avail = (self.avail + 1) & 0xFFFF
        self.memory.write_u16(self.driver + 2, self.avail)

    def wants_kick(self) -> bool:
        old, self.kicked = self.kicked, self.avail
        if not self.event_idx:
            return not self.memory.read_u16(self.device) & 1
        event = self.memory.read_u16(self.device + 4 + 8 * self.size)
        return (self.avail - event - 1) & 0xFFFF < (self.avail - old) & 0xFFFF

    def want_interrupt(self, wanted: bool) -> None:
        if self.event_idx:
            event = self.seen if wanted else (self.seen - 1) & 0xFFFF
            self.memory.write_u16(self.driver + 4 + 2 * self.size, event)
        else:
            self.memory.write_u16(self.driver, 0 if wanted else 1)

    def poll(self) -> list[Buffer]:
        done = []
        while self.seen != self.memory.read_u16(self.device + 2):
            at = self.device + 4 + 8 * (self.seen % self.size)
            buffer, ids = self.in_flight.pop(self.memory.read_u32(at))
            buffer.written = self.memory.read_u32(at + 4)
            self.free += ids
            self.seen = (self.seen + 1) & 0xFFFF
            done.append(buffer)
        return done


class PackedDriverRing:
    """2.8, the driver's side."""

    def __init__(self, memory: GuestMemory, alloc: Allocator, size: int, event_idx: bool) -> None:
        self.memory, self.size, self.event_idx = memory, size, event_idx
        self.desc = alloc.take(16 * size, 16)
        self.driver = alloc.take(4, 4)
        self.device = alloc.take(4, 4)
        self.in_flight: dict[int, Buffer] = {}
        self.free_ids = list(range(size))
        self.at, self.wrap = 0, 1
        self.seen, self.seen_wrap = 0, 1
        self.added = 0

    def add(self, buffer: Buffer, *, indirect_gpa: int | None = None) -> None:
        parts = _descriptors(buffer)
        if indirect_gpa is not None:
            for n, (gpa, size, flags) in enumerate(parts):
                self.memory.write(indirect_gpa + 16 * n, struct.pack("<QIHH", gpa, size, 0, flags))
            parts = [(indirect_gpa, 16 * len(parts), INDIRECT)]
        ident, first = self.free_ids.pop(), None
        for n, (gpa, size, flags) in enumerate(parts):
            flags |= NEXT if n + 1 < len(parts) else 0
            flags |= 1 << 7 if self.wrap else 1 << 15
            at = self.desc + 16 * self.at
            self.memory.write(at, struct.pack("<QIH", gpa, size, ident))
            if first is None:
                first = (at + 14, flags)
            else:
                self.memory.write_u16(at + 14, flags)
            self.at += 1
            if self.at == self.size:
                self.at, self.wrap = 0, self.wrap ^ 1
        assert first is not None
        self.memory.write_u16(*first)
        buffer.slots = len(parts)
        self.added += len(parts)
        self.in_flight[ident] = buffer

    def wants_kick(self) -> bool:
        fresh, self.added = self.added, 0
        where, flags = struct.unpack("<HH", self.memory.read(self.device, 4))
        if flags != 2:
            return flags == 0
        event = where & 0x7FFF
        if where >> 15 != self.wrap:
            event -= self.size
        return self.at - fresh <= event < self.at

    def want_interrupt(self, wanted: bool) -> None:
        if wanted and self.event_idx:
            self.memory.write(self.driver, struct.pack("<HH", self.seen | self.seen_wrap << 15, 2))
        else:
            self.memory.write(self.driver, struct.pack("<HH", 0, 0 if wanted else 1))

    def poll(self) -> list[Buffer]:
        done = []
        while True:
            at = self.desc + 16 * self.seen
            flags = self.memory.read_u16(at + 14)
            if not (bool(flags & 1 << 7) == bool(flags & 1 << 15) == bool(self.seen_wrap)):
                return done
            ident = self.memory.read_u16(at + 12)
            buffer = self.in_flight.pop(ident)
            self.free_ids.append(ident)
            buffer.written = self.memory.read_u32(at + 8)
            self.seen += buffer.slots
            if self.seen >= self.size:
                self.seen, self.seen_wrap = self.seen - self.size, self.seen_wrap ^ 1
            done.append(buffer)


@dataclass
class IrqRecorder:
    """Count how often a line rose."""

    rises: int = 0
    line: IrqLine = field(init=False)

    def __post_init__(self) -> None:
        self.line = IrqLine(self._changed)

    def _changed(self, level: bool) -> None:
        self.rises += level


class DriverTransport(Protocol):
    """The registers that a driver uses."""

    def status(self) -> int: ...
    def set_status(self, value: int) -> None: ...
    def device_features(self) -> int: ...
    def set_features(self, value: int) -> None: ...
    def queue_max(self, index: int) -> int: ...
    def set_queue(self, index: int, ring: DriverRing) -> None: ...
    def kick(self, index: int) -> None: ...
    def take_interrupts(self) -> int: ...
    def config(self, offset: int, size: int) -> int: ...
    def set_config(self, offset: int, size: int, value: int) -> None: ...
    def generation(self) -> int: ...


class MmioDriver:
    """4.2, the driver's side."""

    def __init__(self, device: VirtioDevice) -> None:
        self.irq = IrqRecorder()
        self.regs = VirtioMmio(device, self.irq.line)
        assert self.r(0) == 0x74726976 and self.r(4) == 2

    def r(self, offset: int) -> int:
        return self.regs.read(offset, 4)

    def w(self, offset: int, value: int) -> None:
        self.regs.write(offset, 4, value)

    def status(self) -> int:
        return self.r(0x70)

    def set_status(self, value: int) -> None:
        self.w(0x70, value)

    def device_features(self) -> int:
        self.w(0x14, 0)
        low = self.r(0x10)
        self.w(0x14, 1)
        return self.r(0x10) << 32 | low

    def set_features(self, value: int) -> None:
        for half in (0, 1):
            self.w(0x24, half)
            self.w(0x20, value >> 32 * half & 0xFFFF_FFFF)

    def queue_max(self, index: int) -> int:
        self.w(0x30, index)
        return self.r(0x34)

    def set_queue(self, index: int, ring: DriverRing) -> None:
        self.w(0x30, index)
        assert self.r(0x44) == 0
        self.w(0x38, ring.size)
        for offset, gpa in ((0x80, ring.desc), (0x90, ring.driver), (0xA0, ring.device)):
            self.w(offset, gpa & 0xFFFF_FFFF)
            self.w(offset + 4, gpa >> 32)
        self.w(0x44, 1)

    def kick(self, index: int) -> None:
        self.w(0x50, index)

    def take_interrupts(self) -> int:
        pending = self.r(0x60)
        self.w(0x64, pending)
        return pending

    def config(self, offset: int, size: int) -> int:
        return self.regs.read(0x100 + offset, size)

    def set_config(self, offset: int, size: int, value: int) -> None:
        self.regs.write(0x100 + offset, size, value)

    def generation(self) -> int:
        return self.r(0xFC)


@dataclass(frozen=True)
class Flavour:
    """A way to drive a device."""

    packed: bool = False
    indirect: bool = False
    event_idx: bool = False

    def __str__(self) -> str:
        names = ["packed" if self.packed else "split"]
        names += ["indirect"] * self.indirect + ["event"] * self.event_idx
        return "-".join(names)


FLAVOURS = [Flavour(p, i, e) for p in (False, True) for i in (False, True) for e in (False, True)]


class Driver:
    """A driver for any device: `start` it, `submit` buffers, read their answers."""

    def __init__(
        self,
        device: VirtioDevice,
        flavour: Flavour | None = None,
        *,
        transport: DriverTransport | None = None,
    ) -> None:
        self.device, self.memory = device, device.memory
        self.flavour = flavour or Flavour()
        self.transport: DriverTransport = transport or MmioDriver(device)
        self.alloc = Allocator(self.memory)
        self.rings: list[DriverRing] = []

    def start(self, features: int = ~0, *, queue_size: int = 16) -> Driver:
        """Reset the device and go through 3.1.1, taking what is offered of `features`."""
        t, flavour = self.transport, self.flavour
        t.set_status(0)
        assert t.status() == 0
        t.set_status(1)
        t.set_status(3)
        ring_bits = INDIRECT_DESC | EVENT_IDX | PACKED
        wanted = features & t.device_features() & ~ring_bits | VERSION_1
        wanted |= INDIRECT_DESC if flavour.indirect else 0
        wanted |= EVENT_IDX if flavour.event_idx else 0
        wanted |= PACKED if flavour.packed else 0
        t.set_features(wanted)
        t.set_status(11)
        assert t.status() == 11, "the device refused the features"
        kind = PackedDriverRing if flavour.packed else SplitDriverRing
        self.rings = []
        for index in range(len(self.device.queues)):
            size = min(queue_size, t.queue_max(index))
            ring = kind(self.memory, self.alloc, size, flavour.event_idx)
            ring.want_interrupt(True)
            t.set_queue(index, ring)
            self.rings.append(ring)
        t.set_status(15)
        return self

    def buffer(self, readable: list[bytes], writable: list[int]) -> Buffer:
        """Place a buffer in guest memory."""
        segments = []
        for data in readable:
            gpa = self.alloc.take(len(data))
            self.memory.write(gpa, data)
            segments.append((gpa, len(data), False))
        segments += [(self.alloc.take(size), size, True) for size in writable]
        return Buffer(segments, self.memory)

    def add(self, queue: int, readable: list[bytes], writable: list[int]) -> Buffer:
        """Make a buffer available, without a word to the device."""
        buffer = self.buffer(readable, writable)
        table = self.alloc.take(16 * len(buffer.segments)) if self.flavour.indirect else None
        self.rings[queue].add(buffer, indirect_gpa=table)
        return buffer

    def submit(self, queue: int, readable: list[bytes], writable: list[int]) -> Buffer:
        """Make a buffer available and kick if the device wants that; see what it used."""
        buffer = self.add(queue, readable, writable)
        if self.rings[queue].wants_kick():
            self.transport.kick(queue)
        self.rings[queue].poll()
        return buffer

    def poll(self, queue: int) -> list[Buffer]:
        """Return the buffers that the device used since the last look."""
        return self.rings[queue].poll()

    @property
    def needs_reset(self) -> bool:
        """Tell whether the device gave up."""
        return bool(self.transport.status() & NEEDS_RESET)
