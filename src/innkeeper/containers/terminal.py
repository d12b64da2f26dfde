"""A terminal in the foreground: `run` and `exec` with a terminal, and no console socket."""

from __future__ import annotations

import _signal
import os
import select
import termios

from innkeeper.base.errors import ContainerError
from innkeeper.containers.console import copy_size
from innkeeper.containers.foreground import pass_on, reap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CHUNK = 1 << 16


class Terminal:
    """The caller's terminal and the container's, joined."""

    def __init__(self) -> None:
        from _socket import AF_UNIX, SOCK_STREAM, socketpair

        self._socket, self.peer = socketpair(AF_UNIX, SOCK_STREAM)
        self._master = -1
        self._saved: list[Any] | None = None

    def attend(self, pid: int, passed: set[Any]) -> int:
        """Copy both ways, pass signals and size on, until the process has ended."""
        self._master = self.receive()
        wake, wake_to = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(wake_to, False)
        _signal.set_wakeup_fd(wake_to)
        for number in (passed | {_signal.SIGCHLD, _signal.SIGWINCH}) - _UNCATCHABLE:
            _signal.signal(number, _ignore)
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, passed)
        self._make_raw()
        try:
            return self._loop(pid, wake)
        finally:
            if self._saved is not None:
                termios.tcsetattr(0, termios.TCSADRAIN, self._saved)

    def receive(self) -> int:
        """Return the master end of the container's terminal, once its process has sent it."""
        from _socket import CMSG_SPACE

        _, messages, _, _ = self._socket.recvmsg(4096, CMSG_SPACE(4))
        if not messages:
            raise ContainerError("the container's process sent no terminal")
        return int.from_bytes(messages[0][2][:4], "little")

    def _make_raw(self) -> None:
        """Leave what is typed to the container's terminal (cfmakeraw(3))."""
        if not os.isatty(0):
            return
        self._resize()
        self._saved = make_raw(0)

    def _resize(self) -> None:
        if os.isatty(0):
            copy_size(0, self._master)

    def _loop(self, pid: int, wake: int) -> int:
        poll = select.poll()
        for fd in (0, self._master, wake):
            poll.register(fd, select.POLLIN)
        status = reap(pid)
        while status is None:
            for fd, _ in poll.poll():
                if fd == wake:
                    self._signals(pid, os.read(wake, 512))
                    status = reap(pid)
                elif fd == self._master and not self._copy(self._master, 1):
                    poll.unregister(self._master)
                elif fd == 0 and not self._copy(0, self._master):
                    poll.unregister(0)
        os.set_blocking(self._master, False)
        while self._copy(self._master, 1):
            pass
        return status

    def _signals(self, pid: int, numbers: bytes) -> None:
        for number in numbers:
            if number == _signal.SIGWINCH:
                self._resize()
            elif number != _signal.SIGCHLD:
                pass_on(pid, number)

    def _copy(self, source: int, target: int) -> bool:
        """Copy what is there; False at the end."""
        try:
            data = os.read(source, _CHUNK)
        except OSError:  # EIO: no process has the terminal open any more
            return False
        if not data and source == 0:
            os.write(self._master, b"\x04")  # the end of a file, as a terminal tells it
        left = data
        while left:
            left = left[os.write(target, left) :]
        return bool(data)


def make_raw(fd: int) -> list[Any]:
    """Let a terminal pass on what is typed as it is (cfmakeraw(3)); return how it was."""
    saved, raw = termios.tcgetattr(fd), termios.tcgetattr(fd)
    raw[0] &= ~(
        termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
        | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
    )  # fmt: skip
    raw[1] &= ~termios.OPOST
    raw[2] = raw[2] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
    raw[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    termios.tcsetattr(fd, termios.TCSANOW, raw)
    return saved


_UNCATCHABLE = {_signal.SIGKILL, _signal.SIGSTOP}


def _ignore(_number: int, _frame: object) -> None:
    """Let the signal wake the loop."""
