"""The resolver: messages read and written, hostile ones survived, questions passed on."""

from __future__ import annotations

import random
import selectors
import socket
import struct
import threading
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innkeeper.guests.containers.networks.dns import names, server, stream, wire
from innkeeper.guests.containers.networks.dns.names import Forward, Names

CONTAINERS = {
    "c1": {"dns": [], "links": [
        {"network": "web", "addresses": ["10.91.0.2/24", "fd00::2/64"], "names": ["one", "api"]}]},
    "c2": {"dns": ["192.0.2.53"], "links": [
        {"network": "web", "addresses": ["10.91.0.3/24"], "names": ["two", "api"]},
        {"network": "db", "addresses": ["10.92.0.3/24"], "names": ["two"]}]},
    "c3": {"dns": [], "links": [
        {"network": "db", "addresses": ["10.92.0.4/24"], "names": ["three"]}]},
}  # fmt: skip
KNOWN = Names(CONTAINERS, ["web"])


def query(name: str, kind: int = wire.A, *, number: int = 7, extra: bytes = b"") -> bytes:
    labels = b"".join(bytes([len(p)]) + p.encode() for p in name.split(".") if p)
    head = struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, bool(extra))
    return head + labels + b"\0" + struct.pack(">HH", kind, wire.IN) + extra


def opt(size: int) -> bytes:
    return b"\0" + struct.pack(">HHIH", wire.OPT, size, 0, 0)


def asked(name: str, kind: int = wire.A, client: str = "10.91.0.2", extra: bytes = b"") -> Any:
    question = wire.read_question(query(name, kind, extra=extra))
    return KNOWN.answer(question, ip_address(client), question.size)


def code(reply: bytes) -> int:
    return reply[3] & 15


def addresses(reply: bytes) -> list[str]:
    """Read an answer that has addresses only, each as wide as it says."""
    (count,) = struct.unpack_from(">H", reply, 6)
    at, found = 12, []
    while reply[at]:
        at += 1 + reply[at]
    at += 5
    for _ in range(count):
        kind, _, _, size = struct.unpack_from(">HHIH", reply, at + 2)
        assert kind in (wire.A, wire.AAAA)
        found.append(str(ip_address(reply[at + 12 : at + 12 + size])))
        at += 12 + size
    return found


def test_names_on_the_same_networks() -> None:
    assert addresses(asked("one")) == ["10.91.0.2"]
    assert addresses(asked("ONE", wire.AAAA)) == ["fd00::2"]
    assert addresses(asked("two", wire.AAAA)) == [] and code(asked("two", wire.AAAA)) == 0
    assert addresses(asked("api")) == ["10.91.0.2", "10.91.0.3"]
    assert addresses(asked("one", wire.ANY)) == ["10.91.0.2", "fd00::2"]
    assert addresses(asked("two", client="10.92.0.4")) == ["10.92.0.3"]


def test_who_answers_what() -> None:
    assert asked("three") == Forward(())  # on another network: as unknown as any name
    assert asked("three", client="10.91.0.3") == asked("three", client="10.92.0.3")
    assert asked("example.org", client="10.91.0.3") == Forward(("192.0.2.53",))
    assert code(asked("example.org", client="10.92.0.4")) == wire.NAME_ERROR  # internal
    assert code(asked("one", client="192.0.2.9")) == wire.REFUSED


def test_addresses_backwards() -> None:
    reply = asked("3.0.91.10.in-addr.arpa", wire.PTR)
    assert reply.endswith(b"\x03two\0") and code(reply) == 0
    six = ".".join(reversed(ip_address("fd00::2").exploded.replace(":", ""))) + ".ip6.arpa"
    assert asked(six, wire.PTR).endswith(b"\x03one\0")
    assert asked("4.0.92.10.in-addr.arpa", wire.PTR) == Forward(())
    for bad in ("a.b.c.d.in-addr.arpa", "1.in-addr.arpa", "x.ip6.arpa", "0.ip6.arpa"):
        assert isinstance(asked(bad, wire.PTR), Forward)


def test_what_is_too_long_says_so() -> None:
    many = {f"c{n}": {"dns": [], "links": [{"network": "web", "addresses": [f"10.91.{n}.2/16"],
                                            "names": ["all"]}]} for n in range(100)}  # fmt: skip
    crowd = Names(many, ["web"])
    for extra, count in ((b"", 0), (opt(4096), 0), (opt(100), 0)):
        question = wire.read_question(query("all", extra=extra))
        reply = crowd.answer(question, ip_address("10.91.0.2"), question.size)
        assert isinstance(reply, bytes) and len(reply) <= wire.MAX_UDP
        assert reply[2] & 2 and addresses(reply) == [] and count == 0
        whole = crowd.answer(question, ip_address("10.91.0.2"), wire.MAX_MESSAGE)
        assert isinstance(whole, bytes) and len(addresses(whole)) == 100


