"""Character streams without I/O: in memory, shared, discarded.

The protocol is `innkeeper.devices.char`. Everything here is called under the machine's lock.
"""

from __future__ import annotations

from collections.abc import Callable

from innkeeper.devices.char import BytesLike, CharPort, CharSink, NullSink

__all__ = ["CallbackSink", "CharPort", "CharSink", "InputFeeder", "MemorySink", "NullSink"]

DEFAULT_LIMIT_BYTES = 64 << 10


class MemorySink:
    """Keep what the guest writes, `limit_bytes` at most; `take` makes room."""

    def __init__(self, *, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        self.data = bytearray()
        self.is_open = False
        self._limit = limit_bytes

    def write(self, data: BytesLike) -> int:
        """Take what there is room for."""
        room = min(self._limit - len(self.data), len(data))
        self.data += data[:room]
        return room

    def guest_open(self, is_open: bool) -> None:
        """Remember whether the guest's end is open."""
        self.is_open = is_open

    def take(self) -> bytes:
        """Return what there is and forget it; call the port's `resume` afterwards."""
        data = bytes(self.data)
        self.data.clear()
        return data


class CallbackSink:
    """Hand the guest's bytes to a function, which takes them all."""

    def __init__(
        self,
        on_data: Callable[[bytes], None],
        on_open: Callable[[bool], None] = lambda is_open: None,
    ) -> None:
        self._on_data = on_data
        self._on_open = on_open

    def write(self, data: BytesLike) -> int:
        """Pass a copy on."""
        self._on_data(bytes(data))
        return len(data)

    def guest_open(self, is_open: bool) -> None:
        """Pass it on."""
        self._on_open(is_open)


class InputFeeder:
    """Feed a port as fast as the guest takes it: `send` and `close` in order, none lost.

    `room` says how many bytes `send` still takes; `on_room` is called when all that was sent has
    reached the guest.
    """

    def __init__(
        self,
        port: CharPort,
        *,
        limit_bytes: int = DEFAULT_LIMIT_BYTES,
        on_room: Callable[[], None] = lambda: None,
    ) -> None:
        self._port = port
        self._limit = limit_bytes
        self._pending = bytearray()
        self._is_closed = False
        self._on_room = on_room
        port.on_writable = self._pump

    @property
    def room(self) -> int:
        """Return how many bytes `send` takes now."""
        return max(self._limit - len(self._pending), 0)

    def send(self, data: BytesLike) -> int:
        """Take bytes for the guest, `room` of them at most; return how many."""
        taken = min(self.room, len(data))
        self._pending += data[:taken]
        self._pump()
        return taken

    def close(self) -> None:
        """Give the guest end of file once it has had all that was sent."""
        self._is_closed = True
        self._pump()

    def _pump(self) -> None:
        if self._pending:
            del self._pending[: self._port.feed(self._pending)]
            if self._pending:
                return
            self._on_room()
        if self._is_closed:
            self._port.close()
