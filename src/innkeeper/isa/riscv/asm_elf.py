"""An assembled program as an ELF64 executable (System V ABI chapters 4, 5; RISC-V psABI 8).

One segment holds everything; section headers and a symbol table are there for debuggers.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from innkeeper.isa.riscv.asm import Program

ET_EXEC, EM_RISCV, PT_LOAD = 2, 243, 1
EF_RISCV_RVC, EF_RISCV_FLOAT_ABI_DOUBLE = 1, 4
SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB, SHT_NOBITS = 1, 2, 3, 8
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR = 1, 2, 4
SHN_ABS = 0xFFF1
STB_GLOBAL = 1 << 4
SEGMENT_RWX = 7
PAGE_BYTES = 4096

_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR = struct.Struct("<IIQQQQQQ")
_SHDR = struct.Struct("<IIQQQQIIQQ")
_SYM = struct.Struct("<IBBHQQ")


def elf_image(program: Program) -> bytes:
    """Return a static executable that is loaded at the program's own addresses."""
    offset = PAGE_BYTES + program.base % PAGE_BYTES
    out = bytearray(offset) + program.image
    names = _Strings()
    headers = [_SHDR.pack(*([0] * 10))]
    for section in program.sections:
        headers.append(
            _SHDR.pack(
                names.add(section.name), SHT_NOBITS if section.nobits else SHT_PROGBITS,
                _section_flags(section.flags), section.address,
                offset + min(section.address - program.base, len(program.image)),
                section.size, 0, 0, 4, 0,
            )
        )  # fmt: skip
    symbols, strings, local_count = _symbols(program)
    strtab_index = len(headers) + 1
    out += bytes(-len(out) % 8)
    headers.append(
        _SHDR.pack(names.add(".symtab"), SHT_SYMTAB, 0, 0, len(out), len(symbols), strtab_index,
                   local_count, 8, _SYM.size)
    )  # fmt: skip
    out += symbols
    headers.append(_table(names.add(".strtab"), len(out), len(strings)))
    out += strings
    name_offset = names.add(".shstrtab")
    headers.append(_table(name_offset, len(out), len(names.data)))
    out += names.data
    out += bytes(-len(out) % 8)
    out[: _EHDR.size] = _elf_header(program, len(out), len(headers))
    out[_EHDR.size : _EHDR.size + _PHDR.size] = _PHDR.pack(
        PT_LOAD, SEGMENT_RWX, offset, program.base, program.base, len(program.image),
        program.memory_size, PAGE_BYTES,
    )  # fmt: skip
    return bytes(out) + b"".join(headers)


class _Strings:
    """A string table in the making."""

    def __init__(self) -> None:
        self.data = bytearray(1)

    def add(self, text: str) -> int:
        """Append a string; return its offset."""
        at = len(self.data)
        self.data += text.encode() + b"\0"
        return at


def _table(name: int, offset: int, size: int) -> bytes:
    return _SHDR.pack(name, SHT_STRTAB, 0, 0, offset, size, 0, 0, 1, 0)


def _elf_header(program: Program, table_offset: int, count: int) -> bytes:
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    return _EHDR.pack(
        ident, ET_EXEC, EM_RISCV, 1, program.entry, _EHDR.size, table_offset,
        EF_RISCV_RVC | EF_RISCV_FLOAT_ABI_DOUBLE, _EHDR.size, _PHDR.size, 1, _SHDR.size, count,
        count - 1,
    )  # fmt: skip


def _section_flags(flags: str) -> int:
    return SHF_ALLOC | SHF_WRITE * ("w" in flags) | SHF_EXECINSTR * ("x" in flags)


def _symbols(program: Program) -> tuple[bytes, bytes, int]:
    """Return the symbol table, its strings, and the index of the first global symbol."""
    strings, table = _Strings(), _SYM.pack(0, 0, 0, 0, 0, 0)
    ordered = sorted(program.symbols, key=lambda n: (n in program.global_symbols, n))
    for name in ordered:
        value = program.symbols[name]
        bind = STB_GLOBAL if name in program.global_symbols else 0
        index = _section_of(program, value) if name in program.labels else SHN_ABS
        table += _SYM.pack(strings.add(name), bind, 0, index, value & (1 << 64) - 1, 0)
    local_count = 1 + sum(name not in program.global_symbols for name in ordered)
    return table, bytes(strings.data), local_count


def _section_of(program: Program, address: int) -> int:
    """Return the header index of the section an address lies in, or right after."""
    for index, section in enumerate(program.sections, 1):
        if section.address <= address <= section.address + section.size:
            return index
    return SHN_ABS
