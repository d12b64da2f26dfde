"""What any thread may do to a hart at any time, whether it runs, sleeps or waits its turn."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from innkeeper.engine.emulator.emulator import Emulator


class Signals:
    """Changes to a hart's state from outside, each followed by waking it if it sleeps."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._addresses = [hart.address for hart in emulator.harts]
        self._wake = self._native("wake", None, 0)
        self._set_lines = self._native("set_lines", None, 2)
        self._set_pending = self._native("set_pending", ctypes.c_uint64, 2)
        self._set_mtimecmp = self._native("set_mtimecmp", None, 2)
        self._request_flush = self._native("request_flush", None, 1)

    def _native(self, name: str, result: Any, count: int) -> Any:
        kinds = [ctypes.c_uint64] * (1 + count)
        return self._emulator.loaded.function(f"parallel.{name}", result, *kinds)

    def halt(self, *, on: bool = True) -> None:
        """Have all harts that run alone come back soon, or allow them to run again."""
        self._emulator.code.raw.halt = int(on)
        for hart in range(len(self._addresses)):
            self.wake(hart)

    def wake(self, hart: int) -> None:
        """Have a hart look at its state again, which has been changed."""
        self._wake(self._addresses[hart])

    def set_line(self, hart: int, bits: int, *, level: bool) -> None:
        """Raise or lower interrupt lines."""
        ones, zeros = (bits, 0) if level else (0, bits)
        self._set_lines(self._addresses[hart], ones, zeros)

    def set_pending(self, hart: int, bits: int, *, on: bool) -> int:
        """Set or clear what software may set in mip; return what was set."""
        ones, zeros = (bits, 0) if on else (0, bits)
        return int(self._set_pending(self._addresses[hart], ones, zeros))

    def set_mtimecmp(self, hart: int, value: int, *, now: int) -> None:
        """Set the machine timer."""
        self._set_mtimecmp(self._addresses[hart], value, now)

    def request_flush(self, hart: int, what: int) -> None:
        """Have a hart forget translations or code (`FLUSH_...`); return when it has.

        Only for threads that are not inside a guest: a hart's host call, or any other.
        """
        self._request_flush(self._addresses[hart], what)
