"""DNS messages (RFC 1035 4, RFC 6891): questions read, answers written.

Whatever a container sends comes here first. Nothing is read but the header, one question, and an
OPT record behind it; names in a question are not compressed, so no pointer is ever followed.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from innkeeper.base.record import record

A, PTR, AAAA, OPT, ANY, IN = 1, 12, 28, 41, 255, 1
NO_ERROR, FORMAT_ERROR, SERVER_FAILURE, NAME_ERROR, NOT_IMPLEMENTED, REFUSED = range(6)
MAX_NAME, MAX_LABEL = 255, 63
MIN_UDP, MAX_UDP, MAX_MESSAGE = 512, 1232, 65535
TTL_S = 1  # containers come and go
_HEADER = struct.Struct(">HHHHHH")  # id, flags, questions, answers, authorities, additional
_QR, _AA, _TC, _RD, _RA, _OPCODE = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x7800
_POINTER_TO_QUESTION = b"\xc0\x0c"


class Malformed(Exception):
    """A message that is no question; `code` is what to answer, None for nothing at all."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code


@record
class Question:
    """One question. `name` is in small letters without the last dot; `raw` as it was sent.

    `size` is how long an answer over UDP may be; `edns` says whether there was an OPT record.
    """

    id: int
    flags: int
    name: str
    kind: int
    raw: bytes
    size: int
    edns: bool


def read_question(message: bytes) -> Question:
    """Read a query; raise `Malformed` for anything else."""
    if len(message) < 12 or len(message) > MAX_MESSAGE:
        raise Malformed(None)
    number, flags, questions, answers, authorities, additional = _HEADER.unpack_from(message)
    if flags & _QR:
        raise Malformed(None)  # an answer to an answer could go on for ever
    if flags & _OPCODE:
        raise Malformed(NOT_IMPLEMENTED)
    if questions != 1 or answers or authorities:
        raise Malformed(FORMAT_ERROR)
    name, end = _name(message, 12)
    if end + 4 > len(message):
        raise Malformed(FORMAT_ERROR)
    kind, group = struct.unpack_from(">HH", message, end)
    if group not in (IN, ANY):
        raise Malformed(NOT_IMPLEMENTED)
    edns, size = _opt(message, end + 4) if additional else (False, MIN_UDP)
    return Question(number, flags, name, kind, message[12 : end + 4], size, edns)


def _name(message: bytes, at: int) -> tuple[str, int]:
    """Read a name that is not compressed; bytes above ASCII stay what they are."""
    labels: list[str] = []
    start = at
    while True:
        if at >= len(message) or at - start >= MAX_NAME:
            raise Malformed(FORMAT_ERROR)
        length = message[at]
        if length == 0:
            return ".".join(labels), at + 1
        if length > MAX_LABEL or at + 1 + length > len(message):
            raise Malformed(FORMAT_ERROR)
        labels.append(message[at + 1 : at + 1 + length].lower().decode("latin-1"))
        at += 1 + length


def _opt(message: bytes, at: int) -> tuple[bool, int]:
    """Read an OPT record (RFC 6891 6.1.2) where it is the first of the additional section."""
    if len(message) < at + 11 or message[at] != 0:
        return False, MIN_UDP
    kind, size = struct.unpack_from(">HH", message, at + 1)
    return (True, max(MIN_UDP, min(size, MAX_UDP))) if kind == OPT else (False, MIN_UDP)


def answer(question: Question, records: Sequence[bytes], code: int = NO_ERROR, *,
           limit: int = MAX_MESSAGE) -> bytes:  # fmt: skip
    """Return an answer: `records` as `address_record` and its like make them.

    One that is longer than `limit` goes without records and says so (TC).
    """
    flags = _QR | _AA | _RA | (question.flags & _RD) | code
    extra = b"\0" + struct.pack(">HHIH", OPT, MAX_UDP, 0, 0) if question.edns else b""
    body = b"".join(records)
    if 12 + len(question.raw) + len(body) + len(extra) > limit:
        flags, records, body = flags | _TC, (), b""
    head = _HEADER.pack(question.id, flags, 1, len(records), 0, bool(extra))
    return head + question.raw + body + extra


def refusal(message: bytes, code: int) -> bytes:
    """Return an answer to what could not be read: its header alone."""
    number, flags = struct.unpack_from(">HH", message)
    return _HEADER.pack(number, _QR | (flags & (_OPCODE | _RD)) | _RA | code, 0, 0, 0, 0)


def address_record(address: IPv4Address | IPv6Address) -> bytes:
    """Return an A or AAAA record (RFC 3596) for the name that was asked for."""
    kind = A if address.version == 4 else AAAA
    data = address.packed
    return _POINTER_TO_QUESTION + struct.pack(">HHIH", kind, IN, TTL_S, len(data)) + data


def name_record(name: str) -> bytes:
    """Return a PTR record for the name that was asked for."""
    data = b"".join(
        bytes([len(label)]) + label.encode("latin-1") for label in name.split(".") if label
    )
    data += b"\0"
    return _POINTER_TO_QUESTION + struct.pack(">HHIH", PTR, IN, TTL_S, len(data)) + data


def reverse_address(name: str) -> IPv4Address | IPv6Address | None:
    """Return the address that a name of `in-addr.arpa` or `ip6.arpa` stands for."""
    try:
        if name.endswith(".in-addr.arpa"):
            parts = name.removesuffix(".in-addr.arpa").split(".")
            return IPv4Address(".".join(reversed(parts)))
        if name.endswith(".ip6.arpa"):
            digits = name.removesuffix(".ip6.arpa").split(".")
            if len(digits) == 32 and all(len(digit) == 1 for digit in digits):
                found = ip_address(int("".join(reversed(digits)), 16).to_bytes(16, "big"))
                return found if isinstance(found, IPv6Address) else None
    except ValueError:
        pass
    return None


def belongs_to(reply: bytes, question: Question, number: int) -> bool:
    """Tell whether a reply answers a question that was passed on under another id."""
    start = struct.pack(">H", number)
    return (
        12 + len(question.raw) <= len(reply) <= MAX_MESSAGE
        and reply[:2] == start
        and bool(reply[2] & 0x80)
        and reply[4:6] == b"\0\1"
        and reply[12 : 12 + len(question.raw)].lower() == question.raw.lower()
    )


def with_id(message: bytes, number: int) -> bytes:
    """Return a message under another id."""
    return struct.pack(">H", number) + message[2:]
