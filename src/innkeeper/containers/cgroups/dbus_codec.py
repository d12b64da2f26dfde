"""The D-Bus wire format (D-Bus Specification, "Marshaling" and "Message Format").

Values are plain Python: integers, bools, floats, strings, lists (arrays and structs), dicts; a
variant is a pair (signature, value) and reads back as one. What comes in is bounded.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_MESSAGE_BYTES = 1 << 22
MAX_NESTING = 32
FIXED = {"y": "B", "b": "I", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q", "d": "d"}
ALIGN = {"y": 1, "n": 2, "q": 2, "g": 1, "v": 1, "(": 8, "{": 8, "x": 8, "t": 8, "d": 8}
CALL, RETURN, ERROR, SIGNAL = 1, 2, 3, 4
FIELDS = {
    "path": (1, "o"),
    "interface": (2, "s"),
    "member": (3, "s"),
    "error_name": (4, "s"),
    "reply_serial": (5, "u"),
    "destination": (6, "s"),
    "sender": (7, "s"),
    "signature": (8, "g"),
}
_FIELD_NAMES = {code: name for name, (code, _kind) in FIELDS.items()}


class DBusFormatError(Exception):
    """Bytes that are not D-Bus, or a value that does not fit its signature."""


def next_type(signature: str, at: int, depth: int = 0) -> int:
    """Return where the complete type that starts at `at` ends."""
    if at >= len(signature) or depth > MAX_NESTING:
        raise DBusFormatError(f"signature {signature[:80]!r} is incomplete or nested too deeply")
    char = signature[at]
    if char == "a":
        return next_type(signature, at + 1, depth + 1)
    if char in "({":
        close = ")" if char == "(" else "}"
        at += 1
        while at < len(signature) and signature[at] != close:
            at = next_type(signature, at, depth + 1)
        if at >= len(signature):
            raise DBusFormatError(f"signature {signature[:80]!r} is incomplete")
        return at + 1
    if char not in FIXED and char not in "sogv":
        raise DBusFormatError(f"unknown type {char!r}")
    return at + 1


def split(signature: str) -> list[str]:
    """Return the complete types of a signature."""
    found, at = [], 0
    while at < len(signature):
        end = next_type(signature, at)
        found.append(signature[at:end])
        at = end
    return found


class Writer:
    """Marshals values in little-endian order."""

    def __init__(self) -> None:
        self.data = bytearray()

    def pad(self, to: int) -> None:
        """Fill up with zeros to an alignment."""
        self.data += b"\0" * (-len(self.data) % to)

    def put(self, kind: str, value: Any) -> None:
        """Append one complete type."""
        first = kind[0]
        self.pad(ALIGN.get(first, 4))
        if first in FIXED:
            self.data += struct.pack("<" + FIXED[first], value)
        elif first in "so":
            text = value.encode()
            self.data += struct.pack("<I", len(text)) + text + b"\0"
        elif first == "g":
            text = value.encode()
            self.data += bytes([len(text)]) + text + b"\0"
        elif first == "v":
            self.put("g", value[0])
            self.put(value[0], value[1])
        elif first == "a":
            self._put_array(kind[1:], value)
        else:
            for each, item in zip(split(kind[1:-1]), value, strict=True):
                self.put(each, item)

    def _put_array(self, element: str, value: Any) -> None:
        at = len(self.data)
        self.data += b"\0\0\0\0"
        self.pad(ALIGN.get(element[0], 4))
        start = len(self.data)
        for item in value.items() if isinstance(value, dict) else value:
            self.put(element, item)
        self.data[at : at + 4] = struct.pack("<I", len(self.data) - start)


class Reader:
    """Unmarshals values; every length is checked against what is there."""

    def __init__(self, data: bytes, order: str = "<") -> None:
        self.data, self.order, self.at = data, order, 0

    def pad(self, to: int) -> None:
        """Skip to an alignment."""
        self.at += -self.at % to

    def take(self, count: int) -> bytes:
        """Return the next bytes."""
        if count < 0 or self.at + count > len(self.data):
            raise DBusFormatError("the message ends too early")
        self.at += count
        return self.data[self.at - count : self.at]

    def get(self, kind: str, depth: int = 0) -> Any:
        """Return one complete type."""
        if depth > MAX_NESTING:
            raise DBusFormatError("values are nested too deeply")
        first = kind[0]
        self.pad(ALIGN.get(first, 4))
        if first in FIXED:
            size = struct.calcsize(FIXED[first])
            (value,) = struct.unpack(self.order + FIXED[first], self.take(size))
            return bool(value) if first == "b" else value
        if first in "sog":
            size = self.take(1)[0] if first == "g" else self._size()
            text = self.take(size + 1)[:-1]
            return text.decode(errors="replace")
        if first == "v":
            inner = self.get("g")
            if next_type(inner, 0) != len(inner):
                raise DBusFormatError(f"variant of {inner[:80]!r} is not one type")
            return inner, self.get(inner, depth + 1)
        if first == "a":
            return self._get_array(kind[1:], depth)
        return [self.get(each, depth + 1) for each in split(kind[1:-1])]

    def _size(self) -> int:
        size: int = struct.unpack(self.order + "I", self.take(4))[0]
        return size

    def _get_array(self, element: str, depth: int) -> Any:
        size = self._size()
        self.pad(ALIGN.get(element[0], 4))
        end = self.at + size
        if end > len(self.data):
            raise DBusFormatError("the message ends too early")
        found = []
        while self.at < end:
            found.append(self.get(element, depth + 1))
        return dict(found) if element[0] == "{" else found


class Message:
    """One message: its kind, header fields and body."""

    def __init__(self, kind: int, serial: int, body: list[Any], **fields: Any) -> None:
        self.kind, self.serial, self.body, self.fields = kind, serial, body, fields

    def encode(self) -> bytes:
        """Return the message as bytes."""
        body = Writer()
        for kind, value in zip(split(self.fields.get("signature", "")), self.body, strict=True):
            body.put(kind, value)
        head = Writer()
        head.data += bytes((ord("l"), self.kind, 0, 1))
        head.put("u", len(body.data))
        head.put("u", self.serial)
        named = [[FIELDS[name][0], (FIELDS[name][1], value)] for name, value in self.fields.items()]
        head.put("a(yv)", named)
        head.pad(8)
        return bytes(head.data + body.data)


def message_size(head: bytes) -> int:
    """Return the length of the message whose first 16 bytes these are."""
    if len(head) < 16 or head[0] not in b"lB" or head[3] != 1:
        raise DBusFormatError("these bytes begin no D-Bus message")
    order = "<" if head[0] == ord("l") else ">"
    body, _serial, fields = struct.unpack(order + "III", head[4:16])
    size: int = 16 + fields + -fields % 8 + body
    if size > MAX_MESSAGE_BYTES:
        raise DBusFormatError(f"a message of {size} bytes is more than {MAX_MESSAGE_BYTES}")
    return size


def decode(data: bytes) -> Message:
    """Return the message in these bytes."""
    reader = Reader(data, "<" if data[:1] == b"l" else ">")
    kind = reader.take(4)[1]
    _body, serial = reader.get("u"), reader.get("u")
    fields = {}
    for code, (_signature, value) in reader.get("a(yv)"):
        if code in _FIELD_NAMES:
            fields[_FIELD_NAMES[code]] = value
    reader.pad(8)
    body = [reader.get(each) for each in split(fields.get("signature", ""))]
    return Message(kind, serial, body, **fields)
