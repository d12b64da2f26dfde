"""The user's terminal and signals while a guest has them; both are given back whatever happens."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

from innkeeper.guests.config import TerminalSize
from innkeeper.guests.io import GuestIO, QuitEvent, ResizeEvent, SignalEvent

AGAIN_WITHIN_S = 1.0
FORWARDED = ("INT", "TERM", "HUP", "QUIT", "USR1", "USR2")
ENDING = ("INT", "TERM", "HUP", "QUIT")


def terminal_size(*fds: int) -> TerminalSize:
    """Return the size of the first terminal among `fds`, 24 rows of 80 columns without one."""
    for fd in fds:
        with contextlib.suppress(OSError):
            size = os.get_terminal_size(fd)
            if size.lines > 0 and size.columns > 0:
                return TerminalSize(rows=size.lines, columns=size.columns)
    return TerminalSize()


class RawTerminal:
    """A terminal that passes every key on, from `enter` to `restore`."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._saved: list[Any] | None = None

    def enter(self) -> None:
        """Switch to raw mode; nothing happens when the descriptor is no terminal."""
        import termios
        import tty

        if self._saved is not None or not os.isatty(self._fd):
            return
        self._saved = termios.tcgetattr(self._fd)
        atexit.register(self.restore)
        tty.setraw(self._fd, termios.TCSADRAIN)

    def restore(self) -> None:
        """Give the terminal its own mode back; a second call does nothing."""
        import termios

        saved, self._saved = self._saved, None
        if saved is None:
            return
        atexit.unregister(self.restore)
        # From the background the change would stop us instead.
        before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        try:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._fd, termios.TCSADRAIN, saved)
        finally:
            signal.signal(signal.SIGTTOU, before)


class SignalForwarder:
    """Turns the host's signals into events for the guest once it runs.

    Before that, they end `inn` as they would any program. A second ending signal of one kind
    within a second ends the guest hard. Without `forward`, the first does.
    """

    def __init__(self, io: GuestIO, *, tty_fd: int | None, forward: bool = True) -> None:
        self._io = io
        self._tty_fd = tty_fd
        self._forward = forward
        self._last: dict[str, float] = {}

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """Take one signal (a Python signal handler)."""
        name = signal.Signals(number).name.removeprefix("SIG")
        if name == "WINCH":
            if self._tty_fd is not None:
                self._io.events.post(ResizeEvent(terminal_size(self._tty_fd)))
            return
        if not self._io.started:
            if name in ("USR1", "USR2"):
                return
            raise KeyboardInterrupt if name == "INT" else SystemExit(128 + number)
        now = time.monotonic()
        again = now - self._last.get(name, -AGAIN_WITHIN_S) < AGAIN_WITHIN_S
        self._last[name] = now
        if name in ENDING and (again or not self._forward):
            self._io.events.post(QuitEvent(128 + number))
        elif self._forward:
            self._io.events.post(SignalEvent(name))

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Handle signals inside the block, and put the former handlers back after it."""
        names = FORWARDED + (("WINCH",) if self._tty_fd is not None else ())
        before = {}
        try:
            for name in names:
                number = getattr(signal, f"SIG{name}")
                # What the caller ignores (nohup) stays ignored.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    before[number] = signal.signal(number, self.handle)
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@contextlib.contextmanager
def guest_terminal(io: GuestIO, *, raw_fd: int | None, forward: bool = True) -> Iterator[None]:
    """Give the guest the signals, and the terminal `raw_fd` in raw mode from its start on."""
    terminal = None if raw_fd is None else RawTerminal(raw_fd)
    if terminal is not None:
        io.on_start = terminal.enter
    try:
        with SignalForwarder(io, tty_fd=raw_fd, forward=forward).installed():
            yield
    finally:
        if terminal is not None:
            terminal.restore()
        io.events.close()
