"""Compiling regions while the harts run: one thread, woken by an eventfd that native code writes.

The thread holds the GIL for the little Python that writes a region down; LLVM runs without it.
`INN_REGIONS` is `on` (the default), `off`, `eager`: compile at once, and wait for it, or `wait`:
compile what is hot, and wait for it.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import mmap
import os
import sys
import threading
import time
from typing import TYPE_CHECKING

from innkeeper.base.errors import UsageError
from innkeeper.base.log import log
from innkeeper.base.record import record
from innkeeper.base.threads import name_thread
from innkeeper.engine.emulator import hart as layout
from innkeeper.engine.emulator.build import region_templates, regions_path
from innkeeper.engine.emulator.regions.layout import (
    FILTER_WORDS,
    INDEX_ROOM,
    INDEX_SLOTS,
    LARGE,
    MAX_IMAGE_BYTES,
    RING_SLOTS,
    SLICE_WEIGHT,
    SMALL,
    Slot,
    Traffic,
)
from innkeeper.engine.emulator.regions.pack import Made, Pack, merge
from innkeeper.engine.emulator.regions.pool import CodePool, address_of

if TYPE_CHECKING:
    from innkeeper.engine.emulator.emulator import Emulator
    from innkeeper.engine.emulator.regions.compile import RegionCompiler

MODES = ("on", "off", "eager", "wait")
WAITING = ("eager", "wait")
"""The harts wait for the compiler; there is no thread for it."""
THREAD_NAME = "inn regions"
SWITCH_INTERVAL_S = 0.0005
"""How long a device access may wait for the interpreter while regions are written down."""
KEEP_EVERY = 200
"""Regions compiled between two times that the file is written."""
COUNT_SHIFT = 32
"""`shapes.COUNT_SHIFT`, whose imports are heavy."""
THRESHOLD = 6 * SLICE_WEIGHT
"""Six slices that end at one place, or 9 000 ways to it out of regions, and it is compiled."""
GROWTH = 1
"""Of the threshold, for every 2048 slices since the place was met (`MOST_GROWTH` at most): it must
have had 1/12288 of the time as well."""
KNOWN_FACTOR = 3
"""Of the threshold until `LATE_SLICES` after a place was met, where earlier runs have left regions:
what they found not hot enough is so by chance. Without end, and of the growth too, where the harts
leave the compiler no core of the host: what it does then, they do not."""
SLICE = 50_000
"""Instructions between looks at time, interrupts and requests: 15 to 60 us."""
EAGER_SLICE = 2_000
PAGE = 4096
OLD_SLICES = 512
"""A place that took longer to become hot is compiled `alone`: it is not so hot."""


@record
class Found:
    """A hot place: its offset in RAM, its address, and the bank of the hart that met it."""

    place: int
    va: int
    bank: int
    hart: int


class RegionService:
    """Regions of one machine: what is known, what is being compiled, what is kept on disk."""

    def __init__(self, emulator: Emulator, *, mode: str | None = None) -> None:
        self.mode = mode or os.environ.get("INN_REGIONS") or "on"
        if self.mode not in MODES:
            raise UsageError(f"INN_REGIONS={self.mode}", why=f"it is one of {', '.join(MODES)}")
        self._emulator = emulator
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._turn = threading.Lock()
        self._compiler: RegionCompiler | None = None
        self._fd = -1
        self.pool: CodePool | None = None
        self.pack: Pack | None = None
        self.made: list[Made] = []
        self._kept = 0
        self.compiled_instructions, self.compile_s = 0, 0.0
        self.traffic = Traffic()
        self.traffic.slice = EAGER_SLICE if self.mode == "eager" else SLICE
        self._wire()
        if self.mode != "off":
            with contextlib.suppress(OSError):  # the host forbids it: tier 0 alone then
                self._enable()

    def _wire(self) -> None:
        code = self._emulator.code.raw
        code.traffic = self.traffic.address
        self._call = layout.Code.FIELDS["compile_now"][0].prototype()(self._compile_now)
        code.compile_now = ctypes.cast(self._call, ctypes.c_void_p).value
        code.write_fd = ctypes.cast(ctypes.CDLL(None).write, ctypes.c_void_p).value
        loaded = self._emulator.loaded
        u32, u64 = ctypes.c_uint32, ctypes.c_uint64
        self._hottest = loaded.function("sampling.hottest", u32, u64)
        self._forget = loaded.function("sampling.forget", None, u64, u64, u64)
        self._key = loaded.function("install.code_key", u64, u64, u64)
        self._checksum = loaded.function("install.checksum", u64, u64, u32)

    def _enable(self) -> None:
        self.pool = CodePool()
        raw = self.traffic.raw
        raw.rx_first, raw.rx_last = self.pool.rx, self.pool.rx + self.pool.size_bytes
        raw.rw_first, raw.pool_bytes = self.pool.rw, self.pool.size_bytes
        self._slots = mmap.mmap(-1, INDEX_SLOTS * ctypes.sizeof(Slot.CTYPE))
        for hart in self._emulator.raw:
            hart.regions_first = self.pool.rx
        raw.index, raw.index_mask = address_of(self._slots), INDEX_SLOTS - 1
        if self.mode != "eager":
            self.pack = Pack(regions_path())
            self._enter_pack(self.pack)
        self._fd = os.eventfd(0, os.EFD_CLOEXEC)
        raw.wake_fd = self._fd
        self._set_thresholds()
        raw.waits = int(self.mode in WAITING)
        raw.enabled = 1

    def _set_thresholds(self) -> None:
        raw = self.traffic.raw
        if self.mode == "eager":
            raw.threshold, raw.late_threshold, raw.growth = 1, 1, 0
            return
        times = KNOWN_FACTOR if raw.index_count else 1
        later = 1 if self._has_core() else times
        raw.threshold, raw.late_threshold = THRESHOLD * times, THRESHOLD * later
        raw.growth = GROWTH * later

    def _has_core(self) -> bool:
        """Tell whether the harts leave the compiler a core of the host."""
        return len(os.sched_getaffinity(0)) > len(self._emulator.raw)

    def _enter_pack(self, pack: Pack) -> None:
        """Let native code know what is on disk."""
        if pack.memory is None:
            return
        base, mask, count = address_of(pack.memory), INDEX_SLOTS - 1, 0
        slots = (Slot.CTYPE * INDEX_SLOTS).from_buffer(self._slots)
        for row in pack.rows:
            at = row.key & mask
            while slots[at].key:
                at = (at + 1) & mask
            slot = slots[at]
            slot.key, slot.source, slot.checksum = row.key, base + row.offset, row.checksum
            slot.size, slot.record = row.size, row.record
            self.traffic.raw.filter[row.key >> 6 & FILTER_WORDS - 1] |= 1 << (row.key & 63)
            count += 1
        self.traffic.raw.index_count = count

    def start(self) -> None:
        """Start the thread, unless the harts wait for the compiler or there is none."""
        if self._thread is None and self.pool is not None and self.mode not in WAITING:
            self._thread = threading.Thread(target=self._serve, name=THREAD_NAME, daemon=True)
            atexit.register(self._stop)  # LLVM must not be at work when its library is taken down
            self._thread.start()

    def close(self) -> None:
        """Stop compiling, and keep what was compiled on disk; the harts have stopped."""
        self._stopping = True
        if self._fd < 0:
            return
        self._stop()
        self.keep()
        os.close(self._fd)
        self._fd = -1
        self.traffic.raw.enabled = 0

    def _stop(self) -> None:
        """End the thread; it finishes the region that it is at."""
        self._stopping = True
        if self._thread is not None:
            os.eventfd_write(self._fd, 1)
            self._thread.join()
            self._thread = None
            atexit.unregister(self._stop)

    def keep(self) -> None:
        """Write what is new to the disk; without a cache the next run is only slower."""
        if self.pack is None or self._kept == len(self.made):
            return
        with contextlib.suppress(OSError):
            merge(self.pack.path, self.made, self._used())
        self._kept = len(self.made)

    def _used(self) -> set[tuple[int, int]]:
        """Return the keys and checksums of the regions of the pack that were met."""
        assert self.pack is not None
        if self.pack.memory is None:
            return set()
        base = address_of(self.pack.memory)
        by_source = {base + row.offset: (row.key, row.checksum) for row in self.pack.rows}
        slots = (Slot.CTYPE * INDEX_SLOTS).from_buffer(self._slots)
        met = {slot.source for slot in slots if slot.instance}
        made = {(m.key, m.checksum) for m in self.made}
        return made | {by_source[source] for source in met if source in by_source}

    def _serve(self) -> None:
        name_thread(THREAD_NAME)
        while not self._stopping:
            os.eventfd_read(self._fd)
            interval_s = sys.getswitchinterval()
            sys.setswitchinterval(min(interval_s, SWITCH_INTERVAL_S))
            while not self._stopping and self._take():
                pass
            sys.setswitchinterval(interval_s)

    def _compile_now(self, _hart: int) -> None:
        with self._turn:
            while self._take():
                pass

    def _take(self) -> bool:
        """Compile the hottest place; False if none is hot enough, or no more can be known."""
        if self.traffic.raw.index_count >= INDEX_ROOM:
            return False  # it would be made, kept in memory and refused, without end
        number = self._hottest(self.traffic.address)
        if number == 0:
            return False
        one = self.traffic.raw.samples[number - 1]
        found = Found(one.place & -2, one.va, one.bank, one.hart)
        raw, eager = self.traffic.raw, self.mode == "eager"
        old = raw.stat_samples + raw.stat_in_regions - one.since > OLD_SLICES
        shape = one.width | one.registers << COUNT_SHIFT
        level = LARGE if eager else one.level
        begun = time.thread_time()
        try:
            self._compile(found, shape=shape, level=level, alone=old and level == SMALL)
        except Exception as error:  # a region is a gain, never a need
            log("regions").warning("a region at %#x was not compiled: %r", found.va, error)
            if "1" in os.environ.get("INN_DEBUG", "").split(","):
                raise
        finally:
            self.compile_s += time.thread_time() - begun
        return True

    def compiler(self) -> RegionCompiler:
        """Return the compiler, whose imports are heavy."""
        if self._compiler is None:
            from innkeeper.engine.emulator.regions.compile import RegionCompiler

            loaded = self._emulator.loaded
            decode = loaded.function(
                "decode.decode", ctypes.c_uint16, ctypes.c_uint64, ctypes.c_uint32, ctypes.c_uint64
            )
            tables = self._emulator.code.address + layout.Code.FIELDS["tables"][1]
            self._compiler = RegionCompiler(decode, tables, region_templates())
        return self._compiler

    def _compile(
        self, found: Found, *, shape: int = 0, level: int = SMALL, alone: bool = False
    ) -> None:
        """Compile a region at a place that was found."""
        from innkeeper.engine.emulator.regions.compile import Wanted, pristine_image
        from innkeeper.engine.emulator.regions.reading import guesses, page_reader

        pages = page_reader(self._emulator, found, all_reached=self.mode == "eager")
        wanted = Wanted(guesses(self._emulator, found), shape, level, alone)
        made = self.compiler().compile(found.place & (PAGE - 1), pages, wanted)
        if made is None:
            return
        image, record = pristine_image(made)
        first = pages(0)
        if len(image) > MAX_IMAGE_BYTES or first is None:
            return
        key = self._key(_address(first.data), made.entry_at[0])
        source = _address(image)
        self.made.append(Made(key, self._checksum(source, len(image)), record, image))
        self.compiled_instructions += made.instruction_count
        self._hand_over(key, source, len(image), record, found.place >> 12)
        for number, offset, code in made.ranges:
            part = pages(made.page_deltas[number])
            if part is not None:
                self._forget(self.traffic.address, part.number << 12 | offset, len(code))
        if len(self.made) - self._kept >= KEEP_EVERY:
            self.keep()

    def _hand_over(self, key: int, source: int, size: int, record: int, ram_page: int) -> None:
        """Put a region where the harts look for it between slices."""
        raw = self.traffic.raw
        while (raw.finished - raw.installed) & 0xFFFFFFFF >= RING_SLOTS:
            if self._stopping or self.mode in WAITING:
                return
            time.sleep(0.01)
        one = raw.ready[raw.finished % RING_SLOTS]
        one.key, one.source, one.size, one.record = key, source, size, record
        one.ram_page = ram_page
        raw.finished = (raw.finished + 1) & 0xFFFFFFFF


def _address(data: bytes) -> int:
    """Return where the contents of a bytes object lie; it must be kept."""
    address = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value
    assert address is not None
    return address
