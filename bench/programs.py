"""The guests: programs assembled by our own assembler, and Debian's kernel from the image store."""

from __future__ import annotations

from pathlib import Path

from bench.process import BenchError
from innkeeper.guests.request import join_initramfs
from innkeeper.images import cpio, initramfs
from innkeeper.images.store import Store
from innkeeper.images.tree import Spool, Tree
from innkeeper.isa.riscv.asm import assemble, elf_image

SOURCES = Path(__file__).with_name("guests")
FIRMWARE_BASE, KERNEL_BASE = 0x8000_0000, 0x8020_0000
LOOP_PARTS = ("crc", "sort", "matrix", "fib", "list", "sieve")
BODY = "# BODY\n"
SHELL_LINE = "setsid cttyhack sh\n"
BOOTED = "BENCH: user space"
APPEND = "console=ttyS0 quiet panic=-1"


def loop_program(path: Path, *, rounds: int, parts: tuple[str, ...] = LOOP_PARTS) -> Path:
    """Write the integer workload with `rounds` rounds of some parts as an ELF file."""
    calls = "".join(f"        call    {part}_part\n" for part in parts)
    source = (SOURCES / "loop.s").read_text()
    text = f"ROUNDS = {rounds}\n" + source.replace(BODY, calls)
    path.write_bytes(elf_image(assemble(text, base=FIRMWARE_BASE, name="loop.s")))
    return path


def first_program(path: Path, *, base: int) -> Path:
    """Write the guest that says one byte and powers off."""
    text = (SOURCES / "first.s").read_text()
    path.write_bytes(elf_image(assemble(text, base=base, name="first.s")))
    return path


def debian_kernel(folder: Path) -> tuple[Path, Path]:
    """Return Debian's kernel and the busybox initramfs, its /init powering off at once.

    That /init is the image's own but for the shell, in whose place it says `BOOTED`.
    """
    store = Store()
    image = store.find("busybox", suite="trixie", arch="riscv64")
    if image is None:
        raise BenchError("the busybox image is not there: inn image build busybox")
    if initramfs.BUSYBOX_INIT.count(SHELL_LINE) != 1:
        raise BenchError(f"busybox's /init has no line {SHELL_LINE!r} any more: mend bench/")
    init = initramfs.BUSYBOX_INIT.replace(SHELL_LINE, f"echo '{BOOTED}'\n")
    with Spool(folder) as spool:
        tree = Tree(spool)
        tree.write("init", init.encode(), mode=0o755)
        segment = cpio.archive(tree)
    initrd = folder / "initrd"
    initrd.write_bytes(join_initramfs(store.blob_path(image.initrd).read_bytes(), segment))
    return store.blob_path(image.kernel), initrd
