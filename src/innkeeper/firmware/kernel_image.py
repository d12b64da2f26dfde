"""What the first bytes of a kernel file say: Linux images of each CPU, EFI zboot, ELF.

Sources: Linux Documentation/arch/riscv/boot-image-header.rst, arch/arm64/booting.rst,
arch/x86/boot.rst, drivers/firmware/efi/libstub/zboot-header.S, and the PE/COFF specification for
the machine numbers.
"""

from __future__ import annotations

import struct
from enum import StrEnum

from innkeeper.base.errors import LoadError
from innkeeper.base.record import record, replace
from innkeeper.firmware import elf

HEAD_BYTES = 68 * 1024
"""How much of a file is looked at to name it: ISO 9660 begins at 32 KiB, Btrfs at 64 KiB."""

MAX_IMAGE_BYTES = 4 << 30
"""The most memory that a kernel's header may ask for."""


class Kind(StrEnum):
    """What form a kernel or firmware file has."""

    IMAGE = "Linux Image"
    BZIMAGE = "Linux bzImage"
    ELF = "ELF"
    EFI = "EFI application"
    RAW = "raw binary"


class Arch(StrEnum):
    """The CPU that a file is for."""

    RISCV64 = "riscv64"
    RISCV32 = "riscv32"
    X86_64 = "x86_64"
    I386 = "i386"
    AARCH64 = "aarch64"
    ARM = "arm"
    LOONGARCH64 = "loongarch64"
    UNKNOWN = "unknown"


@record
class KernelInfo:
    """What a kernel or firmware file is, from its first bytes alone.

    `wrappers` names what is around it, outermost first (`gzip`, `zboot`, ...). `image_bytes` is the
    memory it says it takes (0: it does not say), `text_offset` how far above an aligned base an
    Image wants to be, `entry` where an ELF file starts, as the file says it.
    """

    kind: Kind
    arch: Arch
    wrappers: tuple[str, ...] = ()
    efi_stub: bool = False
    text_offset: int = 0
    image_bytes: int = 0
    entry: int | None = None

    def describe(self) -> str:
        """Say it in words: `riscv64 Linux Image with an EFI stub, gzip-compressed`."""
        words = f"{self.arch} {self.kind}" + (" with an EFI stub" if self.efi_stub else "")
        for wrapper in reversed(self.wrappers):
            words += " in an EFI zboot wrapper" if wrapper == "zboot" else f", {wrapper}-compressed"
        return words

    def wrapped(self, wrappers: tuple[str, ...]) -> KernelInfo:
        """Return the same with `wrappers` around it."""
        return replace(self, wrappers=wrappers)


_ELF_MACHINES = {
    3: Arch.I386,
    40: Arch.ARM,
    62: Arch.X86_64,
    183: Arch.AARCH64,
    258: Arch.LOONGARCH64,
}
_EM_RISCV = 243
_PE_MACHINES = {
    0x14C: Arch.I386,
    0x1C2: Arch.ARM,
    0x5032: Arch.RISCV32,
    0x5064: Arch.RISCV64,
    0x6264: Arch.LOONGARCH64,
    0x8664: Arch.X86_64,
    0xAA64: Arch.AARCH64,
}
_RISCV_HEADER = struct.Struct("<IIQQQIIQ8s4sI")
_ARM64_HEADER = struct.Struct("<IIQQQQQQ4sI")
_ZBOOT_HEADER = struct.Struct("<2sH4sIIII32s")
_PE_SECTION = struct.Struct("<16xII16x")
_RISCV_BIG_ENDIAN = 1
_XLF_KERNEL_64 = 1


@record
class Zboot:
    """Where an EFI zboot image keeps its compressed kernel, and how it says it is compressed."""

    offset: int
    size: int
    compression: str


def parse_zboot(head: bytes) -> Zboot | None:
    """Read the zboot header at the start of `head`; None when it is not one."""
    if len(head) < _ZBOOT_HEADER.size:
        return None
    mz, _, kind, offset, size, _, _, name = _ZBOOT_HEADER.unpack_from(head)
    if mz != b"MZ" or kind != b"zimg":
        return None
    if offset < _ZBOOT_HEADER.size or not size:
        raise LoadError(
            "the EFI zboot image is damaged", why="its payload is not where it could be"
        )
    return Zboot(offset, size, name.split(b"\0")[0].decode("ascii", "replace"))


