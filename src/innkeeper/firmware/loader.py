"""Load kernels and firmware into guest memory.

`identify` says what a file is, `prepare` what of it goes where, held against the RAM there is, and
`load` puts it there. Forms: RISC-V Linux Image (with or without EFI stub), EFI zboot, ELF64, raw
binaries; each but a raw one may be compressed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from innkeeper.base.errors import InnError, LoadError
from innkeeper.base.record import record
from innkeeper.base.units import GIB, MIB
from innkeeper.firmware import elf
from innkeeper.firmware.kernel_file import (
    Content,
    FileSpan,
    KernelFile,
    Raw,
    naming,
)
from innkeeper.firmware.kernel_image import Arch, KernelInfo, Kind
from innkeeper.firmware.virt_layout import LINUX_ALIGN, Region

__all__ = [
    "Arch", "FileSpan", "GuestMemory", "KernelInfo", "Kind", "Loaded", "Piece", "Raw", "identify",
    "load", "prepare", "symbols", ]  # fmt: skip


MAX_SUGGESTED_BYTES = 64 * GIB
"""A file that wants an address further up than this is the wrong file; more RAM is no cure."""


class GuestMemory(Protocol):
    """The guest memory a loader writes; both methods raise an `InnError` for what is not RAM."""

    def view(self, gpa: int, size_bytes: int, /) -> memoryview:
        """Return the memory itself."""

    def write(self, gpa: int, data: Any, /) -> None:
        """Copy bytes to `gpa`."""


@record
class Piece:
    """Something to put into guest memory: `data` at `gpa`, then zeroes up to `memory_bytes`."""

    name: str
    gpa: int
    data: bytes | memoryview | FileSpan
    memory_bytes: int

    @property
    def data_bytes(self) -> int:
        """How many bytes `data` has."""
        return self.data.size if isinstance(self.data, FileSpan) else len(self.data)

    @property
    def end(self) -> int:
        """The first address past it."""
        return self.gpa + self.memory_bytes

    def write_to(self, memory: GuestMemory, *, clear: bool = True) -> None:
        """Write it; `clear=False` leaves the zeroes out, for memory that is zero already."""
        if isinstance(self.data, FileSpan):
            self.data.read_into(memory.view(self.gpa, self.data.size))
        else:
            memory.write(self.gpa, self.data)
        at = self.gpa + self.data_bytes
        while clear and at < self.end:
            step = min(MIB, self.end - at)
            memory.write(at, bytes(step))
            at += step


@record
class Loaded:
    """A kernel or firmware in its place; `start` to `end` is all the memory it says it takes."""

    info: KernelInfo
    entry: int
    start: int
    end: int
    pieces: tuple[Piece, ...]


def identify(path: Path | str, *, raw: Raw = Raw.NEVER) -> KernelInfo:
    """Say what kernel or firmware the file at `path` is, and for which CPU, from its first bytes.

    `LoadError` says what the file looks like when it is none, and what to do with it.
    """
    return KernelFile.open(Path(path), raw=raw).info


def prepare(
    path: Path | str, *, base: int, ram: Region, arch: Arch = Arch.RISCV64, raw: Raw = Raw.NEVER,
    name: str = "kernel",
) -> Loaded:  # fmt: skip
    """Work out what of the file at `path` goes where, with an Image or a raw binary at `base`.

    An ELF file goes where its segments say, or to `base` when it is a `vmlinux` linked to run
    elsewhere. `LoadError` when it is for another CPU than `arch`, damaged, or does not fit into
    `ram`.
    """
    opened = KernelFile.open(Path(path), raw=raw)
    _check_loadable(opened, arch)
    content = opened.content(ram.size)
    with naming(opened.path):
        if opened.info.kind is Kind.ELF:
            return _elf(opened, content, base=base, ram=ram, name=name)
        return _flat(opened.info, content, base=base, ram=ram, name=name)


def load(
    path: Path | str, memory: GuestMemory, *, base: int, ram: Region, arch: Arch = Arch.RISCV64,
    raw: Raw = Raw.NEVER,
) -> Loaded:  # fmt: skip
    """`prepare` the file at `path` and write it to `memory`, or nothing when it does not fit."""
    loaded = prepare(path, base=base, ram=ram, arch=arch, raw=raw)
    write_all(loaded.pieces, memory)
    return loaded


def write_all(pieces: tuple[Piece, ...], memory: GuestMemory, *, clear: bool = True) -> None:
    """Write `pieces` to `memory`, or none of them: `LoadError` when one lies outside."""
    for piece in pieces:
        try:
            memory.view(piece.gpa, piece.memory_bytes).release()
        except LoadError:
            raise
        except InnError as error:
            raise LoadError(f"the {piece.name} is not in RAM", why=str(error)) from error
    for piece in pieces:
        piece.write_to(memory, clear=clear)


def symbols(path: Path | str) -> dict[str, int]:
    """Return the symbols of the ELF file at `path`; empty for other and for stripped kernels."""
    opened = KernelFile.open(Path(path), raw=Raw.IF_UNKNOWN)
    if opened.info.kind is not Kind.ELF:
        return {}
    return elf.read_symbols(elf.parse_header(opened.head), opened.content().read_at)


def _check_loadable(opened: KernelFile, arch: Arch) -> None:
    info = opened.info
    if info.kind is not Kind.RAW and info.arch is not arch:
        raise LoadError(
            f"{opened.path} is for another CPU",
            why=f"the file is a kernel for {info.arch} ({info.describe()}), the machine is {arch}",
            fix=f"give a kernel for {arch}",
        )
    if info.kind in (Kind.EFI, Kind.BZIMAGE):
        raise LoadError(
            f"{opened.path} cannot be loaded",
            why=f"{info.describe()}: it needs firmware to start it",
            fix="give the kernel itself: a Linux Image, a vmlinuz, or an ELF file",
        )


def _flat(info: KernelInfo, content: Content, *, base: int, ram: Region, name: str) -> Loaded:
    """Place an Image (at `text_offset` past a 2 MiB boundary: boot-image-header) or raw binary."""
    gpa = base + (info.text_offset - base) % LINUX_ALIGN if info.kind is Kind.IMAGE else base
    memory_bytes = max(content.size, info.image_bytes)
    piece = Piece(name, gpa, content.span(0, content.size), memory_bytes)
    check_fits(piece, ram)
    return Loaded(info, gpa, gpa, piece.end, (piece,))


def _elf(opened: KernelFile, content: Content, *, base: int, ram: Region, name: str) -> Loaded:
    header = elf.parse_header(opened.head)
    segments = elf.read_segments(header, content.read_at, content.size)
    if elf.is_movable(header, segments) and not any(
        ram.contains(segment.gpa, segment.memory_bytes) for segment in segments
    ):
        segments = elf.relocated(segments, base)
    segments = elf.without_headers(segments, header, ram.base)
    pieces = tuple(
        Piece(name, s.gpa, content.span(s.offset, s.file_bytes), s.memory_bytes) for s in segments
    )
    for piece in pieces:
        check_fits(piece, ram)
    start, end = min(piece.gpa for piece in pieces), max(piece.end for piece in pieces)
    return Loaded(opened.info, elf.physical_entry(header.entry, segments), start, end, pieces)


def check_fits(piece: Piece, ram: Region) -> None:
    """Raise `LoadError`, with sizes and a remedy, when `piece` is not wholly in `ram`."""
    if ram.contains(piece.gpa, piece.memory_bytes):
        return
    if piece.gpa < ram.base or piece.end - ram.base > MAX_SUGGESTED_BYTES:
        raise LoadError(
            f"the {piece.name} cannot be loaded",
            why=f"it wants to be at {piece.gpa:#x} and RAM is {ram.base:#x} to {ram.end:#x}",
            fix="give one that is linked for this board, not for user space or another machine",
        )
    raise too_large(piece.name, piece.memory_bytes, ram, needed=piece.end - ram.base)


def too_large(name: str, size: int, ram: Region, *, needed: int) -> LoadError:
    """Return the error for `name` of `size` bytes that would fit into `needed` bytes of RAM."""
    return LoadError(
        f"{name} of {in_words(size)} does not fit in {in_words(ram.size)} of RAM",
        why=f"{in_words(needed)} would hold it and what else is there",
        fix=f"use --memory {memory_option(needed)}",
    )


def in_words(size: int) -> str:
    """Write a size for people: `300 MiB`, `12 KiB`, `5 bytes`."""
    for scale, unit in ((MIB, "MiB"), (1024, "KiB")):
        if size >= scale:
            return f"{-(-size // scale)} {unit}"
    return f"{size} bytes"


def memory_option(needed: int) -> str:
    """Return the next power-of-two `--memory` that holds `needed` bytes: `512M`, `1G`."""
    mib = 1 << max(0, (-(-needed // MIB) - 1).bit_length())
    return f"{mib}M" if mib < 1024 else f"{mib // 1024}G"
