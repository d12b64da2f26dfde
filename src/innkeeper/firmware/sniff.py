"""Name what a file looks like when it is not a kernel, and say what to do with it."""

from __future__ import annotations

import codecs
from pathlib import Path

from innkeeper.base.errors import LoadError

NO_KNOWN_FORM = "data of no known form"

_AS_DISK = "give it with --disk"
_AS_INITRD = "give it with --initrd"
_UNPACK = "unpack it and give the kernel inside"

_MAGICS: list[tuple[int, bytes, str, str]] = [
    (
        0,
        b"!<arch>\ndebian-binary",
        "a Debian package",
        "unpack it with dpkg -x and give boot/vmlinux-*",
    ),
    (0, b"!<arch>\n", "a static library", ""),
    (0, b"\xed\xab\xee\xdb", "an RPM package", _UNPACK),
    (0, b"070701", "a cpio archive, an initramfs perhaps", _AS_INITRD),
    (0, b"070702", "a cpio archive, an initramfs perhaps", _AS_INITRD),
    (0, b"hsqs", "a squashfs file system", _AS_DISK),
    (0, b"QFI\xfb", "a qcow2 disk image", _AS_DISK),
    (0, b"vhdxfile", "a VHDX disk image", _AS_DISK),
    (0, b"KDMV", "a VMDK disk image", _AS_DISK),
    (0, b"PK\x03\x04", "a zip archive", _UNPACK),
    (0, b"\xd0\x0d\xfe\xed", "a device tree blob, or a FIT image", ""),
    (0, b"\x27\x05\x19\x56", "a U-Boot uImage", "give the kernel that it was made from"),
    (0, b"ANDROID!", "an Android boot image", _UNPACK),
    (257, b"ustar", "a tar archive", _UNPACK),
    (0x8001, b"CD001", "an ISO 9660 image", _AS_DISK),
    (0x10040, b"_BHRfS_M", "a Btrfs file system", _AS_DISK),
    (0, b"XFSB", "an XFS file system", _AS_DISK),
    (0x438, b"\x53\xef", "an ext2, ext3 or ext4 file system", _AS_DISK),
    (510, b"\x55\xaa", "a disk image or a boot sector", _AS_DISK),
]

_TEXT_SAMPLE = 512
_TEXT_CONTROLS = b"\t\n\r\f\x1b"


def looks_like(head: bytes) -> tuple[str, str]:
    """Return what a file beginning with `head` looks like, and advice on it, maybe empty."""
    for offset, magic, name, advice in _MAGICS:
        if head[offset : offset + len(magic)] == magic:
            return name, advice
    if head.startswith(b"#!"):
        return "a script", ""
    if _is_text(head[:_TEXT_SAMPLE]):
        return "a text file", ""
    if not head.strip(b"\0"):
        return "nothing but zeroes", ""
    return NO_KNOWN_FORM, ""


def _is_text(sample: bytes) -> bool:
    if any(byte < 0x20 and byte not in _TEXT_CONTROLS for byte in sample):
        return False
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)
    except UnicodeDecodeError:
        return False
    return True


def check_regular(path: Path, *, role: str = "a kernel") -> int:
    """Return the size of the file at `path`; `LoadError` when it is not a file with something in
    it.

    `role` is what the file should be, for the message.
    """
    try:
        if path.is_dir():
            raise LoadError(
                f"{path} is not {role}", why="it is a directory", fix="name a file in it"
            )
        if not path.exists():
            raise LoadError(f"{path} cannot be read", why="there is no such file")
        if not path.is_file():
            raise LoadError(f"{path} is not {role}", why="it is a device, a socket or a pipe")
        size = path.stat().st_size
    except (OSError, ValueError) as error:
        raise LoadError(f"{path} cannot be read", why=str(error)) from error
    if not size:
        raise LoadError(f"{path} is not {role}", why="it is empty")
    return size
