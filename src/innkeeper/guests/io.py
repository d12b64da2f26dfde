"""What a guest's run is connected to on the host: descriptors, a queue of events, the progress."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from innkeeper.base.record import field, record
from innkeeper.guests.config import TerminalSize

if TYPE_CHECKING:
    from innkeeper.images.progress import Progress

ESCAPE_KEY = b"\x01"  # Ctrl-A, as in QEMU's serial console
_WAKES_AT_ONCE = 4096


@record
class SignalEvent:
    """A signal for the guest's command, by name without SIG."""

    name: str


@record
class ResizeEvent:
    """The terminal has a new size."""

    size: TerminalSize


@record
class QuitEvent:
    """The user wants out now: stop the machine without asking the guest."""

    exit_status: int = 130


Event = SignalEvent | ResizeEvent | QuitEvent
MAX_EVENTS = 256


class EventQueue:
    """Events from signal handlers and other threads to the one loop that polls `wake_fd`."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque(maxlen=MAX_EVENTS)
        self.wake_fd, self._write_fd = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def post(self, event: Event) -> None:
        """Queue `event` and wake the loop. Safe in a signal handler."""
        self._events.append(event)
        self.wake()

    def wake(self) -> None:
        """Wake the loop. A full pipe is a wake-up already; a closed one needs none."""
        with contextlib.suppress(OSError):
            os.write(self._write_fd, b"!")

    def take(self) -> list[Event]:
        """Return the queued events and forget the wake-ups that came with them."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.wake_fd, _WAKES_AT_ONCE)
        events = []
        while self._events:
            events.append(self._events.popleft())
        return events

    def close(self) -> None:
        """Close the pipe; a later `post` is lost."""
        write_fd, self._write_fd = self._write_fd, -1
        if write_fd >= 0:
            os.close(write_fd)
            os.close(self.wake_fd)


class EscapeKeys:
    """Ctrl-A x ends the machine and Ctrl-A Ctrl-A types one Ctrl-A; all else passes through."""

    def __init__(self) -> None:
        self._after_escape = False

    def filter(self, data: bytes) -> tuple[bytes, bool]:
        """Return what to type of `data`, and whether the user asked to quit."""
        typed = bytearray()
        for number in data:
            key = bytes([number])
            if not self._after_escape and key == ESCAPE_KEY:
                self._after_escape = True
                continue
            if self._after_escape and key in b"xX":
                return bytes(typed), True
            if self._after_escape and key != ESCAPE_KEY:
                typed += ESCAPE_KEY
            self._after_escape = False
            typed += key
        return bytes(typed), False


@record(frozen=False)
class GuestIO:
    """Descriptors of a run (`None`: the guest has no standard input), its events and progress.

    Whoever runs the guest calls `start` when the guest takes over the descriptors; until then
    signals belong to the host program. `escape` filters what is typed.
    """

    stdin: int | None = 0
    stdout: int = 1
    stderr: int = 2
    events: EventQueue = field(default_factory=EventQueue)
    progress: Progress | None = None
    escape: EscapeKeys | None = None
    on_start: Callable[[], None] | None = None
    started: bool = False

    def start(self) -> None:
        """Say that the guest runs from here on."""
        self.started = True
        if self.on_start is not None:
            self.on_start()
