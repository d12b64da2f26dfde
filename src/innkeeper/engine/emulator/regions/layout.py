"""A region's record, which lies in its own image, and what harts and the compiler share."""

from __future__ import annotations

from innkeeper.native.types import Array, Ptr, Struct, u32, u64

MAX_REGION_PAGES = 4
MAX_RANGES = 32
MAX_IMAGE_BYTES = 1 << 18
"""A larger region is not kept; that much is always free after the pool was emptied."""

REGION_MAGIC = 0x4E4F494745524E49
"""`INREGION`: what a record begins with."""
REGION_NEW, REGION_INSTALLED, REGION_DROPPED = 0, 1, 2

SMALL, LARGE = 1, 2
"""Levels: what is compiled first, and in the place of what became hot."""
SAMPLE_SLOTS = 4096
SAMPLE_TAKEN = 1 << 31
"""The count of a place that has been compiled."""
SLICE_WEIGHT = 6
"""What the end of a slice counts, where 256 ways out of regions count 1."""
SAMPLE_PATIENCE = 64 * SLICE_WEIGHT
"""A place that was compiled and is met so often again has other code now: it counts anew."""
WARM, WARM_SHIFT = 512, 5
"""A region is warm when so many slices have ended in it, and one of 32 since the first."""
MOST_GROWTH = 256
"""How much the threshold grows at most: by then tier 0 has taken longer than compiling would."""
LATE_SLICES = 32768
"""So long after it was met `late_threshold` holds for a place."""
ASK_EVERY = 16
"""A place that became hot by the time that has passed asks when it counts so much more."""
RESTART_SLICES = 8192
"""So long after it was met a place counts anew if it has hardly been met since."""
INDEX_SLOTS = 32768
FILTER_WORDS = INDEX_SLOTS // 64
"""A bit for what a key begins with; nearly all instructions that are decoded begin no region."""
INDEX_ROOM = INDEX_SLOTS // 2
"""How many regions are known at most: the table stays half empty."""
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
    level: u32
    partial: u32
    """1 if the code around it goes on beyond what it was made of."""
    heat: u32
    """How many slices have ended in it since `warm_since`."""
    warm_since: u64
    """How many slices had ended when the first of these did."""
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
    """Where slices ended, and how often: RAM page and offset as one number; who was there last."""

    place: u64
    va: u64
    count: u32
    bank: u32
    hart: u32
    width: u32
    registers: u32
    """`Hart.v_whole` and `v_count` there, or 0."""
    level: u32
    """What to compile there."""
    since: u64
    """How many slices had ended when the place was counted first."""


class Finished(Struct):
    """A compiled region that a hart is to take over: where its image is, and of which RAM page."""

    source: u64
    key: u64
    size: u32
    record: u32
    ram_page: u64


class Slot(Struct):
    """A region that is known by the code it was made from: an open-addressing hash table's row.

    `source` is a pristine image, which `record` bytes in has the record; `instance` the record of
    the copy made last, or 0. `checksum` is 0 where the source need not be checked (any more).
    """

    key: u64
    source: u64
    instance: u64
    checksum: u64
    size: u32
    record: u32


class Traffic(Struct):
    """What harts and the compiler tell each other; one per machine.

    Harts count samples, the compiler takes the hottest and writes finished regions into a ring.
    """

    enabled: u32
    threshold: u32
    late_threshold: u32
    growth: u32
    """A place is hot from `threshold` on, and this much more for every 2048 slices since it was
    met."""
    slice: u32
    """Instructions between looks at time, interrupts and requests."""
    wake_fd: u32
    asked: u32
    """How many places have become hot."""
    finished: u32
    installed: u32
    waits: u32
    """The compiler works while the harts wait, in `Code.compile_now`."""
    rx_first: u64
    rx_last: u64
    rw_first: u64
    """Where the pool of images can be executed, and where it can be written."""
    pool_bytes: u64
    pool_used: u64
    index: Ptr[Slot]
    index_mask: u64
    """Slots less one; 0 until there is an index."""
    index_count: u64
    filter: Array[u64, FILTER_WORDS]
    """Bit `key & 63` of word `key >> 6` (modulo `FILTER_WORDS`) is set where a key may be known."""
    stat_samples: u64
    """Slices that ended in tier 0, and `stat_in_regions` those that ended in a region."""
    stat_in_regions: u64
    stat_met: u64
    stat_installed: u64
    stat_refused: u64
    stat_dropped: u64
    stat_links: u64
    stat_found: u64
    stat_damaged: u64
    samples: Array[Sample, 4096]
    ready: Array[Finished, 256]
