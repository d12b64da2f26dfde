"""Attach to a container that runs detached: its output comes here, and what is typed goes there.

The other end is `beside/clients.py`, which says what the messages are.
"""

from __future__ import annotations

import _signal
import os
import select
from _socket import AF_UNIX, MSG_DONTWAIT, SOCK_CLOEXEC, SOCK_SEQPACKET, socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from innkeeper.base.errors import MachineError, UsageError
from innkeeper.guests.containers import control
from innkeeper.guests.containers.beside.clients import (
    END,
    EXIT,
    INPUT,
    MAX_MESSAGE_BYTES,
    RESIZE,
)
from innkeeper.guests.containers.records import ATTACH

if TYPE_CHECKING:
    from innkeeper.guests.containers.records import Record

DEFAULT_DETACH_KEYS = "ctrl-p,ctrl-q"
MAX_KEYS = 16
DETACHED = -1
_CHUNK = 8192
_NOT_PASSED = {_signal.SIGCHLD, _signal.SIGWINCH, _signal.SIGURG, _signal.SIGPIPE, _signal.SIGKILL,
               _signal.SIGSTOP, _signal.SIGSEGV, _signal.SIGBUS, _signal.SIGFPE, _signal.SIGILL,
               _signal.SIGTTIN, _signal.SIGTTOU, _signal.SIGTSTP, _signal.SIGCONT}  # fmt: skip


def parse_keys(text: str) -> bytes:
    """Read detach keys as docker has them: letters, or `ctrl-` and one of a-z @ [ \\ ] ^ _."""
    found = bytearray()
    for word in text.split(",") if text else ():
        control_key = word.removeprefix("ctrl-")
        code = ord(control_key.upper()) - 0x40 if len(control_key) == 1 else -1
        if control_key != word and 0 <= code < 32 and (code == 0 or control_key != "@"):
            found.append(code)
        elif len(word) == 1 and word.isascii():
            found.append(ord(word))
        else:
            raise UsageError(
                f"--detach-keys {text!r}", why=f"{word!r} is no key", fix="ctrl-p,ctrl-q"
            )
    if len(found) > MAX_KEYS:
        raise UsageError(f"--detach-keys {text!r}", why=f"more than {MAX_KEYS} keys")
    return bytes(found)


