"""What split and packed rings share: descriptors, limits, features.

Source: virtio 1.3, 2.6 (virtqueues), 2.7.5 (split descriptors), 2.8.6 (packed descriptors), 6
(features).
"""

from __future__ import annotations

import struct
from typing import Protocol

from innkeeper.base.record import record
from innkeeper.devices.virtio.chain import Chain, VirtqueueError
from innkeeper.memory import GuestMemory

F_INDIRECT_DESC = 1 << 28
F_EVENT_IDX = 1 << 29
F_VERSION_1 = 1 << 32
F_RING_PACKED = 1 << 34
QUEUE_FEATURES = F_INDIRECT_DESC | F_EVENT_IDX | F_RING_PACKED

DESC_NEXT, DESC_WRITE, DESC_INDIRECT = 1, 2, 4
DESC_BYTES = 16

DESC_SPLIT = struct.Struct("<QIHH")  # address, length, flags, next
DESC_PACKED = struct.Struct("<QIHH")  # address, length, buffer id, flags
U16 = struct.Struct("<H")
U16X2 = struct.Struct("<HH")
U32X2 = struct.Struct("<II")


@record
class RingLayout:
    """Where the driver put a ring, and the negotiated features."""

    size: int
    desc_gpa: int
    driver_gpa: int
    device_gpa: int
    features: int


class Ring(Protocol):
    """What `SplitRing` and `PackedRing` do for a `Virtqueue`."""

    def pop(self) -> Chain | None:
        """Take the next available chain; when there is none, ask for a notification."""
        ...

    def push(self, chain: Chain, written: int) -> None:
        """Put a chain on the used ring."""
        ...

    def must_notify(self) -> bool:
        """Tell whether the driver wants to hear of what was used since the last call."""
        ...


class TableReader:
    """Turn descriptors into a chain's segments; shared by both ring formats."""

    __slots__ = ("_memory", "indirect_allowed")

    def __init__(self, memory: GuestMemory, features: int) -> None:
        self._memory = memory
        self.indirect_allowed = bool(features & F_INDIRECT_DESC)

    def segment(self, chain: Chain, gpa: int, length: int, flags: int) -> None:
        """Add one buffer descriptor."""
        chain.add(gpa, self._memory.view(gpa, length), writable=bool(flags & DESC_WRITE))

    def indirect_table(self, gpa: int, length: int, flags: int) -> memoryview:
        """Return the indirect table a descriptor points to."""
        if not self.indirect_allowed:
            raise VirtqueueError("an indirect descriptor that was not negotiated")
        if flags & DESC_NEXT:
            raise VirtqueueError("an indirect descriptor with a next one")
        if length == 0 or length % DESC_BYTES:
            raise VirtqueueError(f"an indirect table of {length} bytes")
        return self._memory.view(gpa, length)
