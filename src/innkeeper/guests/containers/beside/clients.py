"""Those who are attached to a container: what it writes goes to each of them, what they type to it.

The socket is a SOCK_SEQPACKET one, so a message is a message (unix(7)). A client sends `I` and
input, `E` for the end of its input, `R` and `ROWS COLUMNS` for its window's size; it is sent `1`
or `2` and output of that stream, and at last `X` and the exit status.

A client that does not read holds the container back, as a stopped terminal does; but after
`STALL_S` without a byte it is let go.
"""

import select
import time
from _socket import socket

MAX_CLIENTS, MAX_MESSAGE_BYTES = 64, 65536
STALL_S = 10.0
INPUT, END, RESIZE, EXIT = b"I", b"E", b"R", b"X"


class Client:
    """One who is attached; `pending` is the message that did not fit into its socket."""

    def __init__(self, sock: socket) -> None:
        self.socket, self.pending, self.since = sock, b"", 0.0
        sock.setblocking(False)

    def send(self, message: bytes) -> bool:
        """Send a message now or, when the socket is full, later; False when nobody is there."""
        try:
            self.socket.send(message)
            self.pending = b""
        except BlockingIOError:
            if not self.pending:
                self.since = time.monotonic()
            self.pending = message
        except OSError:
            return False
        return True


class Clients:
    """All who are attached, by the number of their descriptor."""

    def __init__(self, listener: socket | None, first: socket | None) -> None:
        self.listener = listener
        self.all: dict[int, Client] = {}
        if listener is not None:
            listener.setblocking(False)
        if first is not None:
            self.all[first.fileno()] = Client(first)

    def accept(self) -> None:
        """Let one more in, if there is room."""
        assert self.listener is not None
        try:
            fd, _ = self.listener._accept()  # type: ignore[attr-defined]
        except OSError:  # gone again
            return
        sock = socket(fileno=fd)
        if len(self.all) >= MAX_CLIENTS:
            sock.close()
        else:
            self.all[fd] = Client(sock)

    def send(self, message: bytes) -> None:
        """Send a message to all; nobody may be waited for at that time."""
        for fd, client in list(self.all.items()):
            if not client.send(message):
                self.drop(fd)

    def receive(self, fd: int) -> bytes:
        """Return one message of a client, empty when there is none; who is gone is dropped."""
        try:
            message = self.all[fd].socket.recv(MAX_MESSAGE_BYTES)
        except BlockingIOError:
            return b""
        except OSError:
            message = b""
        if not message:
            self.drop(fd)
        return message

    def flush(self, fd: int) -> None:
        """Try again to send what a client was owed."""
        client = self.all[fd]
        if not client.send(client.pending):
            self.drop(fd)

    def drop(self, fd: int) -> None:
        """Let a client go."""
        self.all.pop(fd).socket.close()

    def holding(self) -> float | None:
        """Return for how long the container may still be held back, None when it need not be.

        Who has not read for too long is let go.
        """
        now = time.monotonic()
        for fd, client in list(self.all.items()):
            if client.pending and now - client.since >= STALL_S:
                self.drop(fd)
        waits = [c.since + STALL_S - now for c in self.all.values() if c.pending]
        return max(0.0, min(waits)) if waits else None

    def wait_for_all(self) -> None:
        """Wait until all have got what they are owed, or are let go."""
        while (left := self.holding()) is not None:
            poll = select.poll()
            for fd, client in self.all.items():
                if client.pending:
                    poll.register(fd, select.POLLOUT)
            for fd, _ in poll.poll(left * 1000 + 1):
                self.flush(fd)

    def close(self, status: int) -> None:
        """Tell all how the container ended, and let them go."""
        self.wait_for_all()
        self.send(EXIT + b"%d" % status)
        self.wait_for_all()
        for fd in list(self.all):
            self.drop(fd)
        if self.listener is not None:
            self.listener.close()
