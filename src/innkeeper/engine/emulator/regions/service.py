"""Compiling regions while the harts run: one thread, woken by an eventfd that native code writes.

The thread holds the GIL for the little Python that writes a region down; LLVM runs without it.
`INN_REGIONS` is `on` (the default), `off`, or `eager`: compile at once, and wait for it.
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
from typing import TYPE_CHECKING, Any

from innkeeper.base.errors import UsageError
from innkeeper.base.log import log
from innkeeper.base.threads import name_thread
from innkeeper.base.units import MIB
from innkeeper.engine.emulator import hart as layout
from innkeeper.engine.emulator.build import region_templates, regions_path
from innkeeper.engine.emulator.regions.layout import (
    FILTER_WORDS,
    INDEX_SLOTS,
    MAX_IMAGE_BYTES,
    RING_SLOTS,
    SLICE_WEIGHT,
    Slot,
    Traffic,
)
from innkeeper.engine.emulator.regions.pack import Made, Pack, merge
from innkeeper.engine.emulator.regions.pool import CodePool, address_of

if TYPE_CHECKING:
    from innkeeper.engine.emulator.emulator import Emulator
    from innkeeper.engine.emulator.regions.compile import Pages, RegionCompiler
    from innkeeper.engine.emulator.regions.flow import Guess

MODES = ("on", "off", "eager")
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
"""Of the threshold, for every 2048 slices: a place must have had 1/12288 of the time as well."""
KNOWN_FACTOR = 2
"""Of both, where earlier runs have left regions: what they found not hot enough is so by chance."""
SLICE = 50_000
"""Instructions between looks at time, interrupts and requests: 15 to 60 us."""
EAGER_SLICE = 2_000
PAGE = 4096
U64 = 0xFFFFFFFFFFFFFFFF
MAX_GUESSES = 4
"""How many targets of one computed jump become part of a region."""
FAR = 128 * MIB
"""What lies farther away will not be at the same distance in the next run."""


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
        self._way = loaded.function("ways.way", u64, u64, u64, u32)
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
        eager = self.mode == "eager"
        times = KNOWN_FACTOR if raw.index_count else 1
        raw.threshold, raw.growth = (1, 0) if eager else (THRESHOLD * times, GROWTH * times)
        raw.waits = int(eager)
        raw.enabled = 1

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
        if self._thread is None and self.pool is not None and self.mode != "eager":
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
        """Compile the hottest place; False if none is hot enough."""
        number = self._hottest(self.traffic.address)
        if number == 0:
            return False
        one = self.traffic.raw.samples[number - 1]
        place, va, bank, hart = one.place, one.va, one.bank, one.hart
        shape = one.width | one.registers << COUNT_SHIFT
        begun = time.thread_time()
        try:
            self._compile(place, va, bank, hart, shape)
        except Exception as error:  # a region is a gain, never a need
            log("regions").warning("a region at %#x was not compiled: %r", va, error)
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

    def _compile(self, place: int, va: int, bank: int, hart: int, shape: int) -> None:
        from innkeeper.engine.emulator.regions.compile import pristine_image

        pages = self._pages(place >> 12, va, bank, hart)
        guess = self._guesses(va & -PAGE, hart)
        made = self.compiler().compile(place & (PAGE - 1), pages, guess, shape)
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
        self._hand_over(key, source, len(image), record, place >> 12)
        for number, offset, code in made.ranges:
            part = pages(made.page_deltas[number])
            if part is not None:
                self._forget(self.traffic.address, part.number << 12 | offset, len(code))
        if len(self.made) - self._kept >= KEEP_EVERY:
            self.keep()

    def _guesses(self, base: int, hart: int) -> Guess:
        """Return what tells where computed jumps have gone on a hart, relative to an address."""
        raw = ctypes.addressof(self._emulator.raw[hart])

        def guess(at: int) -> list[int]:
            found = []
            for rank in range(MAX_GUESSES):
                target = self._way(raw, (base + at) & U64, rank)
                distance = (target - base + FAR) & U64
                if target == 0:
                    break
                if distance < 2 * FAR:
                    found.append(distance - FAR)
            return found

        return guess

    def _hand_over(self, key: int, source: int, size: int, record: int, ram_page: int) -> None:
        """Put a region where the harts look for it between slices."""
        raw = self.traffic.raw
        while (raw.finished - raw.installed) & 0xFFFFFFFF >= RING_SLOTS:
            if self._stopping or self.mode == "eager":
                return
            time.sleep(0.01)
        one = raw.ready[raw.finished % RING_SLOTS]
        one.key, one.source, one.size, one.record = key, source, size, record
        one.ram_page = ram_page
        raw.finished = (raw.finished + 1) & 0xFFFFFFFF

    def _pages(self, ram_page: int, va: int, bank: int, hart: int) -> Pages:
        """Return a reader of the pages around a place, as that hart has them mapped."""
        from innkeeper.engine.emulator.regions.compile import CodePage

        emulator = self._emulator
        ram, size = emulator.config.ram_hva, emulator.config.ram_bytes
        code, codes = emulator.code.raw, emulator.raw[hart].banks[bank].code
        first_va, page_cells = va & -PAGE, emulator.page_cells
        count = code.breakpoint_count
        stops = frozenset(va & (PAGE - 1) for va in emulator.breakpoints[:count])
        undecoded = 0 if self.mode == "eager" else code.handler_decode

        def read(delta: int) -> CodePage | None:
            page = ram_page
            if delta != 0:
                wanted = (first_va + delta * PAGE) & 0xFFFFFFFFFFFFFFFF
                entry = codes[(wanted >> 12) & (layout.CODE_ENTRIES - 1)]
                if entry.tag != wanted:
                    return None
                number = (entry.cells - code.pool) // (layout.CELL_PAGE_CELLS * 16)
                if not 0 <= number < code.used_pages:
                    return None
                page = self._cell_pages[number]
            if (page + 1) * PAGE > size:
                return None
            number = page_cells[page]
            if number == 0:
                return None
            cells = code.pool + (number - 1) * layout.CELL_PAGE_CELLS * 16
            data = ctypes.string_at(ram + page * PAGE, PAGE)
            return CodePage(page, data, cells, undecoded, stops)

        return read

    @property
    def _cell_pages(self) -> Any:
        code = self._emulator.code.raw
        return (ctypes.c_uint32 * code.pool_pages).from_address(code.cell_page_ram)


def _address(data: bytes) -> int:
    """Return where the contents of a bytes object lie; it must be kept."""
    address = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value
    assert address is not None
    return address
