"""`inn ps`, `logs`, `start`, `stop`, `kill`, `rm`, `wait`, `pause`, `unpause`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import click

from innkeeper.base.errors import InnError
from innkeeper.cli.options import examples, json_option
from innkeeper.cli.table import show_rows
from innkeeper.guests.containers import control, records
from innkeeper.guests.containers.ending import UNKNOWN_STATUS
from innkeeper.guests.containers.records import Record

FOLLOW_S = 0.1
MAX_COMMAND = 40
_CHUNK = 1 << 16
_containers = click.argument("names", nargs=-1, required=True, metavar="CONTAINER...")


def describe(record: Record) -> dict[str, Any]:
    """Return what `ps -o json` says of a container."""
    ended = record.ended()
    return {
        "id": record.id, "name": record.name, "image": record.data.get("image", ""),
        "command": record.data.get("command", []), "status": control.status_of(record),
        "exit_status": ended["status"] if ended else None, "oom": bool(ended and ended["oom"]),
        "created": record.data.get("created"), "detached": record.data.get("detach", False),
    }  # fmt: skip


@click.command(epilog=examples("inn ps", "inn ps -a -o json"))
@click.option("--all", "-a", "everything", is_flag=True, help="Those that have ended, too.")
@click.option("--quiet", "-q", is_flag=True, help="Print ids only.")
@json_option
def ps(everything: bool, quiet: bool, output: str) -> None:
    """List containers: those that run, or all with -a."""
    rows = [describe(record) for record in records.every()]
    rows = [row for row in rows if everything or row["status"] != "exited"]
    if quiet:
        click.echo("".join(f"{row['id']}\n" for row in rows), nl=False)
    elif output == "json":
        click.echo(json.dumps(rows, indent=2))
    else:
        columns = ["id", "name", "image", "command", "status", "created"]
        show_rows([row | _shown(row) for row in rows], columns=columns, output=output)


def _shown(row: dict[str, Any]) -> dict[str, str]:
    """Return what a table shows otherwise than JSON; control characters are not let out."""
    status = row["status"]
    if row["exit_status"] is not None:
        status += f" ({row['exit_status']}{', out of memory' if row['oom'] else ''})"
    command = " ".join(row["command"])
    shown = command if len(command) <= MAX_COMMAND else f"{command[: MAX_COMMAND - 1]}…"
    return {
        "id": row["id"][: records.SHORT], "status": status, "command": repr(shown)[1:-1],
        "created": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["created"] or 0)),
    }  # fmt: skip


@click.command(epilog=examples("inn logs web", "inn logs -f web"))
@click.option("--follow", "-f", is_flag=True, help="Go on until the container ends.")
@click.argument("name", metavar="CONTAINER")
def logs(follow: bool, name: str) -> None:
    """Print what a detached container has written, each stream to its own."""
    record = records.find(name)
    with ExitStack() as stack:
        pairs = []
        for file, out in ((records.STDOUT, sys.stdout), (records.STDERR, sys.stderr)):
            path = record.folder / file
            if path.is_file():
                pairs.append((stack.enter_context(path.open("rb")), out.buffer))
        while True:
            goes_on = follow and control.is_waited_for(record)
            for source, out in pairs:
                while _copy(source, out):
                    pass
            if not goes_on:
                return
            time.sleep(FOLLOW_S)


def _copy(source: Any, out: Any) -> bool:
    data = source.read(_CHUNK)
    if data:
        out.write(data)
        out.flush()
    return bool(data)


def _for_each(names: tuple[str, ...], act: Callable[[Record], None]) -> int:
    """Do something to each container, print the names of those it worked for; 1 if one failed."""
    status = 0
    for name in names:
        try:
            act(records.find(name))
        except InnError as error:
            status = status or error.exit_code
            fix = f"\n  {error.fix}" if error.fix else ""
            click.echo(f"inn: {error}{fix}", err=True)
        else:
            click.echo(name)
    return status


@click.command(epilog=examples("inn start web"))
@_containers
def start(names: tuple[str, ...]) -> int:
    """Start detached containers again that have ended, with the files they have."""
    from innkeeper.guests.containers.detached import start_again

    return _for_each(names, start_again)


@click.command(epilog=examples("inn stop web", "inn stop -t 1 web db"))
@click.option("--time", "-t", "timeout", type=click.FloatRange(0, 1e6), default=10.0, metavar="S",
              show_default=True, help="How long to wait before it is killed.")  # fmt: skip
@_containers
def stop(timeout: float, names: tuple[str, ...]) -> int:
    """Ask containers to end, by the image's stop signal or TERM; kill them when they do not."""
    return _for_each(names, lambda record: control.stop(record, timeout_s=timeout))


@click.command(epilog=examples("inn kill web", "inn kill -s HUP web"))
@click.option("--signal", "-s", default="KILL", show_default=True, help="A name or a number.")
@_containers
def kill(signal: str, names: tuple[str, ...]) -> int:
    """Send containers' first processes a signal."""
    return _for_each(names, lambda record: control.send(record, signal))


@click.command(epilog=examples("inn rm web", "inn rm -f $(inn ps -aq)"))
@click.option("--force", "-f", is_flag=True, help="Kill those that run.")
@_containers
def rm(force: bool, names: tuple[str, ...]) -> int:
    """Remove containers, their files and their output."""
    return _for_each(names, lambda record: control.remove(record, force=force))


@click.command(epilog=examples("inn pause web"))
@_containers
def pause(names: tuple[str, ...]) -> int:
    """Freeze the processes of containers."""
    return _for_each(names, lambda record: control.freeze(record, on=True))


@click.command(epilog=examples("inn unpause web"))
@_containers
def unpause(names: tuple[str, ...]) -> int:
    """Let frozen containers go on."""
    return _for_each(names, lambda record: control.freeze(record, on=False))


@click.command(epilog=examples("inn wait web"))
@_containers
def wait(names: tuple[str, ...]) -> None:
    """Wait for containers to end; print the exit status of each, 255 when nobody saw it."""
    for status in _statuses([records.find(name) for name in names]):
        click.echo(status)


def _statuses(found: list[Record]) -> Iterator[int]:
    for record in found:
        end = record.wait() or record.ended() or {}
        yield end.get("status", UNKNOWN_STATUS)
