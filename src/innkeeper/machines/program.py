"""A program for a bare CPU: assembly source, an ELF file, or plain machine code."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from innkeeper.base.errors import LoadError
from innkeeper.base.units import PAGE_BYTES
from innkeeper.firmware import elf

EM_RISCV = 243
MAX_FILE_BYTES = 1 << 30
MAX_SPAN_BYTES = 16 << 30
"""The most address space that a program's segments may take up together."""

MOVED_BASE = 0x8000_0000
SOURCE_SUFFIXES = frozenset({".s", ".asm", ".sx"})


@dataclass(frozen=True)
class LoadedProgram:
    """What goes where; `end` is the first address after everything, `.bss` included."""

    pieces: tuple[tuple[int, bytes], ...]
    entry: int
    base: int
    end: int
    symbols: dict[str, int] = field(default_factory=dict)


def read_program(path: Path, *, base: int | None = None) -> LoadedProgram:
    """Read a program file; `.s` is assembled, ELF is told by its first bytes, the rest is raw.

    `base` is where source and raw code go (0x80000000). Raises `LoadError` and `AssemblyError`.
    """
    try:
        with open(path, "rb") as f:
            data = f.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise LoadError(f"cannot read {path}", why=error.strerror or str(error)) from None
    if len(data) > MAX_FILE_BYTES:
        raise LoadError(f"{path} is too large", why=f"more than {MAX_FILE_BYTES >> 20} MiB")
    place = MOVED_BASE if base is None else base
    if data.startswith(elf.MAGIC):
        return parse_elf(data, base=base)
    if path.suffix.lower() in SOURCE_SUFFIXES:
        return assemble_program(data, base=place, name=str(path))
    if not data:
        raise LoadError(f"{path} is empty")
    return LoadedProgram(((place, data),), place, place, place + len(data))


def assemble_program(source: bytes, *, base: int, name: str) -> LoadedProgram:
    """Assemble source text."""
    from innkeeper.isa.riscv.asm import assemble

    try:
        text = source.decode()
    except UnicodeDecodeError:
        raise LoadError(f"{name} is not assembly source", why="it is not UTF-8 text") from None
    program = assemble(text, base=base, name=name)
    if not program.image:
        raise LoadError(f"{name} holds no code")
    return LoadedProgram(
        ((base, program.image),), program.entry, base, base + program.memory_size, program.symbols
    )


def parse_elf(data: bytes, *, base: int | None = None) -> LoadedProgram:
    """Read a 64-bit RISC-V executable; a position-independent one is put at `base`."""

    def read_at(offset: int, size: int) -> bytes:
        return data[offset : offset + size]

    header = elf.parse_header(data[: elf.MAX_NAME_BYTES])
    if header.bits != 64 or header.machine != EM_RISCV:
        raise LoadError(
            "this ELF file is not for a riscv64 CPU",
            why=f"it is {header.bits}-bit code for machine {header.machine}",
        )
    segments = elf.read_segments(header, read_at, len(data))
    low = min(s.virtual for s in segments)
    shift = (MOVED_BASE if base is None else base) - low if header.type == elf.ET_DYN else 0
    end = max(s.virtual + s.memory_bytes for s in segments) + shift
    start = (low + shift) // PAGE_BYTES * PAGE_BYTES
    if end - start > MAX_SPAN_BYTES or end > 1 << 64 or start < 0:
        raise LoadError(
            "the ELF file cannot be loaded", why=f"its segments span {start:#x} to {end:#x}"
        )
    symbols = {name: value + shift for name, value in elf.read_symbols(header, read_at).items()}
    return LoadedProgram(
        tuple((s.virtual + shift, read_at(s.offset, s.file_bytes)) for s in segments),
        header.entry + shift, start, end, symbols,
    )  # fmt: skip
