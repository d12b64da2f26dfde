"""Guest RAM: bounds, views, the hook for device writes."""

from __future__ import annotations

import ctypes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innkeeper.base.errors import MachineError
from innkeeper.base.units import GIB, MIB
from innkeeper.memory import GuestMemory, GuestMemoryError, GuestRam

BASE = 0x8000_0000


def test_numbers_are_little_endian_and_views_are_the_memory():
    ram = GuestRam(BASE, MIB)
    ram.write_u64(BASE + 8, 0x1122_3344_5566_7788)
    assert (ram.read_u16(BASE + 8), ram.read_u32(BASE + 12)) == (0x7788, 0x1122_3344)
    view = ram.view(BASE + 8, 2)
    view[:] = b"ab"
    assert ram.read(BASE + 8, 3) == b"ab\x66"
    assert ctypes.string_at(ram.hva + 8, 2) == b"ab"


def test_numbers_are_cut_to_their_width():
    ram = GuestRam(BASE, MIB)
    ram.write_u16(BASE, 0x1_2345)
    ram.write_u32(BASE + 4, -1)
    ram.write_u64(BASE + 8, 1 << 64)
    assert (ram.read_u16(BASE), ram.read_u32(BASE + 4), ram.read_u64(BASE + 8)) == (
        0x2345,
        0xFFFF_FFFF,
        0,
    )


@given(st.integers(-(1 << 65), 1 << 65), st.integers(-5, 1 << 65))
@settings(derandomize=True, max_examples=300)
def test_no_range_outside_is_ever_touched(gpa, size):
    memory = GuestMemory([GuestRam(BASE, MIB)])
    inside = size >= 0 and gpa >= BASE and gpa + size <= BASE + MIB
    assert memory.contains(gpa, size) is inside
    if inside:
        assert len(memory.view(gpa, size)) == size
    else:
        with pytest.raises(GuestMemoryError):
            memory.view(gpa, size)


@pytest.mark.parametrize("gpa", [0, BASE - 1, BASE + MIB - 1, BASE + MIB, (1 << 64) - 1])
def test_numbers_across_the_edge_are_refused(gpa):
    ram = GuestRam(BASE, MIB)
    memory = GuestMemory([ram])
    for target in (ram, memory):
        for width in (16, 32, 64):
            with pytest.raises(GuestMemoryError):
                getattr(target, f"read_u{width}")(gpa)
            with pytest.raises(GuestMemoryError):
                getattr(target, f"write_u{width}")(gpa, 0)


def test_untouched_ram_costs_nothing():
    ram = GuestRam(BASE, 64 * GIB)
    ram.write(BASE + 63 * GIB, b"far")
    assert ram.read(BASE + 63 * GIB, 3) == b"far"


def test_regions_are_found_in_any_order():
    memory = GuestMemory([GuestRam(0x1_0000_0000, MIB), GuestRam(BASE, MIB)])
    memory.write(BASE, b"low")
    memory.write(0x1_0000_0000, b"high")
    assert memory.read(0x1_0000_0000, 4) == b"high" and memory.read(BASE, 3) == b"low"
    assert memory.size_bytes == 2 * MIB
    with pytest.raises(GuestMemoryError):
        memory.read(BASE + MIB, 1)


def test_every_device_write_reaches_the_hook():
    memory = GuestMemory([GuestRam(BASE, MIB)])
    memory.write(BASE, b"nobody listens")
    told = []
    memory.on_dma_write = lambda gpa, size: told.append((gpa - BASE, size))
    memory.write(BASE, b"abc")
    memory.write_u16(BASE + 1, 1)
    memory.write_u32(BASE + 2, 1)
    memory.write_u64(BASE + 3, 1)
    memory.mark_written(BASE + 4, 9)
    memory.mark_written(BASE + 4, 0)
    assert told == [(0, 3), (1, 2), (2, 4), (3, 8), (4, 9)]


@pytest.mark.parametrize(
    ("gpa", "size"),
    [(1, 4096), (0, 0), (0, 100), (-4096, 4096), ((1 << 64) - 4096, 8192), (0, 1 << 70)],
)
def test_impossible_ram_is_refused(gpa, size):
    with pytest.raises(MachineError):
        GuestRam(gpa, size)


def test_overlapping_regions_are_refused():
    with pytest.raises(MachineError, match="overlaps"):
        GuestMemory([GuestRam(BASE, 2 * MIB), GuestRam(BASE + MIB, MIB)])
    with pytest.raises(MachineError):
        GuestMemory([])


def test_a_fence_may_be_used_any_number_of_times():
    memory = GuestMemory([GuestRam(BASE, MIB)])
    for _ in range(3):
        memory.fence()
        memory.order()
    assert memory._fence_lock.locked()
