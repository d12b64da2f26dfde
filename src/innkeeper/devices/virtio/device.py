"""What every virtio device shares, whatever its transport.

Source: virtio 1.3, 2.1 (status), 2.2 (features), 2.5 (configuration space), 2.4 and 3.1 (reset and
initialisation). A device lies above a transport (`mmio`, `pci`) that carries register accesses to
it and interrupts from it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol

from innkeeper.base.log import log
from innkeeper.devices.virtio.chain import VirtqueueError
from innkeeper.devices.virtio.queue import Virtqueue
from innkeeper.devices.virtio.ring import F_VERSION_1, QUEUE_FEATURES
from innkeeper.memory import GuestMemory, GuestMemoryError

STATUS_ACKNOWLEDGE, STATUS_DRIVER, STATUS_DRIVER_OK, STATUS_FEATURES_OK = 1, 2, 4, 8
STATUS_NEEDS_RESET, STATUS_FAILED = 0x40, 0x80
MAX_CHAINS_PER_KICK = 4096

MAX_FAILURE_REPORTS = 4  # a guest may fail for ever; the host's log shall not grow with it


class Transport(Protocol):
    """What a device asks of its transport."""

    def interrupt_queue(self, queue: Virtqueue) -> None:
        """Tell the driver that buffers of `queue` were used."""
        ...

    def interrupt_config(self) -> None:
        """Tell the driver that the configuration or the status changed."""
        ...

    def interrupt_reset(self) -> None:
        """Forget interrupts that are pending: the device was reset."""
        ...


class VirtioDevice:
    """The base of every virtio device.

    A device sets `device_id` and `name`, gives its features, its queue sizes and its configuration
    space
    to `__init__`, and overrides `handle_queue`; `on_driver_ok`, `on_reset` and `on_config_write`
    where it
    needs them. `handle_queue` may raise `VirtqueueError` or `GuestMemoryError`: the device then
    asks for a reset. Host events enter through `guarded`.

    A hart that refills a queue while another's kick is being served could hold the machine's lock
    for ever.
    A machine that sets `defer(action)`, which runs `action` soon under the lock, bounds a kick to
    `MAX_CHAINS_PER_KICK` buffers.
    """

    device_id: ClassVar[int]
    name: ClassVar[str]

    def __init__(
        self,
        memory: GuestMemory,
        *,
        queue_sizes: Sequence[int],
        features: int = 0,
        config: bytes = b"",
    ) -> None:
        self.memory = memory
        self.offered_features = features | QUEUE_FEATURES | F_VERSION_1
        self.features = 0  # what the driver took
        self.status = 0
        self.config = bytearray(config)
        self.config_generation = 0
        self._failures = 0
        self.queues = [
            Virtqueue(memory, index=index, max_size=size) for index, size in enumerate(queue_sizes)
        ]
        self.transport: Transport | None = None
        self.defer: Callable[[Callable[[], None]], None] | None = None

    # What a device overrides

    def handle_queue(self, queue: Virtqueue) -> None:
        """Serve `queue`, of which the driver said that it has new buffers."""
        raise NotImplementedError

    def on_driver_ok(self) -> None:
        """Start: the driver is ready."""

    def on_reset(self) -> None:
        """Forget all that belongs to the driver, chains in hand above all."""

    def on_config_write(self, offset: int, data: bytes) -> None:
        """Take a driver's write to the configuration space; it is read-only unless overridden."""

    # What a device calls

    @property
    def is_live(self) -> bool:
        """Tell whether the driver is ready and the device works."""
        return self.status & (STATUS_DRIVER_OK | STATUS_NEEDS_RESET) == STATUS_DRIVER_OK

    def notify(self, queue: Virtqueue) -> None:
        """Interrupt the driver if it wants to hear of what was used in `queue`; once for a
        batch."""
        if queue.must_notify() and self.transport is not None:
            self.transport.interrupt_queue(queue)

    def set_config(self, offset: int, data: bytes, *, notify: bool = True) -> None:
        """Change the configuration space, and tell the driver."""
        if self.config[offset : offset + len(data)] == data:
            return
        self.config[offset : offset + len(data)] = data
        self.config_generation = (self.config_generation + 1) & 0xFF
        if notify and self.is_live and self.transport is not None:
            self.transport.interrupt_config()

    def guarded(self, action: Callable[[], None]) -> None:
        """Run `action` if the device is live; a driver's lie found on the way stops the device."""
        if not self.is_live:
            return
        try:
            action()
        except (VirtqueueError, GuestMemoryError) as error:
            self.fail(str(error))

    def fail(self, why: str) -> None:
        """Stop and ask the driver for a reset (2.1.2)."""
        if self.status & STATUS_NEEDS_RESET:
            return
        self._failures += 1
        if self._failures <= MAX_FAILURE_REPORTS:
            log("devices.virtio").warning("virtio %s stopped: %s", self.name, why)
        was_live = self.is_live
        self.status |= STATUS_NEEDS_RESET
        if was_live and self.transport is not None:
            self.transport.interrupt_config()

    # What a transport calls

    def kick(self, index: int) -> None:
        """Take the driver's notification that queue `index` has new buffers."""
        if index >= len(self.queues):
            return
        queue = self.queues[index]
        if not queue.ready or not self.is_live:
            return
        if self.defer is not None:
            queue.budget = MAX_CHAINS_PER_KICK
        try:
            self.handle_queue(queue)
        except (VirtqueueError, GuestMemoryError) as error:
            self.fail(str(error))
        queue.budget = -1
        if queue.exhausted and self.defer is not None:
            queue.exhausted = False
            self.defer(lambda: self.kick(index))

    def set_status(self, value: int) -> None:
        """Take the driver's write to the status register."""
        if value == 0:
            self.reset()
            return
        added = value & ~self.status
        kept = self.status & (STATUS_NEEDS_RESET | STATUS_DRIVER_OK)
        self.status = (value & 0xBF & ~STATUS_FEATURES_OK) | kept
        if value & STATUS_FEATURES_OK and self._features_agree():
            self.status |= STATUS_FEATURES_OK
        if not self.status & STATUS_FEATURES_OK:
            self.status &= ~STATUS_DRIVER_OK
        elif added & STATUS_DRIVER_OK:
            self.guarded(self._start)

    def _start(self) -> None:
        self.on_driver_ok()
        for queue in self.queues:  # buffers may be there already (3.1.1)
            if queue.ready and self.is_live:
                self.handle_queue(queue)

    def _features_agree(self) -> bool:
        return not self.features & ~self.offered_features and bool(self.features & F_VERSION_1)

    def set_features(self, value: int) -> None:
        """Take the features the driver wants; they are fixed from FEATURES_OK on."""
        if not self.status & STATUS_FEATURES_OK:
            self.features = value

    def enable_queue(self, queue: Virtqueue) -> None:
        """Take the driver's word that `queue` is set up."""
        try:
            queue.enable(self.features)
        except VirtqueueError as error:
            self.fail(str(error))

    def reset(self) -> None:
        """Return to the state before any driver came."""
        self.status = 0
        self.features = 0
        for queue in self.queues:
            queue.reset()
        if self.transport is not None:
            self.transport.interrupt_reset()
        self.on_reset()

    def read_config(self, offset: int, size: int) -> int:
        """Load from the configuration space; zero beyond its end."""
        return int.from_bytes(self.config[offset : offset + size], "little")

    def write_config(self, offset: int, size: int, value: int) -> None:
        """Store to the configuration space."""
        if offset + size <= len(self.config):
            try:
                self.on_config_write(offset, value.to_bytes(size, "little"))
            except (VirtqueueError, GuestMemoryError) as error:
                self.fail(str(error))
