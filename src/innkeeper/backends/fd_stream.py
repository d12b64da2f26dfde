"""Character streams on file descriptors: one thread for each direction, bounded buffers.

The threads block in the host, never under the machine's lock; they take the lock only to hand
bytes over. No descriptor is made non-blocking: others may share it.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable
from typing import Any

from innkeeper.backends.char import InputFeeder
from innkeeper.devices.char import BytesLike, CharPort

READ_BYTES = 16 << 10
BUFFER_BYTES = 64 << 10

Lock = Any  # threading.Lock, RLock or anything else that `with` takes


class FdReader:
    """Feed what comes from `fd` to `port`, then end of file; reads only what the guest has room
    for.

    `transform` sees every piece first (a console's escape key); `on_eof` is called under the lock
    when the descriptor has no more.
    """

    def __init__(
        self,
        fd: int,
        port: CharPort,
        *,
        lock: Lock,
        transform: Callable[[bytes], bytes] | None = None,
        on_eof: Callable[[], None] | None = None,
    ) -> None:
        self._fd = fd
        self._lock = lock
        self._transform = transform
        self._on_eof = on_eof
        self._wake_r, self._wake_w = os.pipe()
        self._has_room = threading.Event()
        self._has_room.set()
        self._stopping = False
        self._feeder = InputFeeder(port, on_room=self._has_room.set)
        self._thread = threading.Thread(target=self._run, name=f"inn-read-{fd}", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading and wait for the thread; never call it under the lock."""
        if self._stopping:
            return
        self._stopping = True
        self._has_room.set()
        os.write(self._wake_w, b"x")
        if self._thread.is_alive():
            self._thread.join()
        os.close(self._wake_r)
        os.close(self._wake_w)

    def _run(self) -> None:
        while not self._stopping:
            data = self._read()
            if self._stopping:
                return
            if not data:
                with self._lock:
                    self._feeder.close()
                    if self._on_eof is not None:
                        self._on_eof()
                return
            if self._transform is not None:
                data = self._transform(data)
            if data:
                self._has_room.clear()
                with self._lock:
                    self._feeder.send(data)
                self._has_room.wait()

    def _read(self) -> bytes:
        try:
            poller = select.poll()
            poller.register(self._fd, select.POLLIN)
            poller.register(self._wake_r, select.POLLIN)
            poller.poll()
            return b"" if self._stopping else os.read(self._fd, READ_BYTES)
        except OSError:
            return b""  # a terminal that went away reads as its end


class FdWriter:
    """Write what the guest sends to `fd`.

    At most `BUFFER_BYTES` wait; then the guest does. Attach it with `attach(port)`, so that it can
    tell the
    port of new room. When the descriptor breaks, `on_error` is called once, in the thread, and the
    rest is dropped.
    """

    def __init__(
        self, fd: int, *, lock: Lock, on_error: Callable[[OSError], None] | None = None
    ) -> None:
        self._fd = fd
        self._lock = lock
        self._on_error = on_error
        self._port: CharPort | None = None
        self._buffer = bytearray()
        self._changed = threading.Condition()
        self._was_short = False
        self._writing = False
        self._stopping = False
        self._broken = False
        self._is_open = False
        self._thread = threading.Thread(target=self._run, name=f"inn-write-{fd}", daemon=True)

    def attach(self, port: CharPort) -> None:
        """Become the sink of `port`."""
        self._port = port
        port.sink = self

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def write(self, data: BytesLike) -> int:
        """Take what there is room for."""
        with self._changed:
            if self._broken:
                return len(data)
            taken = min(BUFFER_BYTES - len(self._buffer), len(data))
            was_empty = not self._buffer
            self._buffer += data[:taken]
            self._was_short |= taken < len(data)
            if was_empty and taken:
                self._changed.notify_all()
            return taken

    def guest_open(self, is_open: bool) -> None:
        """Remember whether the guest's end is open."""
        self._is_open = is_open

    def drain(self, timeout_s: float | None = None) -> bool:
        """Wait until all that was taken is written; tell whether that came true."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._buffer and not self._writing, timeout_s)

    def stop(self, timeout_s: float | None = None) -> None:
        """Write the rest, then end the thread; never call it under the lock.

        A descriptor that takes nothing for `timeout_s` is left behind with its (daemon) thread.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._buffer or self._stopping)
                if not self._buffer:
                    return
                data = bytes(self._buffer)
                self._buffer.clear()
                self._writing = True
                was_short, self._was_short = self._was_short, False
            if was_short and self._port is not None:
                with self._lock:
                    self._port.resume()
            self._write_out(data)
            with self._changed:
                self._writing = False
                self._changed.notify_all()

    def _write_out(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            with self._changed:
                self._broken = True
                self._buffer.clear()
            if self._on_error is not None:
                self._on_error(error)
