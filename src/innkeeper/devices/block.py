"""What a block device asks of the disk behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class BlockBackend(Protocol):
    """A disk: offsets and lengths in bytes, within `size_bytes` rounded up to a sector of 512.

    Every method does all of what it is asked or raises `OSError`.
    """

    @property
    def size_bytes(self) -> int:
        """Return the disk's size."""
        ...

    @property
    def read_only(self) -> bool:
        """Tell whether writes are refused."""
        ...

    @property
    def name(self) -> str:
        """Return what to call the disk in a message."""
        ...

    def readv(self, views: Sequence[memoryview], offset: int) -> None:
        """Fill `views` from `offset` on."""
        ...

    def writev(self, views: Sequence[memoryview], offset: int) -> None:
        """Store `views` from `offset` on."""
        ...

    def flush(self) -> None:
        """Make all earlier writes durable."""
        ...

    def discard(self, offset: int, length: int) -> None:
        """Let go of a range; what it then holds is anybody's guess."""
        ...

    def write_zeroes(self, offset: int, length: int, *, may_unmap: bool) -> None:
        """Make a range read as zeroes."""
        ...
