"""RISC-V platform-level interrupt controller, in the SiFive layout.

Source: RISC-V PLIC specification 1.0.0 (memory map in chapter 3, gateways in 1.4, claim and
completion in
8 and 9). Every source is level-triggered: its gateway forwards a request, then waits for
completion.
"""

from __future__ import annotations

from collections.abc import Callable

from innkeeper.base.errors import MachineError
from innkeeper.devices.bus import IrqLine

SIZE_BYTES = 0x0400_0000
MAX_SOURCES = 1023
MAX_CONTEXTS = 15872
MAX_PRIORITY = 7

PENDING_OFFSET = 0x1000
ENABLE_OFFSET = 0x2000
ENABLE_STRIDE = 0x80
CONTEXT_OFFSET = 0x20_0000
CONTEXT_STRIDE = 0x1000
CLAIM = 4
_U32 = 0xFFFF_FFFF


class Plic:
    """Model a PLIC with sources 1..`source_count` and contexts 0..`context_count` - 1.

    `set_eip(context, level)` drives the external-interrupt pending bit of a context's hart and
    mode; it hears of changes only.
    """

    def __init__(
        self, *, source_count: int, context_count: int, set_eip: Callable[[int, bool], None]
    ) -> None:
        if not 1 <= source_count <= MAX_SOURCES or not 1 <= context_count <= MAX_CONTEXTS:
            raise MachineError(f"no PLIC has {source_count} sources and {context_count} contexts")
        self.source_count = source_count
        self.context_count = context_count
        self._set_eip = set_eip
        self._valid = (1 << (source_count + 1)) - 2
        self.reset()

    def reset(self) -> None:
        """Return to the power-on state; what the lines carry stays."""
        self._level = getattr(self, "_level", 0)
        self._priority = [0] * (self.source_count + 1)
        self._pending = self._level
        self._in_service = 0
        self._enable = [0] * self.context_count
        self._active: list[int] = list(range(self.context_count))  # contexts that enable anything
        self._threshold = [0] * self.context_count
        self._eip = getattr(self, "_eip", [False] * self.context_count)
        self._update()
        self._active = []

    def line(self, source: int) -> IrqLine:
        """Return a new line into `source`'s gateway; one line a source."""
        if not 1 <= source <= self.source_count:
            raise MachineError(f"interrupt source {source} is not one of 1..{self.source_count}")
        return IrqLine(lambda level: self.set_level(source, level))

    def set_level(self, source: int, level: bool) -> None:
        """Drive a source's line."""
        bit = 1 << source
        if not level:
            self._level &= ~bit
            return
        self._level |= bit
        if not (self._in_service | self._pending) & bit:
            self._pending |= bit
            self._update()

    def _best(self, context: int) -> int:
        """Return the source this context would claim: highest priority, then lowest number."""
        candidates = self._pending & self._enable[context]
        best, best_priority = 0, self._threshold[context]
        while candidates:
            bit = candidates & -candidates
            candidates ^= bit
            source = bit.bit_length() - 1
            if self._priority[source] > best_priority:
                best, best_priority = source, self._priority[source]
        return best

    def _update(self) -> None:
        pending = self._pending
        for context in self._active:
            level = bool(pending & self._enable[context]) and self._best(context) != 0
            if level is not self._eip[context]:
                self._eip[context] = level
                self._set_eip(context, level)

    def _claim(self, context: int) -> int:
        source = self._best(context)
        if source:
            self._pending &= ~(1 << source)
            self._in_service |= 1 << source
            self._update()
        return source

    def _complete(self, context: int, source: int) -> None:
        if source > self.source_count:
            return
        bit = 1 << source
        if self._in_service & self._enable[context] & bit:
            self._in_service &= ~bit
            if self._level & bit:
                self._pending |= bit
                self._update()

    def read(self, offset: int, size: int) -> int:
        """Load a 32-bit register; reading claim/complete claims."""
        if size != 4 or offset & 3:
            return 0
        if offset >= CONTEXT_OFFSET:
            context, register = divmod(offset - CONTEXT_OFFSET, CONTEXT_STRIDE)
            if context >= self.context_count:
                return 0
            if register == CLAIM:
                return self._claim(context)
            return self._threshold[context] if register == 0 else 0
        if offset >= ENABLE_OFFSET:
            context, register = divmod(offset - ENABLE_OFFSET, ENABLE_STRIDE)
            if context >= self.context_count:
                return 0
            return (self._enable[context] >> register * 8) & _U32
        if offset >= PENDING_OFFSET:
            return (self._pending >> (offset - PENDING_OFFSET) * 8) & _U32
        return self._priority[offset >> 2] if offset >> 2 <= self.source_count else 0

    def write(self, offset: int, size: int, value: int) -> None:
        """Store to a 32-bit register; writing claim/complete completes."""
        if size != 4 or offset & 3:
            return
        if offset >= CONTEXT_OFFSET:
            context, register = divmod(offset - CONTEXT_OFFSET, CONTEXT_STRIDE)
            if context >= self.context_count:
                return
            if register == CLAIM:
                self._complete(context, value)
            elif register == 0:
                self._threshold[context] = value & MAX_PRIORITY
                self._update()
        elif offset >= ENABLE_OFFSET:
            self._write_enable(offset, value)
        elif 0 < offset >> 2 <= self.source_count:
            self._priority[offset >> 2] = value & MAX_PRIORITY
            self._update()

    def _write_enable(self, offset: int, value: int) -> None:
        context, register = divmod(offset - ENABLE_OFFSET, ENABLE_STRIDE)
        if context < self.context_count:
            shift = register * 8
            kept = self._enable[context] & ~(_U32 << shift)
            self._enable[context] = (kept | (value & _U32) << shift) & self._valid
            self._active.append(context)
            self._update()  # while the context is still in the list: it may have to fall
            self._active = [n for n in range(self.context_count) if self._enable[n]]
