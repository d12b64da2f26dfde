"""PCI functions: configuration space, base address registers, capabilities, INTx.

Source: PCI Local Bus 3.0, 6.1 (header type 0), 6.2.5 (base addresses), 6.7 (capabilities), 6.2.2
(command).
"""

from __future__ import annotations

from innkeeper.base.errors import MachineError
from innkeeper.base.record import record
from innkeeper.devices.bus import IrqLine, MmioDevice

CONFIG_BYTES = 256
BAR_COUNT = 6
MIN_BAR_BYTES = 16

VENDOR_ID, DEVICE_ID, COMMAND, STATUS = 0x00, 0x02, 0x04, 0x06
REVISION, CACHE_LINE, BAR0 = 0x08, 0x0C, 0x10
SUBSYSTEM_VENDOR, SUBSYSTEM, CAPABILITIES = 0x2C, 0x2E, 0x34
INTERRUPT_LINE, INTERRUPT_PIN, FIRST_CAPABILITY = 0x3C, 0x3D, 0x40

COMMAND_MEMORY, COMMAND_MASTER, COMMAND_INTX_OFF = 0x2, 0x4, 0x400
COMMAND_WRITABLE = COMMAND_MEMORY | COMMAND_MASTER | 0x40 | 0x100 | COMMAND_INTX_OFF
STATUS_INTX, STATUS_CAPABILITIES = 0x08, 0x10
BAR_64_BIT, BAR_PREFETCHABLE = 4, 8


@record(kw_only=True)
class PciIdentity:
    """Who a function says it is; `class_code` is 24 bits: class, subclass, interface."""

    vendor: int
    device: int
    class_code: int
    revision: int = 0
    subsystem_vendor: int = 0
    subsystem: int = 0


@record
class Bar:
    """A memory region of a function: a power of two of bytes, served by `device`."""

    size_bytes: int
    device: MmioDevice
    is_64_bit: bool = False
    is_prefetchable: bool = False


class PciFunction:
    """A function with a type 0 header; `bars` by number. INTA# is its interrupt pin.

    Whoever plugs it in sets `irq` and looks at `decoded` when `layout_changes` moved.
    """

    def __init__(self, identity: PciIdentity, bars: dict[int, Bar]) -> None:
        self.config = bytearray(CONFIG_BYTES)
        self._mask = bytearray(CONFIG_BYTES)  # the bits that a guest may change
        self.bars = bars
        self.irq: IrqLine | None = None
        self.layout_changes = 0
        self._intx = False
        self._last_capability = CAPABILITIES
        self._free = FIRST_CAPABILITY
        self._set(VENDOR_ID, 2, identity.vendor)
        self._set(DEVICE_ID, 2, identity.device)
        self._set(REVISION, 4, identity.class_code << 8 | identity.revision)
        self._set(SUBSYSTEM_VENDOR, 2, identity.subsystem_vendor)
        self._set(SUBSYSTEM, 2, identity.subsystem)
        self._set(INTERRUPT_PIN, 1, 1)
        self._allow(COMMAND, 2, COMMAND_WRITABLE)
        self._allow(CACHE_LINE, 1, 0xFF)
        self._allow(INTERRUPT_LINE, 1, 0xFF)
        for number, bar in bars.items():
            self._add_bar(number, bar)

    def _set(self, offset: int, size: int, value: int) -> None:
        self.config[offset : offset + size] = value.to_bytes(size, "little")

    def _get(self, offset: int, size: int) -> int:
        return int.from_bytes(self.config[offset : offset + size], "little")

    def _allow(self, offset: int, size: int, mask: int) -> None:
        self._mask[offset : offset + size] = mask.to_bytes(size, "little")

    def _add_bar(self, number: int, bar: Bar) -> None:
        width = 8 if bar.is_64_bit else 4
        size = bar.size_bytes
        if size < MIN_BAR_BYTES or size & (size - 1) or size >= 1 << (8 * width - 1):
            raise MachineError(f"a PCI BAR of {size} bytes is not possible")
        if number + width // 4 > BAR_COUNT:
            raise MachineError(f"a PCI function has no BAR {number} of {8 * width} bits")
        at = BAR0 + 4 * number
        flags = (BAR_64_BIT if bar.is_64_bit else 0) | (
            BAR_PREFETCHABLE if bar.is_prefetchable else 0
        )
        self._set(at, 4, flags)
        self._allow(at, width, ((1 << 8 * width) - 1) & -size)

    def add_capability(self, ident: int, body: bytes, *, mask: bytes = b"") -> int:
        """Append a capability (`body` follows its two bytes of header); return its offset.

        The bits set in `mask` are the ones of `body` that a guest may change.
        """
        at, size = self._free, 2 + len(body)
        if at + size > CONFIG_BYTES:
            raise MachineError("the PCI capabilities do not fit")
        self._free = (at + size + 3) & ~3
        self._set(self._last_capability, 1, at)
        self._last_capability = at + 1
        self.config[at : at + size] = bytes([ident, 0]) + body
        self._mask[at + 2 : at + 2 + len(mask)] = mask
        self._set(STATUS, 2, self._get(STATUS, 2) | STATUS_CAPABILITIES)
        return at

    def read_config(self, offset: int, size: int) -> int:
        """Load from the configuration space; zero beyond its 256 bytes."""
        return self._get(offset, size)

    def write_config(self, offset: int, size: int, value: int) -> None:
        """Store to the configuration space, as far as its bits are writable."""
        end = min(offset + size, CONFIG_BYTES)
        before = (self._get(COMMAND, 2), self.config[BAR0 : BAR0 + 4 * BAR_COUNT])
        for at in range(offset, end):
            mask = self._mask[at]
            byte = value >> 8 * (at - offset) & 0xFF
            self.config[at] = (self.config[at] & ~mask) | (byte & mask)
        if before != (self._get(COMMAND, 2), self.config[BAR0 : BAR0 + 4 * BAR_COUNT]):
            self.layout_changes += 1
            self._drive()

    def decoded(self) -> list[tuple[int, Bar]]:
        """Return the guest-physical address and the BAR of every region that is switched on."""
        if not self._get(COMMAND, 2) & COMMAND_MEMORY:
            return []
        placed = []
        for number, bar in self.bars.items():
            width = 8 if bar.is_64_bit else 4
            placed.append((self._get(BAR0 + 4 * number, width) & ~0xF, bar))
        return placed

    def set_intx(self, level: bool) -> None:
        """Drive INTA#, unless the guest switched it off."""
        if level is not self._intx:
            self._intx = level
            status = self._get(STATUS, 2) & ~STATUS_INTX
            self._set(STATUS, 2, status | (STATUS_INTX if level else 0))
            self._drive()

    def _drive(self) -> None:
        if self.irq is not None:
            self.irq.set(self._intx and not self._get(COMMAND, 2) & COMMAND_INTX_OFF)
