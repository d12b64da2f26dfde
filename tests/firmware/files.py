"""Small real kernel files, built from their specifications, and plain guest memory."""

from __future__ import annotations

import struct

from innkeeper.base.errors import InnError

EM_386, EM_X86_64, EM_AARCH64, EM_RISCV = 3, 62, 183, 243
PE_RISCV64, PE_X86_64, PE_AARCH64 = 0x5064, 0x8664, 0xAA64
HIGH = 0xFFFF_FFFF_8000_0000


def riscv_image(
    *, text_offset: int = 0x20_0000, image_size: int = 0x30_0000, flags: int = 0,
    body: int = 0x3000, pe_machine: int | None = None, sections_end: int | None = None,
) -> bytes:  # fmt: skip
    """A RISC-V Linux Image; with `pe_machine` one with an EFI stub and a section."""
    code0 = 0x1_5A4D if pe_machine is not None else 0x6F
    header = struct.pack(
        "<IIQQQIIQ8s4sI", code0, 0, text_offset, image_size, flags, 2, 0, 0, b"RISCV\0\0\0",
        b"RSC\x05", 0x40,
    )  # fmt: skip
    if pe_machine is not None:
        header += pe_header(pe_machine, sections_end or body)
    return header.ljust(body, b"\xa5")


def pe_header(machine: int, end: int) -> bytes:
    optional = bytes(0xA0)
    coff = struct.pack("<HHIIIHH", machine, 1, 0, 0, 0, len(optional), 0x206)
    section = struct.pack("<8sIIIIIIHHI", b".text", end, 0x100, end - 0x100, 0x100, 0, 0, 0, 0, 0)
    return b"PE\0\0" + coff + optional + section


def arm64_image() -> bytes:
    return struct.pack("<IIQQQQQQ4sI", 0, 0, 0, 0x10_0000, 0, 0, 0, 0, b"ARM\x64", 0).ljust(
        4096, b"\1"
    )


def bzimage(*, wide: bool = True) -> bytes:
    data = bytearray(4096)
    data[0x1FE:0x200] = b"\x55\xaa"
    data[0x202:0x206] = b"HdrS"
    data[0x236] = int(wide)
    return bytes(data)


def zboot(payload: bytes, name: bytes = b"gzip", *, machine: int = PE_RISCV64) -> bytes:
    offset = 0x400
    header = struct.pack("<2sH4sIIII32s", b"MZ", 0, b"zimg", offset, len(payload), 0, 0, name)
    header = header.ljust(0x3C, b"\0") + struct.pack("<I", 0x40) + pe_header(machine, 0x2000)
    return header.ljust(offset, b"\0") + payload + b"\0" * 4


Load = tuple[int, int, bytes, int]
"""Physical address, virtual address, data, size in memory."""


def elf(
    loads: list[Load], *, entry: int, machine: int = EM_RISCV, bits: int = 64,
    symbols: dict[str, int] | None = None, interp: bool = False,
) -> bytes:  # fmt: skip
    """An executable ELF file with these segments and symbols."""
    wide = bits == 64
    ehdr_size, phdr_size, shdr_size = (64, 56, 64) if wide else (52, 32, 40)
    headers = len(loads) + interp
    data_at = ehdr_size + headers * phdr_size
    body, programs = bytearray(), bytearray()
    for physical, virtual, data, size in loads:
        at = data_at + len(body)
        if wide:
            programs += struct.pack("<IIQQQQQQ", 1, 7, at, virtual, physical, len(data), size, 1)
        else:
            programs += struct.pack("<8I", 1, at, virtual, physical, len(data), size, 7, 1)
        body += data
    if interp:
        programs += struct.pack("<IIQQQQQQ", 3, 4, data_at, 0, 0, 1, 1, 1)
    sections = b""
    if symbols:
        strings, table = bytearray(b"\0"), bytearray(24)
        for name, value in symbols.items():
            table += struct.pack("<IBBHQQ", len(strings), 0x12, 0, 1, value, 4)
            strings += name.encode() + b"\0"
        table_at = data_at + len(body)
        body += table + strings
        sections = bytes(shdr_size) + struct.pack(
            "<IIQQQQIIQQ", 0, 2, 0, 0, table_at, len(table), 2, 1, 8, 24
        ) + struct.pack(
            "<IIQQQQIIQQ", 0, 3, 0, 0, table_at + len(table), len(strings), 0, 0, 1, 0
        )  # fmt: skip
    ident = bytes([0x7F, *b"ELF", 2 if wide else 1, 1, 1]).ljust(16, b"\0")
    header = struct.pack(
        "<HHIQQQIHHHHHH" if wide else "<HHIIIIIHHHHHH", 2, machine, 1, entry, ehdr_size,
        data_at + len(body) if sections else 0, 0, ehdr_size, phdr_size, headers,
        shdr_size, len(sections) // shdr_size, 0,
    )  # fmt: skip
    return ident + header + bytes(programs) + bytes(body) + sections


class PlainMemory:
    """RAM of a guest as a bytearray, with the checks of the real one."""

    def __init__(self, base: int, size: int) -> None:
        self.base, self.data = base, bytearray(size)

    def view(self, gpa: int, size_bytes: int, /) -> memoryview:
        if gpa < self.base or size_bytes < 0 or gpa + size_bytes > self.base + len(self.data):
            raise InnError(f"{size_bytes} bytes at {gpa:#x} are not RAM")
        return memoryview(self.data)[gpa - self.base : gpa - self.base + size_bytes]

    def write(self, gpa: int, data: bytes, /) -> None:
        self.view(gpa, len(data))[:] = data

    def read(self, gpa: int, size: int) -> bytes:
        return bytes(self.view(gpa, size))
