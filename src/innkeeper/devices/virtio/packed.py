"""Packed virtqueues (virtio 1.3, 2.8)."""

from __future__ import annotations

import struct

from innkeeper.devices.virtio.chain import Chain, VirtqueueError
from innkeeper.devices.virtio.ring import (
    DESC_BYTES,
    DESC_INDIRECT,
    DESC_NEXT,
    DESC_PACKED,
    F_EVENT_IDX,
    U16,
    U16X2,
    RingLayout,
    TableReader,
)
from innkeeper.memory import GuestMemory

DESC_AVAIL, DESC_USED, DESC_WRITE = 1 << 7, 1 << 15, 2
EVENT_ENABLE, EVENT_DISABLE, EVENT_DESC = 0, 1, 2
EVENT_BYTES = 4
LENGTH_OFFSET, FLAGS_OFFSET = 8, 14
DESC_ID = struct.Struct("<IH")  # the length and identity of a descriptor
_USED_WITH_WRAP = (0, DESC_USED | DESC_AVAIL)


class PackedRing:
    """One ring of descriptors, which driver and device overwrite in turns."""

    def __init__(self, memory: GuestMemory, layout: RingLayout) -> None:
        if layout.desc_gpa % 16 or layout.driver_gpa % 4 or layout.device_gpa % 4:
            raise VirtqueueError("a packed queue that is not aligned")
        self._memory = memory
        self._size = layout.size
        self._desc_gpa = layout.desc_gpa
        self._desc = memory.view(layout.desc_gpa, layout.size * DESC_BYTES)
        self._driver_event = memory.view(layout.driver_gpa, EVENT_BYTES)
        self._device_event = memory.view(layout.device_gpa, EVENT_BYTES)
        self._device_event_gpa = layout.device_gpa
        self._table = TableReader(memory, layout.features)
        self._event_idx = bool(layout.features & F_EVENT_IDX)
        self._next_avail, self._avail_wrap = 0, 1
        self._next_used, self._used_wrap = 0, 1
        self._in_flight = 0
        self._unsignalled = 0

    def _is_available(self) -> bool:
        flags = U16.unpack_from(self._desc, self._next_avail * DESC_BYTES + FLAGS_OFFSET)[0]
        available: bool = flags & (DESC_AVAIL | DESC_USED) == (
            DESC_AVAIL if self._avail_wrap else DESC_USED
        )
        return available

    def pop(self) -> Chain | None:
        """Take the next available chain (2.8.6); arm the notification when there is none."""
        if not self._is_available():
            if not self._event_idx:
                return None
            where = self._next_avail | self._avail_wrap << 15
            U16X2.pack_into(self._device_event, 0, where, EVENT_DESC)
            self._memory.mark_written(self._device_event_gpa, EVENT_BYTES)
            self._memory.fence()
            if not self._is_available():
                return None
        self._memory.order()
        return self._read_chain()

    def _read_chain(self) -> Chain:
        chain = Chain(0)
        index, slots = self._next_avail, 0
        while True:
            slots += 1
            if slots + self._in_flight > self._size:
                raise VirtqueueError("a descriptor chain longer than its ring")
            gpa, length, ident, flags = DESC_PACKED.unpack_from(self._desc, index * DESC_BYTES)
            if flags & DESC_INDIRECT:
                if slots > 1:
                    raise VirtqueueError("an indirect descriptor inside a chain")
                self._read_indirect(chain, self._table.indirect_table(gpa, length, flags))
            else:
                self._table.segment(chain, gpa, length, flags)
            index += 1
            if index == self._size:
                index = 0
                self._avail_wrap ^= 1
            if not flags & DESC_NEXT:
                break
        self._next_avail = index
        self._in_flight += slots
        chain.head, chain.ring_slots = ident, slots
        return chain

    def _read_indirect(self, chain: Chain, table: memoryview) -> None:
        for gpa, length, _ident, flags in DESC_PACKED.iter_unpack(table):
            if flags & DESC_INDIRECT:
                raise VirtqueueError("an indirect table inside an indirect table")
            self._table.segment(chain, gpa, length, flags)

    def push(self, chain: Chain, written: int) -> None:
        """Write a used descriptor (2.8.6.1): identity and length first, then its flags."""
        at = self._next_used * DESC_BYTES
        flags = _USED_WITH_WRAP[self._used_wrap] | (DESC_WRITE if chain.writable else 0)
        DESC_ID.pack_into(self._desc, at + LENGTH_OFFSET, written & 0xFFFF_FFFF, chain.head)
        self._memory.order()
        U16.pack_into(self._desc, at + FLAGS_OFFSET, flags)
        self._memory.mark_written(self._desc_gpa + at, DESC_BYTES)
        self._in_flight -= chain.ring_slots
        self._unsignalled += chain.ring_slots
        self._next_used += chain.ring_slots
        if self._next_used >= self._size:
            self._next_used -= self._size
            self._used_wrap ^= 1

    def must_notify(self) -> bool:
        """Decide on a used buffer notification (2.8.10)."""
        fresh, self._unsignalled = self._unsignalled, 0
        if not fresh:
            return False
        self._memory.fence()
        where, flags = U16X2.unpack_from(self._driver_event, 0)
        if not self._event_idx or flags & 3 != EVENT_DESC:
            return bool(flags & 3 != EVENT_DISABLE)
        event = where & 0x7FFF
        if where >> 15 != self._used_wrap:
            event -= self._size
        return bool(self._next_used - fresh <= event < self._next_used)
