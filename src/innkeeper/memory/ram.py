"""Guest RAM: anonymous host memory, addressed by guest-physical address.

A `GuestRam` is one contiguous region; a `GuestMemory` is what a machine has of them. Both check every
range before they touch it: an address or a size from a guest can be anything.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import struct
import threading
from bisect import bisect_right
from collections.abc import Buffer, Callable, Sequence

from innkeeper.base.errors import InnError, MachineError
from innkeeper.base.units import PAGE_BYTES

_MAP_NORESERVE: int = getattr(mmap, "MAP_NORESERVE", 0x4000)
_MADV_HUGEPAGE: int | None = getattr(mmap, "MADV_HUGEPAGE", None)
_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_LOADS_AND_STORES_STAY_IN_ORDER = platform.machine() in ("x86_64", "AMD64", "i686", "s390x")

DmaHook = Callable[[int, int], None]


class GuestMemoryError(InnError):
    """A guest-physical range is not RAM (all of it, in one region)."""
