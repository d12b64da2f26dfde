"""Identifying and loading kernels: each form, each wrapper, and files that are none."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from innkeeper.base.errors import LoadError
from innkeeper.base.units import KIB, MIB
from innkeeper.firmware import kernel_file, unpack
from innkeeper.firmware.loader import Arch, Kind, Raw, identify, load, prepare, symbols
from innkeeper.firmware.virt_layout import Region
from tests.firmware import files

RAM = Region(0x8000_0000, 16 * MIB)
BASE = RAM.base + 2 * MIB


def zstd(data: bytes) -> bytes:
    try:
        from compression import zstd as module  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        module = pytest.importorskip("zstandard", reason="no zstd in this Python")
    return bytes(module.compress(data))


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
    "zstd": zstd,
}


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(data: bytes) -> Path:
        path = tmp_path / "kernel"
        path.write_bytes(data)
        return path

    return write


Write = Callable[[bytes], Path]


def memory() -> files.PlainMemory:
    return files.PlainMemory(RAM.base, RAM.size)


@pytest.mark.parametrize(
    ("data", "kind", "arch", "stub"),
    [
        (files.riscv_image(), Kind.IMAGE, Arch.RISCV64, False),
        (files.riscv_image(pe_machine=files.PE_RISCV64), Kind.IMAGE, Arch.RISCV64, True),
        (files.arm64_image(), Kind.IMAGE, Arch.AARCH64, False),
        (files.bzimage(), Kind.BZIMAGE, Arch.X86_64, False),
        (files.bzimage(wide=False), Kind.BZIMAGE, Arch.I386, False),
        (files.elf([(BASE, BASE, b"x", 1)], entry=BASE), Kind.ELF, Arch.RISCV64, False),
        (files.elf([], entry=0, bits=32), Kind.ELF, Arch.RISCV32, False),
        (files.elf([], entry=0, machine=files.EM_X86_64), Kind.ELF, Arch.X86_64, False),
        (files.elf([], entry=0, machine=files.EM_AARCH64), Kind.ELF, Arch.AARCH64, False),
        (files.elf([], entry=0, machine=files.EM_386, bits=32), Kind.ELF, Arch.I386, False),
        (files.elf([], entry=0, machine=999), Kind.ELF, Arch.UNKNOWN, False),
        (b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40)
         + files.pe_header(files.PE_AARCH64, 0x2000), Kind.EFI, Arch.AARCH64, False),
    ],
)  # fmt: skip
def test_a_file_says_what_it_is(
    write: Write, data: bytes, kind: Kind, arch: Arch, stub: bool
) -> None:
    info = identify(write(data))
    assert (info.kind, info.arch, info.efi_stub, info.wrappers) == (kind, arch, stub, ())


@pytest.mark.parametrize("name", COMPRESS)
def test_a_compressed_kernel_is_loaded_as_the_plain_one(write: Write, name: str) -> None:
    image = files.riscv_image(body=300 * KIB)
    path = write(COMPRESS[name](image))
    assert identify(path).wrappers == (name,)
    ram = memory()
    loaded = load(path, ram, base=BASE, ram=RAM)
    assert loaded.entry == loaded.start == BASE
    assert loaded.end == BASE + 0x30_0000
    assert ram.read(BASE, len(image)) == image


@pytest.mark.parametrize(
    ("name", "said"), [("gzip", b"gzip"), ("xz", b"xzkern"), ("zstd", b"zstd22")]
)
def test_an_efi_zboot_kernel_is_unwrapped(write: Write, name: str, said: bytes) -> None:
    image = files.riscv_image(pe_machine=files.PE_RISCV64)
    path = write(files.zboot(COMPRESS[name](image), said))
    info = identify(path)
    assert info.wrappers == ("zboot", name) and info.efi_stub
    assert "zboot" in info.describe() and name in info.describe()
    ram = memory()
    load(path, ram, base=BASE, ram=RAM)
    assert ram.read(BASE, len(image)) == image


def test_wrappers_nest_to_a_bound(write: Write) -> None:
    data = files.riscv_image()
    for _ in range(kernel_file.MAX_LAYERS):
        data = gzip.compress(data)
    assert identify(write(data)).kind is Kind.IMAGE
    with pytest.raises(LoadError, match="too deeply"):
        identify(write(gzip.compress(data)))


def test_memory_past_an_image_is_cleared_to_its_size(write: Write) -> None:
    ram = memory()
    ram.data[:] = b"\xff" * RAM.size
    loaded = load(write(files.riscv_image()), ram, base=BASE, ram=RAM)
    assert not any(ram.read(BASE + 0x3000, loaded.end - BASE - 0x3000))
    assert ram.read(loaded.end, 1) == ram.read(BASE - 1, 1) == b"\xff"


def test_an_image_goes_to_its_offset_past_a_2_mib_boundary(write: Write) -> None:
    loaded = prepare(write(files.riscv_image(text_offset=0x28_0000)), base=BASE, ram=RAM)
    assert loaded.entry == BASE + 0x8_0000


def test_elf_segments_go_where_they_say_with_zeroes_after(write: Write) -> None:
    loads = [(BASE, files.HIGH, b"code", 8), (BASE + 0x1000, files.HIGH + 0x1000, b"data", 4)]
    ram = memory()
    ram.data[:] = b"\xff" * RAM.size
    loaded = load(write(files.elf(loads, entry=files.HIGH + 2)), ram, base=RAM.base, ram=RAM)
    assert ram.read(BASE, 9) == b"code\0\0\0\0\xff"
    assert ram.read(BASE + 0x1000, 4) == b"data"
    assert (loaded.entry, loaded.start, loaded.end) == (BASE + 2, BASE, BASE + 0x1004)


def test_a_vmlinux_linked_elsewhere_is_moved_to_the_base(write: Write) -> None:
    loads = [(0x1000, files.HIGH, b"code", 4), (0x3000, files.HIGH + 0x2000, b"data", 4)]
    loaded = prepare(write(files.elf(loads, entry=files.HIGH)), base=BASE, ram=RAM)
    assert [piece.gpa for piece in loaded.pieces] == [BASE, BASE + 0x2000]
    assert loaded.entry == BASE


def test_position_independent_firmware_is_moved_to_the_base(write: Write) -> None:
    data = bytearray(files.elf([(0, 0, b"code", 4), (0x2000, 0x2000, b"data", 4)], entry=2))
    with pytest.raises(LoadError, match="cannot be loaded"):
        prepare(write(bytes(data)), base=BASE, ram=RAM)
    data[16] = 3
    loaded = prepare(write(bytes(data)), base=BASE, ram=RAM)
    assert [piece.gpa for piece in loaded.pieces] == [BASE, BASE + 0x2000]
    assert loaded.entry == BASE + 2


def test_headers_mapped_below_ram_are_left_out(write: Write) -> None:
    # What `ld -Ttext=0x80000000` makes: a segment from the page before, with the headers.
    data = bytearray(files.elf([(RAM.base - 0x78, RAM.base - 0x78, b"code", 4)], entry=RAM.base))
    struct.pack_into("<Q", data, 64 + 8, 0)
    struct.pack_into("<QQ", data, 64 + 32, len(data), len(data))
    loaded = prepare(write(bytes(data)), base=BASE, ram=RAM)
    assert (loaded.start, loaded.entry, loaded.end) == (RAM.base, RAM.base, RAM.base + 4)
    with pytest.raises(LoadError, match="cannot be loaded"):
        prepare(write(bytes(data)), base=BASE, ram=Region(RAM.base + 4, RAM.size))


def test_a_raw_binary_must_be_asked_for(write: Write) -> None:
    path = write(b"\x13\x05\x10\x00" * 200)
    with pytest.raises(LoadError) as caught:
        identify(path)
    assert "--raw" in caught.value.fix
    assert identify(path, raw=Raw.IF_UNKNOWN).kind is Kind.RAW
    loaded = prepare(path, base=BASE + 4, ram=RAM, raw=Raw.ALWAYS)
    assert (loaded.entry, loaded.end) == (BASE + 4, BASE + 804)


def test_a_known_form_is_raw_only_when_that_is_said(write: Write) -> None:
    path = write(gzip.compress(b"text " * 400))
    with pytest.raises(LoadError, match="a text file, gzip-compressed"):
        identify(path, raw=Raw.IF_UNKNOWN)
    assert identify(path, raw=Raw.ALWAYS).kind is Kind.RAW


def test_symbols_of_an_elf_file(write: Write) -> None:
    named = {"_start": BASE, "tohost": BASE + 0x40}
    data = files.elf([(BASE, BASE, b"x" * 64, 64)], entry=BASE, symbols=named)
    assert symbols(write(data)) == named
    assert symbols(write(gzip.compress(data))) == named
    assert symbols(write(data[:-200])) == {}
    assert symbols(write(files.riscv_image())) == {}


NOT_KERNELS = {
    "a Debian package": b"!<arch>\ndebian-binary   1695",
    "a text file": b"Linux version 6.12\nhello\n",
    "a text file ": "Grüße aus Köln\n".encode() * 60,
    "a script": b"#!/bin/sh\nexit 0\n",
    "a cpio archive": b"070701" + b"0" * 104,
    "a qcow2 disk image": b"QFI\xfb\0\0\0\3" + bytes(600),
    "an ISO 9660 image": bytes(0x8001) + b"CD001" + bytes(2000),
    "an ext2, ext3 or ext4 file system": bytes(0x438) + b"\x53\xef" + bytes(2000),
    "a tar archive": b"boot/vmlinux".ljust(257, b"\0") + b"ustar" + bytes(250),
    "a device tree blob": b"\xd0\x0d\xfe\xed" + bytes(60),
    "a disk image or a boot sector": b"\xeb\x63\x90".ljust(510, b"\x90") + b"\x55\xaa",
    "nothing but zeroes": bytes(4096),
}


@pytest.mark.parametrize("name", NOT_KERNELS)
def test_a_file_that_is_no_kernel_is_named(write: Write, name: str) -> None:
    with pytest.raises(LoadError, match="not a kernel") as caught:
        identify(write(NOT_KERNELS[name]))
    assert name.strip() in caught.value.why


def test_a_compressed_initramfs_is_named_with_what_to_do(write: Write) -> None:
    with pytest.raises(LoadError) as caught:
        identify(write(gzip.compress(NOT_KERNELS["a cpio archive"])))
    assert "gzip-compressed" in caught.value.why and "--initrd" in caught.value.fix


def test_paths_that_are_no_files_are_refused(tmp_path: Path, write: Write) -> None:
    for path, why in (
        (tmp_path, "directory"), (tmp_path / "none", "no such file"), (write(b""), "empty"),
        (Path("/dev/null"), "device"), (tmp_path / ("x" * 300), "name"), (Path("a\0b"), ""),
    ):  # fmt: skip
        with pytest.raises(LoadError) as caught:
            identify(path)
        assert why in caught.value.why


@pytest.mark.parametrize(
    "data",
    [files.bzimage(), files.arm64_image(), files.elf([], entry=0, machine=files.EM_X86_64),
     files.elf([], entry=0, bits=32)],
)  # fmt: skip
def test_a_kernel_for_another_cpu_is_refused_by_name(write: Write, data: bytes) -> None:
    path = write(data)
    with pytest.raises(LoadError, match="another CPU") as caught:
        prepare(path, base=BASE, ram=RAM)
    assert str(identify(path).arch) in caught.value.why


def test_an_efi_application_is_not_loaded(write: Write) -> None:
    data = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40) + files.pe_header(0x5064, 0x2000)
    with pytest.raises(LoadError, match="cannot be loaded") as caught:
        prepare(write(data), base=BASE, ram=RAM)
    assert "EFI application" in caught.value.why


@pytest.mark.parametrize(
    "data",
    [
        files.riscv_image(flags=1), files.riscv_image(image_size=1 << 62),
        files.riscv_image(text_offset=1 << 62),
        files.zboot(b"not compressed", b"gzip"), files.zboot(b""),
        files.elf([(BASE, BASE, b"x" * 9, 4)], entry=BASE),
        files.elf([(BASE, BASE, b"x", 4)], entry=0),
        files.elf([(BASE, BASE, b"x", 4)], entry=BASE, interp=True),
        files.elf([], entry=BASE), files.elf([(BASE, BASE, b"x" * 99, 99)], entry=BASE)[:-50],
        files.elf([(BASE, BASE, b"x", 1)], entry=BASE)[:70], b"\x7fELF", b"\x7fELF\2\2" + bytes(60),
        b"\x7fELF\7\1" + bytes(60),
        files.elf([(0x1_0000, 0x1_0000, b"x", 1)], entry=0x1_0000),
        files.elf([(1 << 60, 1 << 60, b"x", 1)], entry=1 << 60),
        files.elf([(BASE, BASE, b"x", 1 << 63)], entry=BASE),
        files.riscv_image(pe_machine=files.PE_RISCV64, sections_end=0x9000),
    ],
)  # fmt: skip
def test_damage_is_refused_and_nothing_is_written(write: Write, data: bytes) -> None:
    path, ram = write(data), memory()
    with pytest.raises(LoadError) as caught:
        load(path, ram, base=BASE, ram=RAM)
    assert str(path) in caught.value.what or "kernel" in caught.value.what
    assert not any(ram.data)


@pytest.mark.parametrize("name", COMPRESS)
def test_truncated_and_broken_compression_is_refused(write: Write, name: str) -> None:
    noise = bytes((i * 7919 >> 3) & 0xFF for i in range(200_000))
    whole = COMPRESS[name](files.riscv_image() + noise)
    with pytest.raises(LoadError, match=f"{name} data (ends early|is damaged)"):
        prepare(write(whole[: len(whole) // 2]), base=BASE, ram=RAM)
    broken = bytearray(whole)
    broken[len(broken) // 2 :] = bytes(byte ^ 0x5A for byte in broken[len(broken) // 2 :])
    with pytest.raises(LoadError, match=f"{name} data"):
        prepare(write(bytes(broken)), base=BASE, ram=RAM)


@pytest.mark.parametrize("name", COMPRESS)
def test_a_bomb_costs_its_limit(write: Write, name: str) -> None:
    path = write(COMPRESS[name](files.riscv_image() + bytes(20 * MIB)))
    with pytest.raises(LoadError, match="does not fit into memory") as caught:
        prepare(path, base=BASE, ram=RAM)
    assert "16 MiB" in caught.value.why and "--memory" in caught.value.fix


def test_a_decompressor_gives_its_output_in_small_pieces() -> None:
    for name, compress in COMPRESS.items():
        stream = unpack.ByteStream(iter([compress(bytes(12 * MIB))]))
        pieces = list(unpack.decompress(name, stream).chunks())
        assert sum(map(len, pieces)) == 12 * MIB
        assert max(map(len, pieces)) <= unpack.OUTPUT_CHUNK


@pytest.mark.parametrize("name", COMPRESS)
@pytest.mark.parametrize("chunk", [1, 7, 4096])
def test_joined_streams_are_one_and_padding_is_left(name: str, chunk: int) -> None:
    data = COMPRESS[name](b"first") + COMPRESS[name](b"second") + b"\0\0\x12\x34"
    chunks = iter([data[i : i + chunk] for i in range(0, len(data), chunk)])
    assert unpack.decompress(name, unpack.ByteStream(chunks)).read_all(100) == b"firstsecond"


@pytest.mark.parametrize("magic", [b"\x04\x22\x4d\x18", b"\x89LZO\0\r\n"])
def test_compression_that_is_not_read_is_named(write: Write, magic: bytes) -> None:
    with pytest.raises(LoadError, match="not read here") as caught:
        identify(write(magic + bytes(100)))
    assert "gzip" in caught.value.why


def test_zstd_without_a_library_says_how_to_get_one(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("compression", "compression.zstd", "zstandard"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(LoadError) as caught:
        identify(write(b"\x28\xb5\x2f\xfd" + bytes(100)))
    assert "innkeeper[zstd]" in caught.value.fix


def test_a_kernel_too_large_for_ram_says_what_to_use(write: Write) -> None:
    with pytest.raises(LoadError) as caught:
        prepare(write(files.riscv_image(image_size=40 * MIB)), base=BASE, ram=RAM)
    assert caught.value.what.endswith("kernel of 40 MiB does not fit in 16 MiB of RAM")
    assert caught.value.fix == "use --memory 64M"


def test_a_file_that_shrinks_while_it_is_loaded_is_an_error(write: Write) -> None:
    path = write(files.riscv_image())
    loaded = prepare(path, base=BASE, ram=RAM)
    path.write_bytes(b"short")
    with pytest.raises(LoadError, match="truncated"):
        loaded.pieces[0].write_to(memory())


SEEDS = [
    files.riscv_image(body=600), files.riscv_image(body=600, pe_machine=files.PE_RISCV64),
    files.elf([(BASE, BASE, b"x" * 40, 60)], entry=BASE, symbols={"a": BASE}),
    files.zboot(gzip.compress(files.riscv_image(body=600))), files.bzimage()[:700],
    gzip.compress(files.riscv_image(body=600)), lzma.compress(files.riscv_image(body=600)),
    bz2.compress(files.riscv_image(body=600)), COMPRESS["lzma"](files.riscv_image(body=600)),
]  # fmt: skip


@settings(
    derandomize=True, max_examples=250, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(st.data())
def test_a_hostile_file_is_loaded_inside_ram_or_refused(
    tmp_path: Path, data: st.DataObject
) -> None:
    blob = bytearray(data.draw(st.sampled_from(SEEDS)))
    for _ in range(data.draw(st.integers(0, 8))):
        at = data.draw(st.integers(0, min(len(blob), 256) - 1))
        blob[at] = data.draw(st.sampled_from([0, 1, 2, 0x40, 0x7F, 0x80, 0xFF]))
    path = tmp_path / "hostile"
    path.write_bytes(blob[: data.draw(st.integers(1, len(blob)))])
    try:
        symbols(path)
        loaded = prepare(path, base=BASE, ram=RAM)
    except LoadError as error:
        assert error.why
        return
    assert all(RAM.contains(piece.gpa, piece.memory_bytes) for piece in loaded.pieces)
    assert all(piece.data_bytes <= piece.memory_bytes for piece in loaded.pieces)
    assert RAM.contains(loaded.entry)


@settings(
    derandomize=True, max_examples=200, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    st.sampled_from(
        [b"", b"\x7fELF\2\1", b"MZ\0\0zimg", b"\x1f\x8b\x08", b"\x5d\0\0", b"BZh9", b"MZ"]
    ),
    st.binary(min_size=1, max_size=300),
)
def test_noise_behind_a_magic_is_refused(tmp_path: Path, magic: bytes, noise: bytes) -> None:
    path = tmp_path / "noise"
    path.write_bytes(magic + noise)
    with pytest.raises(LoadError):
        prepare(path, base=BASE, ram=RAM)
