"""Executable memory for regions: one object mapped twice, to write and to execute.

No page is ever writable and executable at one address. Only what is used takes memory.
"""

from __future__ import annotations

import ctypes
import mmap
import os

from innkeeper.base.units import MIB

POOL_BYTES = 96 * MIB
ALIGNMENT = 64


class CodePool:
    """A bump allocator over executable memory; raises `OSError` where the host forbids it."""

    def __init__(self, size_bytes: int = POOL_BYTES) -> None:
        fd = os.memfd_create("innkeeper regions", os.MFD_CLOEXEC)
        try:
            os.ftruncate(fd, size_bytes)
            self._rw = mmap.mmap(fd, size_bytes, prot=mmap.PROT_READ | mmap.PROT_WRITE)
            self._rx = mmap.mmap(fd, size_bytes, prot=mmap.PROT_READ | mmap.PROT_EXEC)
        finally:
            os.close(fd)
        self.size_bytes, self.used_bytes = size_bytes, 0
        self.rw = ctypes.addressof(ctypes.c_char.from_buffer(self._rw))
        self.rx = _address_of_read_only(self._rx, size_bytes)

    def put(self, data: bytes) -> int | None:
        """Copy an image in; return its offset, or None when the pool is full."""
        at = (self.used_bytes + ALIGNMENT - 1) & -ALIGNMENT
        if at + len(data) > self.size_bytes:
            return None
        self._rw[at : at + len(data)] = data
        self.used_bytes = at + len(data)
        return at

    def clear(self) -> None:
        """Forget every image; nothing of the pool may be running."""
        self.used_bytes = 0


def _address_of_read_only(memory: mmap.mmap, size_bytes: int) -> int:
    """Return where a mapping that ctypes cannot take (it is not writable) begins."""
    view = ctypes.py_object(memory)
    buffer = (ctypes.c_ssize_t * 16)()
    get, release = ctypes.pythonapi.PyObject_GetBuffer, ctypes.pythonapi.PyBuffer_Release
    get.argtypes = [ctypes.py_object, ctypes.c_void_p, ctypes.c_int]
    release.argtypes = [ctypes.c_void_p]
    get(view, buffer, 0)
    address = buffer[0] & 0xFFFFFFFFFFFFFFFF
    release(buffer)
    return address
