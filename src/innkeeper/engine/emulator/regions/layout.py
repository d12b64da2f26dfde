"""A region's record, which lies in its own image, and what harts and the compiler share."""

from __future__ import annotations

from innkeeper.native.types import Array, Struct, u32, u64

MAX_REGION_PAGES = 4
MAX_REGION_ENTRIES = 16
MAX_RANGES = 32

REGION_NEW, REGION_INSTALLED, REGION_DROPPED = 0, 1, 2

SAMPLE_SLOTS = 4096
RING_SLOTS = 256


class Range(Struct):
    """Guest code that a region was made from: bytes `first` to `first + size` of a page.

    `at` is where the region's image keeps what they were.
    """

    page: u32
    first: u32
    size: u32
    at: u32


class Region(Struct):
    """One compiled region. It lies in the data of its image; the code reads `cells` there.

    `rx` is where the image can be executed. Page 0 is the one its entries lie in; `cells` are the
    cell pages of its pages, 0 for one that has not been found to hold the same code (yet).
    """

    magic: u64
    rx: u64
    state: u32
    entry_count: u32
    page_count: u32
    range_count: u32
    link_failures: u32
    image_bytes: u32
    ram_page: u64
    cells: Array[u64, 4]
    page_delta: Array[u64, 4]
    following: Array[u64, 4]
    """By page: the next region that has code in the same cell page."""
    entry_kept: Array[u64, 16]
    """The handlers that the entries' cells had."""
    entry_at: Array[u32, 16]
    entry_code: Array[u32, 16]
    ranges: Array[Range, 32]


class Sample(Struct):
    """Where a slice ended, and how often: RAM page and offset as one number."""

    place: u64
    va: u64
    count: u32
    bank: u32


class Traffic(Struct):
    """What harts and the compiler tell each other; one per machine.

    Harts write requests, the compiler writes finished regions; each ring has one reader.
    """

    enabled: u32
    threshold: u32
    slice: u32
    """Instructions between looks at time, interrupts and requests."""
    wake_fd: u32
    asked: u32
    taken: u32
    finished: u32
    installed: u32
    waits: u32
    """The compiler works while the harts wait, in `Code.compile_now`."""
    rx_first: u64
    rx_last: u64
    rw_first: u64
    """Where the pool of images can be executed, and where it can be written."""
    stat_samples: u64
    stat_installed: u64
    stat_refused: u64
    stat_dropped: u64
    stat_links: u64
    samples: Array[Sample, 4096]
    requests: Array[Sample, 256]
    ready: Array[u64, 256]
