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


def region_statistics(emulator: Emulator) -> dict[str, int]:
    """Return what the compiler and the harts have counted of regions.

    `percent_of_slices` says how many slices of instructions ended in a region: where time goes, by
    instructions. `compiled` and `compile_ms` are this run's; `known` also counts those on disk,
    `found` those installed because their code was met, `dropped` those whose code was written.
    """
    service = emulator.regions
    raw = service.traffic.raw
    ends = raw.stat_in_regions + raw.stat_samples
    return {
        "percent_of_slices": 100 * raw.stat_in_regions // max(ends, 1),
        "compiled": len(service.made),
        "compiled_instructions": service.compiled_instructions,
        "compile_ms": round(service.compile_s * 1000),
        "known": raw.index_count,
        "installed": raw.stat_installed,
        "found": raw.stat_found,
        "dropped": raw.stat_dropped,
        "refused": raw.stat_refused,
        "damaged": raw.stat_damaged,
        "linked_pages": raw.stat_links,
        "pool_bytes": raw.pool_used,
    }


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
    print(f"regions: {emulator.regions.mode}", file=sys.stderr)
    for name, count in region_statistics(emulator).items():
        print(f"{name:<24}{count:>16}", file=sys.stderr)
