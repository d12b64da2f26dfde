"""The memory-mapped bus: which device answers at which guest-physical address."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import Protocol

from innkeeper.base.errors import InnError, MachineError
from innkeeper.base.record import record

_MASKS = {size: (1 << 8 * size) - 1 for size in (1, 2, 4, 8)}


class BusError(InnError):
    """No device answers this access; the engine turns it into an access fault."""


class MmioDevice(Protocol):
    """Registers that a guest reaches by loads and stores.

    `size` is 1, 2, 4 or 8 and `offset + size` never exceeds the mapped size. `read` returns an
    unsigned number of that size, `write` is given one. Neither raises anything but `BusError`.
    """

    def read(self, offset: int, size: int) -> int:
        """Load `size` bytes at `offset`."""
        ...

    def write(self, offset: int, size: int, value: int) -> None:
        """Store `value` of `size` bytes at `offset`."""
        ...


class IrqLine:
    """Carry one level-triggered interrupt from a device to its controller."""

    __slots__ = ("_sink", "level")

    def __init__(self, sink: Callable[[bool], None]) -> None:
        self._sink = sink
        self.level = False

    def set(self, level: bool) -> None:
        """Drive the line; the controller hears of changes only."""
        if level is not self.level:
            self.level = level
            self._sink(level)


@record
class Mapping:
    """One device's place on the bus."""

    gpa: int
    size_bytes: int
    device: MmioDevice
    name: str


class Bus:
    """Route guest-physical accesses to devices."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._mappings: list[Mapping] = []

    @property
    def mappings(self) -> tuple[Mapping, ...]:
        """Return what is mapped, lowest address first."""
        return tuple(self._mappings)

    def map(self, gpa: int, size_bytes: int, device: MmioDevice, name: str) -> None:
        """Let `device` answer at `[gpa, gpa + size_bytes)`; `MachineError` if that overlaps."""
        if gpa < 0 or size_bytes <= 0:
            raise MachineError(f"{name} cannot be mapped", why=f"{size_bytes} bytes at {gpa:#x}")
        index = bisect_right(self._starts, gpa)
        for other in self._mappings[max(index - 1, 0) : index + 1]:
            if other.gpa < gpa + size_bytes and gpa < other.gpa + other.size_bytes:
                raise MachineError(f"{name} at {gpa:#x} overlaps {other.name} at {other.gpa:#x}")
        self._starts.insert(index, gpa)
        self._mappings.insert(index, Mapping(gpa, size_bytes, device, name))

    def find(self, gpa: int) -> Mapping | None:
        """Return the mapping that covers `gpa`."""
        index = bisect_right(self._starts, gpa) - 1
        if index >= 0:
            mapping = self._mappings[index]
            if gpa < mapping.gpa + mapping.size_bytes:
                return mapping
        return None

    def read(self, gpa: int, size: int) -> int:
        """Load from the device at `gpa`; `BusError` when there is none or the size is odd."""
        index = bisect_right(self._starts, gpa) - 1
        if index >= 0 and size in _MASKS:
            mapping = self._mappings[index]
            offset = gpa - mapping.gpa
            if offset + size <= mapping.size_bytes:
                return mapping.device.read(offset, size)
        raise BusError(f"no device answers a {size}-byte load at {gpa:#x}")

    def write(self, gpa: int, size: int, value: int) -> None:
        """Store to the device at `gpa`; `BusError` when there is none or the size is odd."""
        index = bisect_right(self._starts, gpa) - 1
        if index >= 0 and size in _MASKS:
            mapping = self._mappings[index]
            offset = gpa - mapping.gpa
            if offset + size <= mapping.size_bytes:
                mapping.device.write(offset, size, value & _MASKS[size])
                return
        raise BusError(f"no device answers a {size}-byte store at {gpa:#x}")
