"""Where computed jumps go: noted in tier 0, asked for when a region is made. All native."""

from __future__ import annotations

from innkeeper.engine.emulator.hart import WAY_SLOTS
from innkeeper.engine.emulator.tlb import emu
from innkeeper.isa.riscv.hart import Hart
from innkeeper.native.intrinsics import noinline
from innkeeper.native.types import u32, u64

RARE_PART = 8
"""A target that a jump takes less often than one time in so many is not expected."""


def note_way(h: Hart, site: u64, target: u64) -> None:
    """Count that the jump at an address has gone to another; the last to come has the slot."""
    one = emu(h).ways[(site ^ (site >> 11) ^ (target >> 1)) & (WAY_SLOTS - 1)]
    if one.site == site and one.target == target:
        one.count = one.count + 1
    else:
        one.site, one.target, one.count = site, target, u64(1)


@noinline
def way(h: Hart, site: u64, rank: u32) -> u64:
    """Return where a jump goes most often, next to most often and so on; 0 for no more."""
    total, limit = u64(0), ~u64(0)
    for n in range(u32(WAY_SLOTS)):
        if emu(h).ways[n].site == site:
            total = total + emu(h).ways[n].count
    for _ in range(rank + 1):
        best = u64(0)
        found = u64(0)
        for n in range(u32(WAY_SLOTS)):
            one = emu(h).ways[n]
            # The number of the slot tells apart what counts the same.
            weight = (one.count << 16) | u64(n)
            if one.site == site and weight < limit and weight > best:
                best = weight
                found = one.target
        if (best >> 16) * RARE_PART <= total:
            return u64(0)
        limit = best
    return found
