"""Option types and options that several commands share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import click

from innkeeper.base.errors import UsageError
from innkeeper.base.units import MIB, parse_size
from innkeeper.guests.config import DEFAULT_MEMORY_BYTES, Disk, Volume

F = TypeVar("F", bound=Callable[..., Any])
ARCHITECTURES = ("riscv64",)
DEFAULT_MEMORY = f"{DEFAULT_MEMORY_BYTES // MIB}M"
ENGINES = ("emulate", "container")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m|h)?")
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def size(text: str) -> int:
    """Read `512M`, `2G` or `4096` as bytes."""
    return parse_size(text)


def duration(text: str) -> float:
    """Read `90`, `1.5s`, `10m` or `2h` as seconds."""
    match = _DURATION.fullmatch(text)
    if match is None or not float(match[1]):
        raise UsageError(f"{text!r} is not a duration", fix="write it as 90, 1.5s, 10m or 2h")
    return float(match[1]) * _SECONDS[match[2] or "s"]


def processors(text: str | int) -> int | float:
    """Read a number of processors: whole, or a share of them, which only containers take."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.01 <= number <= 4096:
        raise click.BadParameter(f"{text!r} is not a number of processors")
    return int(number) if number.is_integer() else number


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


def examples(*lines: str) -> str:
    """Return an epilog that shows how a command is used."""
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])


def parse_volumes(texts: Iterable[str]) -> tuple[Volume, ...]:
    """Return the volumes of `--volume`."""
    return tuple(Volume.parse(text) for text in texts)


def parse_disks(texts: Iterable[str]) -> tuple[Disk, ...]:
    """Return the disks of `--disk`."""
    return tuple(Disk.parse(text) for text in texts)


def parse_environment(texts: Iterable[str]) -> dict[str, str]:
    """Return the variables of `--env`: `NAME=VALUE`, or `NAME` for the host's own value."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name:
            raise UsageError(f"environment variable {text!r} has no name", fix="-e NAME=VALUE")
        if equals:
            found[name] = value
        elif name in os.environ:
            found[name] = os.environ[name]
    return found
