"""`inn system prune`: what crashes have left."""

from __future__ import annotations

import click

from innkeeper.cli.options import examples


@click.group(epilog=examples("inn system prune", "inn system prune --all"))
def system() -> None:
    """Clean up after crashes."""


@system.command(epilog=examples("inn system prune", "inn system prune --all"))
@click.option("--all", "-a", "everything", is_flag=True, help="Containers that have ended, too.")
def prune(everything: bool) -> int:
    """Remove what killed processes have left: containers, mounts, control groups, folders,
    networks.

    A detached container that nobody waited for is ended and kept. Prints the ids. Exit status
    125 when something could not be removed.
    """
    from innkeeper.guests.containers import ending, networks

    failed: list[str] = []
    for name in [*ending.sweep(ended=everything, failed=failed.append), *networks.sweep()]:
        click.echo(name)
    for text in failed:
        click.echo(f"inn: {text}", err=True)
    return 125 if failed else 0
