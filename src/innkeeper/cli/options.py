"""Option types and options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from innkeeper.base.errors import UsageError
from innkeeper.base.units import MIB
from innkeeper.cli.parsing import duration as duration
from innkeeper.cli.parsing import parse_environment as parse_environment
from innkeeper.cli.parsing import parse_volumes as parse_volumes
from innkeeper.cli.parsing import processors as processors
from innkeeper.cli.parsing import size as size
from innkeeper.guests.config import DEFAULT_MEMORY_BYTES, Disk

F = TypeVar("F", bound=Callable[..., Any])
ARCHITECTURES = ("riscv64",)
DEFAULT_MEMORY = f"{DEFAULT_MEMORY_BYTES // MIB}M"
ENGINES = ("emulate", "container")


def address(text: str) -> int:
    """Read an address or a number in any of Python's bases."""
    try:
        number = int(text, 0)
    except ValueError:
        raise UsageError(f"{text!r} is not an address", fix="write it as 0x80000000") from None
    if not 0 <= number < 1 << 64:
        raise UsageError(f"{text} is not a 64-bit address")
    return number


FILE = click.Path(path_type=Path)


def combined(options: Iterable[Callable[[F], F]]) -> Callable[[F], F]:
    """Return one decorator for `options`, in the order they are shown."""

    def decorate(function: F) -> F:
        for option in reversed(list(options)):
            function = option(function)
        return function

    return decorate


machine_options = combined(
    [
        click.option("--arch", type=click.Choice(ARCHITECTURES), default=ARCHITECTURES[0],
                     show_default=True, help="The guest's processor architecture."),
        click.option("--cpus", type=processors, default=1, show_default=True,
                     metavar="N", help="How many processors the guest has."),
        click.option("--memory", "-m", type=size, metavar="SIZE", default=DEFAULT_MEMORY,
                     show_default=True, help="How much memory the guest has."),
        click.option("--volume", "-v", "volumes", multiple=True, metavar="SRC:DST[:ro]",
                     help="Share the host directory SRC as DST in the guest."),
        click.option("--timeout", type=duration, default=None, metavar="TIME",
                     help="End the guest after this long, with exit status 124."),
        click.option("--icount", is_flag=True,
                     help="Count time in instructions, so that a run can be repeated exactly."),
        click.option("--name", default=None, help="A name for the guest."),
        click.option("--explain", is_flag=True, help="Say what would be done, and do nothing."),
    ]
)  # fmt: skip

json_option = click.option(
    "-o", "--output", "output", type=click.Choice(["table", "json"]), default="table",
    show_default=True, help="The form of the answer.",
)  # fmt: skip


compression_option = click.option(
    "--compression", type=click.Choice(["gzip", "zstd", "none"]), default="gzip",
    show_default=True, help="How the new layer is compressed.",
)  # fmt: skip


def examples(*lines: str) -> str:
    """Return an epilog that shows how a command is used."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def parse_disks(texts: Iterable[str]) -> tuple[Disk, ...]:
    """Return the disks of `--disk`."""
    return tuple(Disk.parse(text) for text in texts)
