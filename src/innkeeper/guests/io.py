"""What a guest's run is connected to on the host: three descriptors and a queue of events."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from dataclasses import dataclass, field

from innkeeper.guests.config import TerminalSize


@dataclass(frozen=True)
class SignalEvent:
    """A signal for the guest's command, by name without SIG."""

    name: str


@dataclass(frozen=True)
class ResizeEvent:
    """The terminal has a new size."""

    size: TerminalSize


@dataclass(frozen=True)
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
        with contextlib.suppress(BlockingIOError, OSError):
            os.write(self._write_fd, b"!")

    def take(self) -> list[Event]:
        """Return the queued events and the wake-ups that came with them."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.wake_fd, 4096)
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


@dataclass
class GuestIO:
    """Descriptors of the run (`None`: the guest has no standard input) and its events."""

    stdin: int | None = 0
    stdout: int = 1
    stderr: int = 2
    events: EventQueue = field(default_factory=EventQueue)
