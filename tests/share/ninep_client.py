"""The client's side of 9P2000.L for the tests, written apart from the server."""

from __future__ import annotations

import errno
import os
import struct
from typing import NamedTuple

from innkeeper.backends.share import NinePServer

NO_FID = 0xFFFFFFFF
SECRET = b"not for guests"
EXCL, TRUNC, APPEND, CREATE = 0o200, 0o1000, 0o2000, 0o100
RDONLY, WRONLY, RDWR = 0, 1, 2


class Entry(NamedTuple):
    kind: int
    path: int
    offset: int
    type: int
    name: bytes


class Attributes(NamedTuple):
    valid: int
    qid_kind: int
    qid_version: int
    qid_path: int
    mode: int
    uid: int
    gid: int
    nlink: int
    rdev: int
    size: int
    blksize: int
    blocks: int
    atime: int
    atime_ns: int
    mtime: int
    mtime_ns: int
    ctime: int
    ctime_ns: int
    btime: int
    btime_ns: int
    gen: int
    data_version: int


class fails_with:
    """Expect a block to fail with an errno."""

    def __init__(self, code: int) -> None:
        self.code = code

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        name = errno.errorcode[self.code]
        assert isinstance(error, OSError), f"{error!r}, expected {name}"
        assert error.errno == self.code, f"{error}, expected {name}"
        return True


def text(value: bytes) -> bytes:
    return struct.pack("<H", len(value)) + value


def frame(kind: int, body: bytes, tag: int = 1) -> bytes:
    return struct.pack("<IBH", 7 + len(body), kind, tag) + body


