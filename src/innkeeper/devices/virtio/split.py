"""Split virtqueues (virtio 1.3, 2.7)."""

from __future__ import annotations

from innkeeper.devices.virtio.chain import Chain, VirtqueueError
from innkeeper.devices.virtio.ring import (
    DESC_BYTES,
    DESC_INDIRECT,
    DESC_NEXT,
    DESC_SPLIT,
    F_EVENT_IDX,
    U16,
    U32X2,
    RingLayout,
    TableReader,
)
from innkeeper.memory import GuestMemory

AVAIL_NO_INTERRUPT = 1
IDX_OFFSET = 2
RING_OFFSET = 4
USED_BYTES = 8


class SplitRing:
    """A descriptor table, an available ring and a used ring."""

    def __init__(self, memory: GuestMemory, layout: RingLayout) -> None:
        size = layout.size
        if size & (size - 1):
            raise VirtqueueError(f"a split queue of {size} entries, not a power of two")
        if layout.desc_gpa % 16 or layout.driver_gpa % 2 or layout.device_gpa % 4:
            raise VirtqueueError("a split queue that is not aligned")
        self._memory = memory
        self._size = size
        self._desc = memory.view(layout.desc_gpa, size * DESC_BYTES)
        self._avail = memory.view(layout.driver_gpa, RING_OFFSET + 2 * size + 2)
        self._used = memory.view(layout.device_gpa, RING_OFFSET + USED_BYTES * size + 2)
        self._used_gpa = layout.device_gpa
        self._used_event_offset = RING_OFFSET + 2 * size
        self._avail_event_offset = RING_OFFSET + USED_BYTES * size
        self._table = TableReader(memory, layout.features)
        self._event_idx = bool(layout.features & F_EVENT_IDX)
        self._next_avail = 0
        self._next_used = 0
        self._signalled = 0

    def pop(self) -> Chain | None:
        """Take the next available chain (2.7.13.3); arm the notification when there is none."""
        position = self._next_avail
        available = (U16.unpack_from(self._avail, IDX_OFFSET)[0] - position) & 0xFFFF
        if not available:
            if not self._event_idx:
                return None
            U16.pack_into(self._used, self._avail_event_offset, position)
            self._memory.mark_written(self._used_gpa + self._avail_event_offset, 2)
            self._memory.fence()
            available = (U16.unpack_from(self._avail, IDX_OFFSET)[0] - position) & 0xFFFF
            if not available:
                return None
        if available > self._size:
            raise VirtqueueError(f"{available} chains available in a queue of {self._size}")
        self._memory.order()
        slot = RING_OFFSET + 2 * (position & (self._size - 1))
        head = U16.unpack_from(self._avail, slot)[0]
        self._next_avail = (position + 1) & 0xFFFF
        return self._read_chain(head)

    def _read_chain(self, head: int) -> Chain:
        if head >= self._size:
            raise VirtqueueError(f"descriptor {head} in a queue of {self._size}")
        chain = Chain(head)
        table, count, index = self._desc, self._size, head
        gpa, length, flags, following = DESC_SPLIT.unpack_from(table, index * DESC_BYTES)
        seen, indirect = 1, False
        while True:
            if flags & DESC_INDIRECT:
                if indirect:
                    raise VirtqueueError("an indirect table inside an indirect table")
                table = self._table.indirect_table(gpa, length, flags)
                indirect, count, seen, following = True, len(table) // DESC_BYTES, 0, 0
            else:
                self._table.segment(chain, gpa, length, flags)
                if not flags & DESC_NEXT:
                    return chain
            seen += 1
            if following >= count or seen > count:
                raise VirtqueueError("a descriptor chain that leaves its table or never ends")
            gpa, length, flags, following = DESC_SPLIT.unpack_from(table, following * DESC_BYTES)

    def push(self, chain: Chain, written: int) -> None:
        """Put a chain on the used ring (2.7.8)."""
        slot = RING_OFFSET + USED_BYTES * (self._next_used & (self._size - 1))
        U32X2.pack_into(self._used, slot, chain.head, written & 0xFFFF_FFFF)
        self._memory.order()
        self._next_used = (self._next_used + 1) & 0xFFFF
        U16.pack_into(self._used, IDX_OFFSET, self._next_used)
        hook = self._memory.on_dma_write
        if hook is not None:
            hook(self._used_gpa + slot, USED_BYTES)
            hook(self._used_gpa + IDX_OFFSET, 2)

    def must_notify(self) -> bool:
        """Decide on a used buffer notification (2.7.7)."""
        if self._next_used == self._signalled:
            return False
        self._memory.fence()
        if not self._event_idx:
            self._signalled = self._next_used
            return not U16.unpack_from(self._avail, 0)[0] & AVAIL_NO_INTERRUPT
        event: int = U16.unpack_from(self._avail, self._used_event_offset)[0]
        fresh = (self._next_used - self._signalled) & 0xFFFF
        self._signalled = self._next_used
        return ((self._next_used - event - 1) & 0xFFFF) < fresh
