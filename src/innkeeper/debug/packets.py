"""Framing of the GDB remote serial protocol, without I/O.

Source: Debugging with GDB, appendix E "Remote Protocol", Overview: `$data#checksum`, `+` and `-` as
acknowledgements, `}` before an escaped byte, a bare 0x03 to interrupt.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

MAX_PACKET_BYTES = 0x4000  # what PacketSize announces: the data of a packet, as it is on the wire
INTERRUPT_BYTE = 0x03
_ESCAPE = 0x7D
_ESCAPED = {ord(char): b"}" + bytes([ord(char) ^ 0x20]) for char in "#$}*"}


class Signal(Enum):
    """What a client says outside packets."""

    ACK = auto()
    NAK = auto()
    INTERRUPT = auto()
    DAMAGED = auto()  # a packet with a wrong checksum, or a longer one than was announced


@dataclass(frozen=True, slots=True)
class Packet:
    """The data of a good packet, escapes undone."""

    data: bytes


Event = Packet | Signal
_OUTSIDE = {ord("+"): Signal.ACK, ord("-"): Signal.NAK, INTERRUPT_BYTE: Signal.INTERRUPT}


def checksum(data: bytes | bytearray) -> int:
    """Return the sum that follows a packet."""
    return sum(data) & 0xFF


def escape(data: bytes) -> bytes:
    """Make arbitrary bytes fit for a packet."""
    return b"".join(_ESCAPED.get(byte) or bytes([byte]) for byte in data)


def unescape(data: bytes | bytearray) -> bytes:
    """Undo `escape`; a lone escape at the end stands for nothing."""
    if _ESCAPE not in data:
        return bytes(data)
    out = bytearray()
    rest = iter(data)
    for byte in rest:
        if byte != _ESCAPE:
            out.append(byte)
        elif (escaped := next(rest, None)) is not None:
            out.append(escaped ^ 0x20)
    return bytes(out)


def pack(data: bytes) -> bytes:
    """Put `data`, already escaped where it must be, into a packet."""
    return b"$%s#%02x" % (data, checksum(data))


class PacketReader:
    """Turn a stream of bytes, cut anywhere, into packets and signals. Memory is bounded."""

    def __init__(self) -> None:
        self._body: bytearray | None = None  # between $ and #
        self._sum: bytearray | None = None  # after #
        self._too_long = False

    def feed(self, data: bytes) -> list[Event]:
        """Take bytes as they came; return what they complete."""
        events: list[Event] = []
        at = 0
        while at < len(data):
            if self._sum is not None:
                self._sum.append(data[at])
                at += 1
                if len(self._sum) == 2:
                    events.append(self._finish())
            elif self._body is not None:
                at = self._take_body(data, at)
            else:
                byte = data[at]
                at += 1
                if byte == ord("$"):
                    self._body, self._too_long = bytearray(), False
                elif byte in _OUTSIDE:
                    events.append(_OUTSIDE[byte])
        return events

    def _take_body(self, data: bytes, at: int) -> int:
        assert self._body is not None
        end = data.find(b"#", at)
        piece = data[at:] if end < 0 else data[at:end]
        if len(self._body) + len(piece) > MAX_PACKET_BYTES:
            self._too_long = True
            self._body.clear()
        elif not self._too_long:
            self._body += piece
        if end < 0:
            return len(data)
        self._sum = bytearray()
        return end + 1

    def _finish(self) -> Event:
        body, given = self._body or bytearray(), self._sum or bytearray()
        self._body = self._sum = None
        if self._too_long or bytes(given).lower() != b"%02x" % checksum(body):
            return Signal.DAMAGED
        return Packet(unescape(body))
