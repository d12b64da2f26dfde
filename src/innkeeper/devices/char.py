"""What a character device and the host's side of it say to each other; no I/O here.

Guest to host: the device calls `CharSink.write`; a short count means "no room", and the sink's
owner calls
`CharPort.resume` when there is room again. Host to guest: the owner calls `CharPort.feed`; a short
count
means the guest has no room, and the port calls `on_writable` once it has. Nobody buffers without
bound. All of it happens under the machine's lock.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

BytesLike = bytes | bytearray | memoryview


class CharSink(Protocol):
    """The host's side of a character stream, as the device sees it."""

    def write(self, data: BytesLike) -> int:
        """Take bytes from the guest; return how many were taken. The buffer is not kept."""
        ...

    def guest_open(self, is_open: bool) -> None:
        """Learn that the guest opened or closed its end, after all it wrote was taken."""
        ...


class NullSink:
    """Take everything, keep nothing."""

    def write(self, data: BytesLike) -> int:
        """Take all of it."""
        return len(data)

    def guest_open(self, is_open: bool) -> None:
        """Do nothing."""


class CharPort:
    """The device's side of a character stream, as the host sees it.

    `sink` is where the guest's bytes go; `on_writable` is called when a `feed` that was short may
    be tried again.
    """

    def __init__(self) -> None:
        self.sink: CharSink = NullSink()
        self.on_writable: Callable[[], None] | None = None

    def feed(self, data: BytesLike) -> int:
        """Offer bytes to the guest; return how many it took (0: wait for `on_writable`)."""
        raise NotImplementedError

    def close(self) -> None:
        """Tell the guest that nothing more comes: it reads what was fed, then end of file."""

    def resume(self) -> None:
        """Learn that the sink, which took a short count, has room again."""