def pe_arch(head: bytes) -> Arch | None:
    """Return the CPU of the PE file that `head` begins, or None when it is none."""
    if len(head) < 0x40 or not head.startswith(b"MZ"):
        return None
    (at,) = struct.unpack_from("<I", head, 0x3C)
    if head[at : at + 4] != b"PE\0\0" or len(head) < at + 6:
        return None
    return _PE_MACHINES.get(int.from_bytes(head[at + 4 : at + 6], "little"), Arch.UNKNOWN)


def pe_file_bytes(head: bytes) -> int:
    """Return where the last section of the PE file that `head` begins ends; 0 if it is none."""
    if pe_arch(head) is None:
        return 0
    at = int.from_bytes(head[0x3C:0x40], "little")
    sections, optional_bytes = struct.unpack_from("<H12xH", head[at : at + 24].ljust(24, b"\0"), 6)
    table = head[at + 24 + optional_bytes :][: sections * _PE_SECTION.size]
    ends = [
        start + size
        for size, start in _PE_SECTION.iter_unpack(
            table[: len(table) // _PE_SECTION.size * _PE_SECTION.size]
        )
        if start
    ]
    return max(ends, default=0)


def recognise(head: bytes) -> KernelInfo | None:
    """Return what kernel `head` begins, or None when it is not a form known here."""
    if head.startswith(elf.MAGIC):
        return _elf(head)
    return _riscv_image(head) or _arm64_image(head) or _bzimage(head) or _efi_application(head)


def _elf(head: bytes) -> KernelInfo:
    header = elf.parse_header(head)
    arch = _ELF_MACHINES.get(header.machine, Arch.UNKNOWN)
    if header.machine == _EM_RISCV:
        arch = Arch.RISCV64 if header.bits == 64 else Arch.RISCV32
    return KernelInfo(Kind.ELF, arch, entry=header.entry)


def _riscv_image(head: bytes) -> KernelInfo | None:
    if len(head) < _RISCV_HEADER.size:
        return None
    _, _, text_offset, size, flags, _, _, _, old_magic, magic, _ = _RISCV_HEADER.unpack_from(head)
    if magic != b"RSC\x05" and old_magic[:5] != b"RISCV":
        return None
    if flags & _RISCV_BIG_ENDIAN:
        raise LoadError("the kernel cannot be loaded", why="it is a big-endian RISC-V Image")
    if size > MAX_IMAGE_BYTES or text_offset > MAX_IMAGE_BYTES:
        raise LoadError(
            "the kernel's header is damaged",
            why=f"it asks for {size:#x} bytes at offset {text_offset:#x}",
        )
    arch = pe_arch(head)
    return KernelInfo(
        Kind.IMAGE, arch or Arch.RISCV64, efi_stub=arch is not None,
        text_offset=text_offset, image_bytes=size,
    )  # fmt: skip


def _arm64_image(head: bytes) -> KernelInfo | None:
    if len(head) < _ARM64_HEADER.size:
        return None
    _, _, text_offset, size, _, _, _, _, magic, _ = _ARM64_HEADER.unpack_from(head)
    if magic != b"ARM\x64":
        return None
    return KernelInfo(
        Kind.IMAGE, Arch.AARCH64, efi_stub=pe_arch(head) is not None,
        text_offset=text_offset, image_bytes=size,
    )  # fmt: skip


def _bzimage(head: bytes) -> KernelInfo | None:
    if len(head) < 0x238 or head[0x1FE:0x200] != b"\x55\xaa" or head[0x202:0x206] != b"HdrS":
        return None
    wide = int.from_bytes(head[0x236:0x238], "little") & _XLF_KERNEL_64
    arch = Arch.X86_64 if wide else Arch.I386
    return KernelInfo(Kind.BZIMAGE, arch, efi_stub=pe_arch(head) is not None)


def _efi_application(head: bytes) -> KernelInfo | None:
    arch = pe_arch(head)
    return None if arch is None else KernelInfo(Kind.EFI, arch)
