"""RISC-V ACLINT: software interrupts for M and S mode, and the machine timer.

Source: RISC-V ACLINT specification 1.0-rc4, chapters 2 (MTIMER), 3 (MSWI), 4 (SSWI). With
`AclintMswi` at
`base` and `AclintMtimer` at `base + 0x4000` the two together look like a SiFive CLINT.
"""

from __future__ import annotations

from collections.abc import Callable

MSWI_SIZE_BYTES = 0x4000
MTIMER_SIZE_BYTES = 0x8000
SSWI_SIZE_BYTES = 0x4000
MTIME_OFFSET = 0x7FF8
MAX_HARTS = 4095
_U64 = (1 << 64) - 1


class AclintMswi:
    """Hold one `msip` register a hart; `set_msip(hart, level)` drives its `mip.MSIP`."""

    def __init__(self, hart_count: int, *, set_msip: Callable[[int, bool], None]) -> None:
        self._msip = bytearray(hart_count)
        self._set_msip = set_msip

    def read(self, offset: int, size: int) -> int:
        """Load an `msip` register (bit 0)."""
        hart = offset >> 2
        return self._msip[hart] if offset & 3 == 0 and hart < len(self._msip) else 0

    def write(self, offset: int, size: int, value: int) -> None:
        """Store an `msip` register; other bits than bit 0 read as zero."""
        hart = offset >> 2
        if offset & 3 == 0 and hart < len(self._msip):
            self._msip[hart] = value & 1
            self._set_msip(hart, bool(value & 1))


class AclintSswi:
    """Hold the write-only `setssip` registers; `set_ssip(hart)` sets its `mip.SSIP`."""

    def __init__(self, hart_count: int, *, set_ssip: Callable[[int], None]) -> None:
        self._hart_count = hart_count
        self._set_ssip = set_ssip

    def read(self, offset: int, size: int) -> int:
        """Load zero, always."""
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        """Raise a supervisor software interrupt when bit 0 is set."""
        hart = offset >> 2
        if offset & 3 == 0 and hart < self._hart_count and value & 1:
            self._set_ssip(hart)


class AclintMtimer:
    """Hold `mtime` and one `mtimecmp` a hart.

    `clock()` gives the time in ticks; `set_mtimecmp(hart, value)` tells the engine when that hart's
    `mip.MTIP` is to be set; `set_mtime(value)`, where given, lets the guest set the time.
    """

    def __init__(
        self,
        hart_count: int,
        *,
        clock: Callable[[], int],
        set_mtimecmp: Callable[[int, int], None],
        set_mtime: Callable[[int], None] | None = None,
    ) -> None:
        self._clock = clock
        self._set_mtimecmp = set_mtimecmp
        self._set_mtime = set_mtime
        self._mtimecmp = [_U64] * hart_count

    def read(self, offset: int, size: int) -> int:
        """Load `mtime`, `mtimecmp` or a part of one."""
        shift = (offset & 7) * 8
        return (self._register(offset & ~7) >> shift) & ((1 << size * 8) - 1)

    def _register(self, offset: int) -> int:
        if offset == MTIME_OFFSET:
            return self._clock() & _U64
        hart = offset >> 3
        return self._mtimecmp[hart] if hart < len(self._mtimecmp) else 0

    def write(self, offset: int, size: int, value: int) -> None:
        """Store `mtime`, `mtimecmp` or a part of one."""
        base, shift = offset & ~7, (offset & 7) * 8
        hart = base >> 3
        is_time = base == MTIME_OFFSET
        if not is_time and hart >= len(self._mtimecmp):
            return
        mask = (((1 << size * 8) - 1) << shift) & _U64
        merged = (self._register(base) & ~mask) | ((value << shift) & mask)
        if not is_time:
            self._mtimecmp[hart] = merged
            self._set_mtimecmp(hart, merged)
        elif self._set_mtime is not None:
            self._set_mtime(merged)