def test_edns_is_answered_with_edns() -> None:
    reply = asked("one", extra=opt(1232))
    assert reply[10:12] == b"\0\1" and reply.endswith(opt(wire.MAX_UDP))
    assert asked("one")[10:12] == b"\0\0"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"", None), (bytes(11), None), (query("a") + bytes(65536), None),
        (query("a")[:2] + b"\x80\0" + query("a")[4:], None),  # an answer is not answered
        (query("a")[:2] + b"\x28\0" + query("a")[4:], wire.NOT_IMPLEMENTED),
        (query("a")[:4] + b"\0\2" + query("a")[6:], wire.FORMAT_ERROR),
        (query("a")[:4] + b"\0\0" + query("a")[6:], wire.FORMAT_ERROR),
        (query("a")[:12], wire.FORMAT_ERROR), (query("a")[:-1], wire.FORMAT_ERROR),
        (query("a")[:12] + b"\xc0\x0c\0\1\0\1", wire.FORMAT_ERROR),  # a pointer to itself
        (query("a")[:12] + b"\x3fa", wire.FORMAT_ERROR),
        (query("a")[:12] + b"\1a" * 200 + b"\0\0\1\0\1", wire.FORMAT_ERROR),
        (query("a")[:-2] + b"\0\3", wire.NOT_IMPLEMENTED),  # CHAOS
    ],
)  # fmt: skip
def test_messages_that_are_no_question(message: bytes, code: int | None) -> None:
    with pytest.raises(wire.Malformed) as told:
        wire.read_question(message)
    assert told.value.code == code


ANSWERING = server.Server([], lambda: KNOWN, lambda: ["192.0.2.1"])


def served(message: bytes, client: str = "10.91.0.2") -> Any:
    return ANSWERING.reply(message, client, udp=True)


@given(st.binary(max_size=600), st.sampled_from(["10.91.0.2", "10.92.0.4", "192.0.2.9"]))
@settings(deadline=None)
def test_any_bytes_are_survived(message: bytes, client: str) -> None:
    reply = served(message, client)
    if isinstance(reply, bytes):
        assert 12 <= len(reply) <= wire.MAX_UDP and reply[2] & 0x80 and reply[:2] == message[:2]
    elif reply is not None:
        assert reply[1] == message and client != "192.0.2.9"


def test_questions_with_wrong_bytes_are_survived() -> None:
    chance = random.Random(53)
    sound = [query("one"), query("api", wire.AAAA, extra=opt(1232)), query("x.example.org", 255)]
    for _ in range(20000):
        message = bytearray(chance.choice(sound))
        for _ in range(chance.randrange(1, 5)):
            message[chance.randrange(len(message))] = chance.randrange(256)
        reply = served(bytes(message[: chance.randrange(len(message) + 1)]))
        assert reply is None or isinstance(reply, tuple) or len(reply) <= wire.MAX_UDP


@given(st.binary(max_size=100))
@settings(deadline=None)
def test_only_the_answer_to_a_question_is_passed_back(reply: bytes) -> None:
    question = wire.read_question(query("example.org", number=9))
    good = wire.answer(question, [wire.address_record(ip_address("192.0.2.7"))])
    assert wire.belongs_to(wire.with_id(good, 77), question, 77)
    assert not wire.belongs_to(good, question, 77)
    assert not wire.belongs_to(query("example.org", number=77), question, 77)
    assert not wire.belongs_to(wire.with_id(good, 77).replace(b"org", b"com"), question, 77)
    assert not wire.belongs_to(reply, question, 77) or reply[12:].startswith(question.raw)


