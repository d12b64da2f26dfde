"""rtnetlink messages over a socket: netlink(7), rtnetlink(7), `linux/netlink.h`.

Only what a bridge network needs. Integers are in the host's order, addresses in the network's.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from types import TracebackType

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
NLMSG_ERROR, NLMSG_DONE, NLMSG_OVERRUN = 2, 3, 4
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK = 16, 17, 18
RTM_NEWADDR, RTM_GETADDR = 20, 22
RTM_NEWROUTE, RTM_GETROUTE = 24, 26

NETLINK_ROUTE = 0
_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK = 270, 10, 11
_NLM_F_CAPPED, _NLM_F_ACK_TLVS = 0x100, 0x200
_NLMSGERR_ATTR_MSG = 1
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # struct rtattr: length, type
_NLA_TYPE_MASK = 0x3FFF
RECEIVE_BYTES = 1 << 16  # the kernel's messages of a dump are at most 32 KiB
MOST_MESSAGES = 1 << 20  # of one answer


def attribute(kind: int, value: bytes | int | str) -> bytes:
    """Return an attribute, padded to four bytes; integers have 32 bits, texts end with a zero."""
    if isinstance(value, int):
        value = struct.pack("=I", value)
    elif isinstance(value, str):
        value = value.encode() + b"\0"
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def attributes(data: bytes) -> dict[int, bytes]:
    """Return the attributes in `data` by type; what is malformed ends them."""
    found: dict[int, bytes] = {}
    while len(data) >= 4:
        length, kind = _ATTRIBUTE.unpack_from(data)
        if not 4 <= length <= len(data):
            break
        found[kind & _NLA_TYPE_MASK] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found


class Netlink:
    """A socket to a subsystem, of the network namespace that it is made in."""

    def __init__(self, subsystem: int = NETLINK_ROUTE) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, subsystem)
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> Netlink:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._socket.close()

    def do(self, kind: int, payload: bytes, flags: int = 0) -> None:
        """Have something done; `OSError` with the kernel's errno, and its words, if it refuses."""
        for _ in self._ask(kind, payload, NLM_F_ACK | flags):
            pass

    def get(self, kind: int, payload: bytes, *, dump: bool = False) -> list[bytes]:
        """Return the payloads of the answers: one, or of a dump all."""
        return list(self._ask(kind, payload, NLM_F_DUMP if dump else NLM_F_ACK))

    def _ask(self, kind: int, payload: bytes, flags: int) -> Iterator[bytes]:
        self._sequence += 1
        header = _HEADER.pack(16 + len(payload), kind, NLM_F_REQUEST | flags, self._sequence, 0)
        self._socket.send(header + payload)
        for _ in range(MOST_MESSAGES):
            for kind, flags, data in self._receive():
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR:
                    _check(flags, data)
                    return
                yield data
        raise OSError(0, "the kernel's answer has no end")

    def _receive(self) -> Iterator[tuple[int, int, bytes]]:
        """Return the messages of one datagram that belong to the last request."""
        data = self._socket.recv(RECEIVE_BYTES)
        while len(data) >= 16:
            length, kind, flags, sequence, _ = _HEADER.unpack_from(data)
            if not 16 <= length <= len(data) or kind == NLMSG_OVERRUN:
                raise OSError(0, "a netlink message is cut off")
            if sequence == self._sequence:
                yield kind, flags, data[16:length]
            data = data[(length + 3) & ~3 :]


def _check(flags: int, data: bytes) -> None:
    """Raise what an NLMSG_ERROR says: struct nlmsgerr, then the extended acknowledgement."""
    number = -struct.unpack_from("=i", data)[0]
    if number == 0:
        return
    text = os.strerror(number)
    if flags & _NLM_F_ACK_TLVS:
        (length,) = struct.unpack_from("=I", data, 4)  # of the request, which may be repeated
        start = 20 if flags & _NLM_F_CAPPED else 4 + ((length + 3) & ~3)
        said = attributes(data[start:]).get(_NLMSGERR_ATTR_MSG, b"").rstrip(b"\0")
        text += f" ({said.decode('utf-8', 'replace')})" if said else ""
    raise OSError(number, text)
