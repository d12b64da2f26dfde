"""`inn boot`: any kernel, firmware or ELF file, its serial console on this terminal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from innkeeper.cli.files import write_file
from innkeeper.cli.options import FILE, machine_options, parse_disks, parse_volumes
from innkeeper.cli.progress import shown_progress
from innkeeper.cli.terminal import guest_terminal
from innkeeper.guests.config import BootConfig
from innkeeper.guests.io import EscapeKeys, GuestIO

GDB_DEFAULT = "127.0.0.1:1234"
_EXAMPLES = """\b
Examples:
  inn boot --kernel Image --initrd initrd.cpio.gz --append "console=ttyS0"
  inn boot --bios u-boot.bin --disk disk.img
  inn boot program.elf
  inn boot --gdb 127.0.0.1:1234 --kernel vmlinux
  inn boot --kernel Image --device-tree board.dtb

\b
On a terminal, Ctrl-A x ends the machine and Ctrl-A Ctrl-A types Ctrl-A.
Exit status: 0 after a clean power-off, 124 after --timeout, 125 or 126 when
the machine could not be run."""


@click.command(epilog=_EXAMPLES, short_help="Boot any kernel, firmware or ELF file.")
@click.option("--bios", type=FILE, default=None, help="Firmware to start in machine mode.")
@click.option("--kernel", type=FILE, default=None, help="The kernel.")
@click.option("--initrd", type=FILE, default=None, help="The initial RAM file system.")
@click.option("--append", default="", metavar="TEXT", help="The kernel's command line.")
@click.option(
    "--disk",
    "disks",
    multiple=True,
    metavar="FILE[,ro]",
    help="A disk image, as a virtio block device.",
)
@click.option("--raw", is_flag=True, help="FILE is bare machine code.")
@machine_options
@click.option(
    "--gdb",
    is_flag=False,
    flag_value=GDB_DEFAULT,
    default=None,
    metavar="[ADDR]",
    help=f"Wait for gdb at ADDR (default {GDB_DEFAULT}) before the first instruction.",
)
@click.option(
    "--device-tree",
    type=FILE,
    default=None,
    metavar="FILE",
    help="Write the machine's device tree blob to FILE and exit (- for stdout).",
)
@click.argument("file", type=FILE, required=False)  # fmt: skip
def boot(**options: Any) -> int:
    """Boot FILE, or what --kernel, --bios and --disk give, with the serial console here.

    Which processor and which loader FILE needs is told from the file itself.
    """
    config = boot_config(options)
    from innkeeper import api  # late: it imports a lot, and the options may be wrong

    if options["explain"]:
        click.echo(api.explain(config))
        return 0
    if options["device_tree"] is not None:
        write_file(options["device_tree"], api.device_tree(config))
        return 0
    on_terminal = os.isatty(0)
    io = GuestIO(escape=EscapeKeys() if on_terminal else None)
    raw_fd = 0 if on_terminal else None
    with shown_progress() as io.progress, guest_terminal(io, raw_fd=raw_fd, forward=False):
        return api.boot(config, io)


def boot_config(options: dict[str, Any]) -> BootConfig:
    """Turn the command line into a request."""

    def path(name: str) -> Path | None:
        return options[name].absolute() if options[name] else None

    return BootConfig(
        file=path("file"),
        bios=path("bios"),
        kernel=path("kernel"),
        initrd=path("initrd"),
        append=options["append"],
        disks=parse_disks(options["disks"]),
        volumes=parse_volumes(options["volumes"]),
        gdb=options["gdb"],
        raw=options["raw"],
        arch=options["arch"],
        cpus=options["cpus"],
        icount=options["icount"],
        memory_bytes=options["memory"],
        timeout_s=options["timeout"],
        name=options["name"],
    )
