"""Names of containers for the shell's completion."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from innkeeper.guests.containers import records


def complete_containers(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the containers whose name begins so, or, without names, whose id does."""
    taken = ctx.params.get(param.name or "") or ()
    return [
        CompletionItem(record.name, help=record.data.get("image", ""))
        for record in records.every()
        if record.name.startswith(incomplete) and record.name not in taken
    ]


def complete_places(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return `CONTAINER:` for a side of `inn cp`, or let the shell complete a file's name."""
    found = [CompletionItem(f"{one.value}:") for one in complete_containers(ctx, param, incomplete)]
    return found or [CompletionItem(incomplete, type="file")]


def complete_networks(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the networks whose name begins so; for `--network` the other modes, too."""
    from innkeeper.guests.containers.networks import managing

    modes = ["none", "host", "bridge", "container:", "ns:"] if param.name == "network" else []
    names = [*modes, *(row["name"] for row in managing.described())]
    return [CompletionItem(name) for name in dict.fromkeys(names) if name.startswith(incomplete)]


container_argument = click.argument("name", metavar="CONTAINER", shell_complete=complete_containers)
containers_argument = click.argument(
    "names", nargs=-1, required=True, metavar="CONTAINER...", shell_complete=complete_containers
)
