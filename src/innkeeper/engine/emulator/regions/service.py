"""Compiling regions while the harts run: one thread, woken by an eventfd that native code writes.

The thread holds the GIL for the little Python that writes a region down; LLVM runs without it.
`INN_REGIONS` is `on` (the default), `off`, or `eager`: compile at once, and wait for it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from typing import TYPE_CHECKING, Any

from innkeeper.base.log import log
from innkeeper.engine.emulator import hart as layout
from innkeeper.engine.emulator.regions.layout import RING_SLOTS, Traffic
from innkeeper.engine.emulator.regions.pool import CodePool

if TYPE_CHECKING:
    from innkeeper.engine.emulator.emulator import Emulator
    from innkeeper.engine.emulator.regions.compile import RegionCompiler

THRESHOLD = 2
"""Slices that end at one place before it is compiled."""
SLICE = 50_000
"""Instructions between looks at time, interrupts and requests: 15 to 60 us."""
EAGER_SLICE = 2_000
PAGE = 4096


class RegionService:
    """Regions of one machine."""

    def __init__(self, emulator: Emulator, *, mode: str | None = None) -> None:
        self.mode = mode or os.environ.get("INN_REGIONS") or "on"
        self._emulator = emulator
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._turn = threading.Lock()
        self._compiler: RegionCompiler | None = None
        self.pool: CodePool | None = None
        self.traffic = Traffic()
        self._fd = -1
        self.compiled = self.compiled_instructions = 0
        self.traffic.slice = EAGER_SLICE if self.mode == "eager" else SLICE
        code = emulator.code.raw
        code.traffic = self.traffic.address
        self._keep: list[Any] = []
        fields = layout.Code.FIELDS
        self._keep.append(fields["compile_now"][0].prototype()(self._compile_now))
        code.compile_now = ctypes.cast(self._keep[0], ctypes.c_void_p).value
        code.write_fd = ctypes.cast(ctypes.CDLL(None).write, ctypes.c_void_p).value
        if self.mode != "off":
            with contextlib.suppress(OSError):  # the host forbids it: tier 0 alone then
                self._enable()

    def _enable(self) -> None:
        self.pool = CodePool()
        raw = self.traffic.raw
        raw.rx_first, raw.rx_last = self.pool.rx, self.pool.rx + self.pool.size_bytes
        raw.rw_first = self.pool.rw
        self._fd = os.eventfd(0, os.EFD_CLOEXEC)
        raw.wake_fd = self._fd
        eager = self.mode == "eager"
        raw.threshold, raw.waits = (1, 1) if eager else (THRESHOLD, 0)
        raw.enabled = 1

    def start(self) -> None:
        """Start the thread, unless the harts wait for the compiler or there is none."""
        if self._thread is None and self.pool is not None and self.mode != "eager":
            self._thread = threading.Thread(target=self._serve, name="regions", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Stop compiling; the machine may still run what there is."""
        self._stopping = True
        if self._fd >= 0:
            os.eventfd_write(self._fd, 1)
            if self._thread is not None:
                self._thread.join()
            os.close(self._fd)
            self._fd = -1

    def _serve(self) -> None:
        while not self._stopping:
            os.eventfd_read(self._fd)
            while not self._stopping and self._take():
                pass

    def _compile_now(self, _hart: int) -> None:
        with self._turn:
            while self._take():
                pass

    def _take(self) -> bool:
        """Compile one request; False if there is none."""
        raw = self.traffic.raw
        if raw.asked == raw.taken:
            return False
        one = raw.requests[raw.taken % RING_SLOTS]
        place, va, bank, hart = one.place, one.va, one.bank, one.count
        raw.taken = (raw.taken + 1) & 0xFFFFFFFF
        try:
            self._compile(place, va, bank, hart)
        except Exception as error:  # a region is a gain, never a need
            log("regions").warning("a region at %#x was not compiled: %r", va, error)
            if "1" in os.environ.get("INN_DEBUG", "").split(","):
                raise
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
            self._compiler = RegionCompiler(decode, tables)
        return self._compiler

    def _compile(self, place: int, va: int, bank: int, hart: int) -> None:
        from innkeeper.engine.emulator.regions.compile import finished_image

        assert self.pool is not None
        pages = self._pages(place >> 12, va, bank, hart)
        made = self.compiler().compile(place & (PAGE - 1), pages)
        if made is None:
            return
        at = self.pool.put(bytes(64))
        if at is None:
            return
        self.pool.used_bytes = at
        image = finished_image(made, place >> 12, self.pool.rx + at)
        if self.pool.put(image) is None:
            return
        raw = self.traffic.raw
        raw.ready[raw.finished % RING_SLOTS] = self.pool.rw + at + made.image.symbols["record"]
        raw.finished = (raw.finished + 1) & 0xFFFFFFFF
        self.compiled += 1
        self.compiled_instructions += made.instruction_count

    def _pages(self, ram_page: int, va: int, bank: int, hart: int) -> Any:
        """Return a reader of the pages around a place, as that hart has them mapped."""
        emulator = self._emulator
        ram, size = emulator.config.ram_hva, emulator.config.ram_bytes
        code, codes = emulator.code.raw, emulator.raw[hart].banks[bank].code
        first_va = va & -PAGE

        def read(delta: int) -> bytes | None:
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
            return ctypes.string_at(ram + page * PAGE, PAGE)

        return read

    @property
    def _cell_pages(self) -> Any:
        code = self._emulator.code.raw
        return (ctypes.c_uint32 * code.pool_pages).from_address(code.cell_page_ram)
