"""Bytes between the host's file descriptors and the guest's ports, with back-pressure both ways.

No I/O here. What a port calls is called with the machine's lock held, as `devices.char` says; an
output's buffer has a lock of its own, so that writing it out does not make the harts stop. A full
buffer makes the guest keep its data in the ring, and nobody waits for anybody.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from innkeeper.devices.char import BytesLike, CharPort

OUTPUT_BUFFER_BYTES = 1 << 20


class OutputPump:
    """Guest to host: the `CharSink` of a port, in front of a file descriptor's writer.

    `lock` is the machine's; it is taken only to let a guest go on that was held back.
    """

    def __init__(
        self,
        port: CharPort,
        *,
        wake: Callable[[], None],
        lock: AbstractContextManager[object] | None = None,
    ) -> None:
        self._port = port
        self._wake = wake
        self._machine = lock if lock is not None else nullcontext()
        self._mutex = threading.Lock()
        self._buffer = bytearray()
        self._held_back = False
        self._discarding = False
        self._opened = self._closed = False
        port.sink = self

    def write(self, data: BytesLike) -> int:
        """Take guest bytes; return how many fitted."""
        if self._discarding:
            return len(data)
        with self._mutex:
            taken = min(OUTPUT_BUFFER_BYTES - len(self._buffer), len(data))
            self._held_back = self._held_back or taken < len(data)
            was_empty = not self._buffer
            self._buffer += data[:taken]
        if taken and was_empty:
            self._wake()
        return taken

    def guest_open(self, is_open: bool) -> None:
        """Learn that the guest opened or closed its end, after all it wrote was taken."""
        self._opened = self._opened or is_open
        self._closed = not is_open
        self._wake()

    def peek(self, limit: int) -> bytes:
        """Return up to `limit` bytes that wait to be written."""
        with self._mutex:
            return bytes(self._buffer[:limit])

    def written(self, count: int) -> None:
        """Forget `count` bytes that the host took; let the guest go on when there is room."""
        with self._mutex:
            del self._buffer[:count]
            go_on = self._held_back and len(self._buffer) <= OUTPUT_BUFFER_BYTES // 2
            self._held_back = self._held_back and not go_on
        if go_on:
            with self._machine:
                self._port.resume()

    def discard(self) -> None:
        """Throw away what is here and all that comes: nobody reads it any more."""
        self._discarding = True
        self.written(len(self._buffer))

    @property
    def pending(self) -> bool:
        """True while bytes wait here or, held back, in the ring."""
        return bool(self._buffer) or self._held_back

    @property
    def finished(self) -> bool:
        """True when the guest has closed its end and all it wrote has left."""
        return not self.pending and (self._closed or not self._opened)


class InputPump:
    """Host to guest: one chunk at a time from a file descriptor's reader to a port."""

    def __init__(self, port: CharPort, *, wake: Callable[[], None]) -> None:
        self._port = port
        self._pending = memoryview(b"")
        self._ended = self._closed = False
        port.on_writable = self._on_writable
        self._wake = wake

    @property
    def wants_data(self) -> bool:
        """True when the next chunk may be read from the host."""
        return not self._pending and not self._ended

    def put(self, data: bytes) -> None:
        """Take one chunk; empty means end of file."""
        if data:
            self._pending = memoryview(data)
        else:
            self._ended = True
        self._flush()

    def _flush(self) -> None:
        while self._pending:
            taken = self._port.feed(self._pending)
            if not taken:
                return
            self._pending = self._pending[taken:]
        if self._ended and not self._closed:
            self._closed = True
            self._port.close()

    def _on_writable(self) -> None:
        waited = not self.wants_data
        self._flush()
        if waited and self.wants_data:
            self._wake()
