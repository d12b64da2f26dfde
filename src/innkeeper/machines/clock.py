"""The clocks of a board: the host's, or virtual time that counts instructions."""

from __future__ import annotations

import time
from typing import Protocol

from innkeeper.engine.emulator.emulator import Emulator
from innkeeper.isa.riscv.hart import NS_PER_TICK

VIRTUAL_EPOCH_NS = 1_767_225_600 * 10**9
"""2026-01-01 00:00 UTC: what the real-time clock shows when virtual time begins."""


class Clock(Protocol):
    """Time since the machine was made, and of the day."""

    def ticks(self) -> int:
        """Return the time CSR's value."""
        ...

    def wall_ns(self) -> int:
        """Return the nanoseconds since 1970."""
        ...

    def skip(self, ticks: int | None, wall_ns: int | None) -> bool:
        """Skip to whichever time is sooner; False if there is none, or time cannot be skipped."""
        ...


class HostClock:
    """Time passes as on the host."""

    def __init__(self, emulator: Emulator) -> None:
        self._base_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        for raw in emulator.raw:
            raw.time_base = self._base_ns

    def ticks(self) -> int:
        """Return the time CSR's value."""
        return (time.clock_gettime_ns(time.CLOCK_MONOTONIC) - self._base_ns) // NS_PER_TICK

    def wall_ns(self) -> int:
        """Return the host's time of day."""
        return time.time_ns()

    def skip(self, ticks: int | None, wall_ns: int | None) -> bool:
        """Return False: the host's time takes its time."""
        return False


class VirtualClock:
    """A nanosecond passes with every instruction, and what is skipped while all harts wait."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    def ticks(self) -> int:
        """Return the time CSR's value."""
        return self._emulator.virtual_ns() // NS_PER_TICK

    def wall_ns(self) -> int:
        """Return a time of day that is the same in every run."""
        return VIRTUAL_EPOCH_NS + self._emulator.virtual_ns()

    def skip(self, ticks: int | None, wall_ns: int | None) -> bool:
        """Skip to whichever time is sooner; False if there is none."""
        times = [] if ticks is None else [ticks * NS_PER_TICK]
        if wall_ns is not None:
            times.append(wall_ns - VIRTUAL_EPOCH_NS)
        if times:
            self._emulator.skip_to(min(times))
        return bool(times)
