"""`inn ps`, `stop`, `kill`, `rm`, `pause`, `unpause`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import click

from innkeeper.base.errors import InnError
from innkeeper.cli.completing import containers_argument
from innkeeper.cli.options import examples, json_option
from innkeeper.cli.table import show_rows
from innkeeper.guests.containers import control, records
from innkeeper.guests.containers.health import health_of
from innkeeper.guests.containers.records import Record

MAX_COMMAND = 40


def describe(record: Record) -> dict[str, Any]:
    """Return what `ps -o json` says of a container."""
    ended = record.ended()
    return {
        "id": record.id, "name": record.name, "image": record.data.get("image", ""),
        "command": record.data.get("command", []), "status": control.status_of(record),
        "exit_status": ended["status"] if ended else None, "oom": bool(ended and ended["oom"]),
        "created": record.data.get("created"), "detached": record.data.get("detach", False),
        "ports": _ports(record), "health": (health_of(record) or {}).get("status"),
    }  # fmt: skip


def _ports(record: Record) -> list[dict[str, Any]]:
    """Return the ports that a container publishes."""
    if "net" not in record.data:
        return []
    from innkeeper.guests.containers.networks.managing import ports_of

    return ports_of(record)


@click.command(epilog=examples("inn ps", "inn ps -a -o json"))
@click.option("--all", "-a", "everything", is_flag=True, help="Those that have ended, too.")
@click.option("--quiet", "-q", is_flag=True, help="Print ids only.")
@json_option
def ps(everything: bool, quiet: bool, output: str) -> None:
    """List containers: those that run, or all with -a."""
    rows = [describe(record) for record in records.every()]
    rows = [row for row in rows if everything or row["status"] not in ("exited", "created")]
    if quiet:
        click.echo("".join(f"{row['id']}\n" for row in rows), nl=False)
    elif output == "json":
        click.echo(json.dumps(rows, indent=2))
    else:
        columns = ["id", "name", "image", "command", "status", "created", "ports"]
        show_rows([row | _shown(row) for row in rows], columns=columns, output=output)


def _short_image(name: str) -> str:
    """Shorten the digest of an image that has no name here."""
    head, _, digest = name.partition("@sha256:")
    return f"{head}@{digest[: records.SHORT]}" if digest else head


def _shown(row: dict[str, Any]) -> dict[str, str]:
    """Return what a table shows otherwise than JSON; control characters are not let out."""
    status = row["status"]
    if row["health"] and status == "running":
        status += f" ({row['health']})"
    if row["exit_status"] is not None:
        status += f" ({row['exit_status']}{', out of memory' if row['oom'] else ''})"
    command = " ".join(row["command"])
    shown = command if len(command) <= MAX_COMMAND else f"{command[: MAX_COMMAND - 1]}…"
    return {
        "id": row["id"][: records.SHORT], "status": status, "command": repr(shown)[1:-1],
        "created": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["created"] or 0)),
        "image": _short_image(row["image"]),
        "ports": ", ".join(shown_port(port) for port in row["ports"]),
    }  # fmt: skip


def shown_port(port: dict[str, Any]) -> str:
    """Return a published port as docker and podman show it."""
    return f"{shown_host(port)}->{port['port']}/{port['protocol']}"


def shown_host(port: dict[str, Any]) -> str:
    """Return where on the host a port is published."""
    host = f"[{port['host']}]" if ":" in port["host"] else port["host"] or "0.0.0.0"
    return f"{host}:{port['host_port']}"


stop_time_option = click.option(
    "--time", "-t", "timeout", type=click.FloatRange(0, 1e6), default=10.0, metavar="S",
    show_default=True, help="How long to wait before it is killed.",
)  # fmt: skip


def for_each(names: tuple[str, ...], act: Callable[[Record], None]) -> int:
    """Do something to each container, print the names of those it worked for."""
    return for_each_name(names, lambda name: act(records.find(name)))


def for_each_name(names: tuple[str, ...], act: Callable[[str], None]) -> int:
    """Do something for each name, print those it worked for; the first failure's status."""
    status = 0
    for name in names:
        try:
            act(name)
        except InnError as error:
            status = status or error.exit_code
            fix = f"\n  {error.fix}" if error.fix else ""
            click.echo(f"inn: {error}{fix}", err=True)
        else:
            click.echo(name)
    return status


@click.command(epilog=examples("inn stop web", "inn stop -t 1 web db"))
@stop_time_option
@containers_argument
def stop(timeout: float, names: tuple[str, ...]) -> int:
    """Ask containers to end, by the image's stop signal or TERM; kill them when they do not."""
    return for_each(names, lambda record: control.stop(record, timeout_s=timeout))


@click.command(epilog=examples("inn kill web", "inn kill -s HUP web"))
@click.option("--signal", "-s", default="KILL", show_default=True, help="A name or a number.")
@containers_argument
def kill(signal: str, names: tuple[str, ...]) -> int:
    """Send containers' first processes a signal.

    KILL and a container's stop signal also end its restart policy.
    """
    return for_each(names, lambda record: control.kill(record, signal))


@click.command(epilog=examples("inn rm web", "inn rm -f $(inn ps -aq)"))
@click.option("--force", "-f", is_flag=True, help="Kill those that run.")
@containers_argument
def rm(force: bool, names: tuple[str, ...]) -> int:
    """Remove containers, their files and their output."""
    return for_each(names, lambda record: control.remove(record, force=force))


@click.command(epilog=examples("inn pause web"))
@containers_argument
def pause(names: tuple[str, ...]) -> int:
    """Freeze the processes of containers."""
    return for_each(names, lambda record: control.freeze(record, on=True))


@click.command(epilog=examples("inn unpause web"))
@containers_argument
def unpause(names: tuple[str, ...]) -> int:
    """Let frozen containers go on."""
    return for_each(names, lambda record: control.freeze(record, on=False))
