"""`inn exec`: another command in a running container."""

from __future__ import annotations

import os

import click

from innkeeper.base.errors import UsageError
from innkeeper.cli.completing import container_argument
from innkeeper.cli.options import examples
from innkeeper.cli.parsing import has_input, parse_environment
from innkeeper.guests.containers import control, records


@click.command(
    name="exec",
    context_settings={"allow_interspersed_args": False},
    epilog=examples(
        "inn exec web ps", "inn exec -it web sh", "inn exec -u nobody -e A=1 web -- id"
    ),
)
@click.option("-i", "--interactive", is_flag=True, help="Pass on stdin even from a terminal.")
@click.option("-t", "--tty", is_flag=True, help="Give the command a terminal (usually -it).")
@click.option("-d", "--detach", is_flag=True, help="Do not wait; its output is lost.")
@click.option("--env", "-e", "env", multiple=True, metavar="NAME[=VALUE]", help="Set a variable.")
@click.option("--workdir", "-w", default=None, metavar="DIR", help="Its working directory.")
@click.option("--user", "-u", default=None, metavar="NAME|UID[:GID]", help="Who it runs as.")
@container_argument
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] CMD...")
def exec_(
    interactive: bool, tty: bool, detach: bool, env: tuple[str, ...], workdir: str | None,
    user: str | None, name: str, command: tuple[str, ...],
) -> int:  # fmt: skip
    """Run CMD in a CONTAINER that runs, with its limits and its walls; exit with CMD's status."""
    argv = list(command)
    if argv[:1] == ["--"]:
        del argv[0]
    if tty and detach:
        raise UsageError("a detached command has no terminal", fix="leave out -t or -d")
    variables = parse_environment(env)
    if tty:
        variables = {"TERM": os.environ.get("TERM", "xterm")} | variables
    return control.enter(
        records.find(name), argv, env=variables, workdir=workdir, user=user, tty=tty,
        stdin=has_input(interactive=interactive), detach=detach,
    )  # fmt: skip
