"""A kernel or firmware file, opened: what it is, and its bytes without their wrappers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

from innkeeper.base.errors import LoadError
from innkeeper.base.record import record
from innkeeper.base.units import GIB, MIB
from innkeeper.firmware import sniff, unpack
from innkeeper.firmware.kernel_image import (
    HEAD_BYTES,
    Arch,
    KernelInfo,
    Kind,
    parse_zboot,
    pe_file_bytes,
    recognise,
)

MAX_LAYERS = 4
"""How many wrappers (compression, zboot) one file may have around its kernel."""

MAX_KERNEL_BYTES = GIB
"""The most bytes a kernel may decompress to; a loader with less RAM to fill asks for less."""


class Raw(Enum):
    """Whether a file may be taken as bare machine code."""

    NEVER = "never"
    IF_UNKNOWN = "if it has no known form"
    ALWAYS = "always"


@record
class FileSpan:
    """`size` bytes of the file at `path` from `offset` on."""

    path: Path
    offset: int
    size: int

    def read_into(self, view: memoryview) -> None:
        """Fill `view`, which has `size` bytes; `LoadError` when the file has got shorter."""
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(self.offset)
                done = 0
                while done < self.size:
                    count = file.readinto(view[done:])
                    if not count:
                        raise LoadError(
                            f"{self.path} is truncated", why="it got shorter while read"
                        )
                    done += count
        except OSError as error:
            raise LoadError(f"{self.path} cannot be read", why=str(error)) from error


@record
class Content:
    """The bytes of a kernel: in memory when they were unwrapped, else still in their file."""

    path: Path
    size: int
    data: memoryview | None

    def read_at(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes at `offset`; fewer at the end."""
        size = max(0, min(size, self.size - offset))
        if self.data is not None:
            return bytes(self.data[offset : offset + size])
        buffer = bytearray(size)
        FileSpan(self.path, offset, size).read_into(memoryview(buffer))
        return bytes(buffer)

    def span(self, offset: int, size: int) -> memoryview | FileSpan:
        """Return `size` bytes at `offset`, which the content has, without copying them."""
        if self.data is not None:
            return self.data[offset : offset + size]
        return FileSpan(self.path, offset, size)


@record
class KernelFile:
    """An identified file; `head` is how its kernel begins, without wrappers."""

    path: Path
    file_bytes: int
    info: KernelInfo
    head: bytes
    stream: unpack.ByteStream

    @classmethod
    def open(cls, path: Path, *, raw: Raw = Raw.NEVER) -> KernelFile:
        """Identify the file at `path`, through its wrappers; `LoadError` when it is no kernel."""
        file_bytes = sniff.check_regular(path)
        stream = unpack.open_stream(path)
        if raw is Raw.ALWAYS:
            info = KernelInfo(Kind.RAW, Arch.UNKNOWN)
            return cls(path, file_bytes, info, stream.peek(HEAD_BYTES), stream)
        with naming(path):
            head, wrappers, stream = _unwrap(stream)
            info = recognise(head) or _unknown(head, wrappers, raw)
        return cls(path, file_bytes, info.wrapped(wrappers), head, stream)

    def content(self, limit: int = MAX_KERNEL_BYTES) -> Content:
        """Return the kernel itself, at most `limit` bytes of it; the stream is used up."""
        if self.info.wrappers:
            data = self._unwrapped(limit)
            content = Content(self.path, len(data), memoryview(data).toreadonly())
        else:
            content = Content(self.path, self.file_bytes, None)
        needed = pe_file_bytes(self.head) if self.info.kind is not Kind.RAW else 0
        if needed > content.size:
            raise LoadError(
                f"{self.path} is truncated",
                why=f"its sections end at byte {needed} and it has {content.size}",
                fix="fetch it again",
            )
        return content

    def _unwrapped(self, limit: int) -> bytearray:
        try:
            with naming(self.path):
                return self.stream.read_all(min(limit, MAX_KERNEL_BYTES))
        except unpack.TooLarge:
            raise LoadError(
                f"{self.path} does not fit into memory",
                why=f"it decompresses to more than {min(limit, MAX_KERNEL_BYTES) // MIB} MiB",
                fix="give the guest more with --memory, if the file is what it should be",
            ) from None


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the file's name before the `LoadError`s raised inside that do not have it."""
    try:
        yield
    except LoadError as error:
        if str(path) in error.what:
            raise
        raise LoadError(f"{path}: {error.what}", why=error.why, fix=error.fix) from error


def _unwrap(stream: unpack.ByteStream) -> tuple[bytes, tuple[str, ...], unpack.ByteStream]:
    """Return the head of what is inside all wrappers, their names, and the stream it starts."""
    wrappers: tuple[str, ...] = ()
    while True:
        head = stream.peek(HEAD_BYTES)
        compression = unpack.compression_of(head)
        zboot = parse_zboot(head)
        if compression is None and zboot is None:
            return head, wrappers, stream
        if len(wrappers) >= MAX_LAYERS:
            raise LoadError(
                "the file is wrapped too deeply", why=f"it has over {MAX_LAYERS} layers"
            )
        if zboot is not None:
            stream = stream.slice(zboot.offset, zboot.size)
            compression = unpack.compression_of(stream.peek(HEAD_BYTES))
            if compression is None:
                raise LoadError(
                    "the EFI zboot image is damaged or truncated",
                    why=f"its payload is not the {zboot.compression} data it says",
                )
            wrappers += ("zboot",)
        if compression is not None:
            stream = unpack.decompress(compression, stream)
            wrappers += (compression,)


def _unknown(head: bytes, wrappers: tuple[str, ...], raw: Raw) -> KernelInfo:
    name, advice = sniff.looks_like(head)
    if raw is Raw.IF_UNKNOWN and name == sniff.NO_KNOWN_FORM:
        return KernelInfo(Kind.RAW, Arch.UNKNOWN)
    packed = f", {', '.join(wrappers)}-compressed" if wrappers else ""
    if name == sniff.NO_KNOWN_FORM:
        advice = "if it is bare machine code for this board, say --raw"
    raise LoadError("this is not a kernel", why=f"it looks like {name}{packed}", fix=advice)