class Client:
    """Each call raises `OSError` with the errno of an Rlerror."""

    def __init__(self, server: NinePServer, *, msize: int = 65536) -> None:
        self.server = server
        self.msize = msize
        self._next = 100
        self.version(msize)
        self.call(104, struct.pack("<II", 0, NO_FID) + text(b"root") + text(b"") + bytes(4))

    def call(self, kind: int, body: bytes) -> bytes:
        reply = self.server.handle(frame(kind, body))
        size, got, tag = struct.unpack_from("<IBH", reply)
        assert size == len(reply) <= self.msize
        assert tag == 1
        if got == 7:
            (code,) = struct.unpack("<I", reply[7:])
            raise OSError(code, os.strerror(code))
        assert got == kind + 1
        return reply[7:]

    def version(self, msize: int, name: bytes = b"9P2000.L") -> tuple[int, bytes]:
        body = self.call(100, struct.pack("<I", msize) + text(name))
        return struct.unpack("<I", body[:4])[0], body[6:]

    def walk(self, *names: bytes, fid: int = 0, new: int | None = None) -> int:
        """Walk all the names; a short walk is ENOENT, as in Linux."""
        if new is None:
            self._next += 1
            new = self._next
        reply = self.call(
            110, struct.pack("<IIH", fid, new, len(names)) + b"".join(text(n) for n in names)
        )
        (count,) = struct.unpack_from("<H", reply)
        assert len(reply) == 2 + 13 * count
        if count < len(names):
            raise FileNotFoundError(2, "short walk")
        return new

    def open(self, fid: int, flags: int = RDONLY) -> bytes:
        return self.call(12, struct.pack("<II", fid, flags))

    def create(self, name: bytes, flags: int = RDWR, mode: int = 0o644, *, at: int = 0) -> int:
        fid = self.walk(fid=at)
        self.call(14, struct.pack("<I", fid) + text(name) + struct.pack("<III", flags, mode, 0))
        return fid

    def read(self, fid: int, offset: int = 0, count: int = 1 << 20) -> bytes:
        reply = self.call(116, struct.pack("<IQI", fid, offset, count))
        assert struct.unpack_from("<I", reply)[0] == len(reply) - 4
        return reply[4:]

    def write(self, fid: int, data: bytes, offset: int = 0) -> int:
        reply = self.call(118, struct.pack("<IQI", fid, offset, len(data)) + data)
        return struct.unpack("<I", reply)[0]

    def clunk(self, fid: int) -> None:
        self.call(120, struct.pack("<I", fid))

    def remove(self, fid: int) -> None:
        self.call(122, struct.pack("<I", fid))

    def getattr(self, fid: int, mask: int = 0x3FFF) -> Attributes:
        reply = self.call(24, struct.pack("<IQ", fid, mask))
        assert len(reply) == 153
        return Attributes(*struct.unpack("<QBIQIII15Q", reply))

    def setattr(self, fid: int, valid: int, *, mode: int = 0, uid: int = 0, gid: int = 0,
                size: int = 0, times: tuple[int, int, int, int] = (0, 0, 0, 0)) -> None:  # fmt: skip
        self.call(26, struct.pack("<IIIIIQ4Q", fid, valid, mode, uid, gid, size, *times))

    def readdir(self, fid: int, offset: int = 0, count: int = 60000) -> list[Entry]:
        reply = self.call(40, struct.pack("<IQI", fid, offset, count))
        size, at, entries = struct.unpack_from("<I", reply)[0], 4, []
        assert size == len(reply) - 4 <= count
        while at < len(reply):
            kind, _version, path, following, dtype, length = struct.unpack_from(
                "<BIQQBH", reply, at
            )
            at += 24
            entries.append(Entry(kind, path, following, dtype, reply[at : at + length]))
            at += length
        return entries

    def mkdir(self, name: bytes, mode: int = 0o755, *, at: int = 0) -> bytes:
        return self.call(72, struct.pack("<I", at) + text(name) + struct.pack("<II", mode, 0))

    def symlink(self, name: bytes, target: bytes, *, at: int = 0) -> bytes:
        return self.call(16, struct.pack("<I", at) + text(name) + text(target) + bytes(4))

    def readlink(self, fid: int) -> bytes:
        return self.call(22, struct.pack("<I", fid))[2:]

    def mknod(self, name: bytes, mode: int, *, at: int = 0) -> bytes:
        return self.call(
            18, struct.pack("<I", at) + text(name) + struct.pack("<IIII", mode, 1, 3, 0)
        )

    def link(self, fid: int, name: bytes, *, at: int = 0) -> None:
        self.call(70, struct.pack("<II", at, fid) + text(name))

    def rename(self, fid: int, name: bytes, *, at: int = 0) -> None:
        self.call(20, struct.pack("<II", fid, at) + text(name))

    def renameat(self, old: bytes, new: bytes, *, at: int = 0, to: int = 0) -> None:
        self.call(74, struct.pack("<I", at) + text(old) + struct.pack("<I", to) + text(new))

    def unlinkat(self, name: bytes, flags: int = 0, *, at: int = 0) -> None:
        self.call(76, struct.pack("<I", at) + text(name) + struct.pack("<I", flags))

    def xattrwalk(self, fid: int, name: bytes) -> bytes:
        self._next += 1
        reply = self.call(30, struct.pack("<II", fid, self._next) + text(name))
        value = self.read(self._next)
        assert struct.unpack("<Q", reply)[0] == len(value)
        self.clunk(self._next)
        return value

    def setxattr(self, fid: int, name: bytes, value: bytes, flags: int = 0) -> None:
        new = self.walk(fid=fid)
        try:
            self.call(
                32, struct.pack("<I", new) + text(name) + struct.pack("<QI", len(value), flags)
            )
            if value:
                self.write(new, value)
        finally:
            self.clunk(new)

    def lock(self, fid: int, kind: int, start: int, length: int, process: int) -> int:
        body = struct.pack("<IBIQQI", fid, kind, 0, start, length, process) + text(b"guest")
        return self.call(52, body)[0]

    def getlock(
        self, fid: int, kind: int, start: int, length: int, process: int
    ) -> tuple[int, ...]:
        body = struct.pack("<IBQQI", fid, kind, start, length, process) + text(b"guest")
        return struct.unpack_from("<BQQI", self.call(54, body))
