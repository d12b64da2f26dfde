"""The parts of GDB remote packets: numbers, hexadecimal data, and the common replies."""

from __future__ import annotations

import binascii
import re

from innkeeper.debug.packets import MAX_PACKET_BYTES

MAX_MEMORY_BYTES = MAX_PACKET_BYTES // 2 - 16  # two digits a byte, and room for the rest
ADDRESS_LIMIT = 1 << 64
OK, EMPTY = b"OK", b""
BAD_REQUEST, NO_MEMORY, NO_ROOM, FAILED = b"E16", b"E0e", b"E1c", b"E05"  # EINVAL, EFAULT, ...
_HEX = re.compile(r"[0-9a-fA-F]{1,16}")


class BadRequestError(Exception):
    """A packet that does not say what its kind of packet must."""


def number(text: str) -> int:
    """Read a hexadecimal number of at most 64 bits."""
    if not _HEX.fullmatch(text):
        raise BadRequestError
    return int(text, 16)


def numbers(text: str, count: int) -> list[int]:
    """Read exactly `count` numbers with commas between them."""
    parts = text.split(",")
    if len(parts) != count:
        raise BadRequestError
    return [number(part) for part in parts]


def unhex(text: str) -> bytes:
    """Read bytes written as two digits each."""
    try:
        return binascii.unhexlify(text)
    except ValueError:
        raise BadRequestError from None


def hexed(text: str) -> bytes:
    """Write text as two digits a byte, cut to what a packet holds."""
    return binascii.hexlify(text.encode()[:MAX_MEMORY_BYTES])


def after_signal(text: str) -> str:
    """Return the address of a C or S packet: a signal means nothing to a machine."""
    signal, _, address = text.partition(";")
    number(signal)
    return address