class Upstream(threading.Thread):
    """A resolver that answers every name with one address, over UDP and TCP, on loopback."""

    def __init__(self, *, lies: int = 0) -> None:
        super().__init__(daemon=True)
        self.lies = lies
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.port = self.tcp.getsockname()[1]
        self.udp.bind(("127.0.0.1", self.port))
        self.start()
        self.streams = threading.Thread(target=self._serve_tcp, daemon=True)
        self.streams.start()

    def close(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", ("127.0.0.1", self.port))
        socket.create_connection(("127.0.0.1", self.port)).close()
        for thread in (self, self.streams):
            thread.join(30)
        self.udp.close()
        self.tcp.close()

    def answer(self, message: bytes) -> bytes:
        question = wire.read_question(message)
        return wire.answer(question, [wire.address_record(ip_address("192.0.2.7"))])

    def run(self) -> None:
        while message := (got := self.udp.recvfrom(4096))[0]:
            client = got[1]
            reply = self.answer(message)
            for n in range(self.lies):
                self.udp.sendto(wire.with_id(reply, (reply[1] + 1 + n) & 0xFFFF), client)
                self.udp.sendto(b"\xff" * n, client)
            self.udp.sendto(reply, client)

    def _serve_tcp(self) -> None:
        while (made := self.tcp.accept()[0]).getpeername():
            with made, made.makefile("rb") as file:
                if not (size := int.from_bytes(file.read(2), "big")):
                    return
                reply = self.answer(file.read(size))
                made.sendall(len(reply).to_bytes(2, "big") + reply)


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, Upstream]]:
    """Our resolver at a port of 127.0.0.1, whose client is container c1, and another behind it."""
    upstream = Upstream(lies=3)
    monkeypatch.setattr(server, "PORT", 0)
    known = {"c1": {"dns": [], "links": [
        {"network": "web", "addresses": ["127.0.0.1/8"], "names": ["me"]}]}}  # fmt: skip
    alive = [True]
    table = Names(known, ["web"])
    made = server.Server(["127.0.0.1"], lambda: table if alive[0] else None, lambda: ["127.0.0.1"])
    ports = {key.fileobj.getsockname()[1]: key.fileobj for key in made._selector.get_map().values()}  # type: ignore[union-attr]
    monkeypatch.setattr(server, "PORT", upstream.port)
    monkeypatch.setattr(stream, "_PORT", upstream.port)
    serving = threading.Thread(target=made.serve, daemon=True)
    serving.start()
    datagrams = next(p for p, s in ports.items() if s.type & 0xF == socket.SOCK_DGRAM)  # type: ignore[union-attr]
    streams = next(p for p, s in ports.items() if s.type & 0xF == socket.SOCK_STREAM)  # type: ignore[union-attr]
    yield (datagrams, streams), upstream  # type: ignore[misc]
    alive[0] = False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
        last.sendto(b"", ("127.0.0.1", datagrams))
    serving.join(30)
    assert not serving.is_alive()
    made.close()
    upstream.close()


def ask_udp(port: int, message: bytes) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.settimeout(30)
        made.sendto(message, ("127.0.0.1", port))
        return made.recv(4096)


def ask_tcp(made: socket.socket, message: bytes) -> bytes:
    made.sendall(len(message).to_bytes(2, "big") + message)
    data = b""
    while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2], "big"):
        more = made.recv(4096)
        assert more, "the connection ended"
        data += more
    return data[2:]


def test_questions_are_passed_on(resolver: Any) -> None:
    (udp, tcp), _ = resolver
    assert addresses(ask_udp(udp, query("me"))) == ["127.0.0.1"]
    reply = ask_udp(udp, query("example.org", number=4711))
    assert addresses(reply) == ["192.0.2.7"] and reply[:2] == struct.pack(">H", 4711)
    with socket.create_connection(("127.0.0.1", tcp), 30) as made:
        for name, expected in (("me", "127.0.0.1"), ("example.org", "192.0.2.7")) * 3:
            assert addresses(ask_tcp(made, query(name))) == [expected]


def test_hostile_connections_do_not_keep_others_waiting(resolver: Any) -> None:
    (udp, tcp), _ = resolver
    crowd = [
        socket.create_connection(("127.0.0.1", tcp), 30) for _ in range(stream.MAX_STREAMS * 2)
    ]
    for n, made in enumerate(crowd):
        made.send([b"\xff\xff", b"\0", b"\0\0", b"\0\3abc"][n % 4])
    with socket.create_connection(("127.0.0.1", tcp), 30) as made:
        assert addresses(ask_tcp(made, query("me"))) == ["127.0.0.1"]
    assert addresses(ask_udp(udp, query("me"))) == ["127.0.0.1"]
    for made in crowd:
        made.close()


def test_two_questions_at_once_are_answered_in_turn(resolver: Any) -> None:
    (_, tcp), _ = resolver
    with socket.create_connection(("127.0.0.1", tcp), 30) as made:
        one, two = query("example.org", number=1), query("me", number=2)
        both = b"".join(len(m).to_bytes(2, "big") + m for m in (one, two))
        made.sendall(both)
        file = made.makefile("rb")
        replies = [file.read(int.from_bytes(file.read(2), "big")) for _ in range(2)]
        assert [addresses(reply) for reply in replies] == [["192.0.2.7"], ["127.0.0.1"]]


def test_without_anybody_to_ask_it_is_a_failure() -> None:
    question = wire.read_question(query("example.org"))
    waiting = server.Waiting(question, query("example.org"), ())
    assert not waiting.send(0.0)
    assert names.MAX_ADDRESSES > 100 and selectors.EVENT_READ == 1