def connect(record: Record) -> socket:
    """Return a connection to the process beside a container that runs."""
    control.running(record)
    sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    folder = os.open(record.folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sock.connect(f"/proc/self/fd/{folder}/{ATTACH}")  # sun_path is short: unix(7)
    except OSError:
        raise MachineError(
            f"container {record.name} cannot be attached to",
            why="" if record.data.get("detach") else "it runs in the foreground of another inn",
        ) from None
    finally:
        os.close(folder)
    return sock


class DetachKeys:
    """The keys that end the attachment, looked for in what is typed."""

    def __init__(self, keys: bytes) -> None:
        self._keys, self._seen = keys, 0

    def take(self, data: bytes) -> tuple[bytes, bool]:
        """Return what is to be passed on, and whether all keys were typed, one after the other.

        Keys that turn out to be others are passed on with what follows.
        """
        if not self._keys:
            return data, False
        passed = bytearray()
        for byte in data:
            if byte == self._keys[self._seen]:
                self._seen += 1
                if self._seen == len(self._keys):
                    return bytes(passed), True
                continue
            passed += self._keys[: self._seen]
            self._seen = 1 if byte == self._keys[0] else 0
            if not self._seen:
                passed.append(byte)
        return bytes(passed), False


class Attachment:
    """This command's streams and a container's, joined until one of the two ends it."""

    def __init__(
        self, record: Record, sock: socket, *, stdin: bool, keys: bytes, proxy: bool
    ) -> None:
        self._record, self._socket = record, sock
        self._tty = bool(record.data.get("tty"))
        self._stdin = stdin and bool(record.data.get("stdin"))
        self._keys = DetachKeys(keys if self._tty else b"")  # elsewhere they are data
        self._proxy = proxy and not self._tty  # a terminal's keys are its signals
        self._saved: list[Any] | None = None
        self._status: int | None = None
        self._owed: list[bytes] = []  # to the container, in order

    def attend(self) -> int:
        """Go on until the container ends; return its exit status, `DETACHED` when it goes on."""
        wake = self._catch_signals()
        self._make_raw()
        try:
            return self._loop(wake)
        finally:
            if self._saved is not None:
                import termios

                termios.tcsetattr(0, termios.TCSADRAIN, self._saved)

    def _catch_signals(self) -> int:
        read, write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        wanted = {_signal.SIGWINCH}
        if self._proxy:
            wanted |= _signal.valid_signals() - _NOT_PASSED
        for number in wanted:
            try:
                _signal.signal(number, _ignore)
            except OSError:  # a real-time signal that libc keeps for itself
                continue
        _signal.set_wakeup_fd(write)
        return read

    def _make_raw(self) -> None:
        if not self._tty:
            return
        self._tell_size(redraw=True)
        if self._stdin and os.isatty(0):
            from innkeeper.containers.terminal import make_raw

            self._saved = make_raw(0)

    def _tell_size(self, *, redraw: bool = False) -> None:
        """Give the container's terminal the size of this one; a change makes programs draw anew."""
        for fd in (0, 1, 2):
            try:
                size = os.get_terminal_size(fd)
            except OSError:
                continue
            for more in (1, 0) if redraw else (0,):
                self._send(RESIZE + b"%d %d" % (size.lines + more, size.columns))
            return

    def _send(self, message: bytes) -> None:
        """Send a message now or, when the container takes no more, later."""
        self._owed.append(message)
        self._flush()

    def _flush(self) -> None:
        """Send what is owed, without waiting: who waits to be heard must go on listening."""
        try:
            while self._owed:
                self._socket.send(self._owed[0], MSG_DONTWAIT)
                del self._owed[0]
        except BlockingIOError:
            pass
        except OSError:  # it has ended: that is seen when its last message is read
            self._owed.clear()

    def _loop(self, wake: int) -> int:
        while self._status is None:
            poll = select.poll()
            poll.register(wake, select.POLLIN)
            poll.register(
                self._socket.fileno(), select.POLLIN | (select.POLLOUT if self._owed else 0)
            )
            if self._stdin and not self._owed:
                poll.register(0, select.POLLIN)
            for fd, events in poll.poll():
                if fd == wake:
                    self._signals(os.read(wake, 512))
                elif fd == 0:
                    self._stdin = self._type()
                else:
                    if events & select.POLLOUT:
                        self._flush()
                    if events & ~select.POLLOUT:
                        self._show()
                if self._status is not None:
                    break
        return self._status

    def _signals(self, numbers: bytes) -> None:
        for number in numbers:
            if number == _signal.SIGWINCH:
                if self._tty:
                    self._tell_size()
                continue
            with suppress(MachineError):  # it has ended
                control.kill(self._record, str(number))

    def _type(self) -> bool:
        """Pass on what was typed; False at the end."""
        try:
            data = os.read(0, _CHUNK)
        except OSError:  # a terminal that is gone
            data = b""
        passed, detached = self._keys.take(data)
        if passed:
            self._send(INPUT + passed)
        if detached:
            self._status = DETACHED
        elif not data:
            self._send(END)
        return bool(data)

    def _show(self) -> None:
        """Take one message."""
        try:
            message = self._socket.recv(MAX_MESSAGE_BYTES)
        except OSError:
            message = b""
        kind, rest = message[:1], message[1:]
        if kind == EXIT:
            self._status = int(rest)
        elif not message:
            raise MachineError(
                f"container {self._record.name} was attended to no more, or this command was let go"
                " because it did not take its output"
            )
        else:
            while rest:
                rest = rest[os.write(1 if kind == b"1" else 2, rest) :]


def attach(record: Record, sock: socket, *, stdin: bool, keys: str, proxy: bool) -> int:
    """Attach to a container until it ends; return its exit status, 0 when detached from it."""
    attachment = Attachment(record, sock, stdin=stdin, keys=parse_keys(keys), proxy=proxy)
    status = attachment.attend()
    if status == DETACHED:
        return 0
    _await_end(record)
    return status


def _await_end(record: Record) -> None:
    """Wait until the end is written down, or it is on its way to be started again."""
    if record.data.get("restart", "no") == "no" and not record.is_to_start_again:
        record.wait()


def _ignore(_number: int, _frame: object) -> None:
    """Let the signal wake the loop."""
