"""ELF files as a loader sees them: entry, segments, symbols (System V gABI chapters 4, 5)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from innkeeper.base.errors import LoadError
from innkeeper.base.record import record

MAGIC = b"\x7fELF"
ET_DYN = 3
PT_LOAD, PT_INTERP = 1, 3
SHT_SYMTAB = 2
MAX_SEGMENTS = 256
MAX_SECTIONS = 4096
MAX_SYMBOLS = 1 << 20
MAX_STRINGS_BYTES = 64 << 20
MAX_NAME_BYTES = 4096

ReadAt = Callable[[int, int], bytes]
"""Read `size` bytes at `offset`; fewer when the file ends before."""

_EHDR = {1: struct.Struct("<HHIIIIIHHHHHH"), 2: struct.Struct("<HHIQQQIHHHHHH")}
_PHDR = {1: struct.Struct("<8I"), 2: struct.Struct("<IIQQQQQQ")}
_SHDR = {1: struct.Struct("<10I"), 2: struct.Struct("<IIQQQQIIQQ")}
_SYM = {1: struct.Struct("<IIIBBH"), 2: struct.Struct("<IBBHQQ")}
_IDENT_BYTES = 16
_HIGH_HALF = 1 << 63


@record
class Segment:
    """One PT_LOAD: `file_bytes` at `offset`, then zeroes up to `memory_bytes`, all at `gpa`."""

    gpa: int
    virtual: int
    offset: int
    file_bytes: int
    memory_bytes: int


@record
class ElfHeader:
    """The part of the ELF header that names what the file is and where its tables are."""

    bits: int
    machine: int
    type: int
    entry: int
    program_at: int
    program_size: int
    programs: int
    section_at: int
    section_size: int
    sections: int


def parse_header(head: bytes) -> ElfHeader:
    """Read the ELF header that `head` begins; `LoadError` when not whole or not little-endian."""
    if len(head) < _IDENT_BYTES or not head.startswith(MAGIC):
        raise LoadError("this is not an ELF file")
    width, order = head[4], head[5]
    if width not in _EHDR:
        raise LoadError(
            "the ELF file is damaged", why=f"its class is {width}, neither 32 nor 64 bit"
        )
    if order != 1:
        raise LoadError("the ELF file cannot be loaded", why="it is big-endian")
    layout = _EHDR[width]
    if len(head) < _IDENT_BYTES + layout.size:
        raise LoadError("the ELF file is truncated", why="its header is not whole")
    kind, machine, _, entry, program_at, section_at, _, _, program_size, programs, section_size, \
        sections, _ = layout.unpack_from(head, _IDENT_BYTES)  # fmt: skip
    return ElfHeader(
        bits=32 * width, machine=machine, type=kind, entry=entry,
        program_at=program_at, program_size=program_size, programs=programs,
        section_at=section_at, section_size=section_size, sections=sections,
    )  # fmt: skip


def read_segments(header: ElfHeader, read_at: ReadAt, file_size: int) -> list[Segment]:
    """Return the loadable segments; `LoadError` for tables or segments that the file does not hold.

    Addresses are as the file says them: the caller holds them against the memory there is.
    """
    layout = _PHDR[header.bits // 32]
    if header.programs > MAX_SEGMENTS or header.program_size < layout.size:
        raise LoadError(
            "the ELF file is damaged",
            why=f"its program header table is not one ({header.programs})",
        )
    segments = []
    for index in range(header.programs):
        raw = read_at(header.program_at + index * header.program_size, layout.size)
        if len(raw) < layout.size:
            raise LoadError("the ELF file is truncated", why="its program headers are not whole")
        if header.bits == 64:
            kind, _, offset, virtual, physical, in_file, in_memory, _ = layout.unpack(raw)
        else:
            kind, offset, virtual, physical, in_file, in_memory, _, _ = layout.unpack(raw)
        if kind == PT_INTERP:
            raise LoadError(
                "this ELF file is a program, not a kernel",
                why="it asks for a dynamic linker",
                fix="run it inside a guest",
            )
        if kind == PT_LOAD and in_memory:
            segments.append(
                _checked(Segment(physical, virtual, offset, in_file, in_memory), file_size)
            )
    if not segments:
        raise LoadError("the ELF file cannot be loaded", why="it has no loadable segment")
    return segments


def _checked(segment: Segment, file_size: int) -> Segment:
    if segment.file_bytes > segment.memory_bytes:
        raise LoadError(
            "the ELF file is damaged", why="a segment is larger in the file than in memory"
        )
    if segment.offset + segment.file_bytes > file_size:
        raise LoadError(
            "the ELF file is truncated",
            why=f"a segment ends at byte {segment.offset + segment.file_bytes} of {file_size}",
        )
    return segment


def without_headers(segments: list[Segment], header: ElfHeader, floor: int) -> list[Segment]:
    """Cut the file's own headers off a segment that begins with them below `floor`.

    `ld -Ttext=ADDRESS` maps them into the page before ADDRESS, where a board need not have memory.
    """
    headers_end = header.program_at + header.programs * header.program_size
    kept = []
    for s in segments:
        cut = floor - s.gpa
        if s.offset == 0 and headers_end <= cut < s.file_bytes:
            s = Segment(floor, s.virtual + cut, cut, s.file_bytes - cut, s.memory_bytes - cut)
        kept.append(s)
    return kept


def relocated(segments: list[Segment], base: int) -> list[Segment]:
    """Move the segments so that the lowest lies at `base`."""
    shift = base - min(segment.gpa for segment in segments)
    return [
        Segment(s.gpa + shift, s.virtual, s.offset, s.file_bytes, s.memory_bytes) for s in segments
    ]


def is_movable(header: ElfHeader, segments: list[Segment]) -> bool:
    """Say whether the file may be put elsewhere than its addresses say.

    A position-independent one may (OpenSBI 1.6 is linked at 0), and so may a kernel linked to run
    in the upper half of the address space: Linux makes its page tables from where it finds itself.
    """
    return header.type == ET_DYN or all(segment.virtual & _HIGH_HALF for segment in segments)


def physical_entry(entry: int, segments: list[Segment]) -> int:
    """Turn the entry point, a virtual address, into where its segment was put."""
    for segment in segments:
        if segment.virtual <= entry < segment.virtual + segment.memory_bytes:
            return entry - segment.virtual + segment.gpa
    if any(segment.gpa <= entry < segment.gpa + segment.memory_bytes for segment in segments):
        return entry
    raise LoadError(
        "the ELF file cannot be started", why=f"its entry {entry:#x} lies in none of its segments"
    )


def read_symbols(header: ElfHeader, read_at: ReadAt) -> dict[str, int]:
    """Return the named symbols of the file and their values; empty when it was stripped.

    Stops quietly at tables the file does not hold: symbols are for people, nothing depends on them.
    """
    sections = list(_sections(header, read_at))
    symbols: dict[str, int] = {}
    for kind, offset, size, link, entry_size in sections:
        layout = _SYM[header.bits // 32]
        if kind != SHT_SYMTAB or entry_size != layout.size or link >= len(sections):
            continue
        strings = read_at(sections[link][1], min(sections[link][2], MAX_STRINGS_BYTES))
        table = read_at(offset, min(size, MAX_SYMBOLS * layout.size))
        for fields in layout.iter_unpack(table[: len(table) // layout.size * layout.size]):
            end = strings.find(b"\0", fields[0], fields[0] + MAX_NAME_BYTES)
            name = strings[fields[0] : end] if end >= 0 else b""
            if name:
                value = fields[4] if header.bits == 64 else fields[1]
                symbols[name.decode("utf-8", "replace")] = value
    return symbols


def _sections(header: ElfHeader, read_at: ReadAt) -> Iterator[tuple[int, int, int, int, int]]:
    """Yield (type, offset, size, link, entry size) of each section."""
    layout = _SHDR[header.bits // 32]
    if header.section_size < layout.size:
        return
    for index in range(min(header.sections, MAX_SECTIONS)):
        raw = read_at(header.section_at + index * header.section_size, layout.size)
        if len(raw) < layout.size:
            return
        _, kind, _, _, offset, size, link, _, _, entry_size = layout.unpack(raw)
        yield kind, offset, size, link, entry_size
