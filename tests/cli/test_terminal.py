"""The user's terminal and signals: lent to the guest, and given back."""

from __future__ import annotations

import os
import pty
import signal
import termios
from collections.abc import Iterator

import pytest

from innkeeper.cli.terminal import RawTerminal, SignalForwarder, guest_terminal, terminal_size
from innkeeper.guests.config import TerminalSize
from innkeeper.guests.io import GuestIO, QuitEvent, ResizeEvent, SignalEvent


@pytest.fixture
def terminal() -> Iterator[int]:
    ours, theirs = pty.openpty()
    yield theirs
    os.close(ours)
    os.close(theirs)


def is_raw(fd: int) -> bool:
    return not termios.tcgetattr(fd)[3] & (termios.ICANON | termios.ECHO | termios.ISIG)


def test_a_terminal_is_raw_only_while_the_guest_has_it(terminal: int) -> None:
    before = termios.tcgetattr(terminal)
    io = GuestIO()
    with pytest.raises(RuntimeError), guest_terminal(io, raw_fd=terminal):
        assert not is_raw(terminal)
        io.start()
        assert is_raw(terminal)
        raise RuntimeError("the guest fell over")
    assert termios.tcgetattr(terminal) == before


def test_what_is_no_terminal_is_left_alone() -> None:
    inside, outside = os.pipe()
    raw = RawTerminal(inside)
    raw.enter()
    raw.restore()
    os.close(inside)
    os.close(outside)


def test_the_size_is_that_of_the_first_terminal(terminal: int) -> None:
    inside, outside = os.pipe()
    assert terminal_size(inside) == TerminalSize(rows=24, columns=80)
    termios.tcsetwinsize(terminal, (50, 160))
    assert terminal_size(inside, terminal) == TerminalSize(rows=50, columns=160)
    os.close(inside)
    os.close(outside)


def test_signals_go_to_the_guest_and_twice_ends_it(terminal: int) -> None:
    io = GuestIO()
    before = signal.getsignal(signal.SIGINT)
    with guest_terminal(io, raw_fd=terminal):
        io.start()
        termios.tcsetwinsize(terminal, (7, 9))
        for number in (signal.SIGUSR1, signal.SIGINT, signal.SIGINT, signal.SIGWINCH):
            signal.raise_signal(number)
        assert io.events.take() == [
            SignalEvent("USR1"),
            SignalEvent("INT"),
            QuitEvent(130),
            ResizeEvent(TerminalSize(rows=7, columns=9)),
        ]
    assert signal.getsignal(signal.SIGINT) is before


def test_before_the_guest_runs_signals_are_ours() -> None:
    io = GuestIO()
    with SignalForwarder(io, tty_fd=None).installed():
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(SystemExit) as ended:
            signal.raise_signal(signal.SIGTERM)
        assert ended.value.code == 143
    assert io.events.take() == []
    io.events.close()


def test_a_machine_on_a_console_ends_with_the_first_signal() -> None:
    io = GuestIO()
    with guest_terminal(io, raw_fd=None, forward=False):
        io.start()
        signal.raise_signal(signal.SIGTERM)
        assert io.events.take() == [QuitEvent(143)]


def test_what_the_caller_ignores_stays_ignored() -> None:
    io = GuestIO()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with guest_terminal(io, raw_fd=None):
            io.start()
            signal.raise_signal(signal.SIGHUP)
            assert io.events.take() == []
    finally:
        signal.signal(signal.SIGHUP, before)
