"""Taking regions out of cells: when their code is written, or a breakpoint comes or goes."""

from __future__ import annotations

from innkeeper.engine.emulator.hart import CELL_PAGE_CELLS, Code
from innkeeper.engine.emulator.regions.layout import (
    MAX_IMAGE_BYTES,
    MAX_REGION_PAGES,
    REGION_DROPPED,
    Region,
    Traffic,
)
from innkeeper.engine.emulator.tlb import emu, shared_code
from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.native.intrinsics import addr, atomic_store, noinline, ptr_cast, ref
from innkeeper.native.types import Ptr, u32, u64

CELL_PAGE_BYTES = CELL_PAGE_CELLS * 16


def traffic_of(h: Hart) -> Traffic:
    """Return what harts and the compiler share."""
    return ptr_cast(Traffic, shared_code(h).traffic)


def is_region(t: Traffic, handler: u64) -> bool:
    """Tell whether a cell's handler is an entry of a region."""
    return handler >= t.rx_first and handler < t.rx_last


def first_cell(code: Code, number: u32) -> Ptr[Operands]:
    """Return the first cell of a cell page."""
    return code.pool + u64(number) * CELL_PAGE_CELLS


@noinline
def leave_page(code: Code, r: Region, page: u32) -> None:
    """Take a region out of the list of one of its pages."""
    number = u32((r.cells[page] - addr(code.pool)) // (CELL_PAGE_BYTES))
    at = code.page_regions[number]
    if at == addr(r):
        code.page_regions[number] = r.following[page]
        return
    while at != 0:
        one = ptr_cast(Region, at)
        mine = page_index(one, r.cells[page])
        at = one.following[mine]
        if at == addr(r):
            one.following[mine] = r.following[page]
            return


def page_index(r: Region, cells: u64) -> u32:
    """Return which of a region's pages a cell page is."""
    for page in range(u32(MAX_REGION_PAGES)):
        if r.cells[page] == cells:
            return page
    return u32(0)


@noinline
def uninstall(h: Hart, r: Region) -> None:
    """Take a region out of every cell; a hart that is inside leaves where it next looks.

    The cells get back the handlers they had: to decode them anew could show another hart operands
    that are being written. The lock of `Code` is held, here and by all in this file.
    """
    code = shared_code(h)
    cells = ptr_cast(Ptr[Operands], r.cells[0])
    for k in range(r.entry_count):
        cell = cells[r.entry_at[k] >> 1]
        if cell.handler == r.rx + u64(r.entry_code[k]):
            atomic_store(ref(cell, "handler"), r.entry_kept[k])
    for page in range(u32(MAX_REGION_PAGES)):
        if r.cells[page] != 0:
            leave_page(code, r, page)
            r.cells[page] = u64(0)
    r.state = u32(REGION_DROPPED)
    emu(h).leave_region = u32(1)
    traffic_of(h).stat_dropped = traffic_of(h).stat_dropped + 1


@noinline
def drop_regions(h: Hart, number: u32) -> None:
    """Take out every region that has code in a cell page."""
    code = shared_code(h)
    while code.page_regions[number] != 0:
        uninstall(h, ptr_cast(Region, code.page_regions[number]))


@noinline
def drop_all_regions(h: Hart) -> None:
    """Take out every region."""
    for n in range(shared_code(h).used_pages):
        drop_regions(h, n)


@noinline
def empty_pool(h: Hart) -> None:
    """Forget every copy of a region if the pool is almost full; no hart can be inside one."""
    t = traffic_of(h)
    if t.index_mask != 0 and t.pool_bytes - t.pool_used < MAX_IMAGE_BYTES:
        for n in range(t.index_mask + 1):
            t.index[n].instance = u64(0)
        t.pool_used = u64(0)
