"""The I/O loops with ports of our own making and real descriptors."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from innkeeper.base.errors import GuestTimeout, MachineError
from innkeeper.devices.char import BytesLike, CharPort
from innkeeper.guests.config import TerminalSize
from innkeeper.guests.io import EscapeKeys, GuestIO, QuitEvent, ResizeEvent, SignalEvent
from innkeeper.guests.loop import ConsoleLoop, ConsolePorts, SessionLoop
from innkeeper.guests.session import RunSession
from innkeeper.guests.streams import OUTPUT_BUFFER_BYTES, OutputPump


class FakePort(CharPort):
    """A port whose guest is a script: `on_feed` hears each thing the host says."""

    def __init__(self, on_feed: Callable[[bytes], None] | None = None, room: int = 1 << 30) -> None:
        super().__init__()
        self.fed = bytearray()
        self.closed = False
        self.resumed = 0
        self.room = room
        self._on_feed = on_feed

    def feed(self, data: BytesLike) -> int:
        taken = min(self.room, len(data))
        self.room -= taken
        self.fed += data[:taken]
        if taken and self._on_feed is not None:
            self._on_feed(bytes(data[:taken]))
        return taken

    def close(self) -> None:
        self.closed = True
        if self._on_feed is not None:
            self._on_feed(b"")

    def resume(self) -> None:
        self.resumed += 1


class Guest:
    """Ports, descriptors and a loop for one scripted run."""

    def __init__(self, tmp_path: Path, *, tty: bool = False, stdin: int | None = None) -> None:
        self.control = FakePort()
        self.stdin, self.stdout, self.stderr = FakePort(), FakePort(), FakePort()
        self.out = open(tmp_path / "out", "w+b")  # noqa: SIM115
        self.err = open(tmp_path / "err", "w+b")  # noqa: SIM115
        self.io = GuestIO(stdin=stdin, stdout=self.out.fileno(), stderr=self.err.fileno())
        self.session = RunSession(tty=tty)
        if tty:
            ports = ConsolePorts(control=self.control, tty=self.stdout)
        else:
            ports = ConsolePorts(
                control=self.control, stdin=self.stdin, stdout=self.stdout, stderr=self.stderr
            )
        self.lock = threading.RLock()
        self.loop = SessionLoop(self.session, ports=ports, io=self.io, lock=self.lock)

    def says(self, text: bytes) -> None:
        self.control.sink.write(text)

    def close(self) -> None:
        self.out.close()
        self.err.close()
        self.io.events.close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Guest]]:
    made: list[Guest] = []

    def one(**options: Any) -> Guest:
        made.append(Guest(tmp_path, **options))
        return made[-1]

    yield one
    for guest in made:
        guest.close()


@pytest.fixture
def guest(make: Callable[..., Guest]) -> Guest:
    return make()


def test_output_is_out_before_the_guest_may_go(guest: Guest) -> None:
    for port in (guest.stdout, guest.stderr):
        port.sink.guest_open(True)
    guest.says(b"ready\n")
    guest.stdout.sink.write(b"out")
    guest.stderr.sink.write(b"err")
    guest.says(b"exit 7\n")

    def late() -> None:
        with guest.lock:
            assert b"bye" not in guest.control.fed
            guest.stdout.sink.write(b" late")
            guest.stdout.sink.guest_open(False)
            guest.stderr.sink.guest_open(False)

    threading.Timer(0.05, late).start()
    assert guest.loop.run(timeout_s=30) == 7
    guest.out.seek(0)
    guest.err.seek(0)
    assert (guest.out.read(), guest.err.read()) == (b"out late", b"err")
    assert guest.io.started


def test_input_waits_for_the_command_and_ends(tmp_path: Path, make: Callable[..., Guest]) -> None:
    source = tmp_path / "in"
    source.write_bytes(b"x" * 200_000)
    with source.open("rb") as stream:
        guest = make(stdin=stream.fileno())
        taken_when_ready: list[int] = []

        def start() -> None:
            with guest.lock:
                taken_when_ready.append(len(guest.stdin.fed))
                guest.says(b"ready\n")

        def ended(data: bytes) -> None:
            if not data:
                guest.says(b"exit 0\n")

        guest.stdin._on_feed = ended
        threading.Timer(0.05, start).start()
        assert guest.loop.run(timeout_s=30) == 0
    assert taken_when_ready == [0]
    assert (len(guest.stdin.fed), guest.stdin.closed) == (200_000, True)


def test_events_reach_the_guest(make: Callable[..., Guest]) -> None:
    guest = make(tty=True)
    guest.says(b"ready\n")
    guest.io.events.post(SignalEvent("TERM"))
    guest.io.events.post(ResizeEvent(TerminalSize(rows=5, columns=6)))

    def answer(_data: bytes) -> None:
        if b"winsize" in guest.control.fed:
            guest.says(b"exit 143\n")

    guest.control._on_feed = answer
    assert guest.loop.run(timeout_s=30) == 143
    assert guest.control.fed == b"signal TERM\nwinsize 5 6\nbye\n"


def test_the_user_may_quit_a_guest_that_does_not_listen(guest: Guest) -> None:
    guest.control.room = 0
    guest.says(b"ready\n")
    guest.io.events.post(SignalEvent("INT"))
    guest.io.events.post(QuitEvent(130))
    assert guest.loop.run(timeout_s=30) == 130


def test_time_ends_a_run(guest: Guest) -> None:
    with pytest.raises(GuestTimeout):
        guest.loop.run(timeout_s=0.01)


def test_a_machine_that_ends_early_is_an_error_with_its_output(guest: Guest) -> None:
    guest.says(b"ready\n")
    guest.stdout.sink.write(b"last words")
    guest.loop.machine_ended(console="Kernel panic")
    with pytest.raises(MachineError, match="Kernel panic"):
        guest.loop.run(timeout_s=30)
    guest.out.seek(0)
    assert guest.out.read() == b"last words"


def test_a_full_buffer_holds_the_guest_back_until_half_is_gone() -> None:
    port = FakePort()
    pump = OutputPump(port, wake=lambda: None)
    assert pump.write(b"x" * (OUTPUT_BUFFER_BYTES + 5)) == OUTPUT_BUFFER_BYTES
    assert pump.write(b"more") == 0
    pump.written(OUTPUT_BUFFER_BYTES // 4)
    assert port.resumed == 0
    pump.written(OUTPUT_BUFFER_BYTES // 4)
    assert port.resumed == 1
    pump.discard()
    assert (pump.write(b"x" * 10), pump.pending) == (10, False)


def test_a_reader_that_left_is_a_broken_pipe_for_the_guest(guest: Guest) -> None:
    read_fd, guest.io.stdout = os.pipe()
    os.close(read_fd)
    ports = ConsolePorts(control=guest.control, stdout=guest.stdout)
    loop = SessionLoop(guest.session, ports=ports, io=guest.io, lock=guest.lock)

    def answer(_data: bytes) -> None:
        if guest.control.fed == b"signal PIPE\n":
            guest.says(b"exit 141\n")

    guest.control._on_feed = answer
    guest.says(b"ready\n")
    guest.stdout.sink.write(b"x")
    assert loop.run(timeout_s=30) == 141
    os.close(guest.io.stdout)


def test_escape_keys() -> None:
    keys = EscapeKeys()
    assert keys.filter(b"ab\x01\x01c") == (b"ab\x01c", False)
    assert keys.filter(b"\x01") == (b"", False)
    assert keys.filter(b"z") == (b"\x01z", False)
    assert keys.filter(b"q\x01xrest") == (b"q", True)


def test_a_console_ends_with_its_machine_or_its_user(tmp_path: Path) -> None:
    with open(tmp_path / "out", "w+b") as out:
        for typed, wanted in ((b"hi\n", None), (b"hi\n\x01x", 0)):
            port = FakePort()
            inside, outside = os.pipe()
            io = GuestIO(stdin=inside, stdout=out.fileno(), escape=EscapeKeys())
            loop = ConsoleLoop(port, io=io, lock=threading.RLock())
            port.sink.write(b"hello ")
            if wanted is None:
                port._on_feed = lambda _data, loop=loop: loop.machine_ended()
            os.write(outside, typed)
            assert loop.run(timeout_s=30) == wanted
            assert (port.fed == b"hi\n") is True
            os.close(inside)
            os.close(outside)
            io.events.close()
        out.seek(0)
        assert out.read() == b"hello hello "
