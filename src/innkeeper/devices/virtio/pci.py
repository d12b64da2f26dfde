"""virtio over PCI, modern interface only, with INTx (virtio 1.3, 4.1)."""

from __future__ import annotations

import struct

from innkeeper.devices.pci import Bar, PciFunction, PciIdentity
from innkeeper.devices.virtio.device import VirtioDevice
from innkeeper.devices.virtio.queue import NO_VECTOR, Virtqueue

VENDOR = 0x1AF4
FIRST_DEVICE_ID = 0x1040
CAPABILITY_VENDOR = 0x09
CFG_COMMON, CFG_NOTIFY, CFG_ISR, CFG_DEVICE, CFG_PCI = 1, 2, 3, 4, 5
BAR_NUMBER, BAR_BYTES = 0, 0x4000
REGION_BYTES = 0x1000
COMMON_AT, ISR_AT, DEVICE_AT, NOTIFY_AT = 0x0000, 0x1000, 0x2000, 0x3000
NOTIFY_MULTIPLIER = 4
ISR_QUEUE, ISR_CONFIG = 1, 2
DEFAULT_CLASS = 0xFF_0000
_CLASSES = {1: 0x02_0000, 2: 0x01_8000, 3: 0x07_8000}  # network, mass storage, communication

C_DEVICE_FEATURE_SELECT, C_DRIVER_FEATURE_SELECT, C_DRIVER_FEATURE = 0, 8, 12
C_DEVICE_STATUS, C_QUEUE_SELECT, C_QUEUE_SIZE = 20, 22, 24
C_QUEUE_ENABLE, C_QUEUE_DESC = 28, 32
_COMMON = struct.Struct("<IIIIHHBBHHHHHQQQHHHH")
_WIDTHS = {0: 4, 8: 4, 12: 4, 20: 1, 22: 2, 24: 2, 28: 2}
_ADDRESSES = ("desc_gpa", "driver_gpa", "device_gpa")
_U32 = 0xFFFF_FFFF


