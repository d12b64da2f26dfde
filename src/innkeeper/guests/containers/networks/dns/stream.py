"""Questions over TCP (RFC 7766): one at a time on each connection, passed on over TCP, too."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable

from innkeeper.guests.containers.networks.dns import wire
from innkeeper.guests.containers.networks.dns.wire import Question

MAX_STREAMS = 64
STREAM_S = 10.0  # how long a connection lives in all
MAX_QUESTIONS = 100  # on one connection
_PORT = 53
Reply = bytes | tuple[Question, bytes, tuple[str, ...]] | None


def is_watched(selector: selectors.BaseSelector, here: socket.socket) -> bool:
    """Tell whether events of a socket are waited for; of one that is closed none are."""
    return here.fileno() >= 0 and here in selector.get_map()


class Peer:
    """One side of a connection: messages with two bytes of length before each."""

    def __init__(self, here: socket.socket) -> None:
        self.socket = here
        self._in, self._out = b"", b""

    def put(self, message: bytes) -> None:
        """Have a message sent."""
        self._out += len(message).to_bytes(2, "big") + message

    @property
    def events(self) -> int:
        """What to wait for."""
        return selectors.EVENT_WRITE if self._out else selectors.EVENT_READ

    def move(self, events: int) -> bytes | None:
        """Send and receive what can be; return a message that is whole. `OSError` at the end."""
        if self._out and events & selectors.EVENT_WRITE:
            self._out = self._out[self.socket.send(self._out) :]
        elif events & selectors.EVENT_READ:
            data = self.socket.recv(wire.MAX_MESSAGE + 2 - len(self._in))
            if not data:
                raise ConnectionResetError
            self._in += data
        return self._message()

    def _message(self) -> bytes | None:
        if self._out or len(self._in) < 2:
            return None
        end = 2 + int.from_bytes(self._in[:2], "big")
        if len(self._in) < end:
            return None
        message, self._in = self._in[2:end], self._in[end:]
        return message


class Stream:
    """A client's connection, and while a question is passed on one to another resolver."""

    def __init__(self, here: socket.socket, client: str, selector: selectors.BaseSelector,
                 reply: Callable[..., Reply]) -> None:  # fmt: skip
        self._client, self._name, self._selector, self._reply = Peer(here), client, selector, reply
        self._upstream: Peer | None = None
        self._questions = 0
        self.deadline = time.monotonic() + STREAM_S
        self._end: Callable[[Stream], None] = lambda _: None

    def start(self, end: Callable[[Stream], None]) -> None:
        """Begin to listen; `end` is called when it is over."""
        self._end = end
        self._watch(self._client)

    def _watch(self, peer: Peer) -> None:
        known = is_watched(self._selector, peer.socket)
        put = self._selector.modify if known else self._selector.register
        put(peer.socket, peer.events, lambda _, events: self._moved(peer, events))

    def _moved(self, peer: Peer, events: int) -> None:
        try:
            message = peer.move(events)
            if message is not None and peer is self._client:
                self._asked(message)
            elif message is not None:
                self._answered(message)
            # While a question is on its way the client waits: it is not read from.
            self._watch(self._upstream or self._client)
        except BlockingIOError:
            return
        except OSError:
            self._end(self)

    def _asked(self, message: bytes) -> None:
        """Answer a question, or pass it on."""
        self._questions += 1
        reply = self._reply(message, self._name, udp=False)
        if reply is None or self._questions > MAX_QUESTIONS:
            raise ConnectionResetError
        if isinstance(reply, bytes):
            self._client.put(reply)
        else:
            self._pass_on(*reply)

    def _pass_on(self, question: Question, query: bytes, servers: tuple[str, ...]) -> None:
        if not servers:
            self._client.put(wire.answer(question, (), wire.SERVER_FAILURE))
            return
        family = socket.AF_INET6 if ":" in servers[0] else socket.AF_INET
        here = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        here.connect_ex((servers[0], _PORT))
        self._upstream = Peer(here)
        self._upstream.put(query)
        self._selector.unregister(self._client.socket)

    def _answered(self, message: bytes) -> None:
        self._drop(self._upstream)
        self._upstream = None
        self._client.put(message)

    def _drop(self, peer: Peer | None) -> None:
        if peer is None:
            return
        if is_watched(self._selector, peer.socket):
            self._selector.unregister(peer.socket)
        peer.socket.close()

    def close(self) -> None:
        """Give both connections back."""
        self._drop(self._client)
        self._drop(self._upstream)
