"""The messages of 9P2000.L as bytes: numbers, the header, a bounds-checked reader, and packing.

Sources: Plan 9 manual section 5 (intro, version, walk, ...) and the 9P2000.L protocol
description of the diod project, which is what the Linux v9fs client speaks. Integers are
little-endian, a string is `length[2] bytes`, a qid is `type[1] version[4] path[8]`.
"""

from __future__ import annotations

import errno
import os
import struct
from enum import IntEnum
from typing import NamedTuple

HEADER = struct.Struct("<IBH")  # size, type, tag; size counts itself
QID = struct.Struct("<BIQ")
VERSION = b"9P2000.L"
NO_TAG = 0xFFFF
NO_FID = 0xFFFF_FFFF
MAX_WALK_NAMES = 16  # MAXWELEM, Plan 9 walk(5)
MAX_NAME_BYTES = 255
IO_HEADER_BYTES = HEADER.size + 4  # what precedes the data of Rread and Rreaddir


class T(IntEnum):
    """Request types; the reply's type is the request's plus one."""

    LERROR = 6
    STATFS = 8
    LOPEN = 12
    LCREATE = 14
    SYMLINK = 16
    MKNOD = 18
    RENAME = 20
    READLINK = 22
    GETATTR = 24
    SETATTR = 26
    XATTRWALK = 30
    XATTRCREATE = 32
    READDIR = 40
    FSYNC = 50
    LOCK = 52
    GETLOCK = 54
    LINK = 70
    MKDIR = 72
    RENAMEAT = 74
    UNLINKAT = 76
    VERSION = 100
    AUTH = 102
    ATTACH = 104
    FLUSH = 108
    WALK = 110
    READ = 116
    WRITE = 118
    CLUNK = 120
    REMOVE = 122


class Qid(NamedTuple):
    """What the server calls a file: kind, version (changes with the content) and identity."""

    kind: int
    version: int
    path: int

    def pack(self) -> bytes:
        """Return the 13 bytes a qid is on the wire."""
        return QID.pack(*self)


def refuse(code: int) -> OSError:
    """Make the error that becomes `Rlerror` with this errno."""
    return OSError(code, os.strerror(code))


class Reader:
    """Take the fields of one message in order; a message that is too short is `EPROTO`."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    def blob(self, size_bytes: int) -> memoryview:
        """Take the next `size_bytes` bytes without copying them."""
        end = self._at + size_bytes
        if end > len(self._data):
            raise refuse(errno.EPROTO)
        piece = self._data[self._at : end]
        self._at = end
        return piece

    def u8(self) -> int:
        """Take one byte."""
        return self.blob(1)[0]

    def u16(self) -> int:
        """Take two bytes."""
        return int.from_bytes(self.blob(2), "little")

    def u32(self) -> int:
        """Take four bytes."""
        return int.from_bytes(self.blob(4), "little")

    def u64(self) -> int:
        """Take eight bytes."""
        return int.from_bytes(self.blob(8), "little")

    def text(self) -> bytes:
        """Take a string: two bytes of length and that many bytes, no encoding assumed."""
        return bytes(self.blob(self.u16()))

    def name(self) -> bytes:
        """Take a string that must be the name of one directory entry (see `check_name`)."""
        return check_name(self.text())


def check_name(name: bytes) -> bytes:
    """Return `name` if it names one entry of a directory, else refuse.

    No slash, no NUL, not empty and neither `.` nor `..`: with that, and `O_NOFOLLOW`, one
    component can lead nowhere but into the directory it is looked up in.
    """
    if len(name) > MAX_NAME_BYTES:
        raise refuse(errno.ENAMETOOLONG)
    if name in (b"", b".", b"..") or b"/" in name or b"\0" in name:
        raise refuse(errno.EINVAL)
    return name


def pack_text(text: bytes) -> bytes:
    """Return a string as it is on the wire."""
    if len(text) > 0xFFFF:
        raise refuse(errno.ENAMETOOLONG)
    return len(text).to_bytes(2, "little") + text


def pack_message(kind: int, tag: int, body: bytes) -> bytes:
    """Put the header before a body."""
    return HEADER.pack(HEADER.size + len(body), kind, tag) + body


def pack_error(tag: int, code: int) -> bytes:
    """Make an `Rlerror` that carries a Linux errno."""
    return pack_message(T.LERROR + 1, tag, code.to_bytes(4, "little"))
