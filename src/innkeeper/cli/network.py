"""`inn network`: the networks that containers can be on."""

from __future__ import annotations

import json
from typing import Any

import click

from innkeeper.base.errors import NotFoundError, UsageError
from innkeeper.cli.completing import complete_networks, container_argument, containers_argument
from innkeeper.cli.containers import for_each_name, shown_host
from innkeeper.cli.options import examples, json_option
from innkeeper.cli.table import show_rows
from innkeeper.guests.containers import records
from innkeeper.guests.containers.networks import managing

COLUMNS = ("name", "driver", "interface", "subnets", "containers")
_names = click.argument(
    "names", nargs=-1, required=True, metavar="NETWORK...", shell_complete=complete_networks
)
_cni_dir = click.option("--cni-config-dir", default="", metavar="DIR",
                        help="Where CNI configurations are (/etc/cni/net.d).")  # fmt: skip


@click.group(epilog=examples("inn network create web", "inn network ls", "inn network rm web"))
def network() -> None:
    """Make, list and remove networks of containers."""


@network.command(
    epilog=examples(
        "inn network create web",
        "inn network create --subnet 10.91.7.0/24 --gateway 10.91.7.254 web",
        "inn network create --internal --ipv6 db",
    )
)
@click.option(
    "--subnet",
    multiple=True,
    metavar="SUBNET",
    help="Its addresses, one IPv4 and one IPv6 subnet; chosen if not given.",
)
@click.option(
    "--gateway",
    multiple=True,
    metavar="ADDRESS",
    help="The host's address in a subnet (the first).",
)
@click.option("--ipv6", is_flag=True, help="IPv6 addresses, too.")
@click.option("--internal", is_flag=True, help="No way out of the host.")
@click.option("--disable-dns", is_flag=True, help="No resolver for the containers' names.")
@click.option("--mtu", type=int, default=0, metavar="BYTES", help="Its links' largest packets.")
@click.option("--label", multiple=True, metavar="NAME=VALUE", help="Something to remember.")
@click.option("--driver", "-d", type=click.Choice(["bridge"]), default="bridge", hidden=True)
@click.argument("name", metavar="NETWORK")
def create(
    subnet: tuple[str, ...], gateway: tuple[str, ...], ipv6: bool, internal: bool,
    disable_dns: bool, mtu: int, label: tuple[str, ...], driver: str, name: str,
) -> None:  # fmt: skip
    """Make a network, and print its name.

    Containers on it find each other by name; those of different networks do not reach each other.
    """
    labels = dict(text.partition("=")[::2] for text in label)
    made = managing.create(
        name, subnets=subnet, gateways=gateway, ipv6=ipv6, internal=internal,
        dns=not disable_dns, mtu=mtu, labels=labels,
    )  # fmt: skip
    click.echo(made.name)


@network.command(epilog=examples("inn network ls", "inn network ls -o json"))
@click.option("--quiet", "-q", is_flag=True, help="Print names only.")
@_cni_dir
@json_option
def ls(quiet: bool, cni_config_dir: str, output: str) -> None:
    """List networks: ours, and those of CNI configurations."""
    rows = managing.described(cni_config_dir)
    if quiet:
        click.echo("".join(f"{row['name']}\n" for row in rows), nl=False)
        return
    if output == "table":
        rows = [_row(row) for row in rows]
    show_rows(rows, columns=COLUMNS, output=output)


def _row(row: dict[str, Any]) -> dict[str, Any]:
    shown = [one["subnet"] for one in row.get("subnets", ())]
    internal = " (internal)" if row.get("internal") else ""
    return row | {
        "interface": row.get("interface", "-"), "subnets": (", ".join(shown) or "-") + internal,
        "containers": len(row["containers"]),
    }  # fmt: skip


@network.command(epilog=examples("inn network inspect web", "inn network inspect web -o json"))
@click.option(
    "-o",
    "--output",
    "output",
    type=click.Choice(["json"]),
    default="json",
    help="The form of the answer.",
)
@_cni_dir
@_names
def inspect(output: str, cni_config_dir: str, names: tuple[str, ...]) -> None:
    """Print everything about networks, and who is on them, as a JSON list."""
    click.echo(json.dumps([managing.description(n, cni_config_dir) for n in names], indent=2))


@network.command(epilog=examples("inn network rm web"))
@click.option("--force", "-f", is_flag=True, help="Remove the containers that are on it, too.")
@_names
def rm(force: bool, names: tuple[str, ...]) -> int:
    """Remove networks that no container is on."""
    return for_each_name(names, lambda name: managing.remove(name, force=force))


@network.command(epilog=examples("inn network prune"))
def prune() -> None:
    """Remove all networks that no container is on, and print their names."""
    for name in managing.prune():
        click.echo(name)


@network.command(epilog=examples("inn network check web"))
@containers_argument
def check(names: tuple[str, ...]) -> int:
    """Look whether containers' networks still are as they were set up.

    Of CNI networks the plugins are asked (CHECK).
    """
    return for_each_name(names, managing.check)


@click.command(epilog=examples("inn port web", "inn port web 80", "inn port web 53/udp"))
@json_option
@container_argument
@click.argument("inner", default="", metavar="[PORT[/PROTOCOL]]")
def port(output: str, name: str, inner: str) -> None:
    """Say at which of the host's ports a container's are published."""
    found = managing.ports_of(records.find(name))
    if inner:
        number, _, protocol = inner.partition("/")
        if not number.isdigit():
            raise UsageError(f"{inner!r} is not a port", fix="inn port web 80/tcp")
        wanted = (int(number), protocol or "tcp")
        found = [one for one in found if (one["port"], one["protocol"]) == wanted]
        if not found:
            raise NotFoundError(f"container {name} publishes no port {inner}")
    if output == "json":
        click.echo(json.dumps(found, indent=2))
        return
    for one in found:
        shown = shown_host(one)
        click.echo(shown if inner else f"{one['port']}/{one['protocol']} -> {shown}")
