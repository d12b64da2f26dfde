"""What the harts have counted, for `INN_DEBUG=stats` and for benchmarks."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from innkeeper.engine.emulator.hart import EmuHart

if TYPE_CHECKING:
    from innkeeper.engine.emulator.emulator import Emulator

PREFIX = "stat_"
COUNTERS = tuple(name for name in EmuHart.FIELDS if name.startswith(PREFIX))


def statistics(emulator: Emulator) -> dict[str, int]:
    """Return the counters, summed over the harts, and the instructions begun.

    `misses` are data accesses that the first level of the TLB could not answer, `refills` those of
    them that took one PTE, `walks` the page walks, fetches' included; `flushes`, `asid_flushes` and
    `page_flushes` are by what was named, `switches` changes of the address space.
    """
    counts = {
        name.removeprefix(PREFIX): sum(int(getattr(raw, name)) for raw in emulator.raw)
        for name in COUNTERS
    }
    return {"instructions": sum(int(raw.ticks) for raw in emulator.raw), **counts}


def wanted() -> bool:
    """Tell whether INN_DEBUG asks for statistics."""
    return "stats" in os.environ.get("INN_DEBUG", "").split(",")


def report(emulator: Emulator) -> None:
    """Print the counters on standard error, and each per million instructions."""
    counts = statistics(emulator)
    million = max(counts["instructions"], 1) / 1e6
    print(f"{'counter':<16}{'count':>16}{'per million':>14}", file=sys.stderr)
    for name, count in counts.items():
        print(f"{name:<16}{count:>16}{count / million:>14.2f}", file=sys.stderr)
