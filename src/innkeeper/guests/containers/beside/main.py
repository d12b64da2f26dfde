"""Attend to a detached container: its log, those attached to it, its health, its exit status.

Called with words (`settings.py`), `--`, and the command to become when the container
has ended, which gets the exit status as its last word.
"""

import _signal
import posix
import select
import sys
from _socket import socket
from fcntl import ioctl

from .checks import checks_of
from .clients import END, INPUT, RESIZE, Clients
from .logfile import LogFile
from .settings import Settings

_CHUNK = 8192
_TIOCSWINSZ = 0x5414
_END_OF_FILE = b"\x04"  # as a terminal tells it
_STREAMS = {b"1": b"stdout", b"2": b"stderr"}


class Attendant:
    """What stays beside one container until that has ended."""

    def __init__(self, settings: Settings) -> None:
        self.pid = settings.number("pid")
        self.outputs = {}  # descriptor: the tag of its stream
        for name, tag in (("out", b"1"), ("err", b"2")):
            if (fd := settings.number(name)) >= 0:
                self.outputs[fd] = tag
        self.input = settings.number("in")
        self.terminal = settings.number("out") if settings.number("tty", 0) else -1
        self.once = bool(settings.number("once", 0))
        self.typed = b""  # on its way to the container
        self.typed_all = False  # and after that its input is closed
        self.log = LogFile(
            settings.text("log"), max_bytes=settings.number("bytes"),
            max_files=settings.number("files"),
        )  # fmt: skip
        self.clients = Clients(_socket(settings, "listen"), _socket(settings, "client"))
        self.checks = checks_of(settings)
        for fd in (*self.outputs, self.input):
            if fd >= 0:
                posix.set_inheritable(fd, False)
                posix.set_blocking(fd, False)
        self._wake = _wake_on_child()

    def attend(self) -> int:
        """Go on until the container has ended; return its exit status, negative for a signal."""
        while (status := self._reap()) is None:
            self._turn()
        if self.checks is not None:
            self.checks.stop()
        self._drain()
        self.clients.close(status if status >= 0 else 128 - status)
        return status

    def _reap(self) -> int | None:
        """Reap what has ended; return the status when the container is among it."""
        while True:
            try:
                ended, status = posix.waitpid(-1, posix.WNOHANG)
            except ChildProcessError:
                return 255  # somebody else reaped it
            if ended == self.pid:
                return posix.waitstatus_to_exitcode(status)
            if ended == 0:
                return None
            if self.checks is not None and ended == self.checks.pid:
                self.checks.ended(posix.waitstatus_to_exitcode(status))

    def _turn(self) -> None:
        """Wait until something is to be done, and do it."""
        if self.checks is not None:
            self.checks.start_if_due()
        held = self.clients.holding()
        poll = self._poll(held=held is not None)
        waits = [w for w in (held, self.checks.left_s() if self.checks else None) if w is not None]
        knocks = False
        for fd, events in poll.poll(min(waits) * 1000 + 1 if waits else None):
            if fd == self._wake:
                posix.read(fd, 512)
            elif fd in self.clients.all:
                self._serve(fd, events)
            elif self.clients.listener is not None and fd == self.clients.listener.fileno():
                knocks = True
            else:
                self._move(fd, events)
        if knocks:  # last: it may get the number of one who has just gone
            self.clients.accept()

    def _poll(self, *, held: bool) -> "select.poll":
        poll = select.poll()
        wanted = {self._wake: select.POLLIN}
        if self.clients.listener is not None:
            wanted[self.clients.listener.fileno()] = select.POLLIN
        for fd, client in self.clients.all.items():
            wanted[fd] = (0 if self.typed else select.POLLIN) | (
                select.POLLOUT if client.pending else 0
            )
        if not held:
            wanted.update(dict.fromkeys(self.outputs, select.POLLIN))
        if self.typed:
            wanted[self.input] = wanted.get(self.input, 0) | select.POLLOUT
        for fd, events in wanted.items():
            poll.register(fd, events)
        return poll

    def _serve(self, fd: int, events: int) -> None:
        """Take a message of a client's, or give it what it is owed."""
        if events & select.POLLOUT:
            self.clients.flush(fd)
        elif events & select.POLLIN:
            self._obey(self.clients.receive(fd))
        elif events:
            self.clients.drop(fd)

    def _obey(self, message: bytes) -> None:
        kind, rest = message[:1], message[1:]
        if kind == INPUT and self.input >= 0:
            self.typed += rest
            self._type()
        elif kind == END and self.once and self.input >= 0:
            if self.terminal >= 0:
                self.typed += _END_OF_FILE
            else:
                self.typed_all = True
                self._type()
        elif kind == RESIZE and self.terminal >= 0:
            _resize(self.terminal, rest)

    def _type(self) -> None:
        """Give the container what was typed, as much as it takes."""
        try:
            self.typed = self.typed[posix.write(self.input, self.typed) :] if self.typed else b""
        except BlockingIOError:
            pass
        except OSError:  # it has closed its input
            self.typed = b""
        if self.typed_all and not self.typed:
            posix.close(self.input)
            self.input = -1

    def _move(self, fd: int, events: int) -> None:
        if fd == self.input and events & (select.POLLOUT | select.POLLERR) and self.typed:
            self._type()
        if fd in self.outputs and events & ~select.POLLOUT and self._copy(fd) is False:
            self._forget(fd)

    def _forget(self, fd: int) -> None:
        """Read a stream no more: nobody has its other end open."""
        del self.outputs[fd]
        if fd != self.terminal:
            posix.close(fd)

    def _copy(self, fd: int) -> bool | None:
        """Pass on what is there of a stream; None when there is nothing now, False at its end."""
        try:
            data = posix.read(fd, _CHUNK)
        except BlockingIOError:
            return None
        except OSError:  # EIO: no process has the terminal open any more
            return False
        if not data:
            return False
        tag = self.outputs[fd]
        self.log.write(_STREAMS[tag], data)
        self.clients.send(tag + data)
        return True

    def _drain(self) -> None:
        """Pass on what the container has left behind in its streams."""
        self.clients.wait_for_all()
        for fd in list(self.outputs):
            while self._copy(fd):
                self.clients.wait_for_all()


def _socket(settings: Settings, name: str) -> socket | None:
    fd = settings.number(name)
    if fd < 0:
        return None
    posix.set_inheritable(fd, False)
    return socket(fileno=fd)


def _wake_on_child() -> int:
    """Return a pipe that can be read from when a child has ended."""
    read, write = posix.pipe2(posix.O_CLOEXEC | posix.O_NONBLOCK)
    _signal.signal(_signal.SIGCHLD, lambda number, frame: None)
    _signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
    return read


def _resize(terminal: int, text: bytes) -> None:
    words = text.split()
    if len(words) != 2 or not all(word.isdigit() and len(word) < 6 for word in words):
        return
    rows, columns = (min(int(word), 65535).to_bytes(2, sys.byteorder) for word in words)
    try:
        ioctl(terminal, _TIOCSWINSZ, rows + columns + bytes(4))
    except OSError:  # hung up
        pass


def main() -> None:
    """Attend, then become the command that comes after."""
    words = sys.argv[1:]
    middle = words.index("--")
    after = words[middle + 1 :]
    status = Attendant(Settings(words[:middle])).attend()
    posix.execv(after[0], [*after, str(status)])
