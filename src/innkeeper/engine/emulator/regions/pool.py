"""Executable memory for regions: one object mapped twice, to write and to execute.

No page is ever writable and executable at one address. Only what is used takes memory. Native code
hands the memory out (`install.copy_image`).
"""

from __future__ import annotations

import ctypes
import mmap
import os

from innkeeper.base.units import MIB

POOL_BYTES = 64 * MIB


class CodePool:
    """Executable memory; raises `OSError` where the host forbids it."""

    def __init__(self, size_bytes: int = POOL_BYTES) -> None:
        fd = os.memfd_create("innkeeper regions", os.MFD_CLOEXEC)
        try:
            os.ftruncate(fd, size_bytes)
            self._rw = mmap.mmap(fd, size_bytes, prot=mmap.PROT_READ | mmap.PROT_WRITE)
            self._rx = mmap.mmap(fd, size_bytes, prot=mmap.PROT_READ | mmap.PROT_EXEC)
        finally:
            os.close(fd)
        self.size_bytes = size_bytes
        self.rw, self.rx = address_of(self._rw), address_of(self._rx)


def address_of(memory: mmap.mmap) -> int:
    """Return where a mapping begins, also one that is not writable."""
    view = (ctypes.c_ssize_t * 16)()  # struct Py_buffer: the address comes first
    api = ctypes.pythonapi
    api.PyObject_GetBuffer.argtypes = [ctypes.py_object, ctypes.c_void_p, ctypes.c_int]
    api.PyBuffer_Release.argtypes = [ctypes.c_void_p]
    api.PyObject_GetBuffer(memory, view, 0)
    address = view[0] & 0xFFFFFFFFFFFFFFFF
    api.PyBuffer_Release(view)
    return address
