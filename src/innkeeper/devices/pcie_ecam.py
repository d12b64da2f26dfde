"""A generic PCI Express host: configuration by ECAM, memory windows, four shared interrupt lines.

Source: PCI Express Base 4.0, 7.2.2 (ECAM); device tree binding `pci-host-ecam-generic`. One bus,
one function a slot; an absent function reads as all ones, as does memory that no BAR claims.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from innkeeper.base.errors import MachineError
from innkeeper.devices.bus import IrqLine, MmioDevice
from innkeeper.devices.pci import PciFunction

ECAM_BYTES_PER_BUS = 1 << 20
FUNCTION_BYTES = 4096
SLOTS = 32
INTX_LINES = 4


class PcieHost:
    """Hold the functions of bus 0, and answer ECAM accesses (it is an `MmioDevice` itself).

    `intx` are the lines to the interrupt controller: INTA# of slot n goes to line n mod 4, which
    is what the
    board's `interrupt-map` says too. `window(gpa)` gives what to map at a memory window.
    """

    def __init__(self, intx: Sequence[IrqLine]) -> None:
        if len(intx) != INTX_LINES:
            raise MachineError(f"a PCI host has {INTX_LINES} interrupt lines, not {len(intx)}")
        self._lines = intx
        self._raised = [0] * INTX_LINES  # a bit a slot
        self.functions: dict[int, PciFunction] = {}
        self._version = -1
        self._starts: list[int] = []
        self._placed: list[tuple[int, int, MmioDevice]] = []

    def plug(self, function: PciFunction, *, slot: int | None = None) -> int:
        """Put `function` into `slot`, or the first free one from 1 on; return the slot."""
        free = [n for n in range(1, SLOTS) if n not in self.functions]
        chosen = slot if slot is not None else next(iter(free), SLOTS)
        if chosen in self.functions or not 0 <= chosen < SLOTS:
            raise MachineError(f"there is no free PCI slot {chosen}")
        self.functions[chosen] = function
        function.irq = IrqLine(lambda level: self._interrupt(chosen, level))
        return chosen

    def _interrupt(self, slot: int, level: bool) -> None:
        line, bit = slot % INTX_LINES, 1 << slot
        self._raised[line] = self._raised[line] | bit if level else self._raised[line] & ~bit
        self._lines[line].set(self._raised[line] != 0)

    def _function(self, offset: int) -> PciFunction | None:
        slot_and_function, bus = offset // FUNCTION_BYTES & 0xFF, offset // ECAM_BYTES_PER_BUS
        if bus or slot_and_function & 7:
            return None
        return self.functions.get(slot_and_function >> 3)

    def read(self, offset: int, size: int) -> int:
        """Load from a function's configuration space."""
        function = self._function(offset)
        if function is None:
            return (1 << 8 * size) - 1
        return function.read_config(offset % FUNCTION_BYTES, size)

    def write(self, offset: int, size: int, value: int) -> None:
        """Store to a function's configuration space."""
        function = self._function(offset)
        if function is not None:
            function.write_config(offset % FUNCTION_BYTES, size, value)

    def window(self, gpa: int) -> PciWindow:
        """Return what answers in the memory window at `gpa` (PCI and CPU addresses are the
        same)."""
        return PciWindow(self, gpa)

    def find(self, gpa: int, size: int) -> tuple[MmioDevice, int] | None:
        """Return the device whose BAR holds all of the access, and the offset into it."""
        version = sum(function.layout_changes for function in self.functions.values())
        if version != self._version:
            self._version = version
            self._place()
        index = bisect_right(self._starts, gpa) - 1
        if index >= 0:
            start, end, device = self._placed[index]
            if gpa + size <= end:
                return device, gpa - start
        return None

    def _place(self) -> None:
        placed = [
            (gpa, gpa + bar.size_bytes, bar.device)
            for function in self.functions.values()
            for gpa, bar in function.decoded()
        ]
        self._placed = sorted(placed, key=lambda entry: entry[0])
        self._starts = [entry[0] for entry in self._placed]


class PciWindow:
    """A memory window: passes accesses to whichever BAR the guest placed there."""

    def __init__(self, host: PcieHost, gpa: int) -> None:
        self._host = host
        self._gpa = gpa

    def read(self, offset: int, size: int) -> int:
        """Load through a BAR; all ones where there is none."""
        found = self._host.find(self._gpa + offset, size)
        return (1 << 8 * size) - 1 if found is None else found[0].read(found[1], size)

    def write(self, offset: int, size: int, value: int) -> None:
        """Store through a BAR; nothing where there is none."""
        found = self._host.find(self._gpa + offset, size)
        if found is not None:
            found[0].write(found[1], size, value)
