"""The resolver's process: sockets, and questions that are passed on to the host's resolvers.

One thread and one loop. What a client can make it keep is bounded: questions on their way, open
connections, bytes of each, and the time of both.
"""

from __future__ import annotations

import os
import selectors
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address

from innkeeper.guests.containers.networks.dns import wire
from innkeeper.guests.containers.networks.dns.names import Forward, Names
from innkeeper.guests.containers.networks.dns.stream import MAX_STREAMS, Stream, is_watched
from innkeeper.guests.containers.networks.dns.wire import Malformed, Question

PORT = 53
MAX_WAITING = 512  # questions that are on their way to another resolver
TRY_S, TRIES = 2.0, 3
LOOK_S = 10.0  # how often it is asked whether there still is something to do
Client = tuple[socket.socket, tuple[str, int]]


class Waiting:
    """A question that was passed on, from a port and under an id that nobody else knows."""

    def __init__(self, question: Question, query: bytes, servers: tuple[str, ...]) -> None:
        self.question, self.query, self.servers = question, query, servers
        self.id = int.from_bytes(os.urandom(2), "big")
        self.tries, self.deadline = 0, 0.0
        self.socket: socket.socket | None = None

    def send(self, now: float) -> bool:
        """Ask the next resolver; False when all have been."""
        self.close()
        while self.tries < TRIES * bool(self.servers):
            server = self.servers[self.tries % len(self.servers)]
            self.tries += 1
            family = socket.AF_INET6 if ":" in server else socket.AF_INET
            self.socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            try:
                self.socket.connect((server, PORT))  # so that nobody else can answer
                self.socket.send(wire.with_id(self.query, self.id))
            except OSError:
                self.close()
                continue
            self.deadline = now + TRY_S
            return True
        return False

    def close(self) -> None:
        """Give the socket back."""
        if self.socket is not None:
            self.socket.close()
            self.socket = None


class Server:
    """A resolver at some addresses; `look` returns the names there are, or None: it is to end."""

    def __init__(self, addresses: list[str], look: Callable[[], Names | None],
                 resolvers: Callable[[], list[str]]) -> None:  # fmt: skip
        self._look, self._resolvers = look, resolvers
        self._selector = selectors.DefaultSelector()
        self._waiting: OrderedDict[Waiting, Client] = OrderedDict()
        self._streams: OrderedDict[Stream, None] = OrderedDict()
        self._names: Names | None = None
        for address in addresses:
            self._listen(address)

    def _listen(self, address: str) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        for kind, serve in (
            (socket.SOCK_DGRAM, self._datagram),
            (socket.SOCK_STREAM, self._accept),
        ):
            made = socket.socket(family, kind | socket.SOCK_NONBLOCK)
            if kind == socket.SOCK_STREAM:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made.bind((address, PORT))
            if kind == socket.SOCK_STREAM:
                made.listen(64)
            self._selector.register(made, selectors.EVENT_READ, serve)

    def serve(self) -> None:
        """Answer until there is nobody left to answer."""
        while (names := self._look()) is not None:
            self._names = names
            for key, events in self._selector.select(self._pause()):
                # One event may have closed what the next one is of.
                if is_watched(self._selector, key.fileobj):  # type: ignore[arg-type]
                    key.data(key.fileobj, events)
            self._expire(time.monotonic())

    def close(self) -> None:
        """Give all sockets back."""
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def _pause(self) -> float:
        deadlines = [w.deadline for w in self._waiting] + [s.deadline for s in self._streams]
        soonest = min(deadlines, default=time.monotonic() + LOOK_S)
        return max(0.0, min(LOOK_S, soonest - time.monotonic()))

    def _datagram(self, here: socket.socket, _events: int) -> None:
        with suppress(OSError):
            message, client = here.recvfrom(wire.MAX_MESSAGE)
            reply = self.reply(message, client[0], udp=True)
            if isinstance(reply, bytes):
                here.sendto(reply, client)
            elif reply is not None:
                self._pass_on(Waiting(*reply), (here, client))

    def reply(
        self, message: bytes, client: str, *, udp: bool
    ) -> bytes | tuple[Question, bytes, tuple[str, ...]] | None:
        """Return an answer, or a question with whom to ask, or nothing for what deserves none."""
        self._names = self._look() or self._names
        try:
            question = wire.read_question(message)
        except Malformed as error:
            return None if error.code is None else wire.refusal(message, error.code)
        limit = question.size if udp else wire.MAX_MESSAGE
        assert self._names is not None
        found = self._names.answer(question, ip_address(client.partition("%")[0]), limit)
        if not isinstance(found, Forward):
            return found
        servers = found.servers or tuple(self._resolvers())
        return question, message, servers

    def _pass_on(self, waiting: Waiting, client: Client) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self._fail(*self._waiting.popitem(last=False))
        self._try(waiting, client)

    def _try(self, waiting: Waiting, client: Client) -> None:
        self._forget(waiting)
        if waiting.send(time.monotonic()):
            assert waiting.socket is not None
            self._waiting[waiting] = client
            self._selector.register(
                waiting.socket, selectors.EVENT_READ, lambda *_: self._answered(waiting, client)
            )
        else:
            self._fail(waiting, client)

    def _forget(self, waiting: Waiting) -> None:
        self._waiting.pop(waiting, None)
        if waiting.socket is not None and is_watched(self._selector, waiting.socket):
            self._selector.unregister(waiting.socket)

    def _fail(self, waiting: Waiting, client: Client) -> None:
        self._forget(waiting)
        waiting.close()
        with suppress(OSError):
            here, where = client
            here.sendto(wire.answer(waiting.question, (), wire.SERVER_FAILURE), where)

    def _answered(self, waiting: Waiting, client: Client) -> None:
        assert waiting.socket is not None
        try:
            reply = waiting.socket.recv(wire.MAX_MESSAGE)
        except BlockingIOError:
            return
        except OSError:  # nobody is there (ICMP)
            self._try(waiting, client)
            return
        if not wire.belongs_to(reply, waiting.question, waiting.id):
            return
        self._forget(waiting)
        waiting.close()
        with suppress(OSError):
            client[0].sendto(wire.with_id(reply, waiting.question.id), client[1])

    def _expire(self, now: float) -> None:
        for waiting, client in [(w, c) for w, c in self._waiting.items() if w.deadline <= now]:
            self._try(waiting, client)
        for stream in [s for s in self._streams if s.deadline <= now]:
            self._end(stream)

    def _accept(self, here: socket.socket, _events: int) -> None:
        with suppress(OSError):
            made, client = here.accept()
            made.setblocking(False)
            if len(self._streams) >= MAX_STREAMS:
                self._end(next(iter(self._streams)))
            stream = Stream(made, client[0], self._selector, self.reply)
            self._streams[stream] = None
            stream.start(self._end)

    def _end(self, stream: Stream) -> None:
        self._streams.pop(stream, None)
        stream.close()
