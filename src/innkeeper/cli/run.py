"""`inn run`: one command in a guest made from an image."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from innkeeper.cli.container_options import (
    container_options,
    given_options,
    refuse_container_options,
)
from innkeeper.cli.options import (
    ENGINES,
    FILE,
    machine_options,
    parse_environment,
    parse_volumes,
)
from innkeeper.cli.parsing import has_input
from innkeeper.cli.progress import shown_progress
from innkeeper.cli.terminal import guest_terminal, terminal_size
from innkeeper.guests.config import RunConfig
from innkeeper.guests.io import GuestIO

_EXAMPLES = """\b
Examples:
  inn run busybox -- echo hello
  inn run -it debian
  echo 1+1 | inn run debian -- perl -ne 'print eval, "\\n"'
  inn run -v "$PWD:/src:ro" -w /src -e LANG=C debian -- ls -l
  inn run --cpus 2 --memory 1G --timeout 5m debian -- ./test.sh
  inn run --engine container --memory 64M --pids-limit 50 busybox -- sh

\b
Exit status: the command's own; 124 after --timeout, 125 when the guest could
not be run, 126 or 127 when the command cannot be executed or is not there."""


@click.command(
    epilog=_EXAMPLES, context_settings={"allow_interspersed_args": False},
    short_help="Run a command in a new guest made from an image.",
)  # fmt: skip
@click.option("-i", "--interactive", is_flag=True, help="Pass on stdin even from a terminal.")
@click.option("-t", "--tty", is_flag=True, help="Give the command a terminal (usually -it).")
@click.option(
    "--env",
    "-e",
    "env",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="Set a variable in the command's environment.",
)
@click.option(
    "--workdir",
    "-w",
    default="/",
    show_default=True,
    metavar="DIR",
    help="The command's working directory.",
)
@click.option(
    "--user", "-u", default=None, metavar="NAME|UID[:GID]", help="The user the command runs as."
)
@machine_options
@click.option("--suite", default=None, help="The distribution's release (Debian: trixie).")
@click.option(
    "--mirror",
    default=None,
    metavar="URL",
    help="Where packages come from, instead of the host's own mirror.",
)
@click.option("--kernel", type=FILE, default=None, help="A kernel to use instead of the image's.")
@click.option("--append", default="", metavar="TEXT", help="More for the kernel's command line.")
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default=ENGINES[0],
    show_default=True,
    help="What runs the guest: an emulated machine, or this host's kernel.",
)
@container_options
@click.argument("image")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- CMD...]")  # fmt: skip
def run(**options: Any) -> int:
    """Run CMD in a new guest made from IMAGE.

    The guest's standard input, output and error are this command's own, separate and
    unchanged; with -t they are one terminal. Signals go on to CMD; a second Ctrl-C within a
    second ends the guest. An IMAGE that is not here yet is made first.
    """
    given = given_options()
    if options["engine"] == "container":
        from innkeeper.cli.container_run import run_container

        return run_container(options, given)
    refuse_container_options(given)
    config = run_config(options)
    from innkeeper import api  # late: it imports a lot, and the options may be wrong

    if options["explain"]:
        click.echo(api.explain(config))
        return 0
    io = GuestIO(stdin=0 if config.stdin else None)
    raw_fd = 0 if config.tty and config.stdin and os.isatty(0) else None
    with shown_progress() as io.progress, guest_terminal(io, raw_fd=raw_fd):
        return api.run(config, io)


def run_config(options: dict[str, Any]) -> RunConfig:
    """Turn the command line into a request."""
    argv = list(options["command"])
    if argv[:1] == ["--"]:
        del argv[0]
    env = parse_environment(options["env"])
    tty, kernel = options["tty"], options["kernel"]
    if tty:
        env = {"TERM": os.environ.get("TERM", "xterm")} | env
    if not options["workdir"].startswith("/"):
        raise click.UsageError(f"--workdir {options['workdir']}: give an absolute path")
    return RunConfig(
        image=options["image"],
        argv=tuple(argv),
        env=env,
        workdir=options["workdir"],
        user=options["user"],
        stdin=has_input(interactive=options["interactive"]),
        tty=tty,
        terminal=terminal_size(0, 1, 2),
        suite=options["suite"],
        mirror=options["mirror"],
        arch=options["arch"],
        cpus=options["cpus"],
        icount=options["icount"],
        memory_bytes=options["memory"],
        engine=options["engine"],
        kernel=Path(kernel).absolute() if kernel else None,
        append=options["append"],
        volumes=parse_volumes(options["volumes"]),
        timeout_s=options["timeout"],
        name=options["name"],
    )
