"""Virtqueues, the device's side (virtio 1.3, 2.6).

What the driver put in the rings is checked when it is used: `VirtqueueError` tells of a lie, and
the device stops.
"""

from __future__ import annotations

from innkeeper.devices.virtio.chain import Chain, VirtqueueError
from innkeeper.devices.virtio.packed import PackedRing
from innkeeper.devices.virtio.ring import F_RING_PACKED, Ring, RingLayout
from innkeeper.devices.virtio.split import SplitRing
from innkeeper.memory import GuestMemory, GuestMemoryError

MAX_QUEUE_SIZE = 32768
NO_VECTOR = 0xFFFF


class Virtqueue:
    """One virtqueue of a device, as the transport sets it up and the device uses it.

    The transport fills `size`, `desc_gpa`, `driver_gpa` and `device_gpa`, then calls `enable`. The
    device calls `pop` and `used`, then asks `must_notify` once for a batch.
    """

    __slots__ = (
        "_memory",
        "_ring",
        "budget",
        "desc_gpa",
        "device_gpa",
        "driver_gpa",
        "exhausted",
        "index",
        "max_size",
        "ready",
        "size",
        "vector",
    )

    def __init__(self, memory: GuestMemory, *, index: int, max_size: int) -> None:
        self._memory = memory
        self.budget = -1  # how many chains `pop` may still return; negative: any number
        self.exhausted = False
        self.index = index
        self.max_size = max_size
        self.reset()

    def reset(self) -> None:
        """Forget everything the driver set."""
        self.size = self.max_size
        self.desc_gpa = self.driver_gpa = self.device_gpa = 0
        self.ready = False
        self.vector = NO_VECTOR
        self._ring: Ring | None = None

    def enable(self, features: int) -> None:
        """Start with the negotiated `features`; `VirtqueueError` for rings that cannot be."""
        if not 1 <= self.size <= self.max_size:
            raise VirtqueueError(f"queue {self.index} of {self.size} entries")
        layout = RingLayout(self.size, self.desc_gpa, self.driver_gpa, self.device_gpa, features)
        kind = PackedRing if features & F_RING_PACKED else SplitRing
        try:
            self._ring = kind(self._memory, layout)
        except GuestMemoryError as error:
            raise VirtqueueError(f"queue {self.index}: {error}") from None
        self.ready = True

    def disable(self) -> None:
        """Stop using the rings."""
        self.ready = False
        self._ring = None

    def pop(self) -> Chain | None:
        """Take the next chain the driver made available, or `None`."""
        if self._ring is None:
            return None
        if self.budget == 0:
            self.exhausted = True
            return None
        self.budget -= 1
        try:
            return self._ring.pop()
        except GuestMemoryError as error:
            raise VirtqueueError(f"queue {self.index}: {error}") from None

    def used(self, chain: Chain, written: int = 0) -> None:
        """Give `chain` back after its first `written` writable bytes were filled."""
        left = written
        for gpa, view in zip(chain.writable_gpas, chain.writable, strict=True):
            if left <= 0:
                break
            self._memory.mark_written(gpa, min(left, len(view)))
            left -= len(view)
        if self._ring is not None:
            self._ring.push(chain, written)

    def must_notify(self) -> bool:
        """Tell whether the driver wants an interrupt for what was used since the last call."""
        return self._ring is not None and self._ring.must_notify()
