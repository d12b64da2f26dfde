"""Where initrd and device tree go in RAM, around a kernel that has its place."""

from __future__ import annotations

from innkeeper.base.record import record
from innkeeper.base.units import GIB, KIB, MIB, PAGE_BYTES, align_down, align_up
from innkeeper.firmware.loader import too_large
from innkeeper.firmware.virt_layout import Region

DTB_ALIGN = 2 * MIB
"""Linux maps the tree with 2 MiB pages before it knows memory, so it starts on such a boundary."""

DTB_SPARE = 64 * KIB
"""Room after the tree: OpenSBI and U-Boot edit it where it lies."""

LOW_LIMIT = 3 * GIB
"""Tree and initrd stay below this when they can, where code with 32-bit addresses finds them."""

UNPACKED = 2
"""An initrd is in memory twice while the kernel unpacks it: what advice on --memory counts on."""

INFO_BYTES = PAGE_BYTES
"""A page after the tree for what a boot stage is told besides it (`fw_dynamic_info`)."""


@record
class Places:
    """Addresses for the parts of a boot; `initrd` is None without one."""

    initrd: Region | None
    dtb: int
    info: int


def place(
    *, ram: Region, taken: tuple[Region, ...], initrd_bytes: int = 0, dtb_bytes: int = 0
) -> Places:
    """Find room in `ram` for the tree, high and on a 2 MiB boundary, and below it the initrd.

    `taken` are the ranges that kernel and firmware occupy. `LoadError`, with sizes and the
    `--memory` to use, when something does not fit.
    """
    dtb_room = align_up(dtb_bytes + DTB_SPARE, PAGE_BYTES) + INFO_BYTES
    needed = (
        max((region.end for region in taken), default=ram.base) - ram.base
        + UNPACKED * align_up(initrd_bytes, PAGE_BYTES) + align_up(dtb_room, DTB_ALIGN) + DTB_ALIGN
    )  # fmt: skip
    low = Region(ram.base, max(0, min(ram.end, LOW_LIMIT) - ram.base))
    dtb = _highest(low, taken, dtb_room, DTB_ALIGN)
    if dtb is None:
        dtb = _highest(ram, taken, dtb_room, DTB_ALIGN)
    if dtb is None:
        raise too_large("device tree", dtb_room, ram, needed=needed)
    info = dtb + dtb_room - INFO_BYTES
    if not initrd_bytes:
        return Places(None, dtb, info)
    taken = (*taken, Region(dtb, dtb_room))
    start = _highest(low, taken, initrd_bytes, PAGE_BYTES)
    if start is None:
        start = _highest(ram, taken, initrd_bytes, PAGE_BYTES)
    if start is None:
        raise too_large("initrd", initrd_bytes, ram, needed=needed)
    return Places(Region(start, initrd_bytes), dtb, info)


def _highest(within: Region, taken: tuple[Region, ...], size: int, alignment: int) -> int | None:
    """Return the highest aligned address in `within` where `size` bytes hit nothing taken."""
    ceiling = within.end
    for region in sorted(taken, key=lambda region: region.end, reverse=True):
        at = align_down(ceiling - size, alignment)
        if at >= max(region.end, within.base):
            return at
        ceiling = min(ceiling, region.base)
    at = align_down(ceiling - size, alignment)
    return at if at >= within.base else None
