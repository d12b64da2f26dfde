"""Guest RAM: anonymous host memory, addressed by guest-physical address.

A `GuestRam` is one contiguous region; a `GuestMemory` is what a machine has of them. Both check
every range before they touch it: an address or a size from a guest can be anything.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import struct
import threading
from bisect import bisect_right
from collections.abc import Callable, Sequence

from innkeeper.base.errors import InnError, MachineError
from innkeeper.base.units import PAGE_BYTES

_MAP_NORESERVE: int = getattr(mmap, "MAP_NORESERVE", 0x4000)
_MADV_NOHUGEPAGE = 15
_MADV_HUGEPAGE = 14
_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_STRONGLY_ORDERED = os.uname().machine in ("x86_64", "AMD64", "i686", "s390x")
ADDRESS_SPACE_BYTES = 1 << 64

BytesLike = bytes | bytearray | memoryview
DmaHook = Callable[[int, int], None]


class GuestMemoryError(InnError):
    """A guest-physical range is not RAM (all of it, in one region)."""


class GuestRam:
    """Hold one contiguous region of guest RAM.

    `base_gpa` and `size_bytes` are multiples of 4 KiB. Only pages that the guest touches cost host
    memory;
    `hugepages` asks the host for transparent huge pages. `hva` is the host address of the first
    byte and
    stays valid as long as this object lives. Raises `MachineError` when the host has no such room.
    """

    __slots__ = ("_map", "_pin", "_view", "base_gpa", "end_gpa", "hva", "size_bytes")

    def __init__(self, base_gpa: int, size_bytes: int, *, hugepages: bool = False) -> None:
        if size_bytes <= 0 or size_bytes % PAGE_BYTES or base_gpa < 0 or base_gpa % PAGE_BYTES:
            raise MachineError(
                f"guest RAM of {size_bytes} bytes at {base_gpa:#x} is not possible",
                why=f"both must be multiples of {PAGE_BYTES}",
            )
        if base_gpa + size_bytes > ADDRESS_SPACE_BYTES:
            raise MachineError(f"guest RAM at {base_gpa:#x} ends beyond 64-bit addresses")
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
        try:
            self._map = mmap.mmap(-1, size_bytes, flags=flags)
        except (OSError, OverflowError) as error:
            raise MachineError(
                f"the host has no room for {size_bytes >> 20} MiB of guest RAM",
                why=str(error),
                fix="give the guest less with --memory",
            ) from None
        # A host without transparent huge pages has nothing to ask for.
        with contextlib.suppress(OSError, AttributeError):
            self._map.madvise(_MADV_HUGEPAGE if hugepages else _MADV_NOHUGEPAGE)
        self.base_gpa = base_gpa
        self.size_bytes = size_bytes
        self.end_gpa = base_gpa + size_bytes
        self._pin = ctypes.c_char.from_buffer(self._map)  # keeps the mapping where it is
        self.hva: int = ctypes.addressof(self._pin)
        self._view = memoryview(self._map)

    def _offset(self, gpa: int, size_bytes: int) -> int:
        offset = gpa - self.base_gpa
        if offset < 0 or size_bytes < 0 or offset + size_bytes > self.size_bytes:
            raise _not_ram(gpa, size_bytes)
        return offset

    def contains(self, gpa: int, size_bytes: int) -> bool:
        """Tell whether all of `[gpa, gpa + size_bytes)` lies in this region."""
        return self.base_gpa <= gpa and size_bytes >= 0 and gpa + size_bytes <= self.end_gpa

    def view(self, gpa: int, size_bytes: int) -> memoryview:
        """Return guest memory itself, writable, not a copy."""
        offset = self._offset(gpa, size_bytes)
        return self._view[offset : offset + size_bytes]

    def read(self, gpa: int, size_bytes: int) -> bytes:
        """Return a copy of guest memory."""
        offset = self._offset(gpa, size_bytes)
        return bytes(self._view[offset : offset + size_bytes])

    def write(self, gpa: int, data: BytesLike) -> None:
        """Store `data` at `gpa`."""
        offset = self._offset(gpa, len(data))
        self._view[offset : offset + len(data)] = data

    def read_u16(self, gpa: int) -> int:
        """Load a little-endian 16-bit number."""
        value: int = _U16.unpack_from(self._view, self._offset(gpa, 2))[0]
        return value

    def read_u32(self, gpa: int) -> int:
        """Load a little-endian 32-bit number."""
        value: int = _U32.unpack_from(self._view, self._offset(gpa, 4))[0]
        return value

    def read_u64(self, gpa: int) -> int:
        """Load a little-endian 64-bit number."""
        value: int = _U64.unpack_from(self._view, self._offset(gpa, 8))[0]
        return value

    def write_u16(self, gpa: int, value: int) -> None:
        """Store a little-endian 16-bit number (the low bits of `value`)."""
        _U16.pack_into(self._view, self._offset(gpa, 2), value & 0xFFFF)

    def write_u32(self, gpa: int, value: int) -> None:
        """Store a little-endian 32-bit number (the low bits of `value`)."""
        _U32.pack_into(self._view, self._offset(gpa, 4), value & 0xFFFF_FFFF)

    def write_u64(self, gpa: int, value: int) -> None:
        """Store a little-endian 64-bit number (the low bits of `value`)."""
        _U64.pack_into(self._view, self._offset(gpa, 8), value & 0xFFFF_FFFF_FFFF_FFFF)


class GuestMemory:
    """Present a machine's RAM regions as one guest-physical memory.

    Every store made through `write*` is told to `on_dma_write(gpa, size_bytes)`; whoever fills a
    `view`
    calls `mark_written` afterwards, so that the engine can drop code it translated from there. A
    range must lie in one region: `GuestMemoryError` otherwise.
    """

    def __init__(self, regions: Sequence[GuestRam]) -> None:
        self.regions: tuple[GuestRam, ...] = tuple(sorted(regions, key=lambda r: r.base_gpa))
        if not self.regions:
            raise MachineError("a machine needs some RAM")
        for low, high in zip(self.regions, self.regions[1:], strict=False):
            if low.end_gpa > high.base_gpa:
                raise MachineError(f"RAM at {high.base_gpa:#x} overlaps RAM at {low.base_gpa:#x}")
        self.on_dma_write: DmaHook | None = None
        self._bases = [region.base_gpa for region in self.regions]
        self._last = self.regions[0]
        self._fence_lock = threading.Lock()
        self._fence_lock.acquire()

    @property
    def size_bytes(self) -> int:
        """Return the sum of all regions."""
        return sum(region.size_bytes for region in self.regions)

    def region(self, gpa: int, size_bytes: int) -> GuestRam:
        """Return the region that holds all of `[gpa, gpa + size_bytes)`."""
        last = self._last
        if last.base_gpa <= gpa and gpa + size_bytes <= last.end_gpa:
            return last
        index = bisect_right(self._bases, gpa) - 1
        if index < 0 or not self.regions[index].contains(gpa, size_bytes):
            raise _not_ram(gpa, size_bytes)
        self._last = self.regions[index]
        return self._last

    def contains(self, gpa: int, size_bytes: int) -> bool:
        """Tell whether all of `[gpa, gpa + size_bytes)` is RAM of one region."""
        return any(region.contains(gpa, size_bytes) for region in self.regions)

    def view(self, gpa: int, size_bytes: int) -> memoryview:
        """Return guest memory itself, writable; call `mark_written` after filling it."""
        last = self._last
        offset = gpa - last.base_gpa
        if 0 <= offset <= offset + size_bytes <= last.size_bytes:
            return last._view[offset : offset + size_bytes]
        return self.region(gpa, size_bytes).view(gpa, size_bytes)

    def mark_written(self, gpa: int, size_bytes: int) -> None:
        """Tell the engine that a device stored to `[gpa, gpa + size_bytes)`."""
        hook = self.on_dma_write
        if hook is not None and size_bytes:
            hook(gpa, size_bytes)

    def read(self, gpa: int, size_bytes: int) -> bytes:
        """Return a copy of guest memory."""
        return self.region(gpa, size_bytes).read(gpa, size_bytes)

    def write(self, gpa: int, data: BytesLike) -> None:
        """Store `data` at `gpa`."""
        self.region(gpa, len(data)).write(gpa, data)
        self.mark_written(gpa, len(data))

    def read_u16(self, gpa: int) -> int:
        """Load a little-endian 16-bit number."""
        return self.region(gpa, 2).read_u16(gpa)

    def read_u32(self, gpa: int) -> int:
        """Load a little-endian 32-bit number."""
        return self.region(gpa, 4).read_u32(gpa)

    def read_u64(self, gpa: int) -> int:
        """Load a little-endian 64-bit number."""
        return self.region(gpa, 8).read_u64(gpa)

    def write_u16(self, gpa: int, value: int) -> None:
        """Store a little-endian 16-bit number."""
        self.region(gpa, 2).write_u16(gpa, value)
        self.mark_written(gpa, 2)

    def write_u32(self, gpa: int, value: int) -> None:
        """Store a little-endian 32-bit number."""
        self.region(gpa, 4).write_u32(gpa, value)
        self.mark_written(gpa, 4)

    def write_u64(self, gpa: int, value: int) -> None:
        """Store a little-endian 64-bit number."""
        self.region(gpa, 8).write_u64(gpa, value)
        self.mark_written(gpa, 8)

    def fence(self) -> None:
        """Order all earlier loads and stores of this thread before all later ones.

        Called under the machine's lock. A release followed by an acquire of one lock is a full
        fence on every host we run on; CPython offers no plainer one.
        """
        self._fence_lock.release()
        self._fence_lock.acquire()

    def order(self) -> None:
        """Keep loads in order with loads and stores with stores (nothing to do on x86)."""
        if not _STRONGLY_ORDERED:
            self.fence()


def _not_ram(gpa: int, size_bytes: int) -> GuestMemoryError:
    return GuestMemoryError(f"{size_bytes} bytes at guest-physical {gpa:#x} are not RAM")
