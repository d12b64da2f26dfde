"""An independent reader of newc archives, for the tests."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Item:
    ino: int
    mode: int
    uid: int
    gid: int
    nlink: int
    mtime: int
    device: tuple[int, int]
    data: bytes


def read_cpio(data: bytes) -> dict[str, Item]:
    found: dict[str, Item] = {}
    at = 0
    while True:
        assert data[at : at + 6] == b"070701"
        values = [int(data[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        name_size, size = values[11], values[6]
        name = data[at + 110 : at + 110 + name_size - 1].decode("utf-8", "surrogateescape")
        at = (at + 110 + name_size + 3) & ~3
        if name == "TRAILER!!!":
            assert len(data) % 512 == 0
            assert not data[at:].strip(b"\0")
            return found
        item = Item(*values[:5], values[5], (values[9], values[10]), data[at : at + size])
        found[name] = item
        at = (at + size + 3) & ~3
