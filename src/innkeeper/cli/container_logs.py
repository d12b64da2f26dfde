"""`inn logs`: what a detached container has written."""

from __future__ import annotations

import sys
import time
from datetime import datetime

import click

from innkeeper.base.errors import UsageError
from innkeeper.cli.completing import container_argument
from innkeeper.cli.options import duration, examples
from innkeeper.guests.containers import records
from innkeeper.guests.containers.logs import LogRecord, read_log

_STAMP = "%Y-%m-%dT%H:%M:%S"


@click.command(
    epilog=examples(
        "inn logs web", "inn logs -f --tail 20 web", "inn logs --since 10m --timestamps web"
    )
)
@click.option("--follow", "-f", is_flag=True, help="Go on until the container ends.")
@click.option("--tail", "-n", default="all", show_default=True, metavar="N",
              help="Only the last N lines.")  # fmt: skip
@click.option("--since", default="", metavar="TIME",
              help="What was written since: 10m, 2026-11-27T16:00:00Z, 1795000000.")  # fmt: skip
@click.option("--until", default="", metavar="TIME", help="Only what was written before.")
@click.option("--timestamps", "-t", is_flag=True, help="Begin each line with when it was written.")
@container_argument
def logs(follow: bool, tail: str, since: str, until: str, timestamps: bool, name: str) -> None:
    """Print what a detached container has written, each stream to its own.

    Both streams are in the order in which they were read from the container.
    """
    record = records.find(name)
    begun = {"stdout": True, "stderr": True}
    for one in read_log(
        record, follow=follow, tail=read_tail(tail), since=read_time(since),
        until=read_time(until),
    ):  # fmt: skip
        _print(one, stamp=timestamps and begun[one.stream])
        begun[one.stream] = one.ends_line


def _print(one: LogRecord, *, stamp: bool) -> None:
    head = f"{one.stamp} ".encode() if stamp else b""
    out = (sys.stdout if one.stream == "stdout" else sys.stderr).buffer
    out.write(head + one.data + (b"\n" if one.ends_line else b""))
    out.flush()


def read_tail(text: str) -> int | None:
    """Read a number of lines, None for all."""
    if text == "all":
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise UsageError(f"--tail {text!r} is no number of lines", fix="--tail 20")
    return int(text)


def read_time(text: str) -> str:
    """Read a time as docker and podman take it; return it as the log has it, in UTC."""
    if not text:
        return ""
    nanoseconds = _nanoseconds(text)
    if not 0 <= nanoseconds < 253402300800 * 10**9:  # the year 10000
        raise UsageError(f"{text!r} is no time of ours")
    whole = time.strftime(_STAMP, time.gmtime(nanoseconds // 10**9))
    return f"{whole}.{nanoseconds % 10**9:09d}Z"


def _nanoseconds(text: str) -> int:
    if text[-1] in "smh" and text[0].isdigit():
        return time.time_ns() - int(duration(text) * 1e9)
    digits, _, part = text.partition(".")
    if digits.isascii() and digits.isdigit() and len(digits) < 12 and (not part or part.isdigit()):
        return int(digits) * 10**9 + int(part[:9].ljust(9, "0"))
    try:
        seconds = int(datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError):
        raise UsageError(
            f"{text!r} is no time", fix="give 10m, 2026-11-27T16:00:00Z or seconds since 1970"
        ) from None
    fraction = "".join(c for c in text.partition(".")[2] if c.isdigit() or c in "Z+-")
    digits = fraction.replace("+", "Z").replace("-", "Z").partition("Z")[0]
    return seconds * 10**9 + int(digits[:9].ljust(9, "0"))
