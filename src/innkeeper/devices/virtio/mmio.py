"""virtio over memory-mapped registers, version 2 (virtio 1.3, 4.2)."""

from __future__ import annotations

from innkeeper.devices.bus import IrqLine
from innkeeper.devices.virtio.device import VirtioDevice
from innkeeper.devices.virtio.queue import Virtqueue

SIZE_BYTES = 0x1000
MAGIC = 0x74726976
VERSION = 2
VENDOR = 0x4B4E_4E49  # "INNK"
CONFIG_OFFSET = 0x100
INTERRUPT_QUEUE, INTERRUPT_CONFIG = 1, 2

R_MAGIC, R_VERSION, R_DEVICE_ID, R_VENDOR_ID = 0x000, 0x004, 0x008, 0x00C
R_DEVICE_FEATURES, R_DEVICE_FEATURES_SEL = 0x010, 0x014
R_DRIVER_FEATURES, R_DRIVER_FEATURES_SEL = 0x020, 0x024
R_QUEUE_SEL, R_QUEUE_SIZE_MAX, R_QUEUE_SIZE, R_QUEUE_READY = 0x030, 0x034, 0x038, 0x044
R_QUEUE_NOTIFY = 0x050
R_INTERRUPT_STATUS, R_INTERRUPT_ACK = 0x060, 0x064
R_STATUS = 0x070
R_QUEUE_DESC, R_QUEUE_DRIVER, R_QUEUE_DEVICE = 0x080, 0x090, 0x0A0
R_SHM_LEN, R_SHM_BASE = 0x0B0, 0x0B8
R_CONFIG_GENERATION = 0x0FC
_U32 = 0xFFFF_FFFF
_ADDRESSES = {
    R_QUEUE_DESC: ("desc_gpa", 0),
    R_QUEUE_DESC + 4: ("desc_gpa", 32),
    R_QUEUE_DRIVER: ("driver_gpa", 0),
    R_QUEUE_DRIVER + 4: ("driver_gpa", 32),
    R_QUEUE_DEVICE: ("device_gpa", 0),
    R_QUEUE_DEVICE + 4: ("device_gpa", 32),
}


class VirtioMmio:
    """Carry `device` (`None`: an empty slot, device ID 0) on a page of registers."""

    def __init__(self, device: VirtioDevice | None, irq: IrqLine) -> None:
        self.device = device
        self._irq = irq
        self._interrupts = 0
        self._queue_sel = 0
        self._device_features_sel = 0
        self._driver_features_sel = 0
        if device is not None:
            device.transport = self

    # Transport

    def interrupt_queue(self, queue: Virtqueue) -> None:
        """Raise a used buffer notification."""
        self._interrupts |= INTERRUPT_QUEUE
        self._irq.set(True)

    def interrupt_config(self) -> None:
        """Raise a configuration change notification."""
        self._interrupts |= INTERRUPT_CONFIG
        self._irq.set(True)

    def interrupt_reset(self) -> None:
        """Lower the line; the selectors return to zero."""
        self._interrupts = 0
        self._queue_sel = self._device_features_sel = self._driver_features_sel = 0
        self._irq.set(False)

    # Registers

    def read(self, offset: int, size: int) -> int:
        """Load a register (32-bit) or a part of the configuration space."""
        device = self.device
        if offset >= CONFIG_OFFSET:
            return 0 if device is None else device.read_config(offset - CONFIG_OFFSET, size)
        if size != 4:
            return 0
        if offset == R_INTERRUPT_STATUS:
            return self._interrupts
        if offset == R_MAGIC:
            return MAGIC
        if offset == R_VERSION:
            return VERSION
        if offset == R_VENDOR_ID:
            return VENDOR
        return 0 if device is None else self._read_device(device, offset)

    def _read_device(self, device: VirtioDevice, offset: int) -> int:
        if offset == R_DEVICE_ID:
            return device.device_id
        if offset == R_STATUS:
            return device.status
        if offset == R_CONFIG_GENERATION:
            return device.config_generation
        if offset == R_DEVICE_FEATURES:
            sel = self._device_features_sel
            return (device.offered_features >> 32 * sel) & _U32 if sel < 2 else 0
        if offset in (R_SHM_LEN, R_SHM_LEN + 4, R_SHM_BASE, R_SHM_BASE + 4):
            return _U32  # no such shared memory region
        queue = self._queue(device)
        if queue is None:
            return 0
        if offset == R_QUEUE_SIZE_MAX:
            return queue.max_size
        return int(queue.ready) if offset == R_QUEUE_READY else 0

    def write(self, offset: int, size: int, value: int) -> None:
        """Store to a register (32-bit) or a part of the configuration space."""
        device = self.device
        if device is None:
            return
        if offset == R_QUEUE_NOTIFY:
            device.kick(value)
        elif offset == R_INTERRUPT_ACK:
            self._interrupts &= ~value
            self._irq.set(self._interrupts != 0)
        elif offset >= CONFIG_OFFSET:
            device.write_config(offset - CONFIG_OFFSET, size, value)
        elif size == 4:
            self._write_setup(device, offset, value)

    def _write_setup(self, device: VirtioDevice, offset: int, value: int) -> None:
        if offset == R_STATUS:
            device.set_status(value & 0xFF)
        elif offset == R_QUEUE_SEL:
            self._queue_sel = value
        elif offset == R_DEVICE_FEATURES_SEL:
            self._device_features_sel = value
        elif offset == R_DRIVER_FEATURES_SEL:
            self._driver_features_sel = value
        elif offset == R_DRIVER_FEATURES:
            self._write_features(device, value)
        else:
            queue = self._queue(device)
            if queue is not None:
                self._write_queue(device, queue, offset, value)

    def _write_features(self, device: VirtioDevice, value: int) -> None:
        if self._driver_features_sel < 2:
            shift = 32 * self._driver_features_sel
            device.set_features((device.features & ~(_U32 << shift)) | value << shift)

    def _write_queue(self, device: VirtioDevice, queue: Virtqueue, offset: int, value: int) -> None:
        if offset == R_QUEUE_READY:
            if not value & 1:
                queue.disable()
            elif not queue.ready:
                device.enable_queue(queue)
        elif queue.ready:
            return  # the layout is fixed while the queue is in use
        elif offset == R_QUEUE_SIZE:
            queue.size = value
        elif offset in _ADDRESSES:
            name, shift = _ADDRESSES[offset]
            kept = getattr(queue, name) & ~(_U32 << shift)
            setattr(queue, name, kept | value << shift)

    def _queue(self, device: VirtioDevice) -> Virtqueue | None:
        return device.queues[self._queue_sel] if self._queue_sel < len(device.queues) else None
