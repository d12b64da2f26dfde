"""What a boot of the `virt` board puts into memory, and how each hart starts.

Two ways. Without firmware the kernel starts in S-mode over the built-in SBI (`sbi.py`): the boot
hart runs, the others wait for HSM. With `bios` that file starts in M-mode on every hart at the
bottom of RAM, and the kernel, when there is one, lies 2 MiB above it, where OpenSBI's `fw_jump`
looks and where `fw_dynamic` is told to.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

from innkeeper.base.errors import LoadError, UsageError
from innkeeper.base.record import record
from innkeeper.firmware import sniff
from innkeeper.firmware.loader import (
    FileSpan,
    GuestMemory,
    Loaded,
    Piece,
    Raw,
    in_words,
    prepare,
    write_all,
)
from innkeeper.firmware.placement import place
from innkeeper.firmware.virt_layout import DRAM_BASE, KERNEL_OFFSET, Region, dram
from innkeeper.firmware.virt_tree import VirtBoard, build_tree

_FW_DYNAMIC = struct.Struct("<6Q")
_FW_DYNAMIC_MAGIC = 0x4942_534F
_FW_DYNAMIC_VERSION = 2
_NEXT_MODE_S = 1


class Mode(Enum):
    """The privilege mode that harts start in."""

    SUPERVISOR = "S"
    MACHINE = "M"


@record
class HartStart:
    """How one hart starts; one that is not `running` waits for an SBI HSM start."""

    hart: int
    running: bool
    pc: int
    a0: int
    a1: int
    a2: int = 0


@record
class BootPlan:
    """Everything a boot needs: `pieces` for memory, `harts`, and the `mode` they start in.

    With `mode` SUPERVISOR the machine answers SBI calls itself.
    """

    mode: Mode
    harts: tuple[HartStart, ...]
    pieces: tuple[Piece, ...]
    dtb: Region
    initrd: Region | None
    kernel: Loaded | None
    bios: Loaded | None

    def write(self, memory: GuestMemory, *, clear: bool = True) -> None:
        """Put every piece into `memory`; `clear=False` when it holds zeroes already."""
        write_all(self.pieces, memory, clear=clear)

    def describe(self) -> list[str]:
        """Say the plan in lines, for `--explain`."""
        return list(self._lines())

    def _lines(self) -> Iterator[str]:
        for piece in self.pieces:
            size = in_words(piece.memory_bytes)
            yield f"{piece.name}: {piece.gpa:#x} to {piece.end:#x} ({size})"
        for start in self.harts:
            if start.running:
                yield f"hart {start.hart}: starts in {self.mode.value}-mode at {start.pc:#x}"
            else:
                yield f"hart {start.hart}: waits for SBI HSM"


def plan_boot(
    board: VirtBoard, *, kernel: Path | str | None = None, initrd: Path | str | None = None,
    cmdline: str = "", bios: Path | str | None = None, raw: Raw = Raw.NEVER,
) -> BootPlan:  # fmt: skip
    """Work out the boot of `board`: nothing is written, no file is read but the ones named.

    `raw` says whether `kernel` may be bare machine code; a `bios` may always be. `UsageError`
    without kernel and firmware, `LoadError` for files that are not what they should be or do not
    fit.
    """
    if kernel is None and bios is None:
        raise UsageError("there is nothing to boot", fix="give --kernel FILE or --bios FILE")
    board.check()
    ram = dram(board.ram_bytes)
    firmware = None if bios is None else prepare(
        bios, base=DRAM_BASE, ram=ram, raw=Raw.IF_UNKNOWN, name="firmware"
    )  # fmt: skip
    base = DRAM_BASE + KERNEL_OFFSET
    payload = None if kernel is None else prepare(kernel, base=base, ram=ram, raw=raw)
    _check_apart(firmware, payload)
    return _arrange(board, ram, firmware, payload, cmdline=cmdline, initrd=initrd)


def _arrange(
    board: VirtBoard, ram: Region, bios: Loaded | None, kernel: Loaded | None, *,
    cmdline: str, initrd: Path | str | None,
) -> BootPlan:  # fmt: skip
    """Place initrd and tree around what has its place already."""
    occupied = max([ram.base + KERNEL_OFFSET, *(part.end for part in (bios, kernel) if part)])
    ramdisk = None if initrd is None else _ramdisk(Path(initrd))
    span = (0, 0) if ramdisk else None
    seed = board.rng_seed
    size = len(build_tree(board.with_chosen(bootargs=cmdline, initrd=span, rng_seed=seed)))
    places = place(
        ram=ram, taken=(Region(ram.base, occupied - ram.base),),
        initrd_bytes=ramdisk.size if ramdisk else 0, dtb_bytes=size,
    )  # fmt: skip
    pieces = [piece for part in (bios, kernel) if part for piece in part.pieces]
    if places.initrd is not None and ramdisk is not None:
        span = (places.initrd.base, places.initrd.end)
        pieces.append(Piece("initrd", places.initrd.base, ramdisk, ramdisk.size))
    tree = build_tree(board.with_chosen(bootargs=cmdline, initrd=span, rng_seed=seed))
    pieces.append(Piece("device tree", places.dtb, tree, len(tree)))
    if bios is not None:
        info = _fw_dynamic_info(kernel, board.boot_hart)
        pieces.append(Piece("fw_dynamic_info", places.info, info, len(info)))
    return BootPlan(
        mode=Mode.SUPERVISOR if bios is None else Mode.MACHINE,
        harts=_starts(board, bios, kernel, dtb=places.dtb, info=places.info),
        pieces=tuple(pieces), dtb=Region(places.dtb, len(tree)), initrd=places.initrd,
        kernel=kernel, bios=bios,
    )  # fmt: skip


def _starts(
    board: VirtBoard, bios: Loaded | None, kernel: Loaded | None, *, dtb: int, info: int
) -> tuple[HartStart, ...]:
    """Start every hart in firmware, or the boot hart in the kernel: a0 is the hart, a1 the tree.

    Linux Documentation/arch/riscv/boot.rst; OpenSBI docs/firmware/fw_dynamic.md for a2.
    """
    harts = range(len(board.harts))
    if bios is not None:
        return tuple(HartStart(i, True, bios.entry, i, dtb, info) for i in harts)
    assert kernel is not None
    return tuple(HartStart(i, i == board.boot_hart, kernel.entry, i, dtb) for i in harts)


def _fw_dynamic_info(kernel: Loaded | None, boot_hart: int) -> bytes:
    """Return OpenSBI's `struct fw_dynamic_info`: where and in which mode to go on."""
    return _FW_DYNAMIC.pack(
        _FW_DYNAMIC_MAGIC, _FW_DYNAMIC_VERSION, kernel.entry if kernel else 0, _NEXT_MODE_S, 0,
        boot_hart,
    )  # fmt: skip


def _ramdisk(path: Path) -> FileSpan:
    return FileSpan(path, 0, sniff.check_regular(path, role="an initrd"))


def _check_apart(bios: Loaded | None, kernel: Loaded | None) -> None:
    if bios and kernel and bios.start < kernel.end and kernel.start < bios.end:
        raise LoadError(
            "firmware and kernel do not fit beside each other",
            why=f"the firmware ends at {bios.end:#x} and the kernel starts at {kernel.start:#x}",
            fix="give smaller firmware, or a kernel linked to run higher up",
        )
