"""`inn diff`, `commit` and `cp`: a container's files."""

from __future__ import annotations

import json
from typing import Any

import click

from innkeeper.base.errors import UsageError
from innkeeper.cli.completing import complete_places, container_argument
from innkeeper.cli.options import compression_option, examples, json_option
from innkeeper.guests.containers import files, records


@click.command(epilog=examples("inn diff web"))
@json_option
@container_argument
def diff(output: str, name: str) -> None:
    """List what a container has Added, Changed and Deleted in its root file system."""
    found = files.changes(records.find(name))
    if output == "json":
        click.echo(json.dumps([{"kind": one.kind, "path": one.path} for one in found], indent=2))
        return
    for one in found:
        click.echo(f"{one.kind} {one.path}")


@click.command(
    epilog=examples("inn commit web mine:2", "inn commit web mine:2 --cmd httpd --cmd -f")
)
@click.option("--cmd", multiple=True, metavar="WORD", help="A word of the default command.")
@click.option("--entrypoint", multiple=True, metavar="WORD", help="A word of the entry point.")
@click.option("--workdir", "-w", default=None, metavar="DIR", help="The working directory.")
@click.option("--user", "-u", default=None, help="The user commands run as.")
@compression_option
@container_argument
@click.argument("image")
def commit(
    cmd: tuple[str, ...], entrypoint: tuple[str, ...], workdir: str | None, user: str | None,
    compression: str, name: str, image: str,
) -> None:  # fmt: skip
    """Make IMAGE of a CONTAINER's files: its own image with one layer more."""
    config: dict[str, Any] = {
        "Cmd": list(cmd), "Entrypoint": list(entrypoint), "WorkingDir": workdir, "User": user
    }  # fmt: skip
    chosen = {key: value for key, value in config.items() if value}
    made = files.commit(records.find(name), image, chosen, compression=compression)
    click.echo(f"{made.name}@{made.descriptor.digest}")


@click.command(epilog=examples("inn cp web:/etc/hosts .", "inn cp index.html web:/srv/"))
@click.argument("source", metavar="SOURCE", shell_complete=complete_places)
@click.argument("target", metavar="TARGET", shell_complete=complete_places)
def cp(source: str, target: str) -> None:
    """Copy a file or folder out of a container, or into one: one of the two is CONTAINER:PATH.

    Volumes and file systems in memory are not seen; owners are not kept.
    """
    out, into = _split(source), _split(target)
    if (out is None) == (into is None):
        raise UsageError("one of the two has to be CONTAINER:PATH", fix="inn cp box:/etc/hosts .")
    if out is not None:
        files.copy_out(records.find(out[0]), out[1], target)
    elif into is not None:
        files.copy_in(records.find(into[0]), source, into[1])


def _split(text: str) -> tuple[str, str] | None:
    """Return container and path; a path of the host's starts with `.` or `/`."""
    name, colon, path = text.partition(":")
    return (name, path or "/") if colon and not name.startswith((".", "/")) else None
