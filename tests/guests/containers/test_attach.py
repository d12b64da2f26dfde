"""Attaching to detached containers: streams, terminals, several at once, detach keys, signals."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import termios
from pathlib import Path

import pytest

from innkeeper.base.errors import UsageError
from innkeeper.guests.containers.attaching import DetachKeys, parse_keys
from tests.guests.containers.harness import IMAGE, Inn

ECHO = "while read -r line; do echo got $line; echo err $line >&2; done; echo over"
SHELL = "echo up; while read -r line; do echo got $line; done"


class Screen:
    """A terminal with an `inn` on it."""

    def __init__(self, inn: Inn, *args: str) -> None:
        self.main, peer = pty.openpty()
        fcntl.ioctl(peer, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 77, 0, 0))
        self.process = inn.start(
            *args, stdin=peer, stdout=peer, stderr=peer, start_new_session=True
        )
        os.close(peer)
        self.seen = b""

    def type(self, text: bytes) -> None:
        os.write(self.main, text)

    def expect(self, text: bytes) -> None:
        while text not in self.seen:
            self.seen += os.read(self.main, 4096)
        self.seen = self.seen.partition(text)[2]

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.main, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process.send_signal(signal.SIGWINCH)  # it is no session leader's terminal

    def end(self) -> int:
        """Read until it ends; return its exit status."""
        try:
            while os.read(self.main, 4096):
                pass
        except OSError:
            pass
        os.close(self.main)
        return self.process.wait()


@pytest.mark.parametrize(
    ("text", "keys"),
    [("ctrl-p,ctrl-q", b"\x10\x11"), ("a,b", b"ab"), ("ctrl-@", b"\0"), ("ctrl-[", b"\x1b"), ("ctrl-_", b"\x1f"), ("", b"")],
)  # fmt: skip
def test_keys(text: str, keys: bytes) -> None:
    assert parse_keys(text) == keys


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-ab", "ab", "ctrl-1", ",", "é", "a," * 20 + "a"])
def test_what_are_no_keys(text: str) -> None:
    with pytest.raises(UsageError):
        parse_keys(text)


@pytest.mark.parametrize(
    ("pieces", "passed", "detached"),
    [
        ([b"abc"], b"abc", False), ([b"a\x10\x11b"], b"a", True), ([b"\x10", b"\x11"], b"", True),
        ([b"\x10", b"x"], b"\x10x", False), ([b"\x10\x10\x11"], b"\x10", True),
    ],
)  # fmt: skip
def test_keys_are_found(pieces: list[bytes], passed: bytes, detached: bool) -> None:
    keys, seen, found = DetachKeys(b"\x10\x11"), b"", False
    for piece in pieces:
        part, found = keys.take(piece)
        seen += part
    assert (seen, found) == (passed, detached)


def test_streams(clean: Inn) -> None:
    clean.run("-di", "--name", "c", IMAGE, "sh", "-c", ECHO)
    with clean.start("attach", "c", stdin=-1) as attached:
        assert attached.stdin is not None and attached.stdout is not None
        attached.stdin.write(b"one\n")
        attached.stdin.flush()
        assert attached.stdout.readline() == b"got one\n"
        # The end of this one's input is not that of a container that goes on by itself.
        attached.stdin.close()
        with clean.start("attach", "c", stdin=-1) as other:
            assert other.stdin is not None and other.stdout is not None
            other.stdin.write(b"two\n")
            other.stdin.flush()
            assert other.stdout.readline() == b"got two\n"
            assert attached.stdout.readline() == b"got two\n"  # all see everything
            clean("kill", "c")
            assert other.wait() == attached.wait() == 137
    logs = clean("logs", "c")
    assert logs.stdout == b"got one\ngot two\n" and logs.stderr == b"err one\nerr two\n"


def test_much_is_passed_on_whole(clean: Inn) -> None:
    """Faster than the reader takes it: the container is held back, nothing is lost."""
    data = bytes(range(256)) * 8000
    clean("create", "-i", "--name", "c", IMAGE, "cat")
    done = clean("start", "-ai", "c", input=data)
    assert done.returncode == 0 and done.stdout == data


def test_signals_go_through(clean: Inn) -> None:
    script = "trap 'echo hup; exit 9' HUP; echo up; while :; do sleep 0.1; done"
    clean("create", "-i", "--name", "d", IMAGE, "sh", "-c", f"read x; {script}")
    with clean.start("start", "-ai", "d", stdin=-1) as attached:
        assert attached.stdin is not None and attached.stdout is not None
        attached.stdin.write(b"\n")
        attached.stdin.flush()
        assert attached.stdout.readline() == b"up\n"
        attached.send_signal(signal.SIGHUP)
        assert attached.stdout.readline() == b"hup\n" and attached.wait() == 9


def test_signals_can_be_kept(clean: Inn) -> None:
    script = "echo up; while read -r x; do echo $x; done; while :; do sleep 0.1; done"
    clean.run("-di", "--name", "c", IMAGE, "sh", "-c", script)
    words = ["attach", "--no-sig-proxy", "c"]
    with clean.start(*words, stdin=-1) as attached:
        assert attached.stdin is not None and attached.stdout is not None
        attached.stdin.write(b"here\n")
        attached.stdin.flush()
        while attached.stdout.readline() != b"here\n":
            pass
        attached.send_signal(signal.SIGTERM)
        assert attached.wait() == -signal.SIGTERM
    assert json.loads(clean("inspect", "c").stdout)["status"] == "running"


def test_a_terminal_of_its_own(clean: Inn) -> None:
    clean.run("-dit", "--name", "c", IMAGE, "sh", "-c", SHELL)
    screen = Screen(clean, "attach", "c")
    screen.type(b"one\n")
    screen.expect(b"one\r\n")  # the container's terminal echoes
    screen.expect(b"got one\r\n")
    other = Screen(clean, "attach", "--detach-keys", "ctrl-a,d", "c")
    other.type(b"two\n")
    other.expect(b"got two\r\n")
    screen.expect(b"got two\r\n")
    other.type(b"\x01d")
    assert other.end() == 0
    screen.type(b"\x10\x11")
    assert screen.end() == 0
    assert json.loads(clean("inspect", "c").stdout)["status"] == "running"
    assert b"got one\r\n" in clean("logs", "c").stdout
    last = Screen(clean, "attach", "c")
    last.type(b"three\n")
    last.expect(b"got three")
    last.type(b"\x04")  # the end of its input
    assert last.end() == 0
    assert clean("wait", "c").stdout == b"0\n"


def test_its_size_follows(clean: Inn) -> None:
    script = "echo up; while read -r line; do stty size; done"
    clean.run("-dit", "--name", "c", IMAGE, "sh", "-c", script)
    screen = Screen(clean, "attach", "c")
    screen.type(b"\n")
    screen.expect(b"33 77\r\n")
    screen.resize(44, 88)
    for _ in range(100):  # until the signal has arrived
        screen.type(b"\n")
        while b"\r\n44 88\r\n" not in screen.seen and screen.seen.count(b"\r\n") < 2:
            screen.seen += os.read(screen.main, 4096)
        if b"44 88\r\n" in screen.seen:
            break
        screen.seen = screen.seen.partition(b"\r\n")[2].partition(b"\r\n")[2]
    assert b"44 88\r\n" in screen.seen
    screen.type(b"\x10\x11")
    assert screen.end() == 0


def test_a_terminal_from_the_start(clean: Inn) -> None:
    clean("create", "-it", "--name", "c", IMAGE, "sh", "-c", "stty size; read x; echo $x; exit 3")
    screen = Screen(clean, "start", "-ai", "c")
    screen.type(b"typed\n")
    screen.expect(b"typed\r\n")
    assert screen.end() == 3


def test_one_in_front_can_be_left(clean: Inn) -> None:
    words = ["run", "--engine", "container", "-it", "--detach-keys", "ctrl-p,ctrl-q", "--name", "c"]
    screen = Screen(clean, *words, IMAGE, "sh", "-c", f"{SHELL}; exit 7")
    screen.type(b"one\n")
    screen.expect(b"got one\r\n")
    screen.type(b"\x10\x11")
    assert screen.end() == 0
    last = Screen(clean, "attach", "c")
    last.type(b"two\n")
    last.expect(b"got two\r\n")
    last.type(b"\x04")
    assert last.end() == 7
    assert clean.left() == []  # as one in front, it is removed at its end
    done = clean.run("--detach-keys", "", "-i", IMAGE, "sh", "-c", "cat; exit 3", input=b"all")
    assert (done.returncode, done.stdout) == (3, b"all")
    assert clean.run("--detach-keys", "", IMAGE, "nosuch").returncode == 127
    assert clean.left() == []


def test_no_input_is_passed_on(clean: Inn) -> None:
    ticks = "(while :; do echo tick; sleep 0.1; done) &"
    clean.run("-di", "--name", "c", IMAGE, "sh", "-c", f"{ticks} {ECHO}")
    with clean.start("attach", "--no-stdin", "c", stdin=-1) as attached:
        assert attached.stdin is not None and attached.stdout is not None
        attached.stdin.write(b"one\n")
        attached.stdin.close()
        assert attached.stdout.readline() == b"tick\n"  # it is attached
        with clean.start("attach", "c", stdin=-1) as other:
            assert other.stdin is not None
            other.stdin.write(b"two\n")
            other.stdin.flush()
            while (line := attached.stdout.readline()) == b"tick\n":
                pass
            assert line == b"got two\n"
            clean("kill", "c")
            other.communicate()


def test_what_cannot_be_attached_to(clean: Inn) -> None:
    assert clean("attach", "nosuch").returncode == 127
    clean.run("-d", "--name", "c", IMAGE, "true")
    clean("wait", "c")
    assert clean("attach", "c").returncode == 125
    assert clean("attach", "--detach-keys", "xx", "c").returncode == 2
    with clean.start("run", "--engine", "container", "--name", "f", IMAGE, "sh", "-c", "echo up; cat", stdin=-1) as front:  # fmt: skip
        assert front.stdout is not None and front.stdout.readline() == b"up\n"
        done = clean("attach", "f")
        assert done.returncode == 125 and b"foreground" in done.stderr
        front.communicate()


def test_hostile_messages(clean: Inn) -> None:
    """Anything may come over the socket from a program of this user's: the container goes on."""
    import socket

    clean.run("-dit", "--name", "c", IMAGE, "sh", "-c", SHELL)
    folder = json.loads(clean("inspect", "c").stdout)["folder"]
    socks = []
    for message in (b"?", b"R", b"Rx y", b"R99999 99999", b"R1", b"E", b"Z" * 60000, b"I"):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        opened = os.open(folder, os.O_PATH)
        sock.connect(f"/proc/self/fd/{opened}/attach")
        os.close(opened)
        sock.send(message)
        socks.append(sock)
    assert Path(folder, "attach").stat().st_mode & 0o777 == 0o600
    socks[-1].send(b"Istill\n")
    seen = b""
    while b"got still" not in seen:
        seen += socks[-1].recv(65536)
    for sock in socks:
        sock.close()
    assert clean("stop", "-t", "0", "c").returncode == 0


def test_a_failing_start_tells_who_is_attached(clean: Inn) -> None:
    clean("create", "--name", "c", IMAGE, "/etc/passwd")
    assert clean("start", "-a", "c").returncode == 126
