"""Machine code in this process: an image copied to executable memory."""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import Any

from innkeeper.base.errors import MachineError
from innkeeper.native.elf import Image

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


class LoadedCode:
    """An image that can be called; the memory is writable or executable, never both."""

    def __init__(self, image: Image) -> None:
        size = (len(image.data) + 4095) & -4096
        self.memory = mmap.mmap(-1, max(size, 4096), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self.memory[: len(image.data)] = image.data
        self.symbols = image.symbols
        self.base = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        if _libc.mprotect(self.base, len(self.memory), mmap.PROT_READ | mmap.PROT_EXEC) != 0:
            raise MachineError(
                "cannot make compiled code executable",
                why=f"mprotect: errno {ctypes.get_errno()}",
                fix="the host forbids it (SELinux execmem, PaX, a hardened container): allow it",
            )
        if "perf" in os.environ.get("INN_DEBUG", "").split(","):
            self._write_perf_map(len(image.data))

    def _write_perf_map(self, end: int) -> None:
        """Name the code for `perf report` (Linux tools/perf/Documentation/jit-interface.txt)."""
        starts = sorted((offset, name) for name, offset in self.symbols.items())
        with open(f"/tmp/perf-{os.getpid()}.map", "a") as f:
            for n, (offset, name) in enumerate(starts):
                after = starts[n + 1][0] if n + 1 < len(starts) else end
                f.write(f"{self.base + offset:x} {after - offset:x} {name}\n")

    def address(self, symbol: str) -> int:
        """Return the address of a symbol."""
        return self.base + self.symbols[symbol]

    def function(self, symbol: str, result: Any, *args: Any) -> Any:
        """Return a ctypes function that releases the GIL while it runs."""
        return ctypes.CFUNCTYPE(result, *args)(self.address(symbol))
