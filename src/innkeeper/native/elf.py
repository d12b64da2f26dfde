"""A small static linker: one relocatable ELF object to a flat, position-independent image.

Source: System V ABI (gABI) chapter 4; x86-64 psABI 4.4; AArch64 ELF ABI 5.7. Only what LLVM emits
for our own modules is taken: anything else is an error, not a guess.
"""

from __future__ import annotations

import struct

from innkeeper.base.errors import CompileError
from innkeeper.base.record import record

SHF_ALLOC = 2
SHT_RELA, SHT_NOBITS = 4, 8
EM_X86_64, EM_AARCH64 = 62, 183
DROPPED = (".eh_frame", ".note.GNU-stack")


@record
class Image:
    """Flat machine code and constants, to be placed at any page-aligned address.

    `symbols` maps names to offsets in `data`.
    """

    data: bytes
    symbols: dict[str, int]


@record(frozen=False)
class _Section:
    name: str
    kind: int
    flags: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    place: int = -1


def link(obj: bytes) -> Image:
    """Lay out the sections of an object, resolve its symbols and apply its relocations."""
    machine = struct.unpack_from("<H", obj, 18)[0]
    sections = _sections(obj)
    size = 0
    for s in sections:
        if s.flags & SHF_ALLOC and s.name not in DROPPED and s.size:
            size = (size + s.align - 1) // s.align * s.align
            s.place = size
            size += s.size
    data = bytearray(size)
    for s in sections:
        if s.place >= 0 and s.kind != SHT_NOBITS:
            data[s.place : s.place + s.size] = obj[s.offset : s.offset + s.size]
    for s in sections:
        if s.kind == SHT_RELA and sections[s.info].place >= 0:
            _relocate(obj, data, sections, s, machine)
    table = next(s for s in sections if s.name == ".symtab")
    symbols = {}
    for n in range(table.size // 24):
        name, address = _symbol(obj, sections, table, n)
        if name and address is not None:
            symbols[name] = address
    return Image(bytes(data), symbols)


def _sections(obj: bytes) -> list[_Section]:
    table, count, names = struct.unpack_from("<Q", obj, 40)[0], *struct.unpack_from("<HH", obj, 60)
    found = []
    for n in range(count):
        name, kind, flags, _, offset, size, link_, info, align, _ = struct.unpack_from(
            "<IIQQQQIIQQ", obj, table + 64 * n
        )
        found.append((name, _Section("", kind, flags, offset, size, link_, info, max(align, 1))))
    strings = found[names][1]
    for name, section in found:
        section.name = _string(obj, strings.offset + name)
    return [s for _, s in found]


def _string(obj: bytes, at: int) -> str:
    return obj[at : obj.index(0, at)].decode()


def _symbol(
    obj: bytes, sections: list[_Section], table: _Section, n: int
) -> tuple[str, int | None]:
    name, _, _, index, value, _ = struct.unpack_from("<IBBHQQ", obj, table.offset + 24 * n)
    text = _string(obj, sections[table.link].offset + name)
    if index in (0, 0xFFF1) or index >= len(sections) or sections[index].place < 0:
        return text, None
    return text, sections[index].place + value


def _relocate(
    obj: bytes, data: bytearray, sections: list[_Section], rela: _Section, machine: int
) -> None:
    table, base = sections[rela.link], sections[rela.info].place
    for n in range(rela.size // 24):
        offset, info, addend = struct.unpack_from("<QQq", obj, rela.offset + 24 * n)
        name, target = _symbol(obj, sections, table, info >> 32)
        if target is None:
            raise CompileError(f"compiled code refers to {name!r}, which nothing defines")
        place, kind = base + offset, info & 0xFFFFFFFF
        apply = _X86_64 if machine == EM_X86_64 else _AARCH64
        if kind not in apply:
            raise CompileError(
                f"relocation type {kind} against {name!r} is not position independent"
            )
        apply[kind](data, place, target + addend)


def _pc32(data: bytearray, place: int, target: int) -> None:
    struct.pack_into("<i", data, place, target - place)


def _pc64(data: bytearray, place: int, target: int) -> None:
    struct.pack_into("<q", data, place, target - place)


def _patch(data: bytearray, place: int, mask: int, bits: int) -> None:
    word = struct.unpack_from("<I", data, place)[0]
    struct.pack_into("<I", data, place, (word & ~mask) | (bits & mask))


def _adrp(data: bytearray, place: int, target: int) -> None:
    pages = (target >> 12) - (place >> 12)
    _patch(data, place, 0x60FFFFE0, (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5)


def _adr(data: bytearray, place: int, target: int) -> None:
    delta = target - place
    _patch(data, place, 0x60FFFFE0, (delta & 3) << 29 | (delta >> 2 & 0x7FFFF) << 5)


def _low12(shift: int):  # type: ignore[no-untyped-def]
    def apply(data: bytearray, place: int, target: int) -> None:
        _patch(data, place, 0xFFF << 10, ((target & 0xFFF) >> shift) << 10)

    return apply


def _branch26(data: bytearray, place: int, target: int) -> None:
    _patch(data, place, 0x3FFFFFF, (target - place) >> 2)


def _branch19(data: bytearray, place: int, target: int) -> None:
    _patch(data, place, 0x7FFFF << 5, ((target - place) >> 2) << 5)


_X86_64 = {2: _pc32, 4: _pc32, 24: _pc64}
_AARCH64 = {
    260: _pc64, 261: _pc32, 274: _adr, 275: _adrp, 277: _low12(0), 278: _low12(0), 284: _low12(1),
    285: _low12(2), 286: _low12(3), 299: _low12(4), 280: _branch19, 282: _branch26, 283: _branch26,
}  # fmt: skip
