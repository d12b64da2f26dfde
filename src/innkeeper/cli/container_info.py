"""`inn inspect`, `stats` and `top`: what a container is and uses."""

from __future__ import annotations

import json
from typing import Any

import click

from innkeeper.base.errors import InnError, NotFoundError
from innkeeper.cli.completing import complete_containers, container_argument
from innkeeper.cli.options import examples, json_option
from innkeeper.cli.table import show_rows
from innkeeper.guests.containers import control, ending, records
from innkeeper.guests.containers.health import health_of
from innkeeper.guests.containers.making import settings_of
from innkeeper.guests.containers.records import Record

MIB = 1 << 20
_UNLIMITED = 1 << 62
COLUMNS = ("id", "name", "cpu seconds", "memory MiB", "limit MiB", "processes")


@click.command(epilog=examples("inn inspect web"))
@container_argument
def inspect(name: str) -> None:
    """Print a container's record, state, end and bundle as one JSON object."""
    record = records.find(name)
    try:
        state = ending.container_of(record).report()
    except NotFoundError:
        state = None
    document = {
        "id": record.id, "name": record.name, "folder": str(record.folder),
        "status": control.status_of(record), "record": record.data, "state": state,
        "network": _network(record), "end": record.ended(), "health": health_of(record),
        "config": records.read_json(record.folder / "config.json"),
    }  # fmt: skip
    click.echo(json.dumps(document, indent=2))


def _network(record: Record) -> Any:
    """Return what the container holds of networks now."""
    if record.data.get("net", {}).get("mode") != "bridge":
        return None
    from innkeeper.guests.containers.networks.state import State

    return State().containers.get(record.id)


@click.command(epilog=examples("inn top web", "inn top web -o pid,rss,args"))
@container_argument
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[PS-OPTIONS]")
def top(name: str, arguments: tuple[str, ...]) -> int:
    """List the processes of a container as the host's ps(1) has them."""
    from innkeeper.containers.inspect import ps_command

    record = records.find(name)
    control.running(record)
    return ps_command(settings_of(record), {}, [record.id, *arguments])


@click.command(epilog=examples("inn stats", "inn stats -o json web"))
@json_option
@click.argument("names", nargs=-1, metavar="[CONTAINER...]", shell_complete=complete_containers)
def stats(output: str, names: tuple[str, ...]) -> None:
    """Say what containers use now: processor time, memory, processes; all that run unless named.

    With -o json there is everything that the control groups count.
    """
    chosen = [records.find(name) for name in names] or _running()
    found = [(record, control.usage(record)) for record in chosen]
    rows = [{"id": r.id, "name": r.name, **used} for r, used in found]
    if output == "table":
        rows = [_row(record, used) for record, used in found]
    show_rows(rows, columns=COLUMNS, output=output)


def _running() -> list[Record]:
    found = []
    for record in records.every():
        try:
            control.running(record)
        except InnError:
            continue
        found.append(record)
    return found


def _row(record: Record, used: dict[str, Any]) -> dict[str, Any]:
    memory = used.get("memory", {}).get("usage", {})
    limit = memory.get("limit", _UNLIMITED)
    cells = (
        record.id[: records.SHORT],
        record.name,
        f"{used.get('cpu', {}).get('usage', {}).get('total', 0) / 1e9:.2f}",
        f"{memory.get('usage', 0) / MIB:.1f}",
        "-" if limit >= _UNLIMITED else f"{limit / MIB:.1f}",
        used.get("pids", {}).get("current", "-"),
    )
    return dict(zip(COLUMNS, cells, strict=True))
