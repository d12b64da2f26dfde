"""What is typed on the command line, read: without click, for those who start often."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable

from innkeeper.base.errors import UsageError
from innkeeper.base.units import parse_size
from innkeeper.guests.config import Volume

MOST_PROCESSORS = 4096
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def size(text: str) -> int:
    """Read `512M`, `2G` or `4096` as bytes."""
    return parse_size(text)


def duration(text: str) -> float:
    """Read `90`, `1.5s`, `10m` or `2h` as seconds."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in _SECONDS else (text, "s")
    whole, _, part = number.partition(".")
    sound = number.isascii() and whole.isdigit() and (part.isdigit() or "." not in number)
    if not sound or not float(number):
        raise UsageError(f"{text!r} is not a duration", fix="write it as 90, 1.5s, 10m or 2h")
    return float(number) * _SECONDS[unit]


def processors(text: str | int) -> int | float:
    """Read a number of processors: whole, or a share of them, which only containers take."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.01 <= number <= MOST_PROCESSORS:
        raise UsageError(f"--cpus {text!r} is no number of processors", fix="--cpus 2")
    return int(number) if number.is_integer() else number


def parse_volumes(texts: Iterable[str]) -> tuple[Volume, ...]:
    """Return the volumes of `--volume`."""
    return tuple(Volume.parse(text) for text in texts)


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


def has_input(*, interactive: bool) -> bool:
    """Pass stdin on when it is asked for, or when somebody gave us a pipe or a file.

    The null device is neither: the guest has one of its own.
    """
    try:
        return interactive or not (os.isatty(0) or _is_null_device(0))
    except OSError:  # closed
        return False


def _is_null_device(fd: int) -> bool:
    """Tell whether a descriptor leads to nothing."""
    given = os.fstat(fd)
    return stat.S_ISCHR(given.st_mode) and given.st_rdev == os.stat(os.devnull).st_rdev