class VirtioPci(PciFunction):
    """Carry `device` as a PCI function; plug it into a `PcieHost`."""

    def __init__(self, device: VirtioDevice) -> None:
        ident = PciIdentity(
            vendor=VENDOR,
            device=FIRST_DEVICE_ID + device.device_id,
            class_code=_CLASSES.get(device.device_id, DEFAULT_CLASS),
            revision=1,
            subsystem_vendor=VENDOR,
            subsystem=FIRST_DEVICE_ID,
        )
        super().__init__(ident, {BAR_NUMBER: Bar(BAR_BYTES, VirtioPciBar(self))})
        self.device = device
        self._isr = 0
        self._queue_select = 0
        self._device_feature_select = 0
        self._driver_feature_select = 0
        for kind, at, extra in (
            (CFG_COMMON, COMMON_AT, b""),
            (CFG_ISR, ISR_AT, b""),
            (CFG_DEVICE, DEVICE_AT, b""),
            (CFG_NOTIFY, NOTIFY_AT, NOTIFY_MULTIPLIER.to_bytes(4, "little")),
        ):
            self._add(kind, at, REGION_BYTES, extra)
        self._window_at = self._add(CFG_PCI, 0, 0, bytes(4), writable=True)
        device.transport = self

    def _add(self, kind: int, at: int, size: int, extra: bytes, *, writable: bool = False) -> int:
        length = 16 + len(extra)
        body = struct.pack("<BBBBHII", length, kind, BAR_NUMBER, 0, 0, at, size) + extra
        mask = b"\0\0\xff\0\0\0" + b"\xff" * (len(body) - 6) if writable else b""
        return self.add_capability(CAPABILITY_VENDOR, body, mask=mask)

    # Transport

    def interrupt_queue(self, queue: Virtqueue) -> None:
        """Raise a used buffer notification."""
        self._isr |= ISR_QUEUE
        self.set_intx(True)

    def interrupt_config(self) -> None:
        """Raise a configuration change notification."""
        self._isr |= ISR_CONFIG
        self.set_intx(True)

    def interrupt_reset(self) -> None:
        """Lower the line; the selectors return to zero."""
        self._isr = 0
        self._queue_select = self._device_feature_select = self._driver_feature_select = 0
        self.set_intx(False)

    def take_isr(self) -> int:
        """Return the interrupt status, clear it and lower the line (4.1.4.5)."""
        isr, self._isr = self._isr, 0
        self.set_intx(False)
        return isr

    # The window into the BAR in configuration space (4.1.4.9)

    def _window(self) -> tuple[int, int] | None:
        at = self._window_at
        bar = self.config[at + 4]
        offset, length = struct.unpack_from("<II", self.config, at + 8)
        if bar != BAR_NUMBER or length not in (1, 2, 4) or offset % length:
            return None
        return (offset, length) if offset + length <= BAR_BYTES else None

    def read_config(self, offset: int, size: int) -> int:
        """Load from configuration space; the window's data come from the BAR."""
        data_at = self._window_at + 16
        if data_at <= offset < data_at + 4 and (window := self._window()) is not None:
            value = self.bars[BAR_NUMBER].device.read(*window)
            self.config[data_at : data_at + 4] = value.to_bytes(4, "little")
        return super().read_config(offset, size)

    def write_config(self, offset: int, size: int, value: int) -> None:
        """Store to configuration space; the window's data go to the BAR."""
        super().write_config(offset, size, value)
        data_at = self._window_at + 16
        if data_at <= offset < data_at + 4 and (window := self._window()) is not None:
            data = self.config[data_at : data_at + window[1]]
            self.bars[BAR_NUMBER].device.write(*window, int.from_bytes(data, "little"))

    # The common configuration (4.1.4.3)

    def _queue(self) -> Virtqueue | None:
        queues = self.device.queues
        return queues[self._queue_select] if self._queue_select < len(queues) else None

    def read_common(self, offset: int, size: int) -> int:
        """Load from the common configuration structure."""
        device, queue = self.device, self._queue()
        selects = self._device_feature_select, self._driver_feature_select
        offered, taken = (
            (features >> 32 * select) & _U32 if select < 2 else 0
            for features, select in zip(
                (device.offered_features, device.features), selects, strict=True
            )
        )
        head = (selects[0], offered, selects[1], taken, NO_VECTOR, len(device.queues))
        state = (device.status, device.config_generation, self._queue_select)
        layout = (0, NO_VECTOR, 0, 0, 0, 0, 0)
        if queue is not None:
            layout = (
                *(queue.size, NO_VECTOR, int(queue.ready), queue.index),
                *(queue.desc_gpa, queue.driver_gpa, queue.device_gpa),
            )
        packed = _COMMON.pack(*head, *state, *layout, 0, 0, 0, 0)
        return int.from_bytes(packed[offset : offset + size], "little")

    def write_common(self, offset: int, size: int, value: int) -> None:
        """Store to the common configuration structure, field by field."""
        if C_QUEUE_DESC <= offset < C_QUEUE_DESC + 24:
            self._write_address(offset - C_QUEUE_DESC, size, value)
        elif _WIDTHS.get(offset) == size:
            self._write_field(offset, value)

    def _write_field(self, offset: int, value: int) -> None:
        device, queue = self.device, self._queue()
        if offset == C_DEVICE_STATUS:
            device.set_status(value)
        elif offset == C_DEVICE_FEATURE_SELECT:
            self._device_feature_select = value
        elif offset == C_DRIVER_FEATURE_SELECT:
            self._driver_feature_select = value
        elif offset == C_DRIVER_FEATURE and self._driver_feature_select < 2:
            shift = 32 * self._driver_feature_select
            device.set_features((device.features & ~(_U32 << shift)) | value << shift)
        elif offset == C_QUEUE_SELECT:
            self._queue_select = value
        elif queue is not None and not queue.ready:
            if offset == C_QUEUE_SIZE:
                queue.size = value
            elif offset == C_QUEUE_ENABLE and value == 1:
                device.enable_queue(queue)

    def _write_address(self, offset: int, size: int, value: int) -> None:
        queue = self._queue()
        if queue is None or queue.ready or size not in (4, 8) or offset % size:
            return
        name, shift = _ADDRESSES[offset // 8], offset % 8 * 8
        mask = ((1 << 8 * size) - 1) << shift
        setattr(queue, name, (getattr(queue, name) & ~mask) | value << shift)


class VirtioPciBar:
    """The BAR that the capabilities point into: four regions of a page each."""

    def __init__(self, function: VirtioPci) -> None:
        self._function = function

    def read(self, offset: int, size: int) -> int:
        """Load from the common, status or device configuration region."""
        function = self._function
        if offset < ISR_AT:
            return function.read_common(offset, size)
        if offset < DEVICE_AT:
            return function.take_isr() if offset == ISR_AT else 0
        if offset < NOTIFY_AT:
            return function.device.read_config(offset - DEVICE_AT, size)
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        """Store to the notification, common or device configuration region."""
        function = self._function
        if offset >= NOTIFY_AT:
            function.device.kick(value & 0xFFFF)
        elif offset >= DEVICE_AT:
            function.device.write_config(offset - DEVICE_AT, size, value)
        elif offset < ISR_AT:
            function.write_common(offset, size, value)
