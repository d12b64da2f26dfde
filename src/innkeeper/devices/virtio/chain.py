"""One buffer of a virtqueue: a chain of descriptors as memory the device may read, then write."""

from __future__ import annotations

from collections.abc import Sequence

MAX_CHAIN_SEGMENTS = 1024
MAX_CHAIN_BYTES = 1 << 32

BytesLike = bytes | bytearray | memoryview


class VirtqueueError(Exception):
    """The ring holds something no driver may put there; the device then needs a reset."""


class Chain:
    """A buffer the driver made available.

    `readable` and `writable` are views of guest memory, in order; `readable_bytes` and
    `writable_bytes`
    their sums. Give it back with `queue.used(chain, written)`, `written` counting from the first
    writable byte.
    """

    __slots__ = (
        "head",
        "readable",
        "readable_bytes",
        "ring_slots",
        "writable",
        "writable_bytes",
        "writable_gpas",
    )

    def __init__(self, head: int) -> None:
        self.head = head
        self.ring_slots = 1
        self.readable: list[memoryview] = []
        self.writable: list[memoryview] = []
        self.writable_gpas: list[int] = []
        self.readable_bytes = 0
        self.writable_bytes = 0

    def add(self, gpa: int, view: memoryview, *, writable: bool) -> None:
        """Append a segment; `VirtqueueError` for one out of order or one too many."""
        if len(self.readable) + len(self.writable) >= MAX_CHAIN_SEGMENTS:
            raise VirtqueueError(f"a chain of more than {MAX_CHAIN_SEGMENTS} segments")
        if writable:
            self.writable.append(view)
            self.writable_gpas.append(gpa)
            self.writable_bytes += len(view)
        elif self.writable:
            raise VirtqueueError("a device-readable segment after a device-writable one")
        else:
            self.readable.append(view)
            self.readable_bytes += len(view)
        if self.readable_bytes + self.writable_bytes > MAX_CHAIN_BYTES:
            raise VirtqueueError(f"a chain of more than {MAX_CHAIN_BYTES} bytes")

    def read(self, limit: int | None = None) -> bytes:
        """Return a copy of the readable bytes, the first `limit` at most."""
        if limit is None or limit >= self.readable_bytes:
            return b"".join(self.readable)
        return b"".join(slice_views(self.readable, 0, limit))

    def write(self, data: BytesLike, offset: int = 0) -> int:
        """Copy `data` to the writable bytes from `offset` on; return how much fitted."""
        done = 0
        for view in slice_views(self.writable, offset, len(data)):
            view[:] = data[done : done + len(view)]
            done += len(view)
        return done


def slice_views(views: Sequence[memoryview], offset: int, length: int) -> list[memoryview]:
    """Return the part `[offset, offset + length)` of the bytes that `views` hold, as views."""
    part: list[memoryview] = []
    for view in views:
        if length <= 0:
            break
        size = len(view)
        if offset >= size:
            offset -= size
            continue
        piece = view[offset : offset + length]
        part.append(piece)
        length -= len(piece)
        offset = 0
    return part
