"""`inn create`, `start`, `attach`, `restart`, `wait`, `rename`, `update`, `healthcheck`."""

from __future__ import annotations

from typing import Any

import click

from innkeeper.base.errors import UsageError
from innkeeper.cli.completing import container_argument, containers_argument
from innkeeper.cli.container_options import given_options
from innkeeper.cli.containers import for_each, stop_time_option
from innkeeper.cli.options import examples, processors, size
from innkeeper.cli.parsing import has_input
from innkeeper.cli.run import run
from innkeeper.guests.containers import control, records
from innkeeper.guests.containers.attaching import DEFAULT_DETACH_KEYS
from innkeeper.guests.containers.waiting import CONDITIONS, wait_for

_NOT_CREATED = (
    "engine", "arch", "suite", "mirror", "kernel", "append", "icount", "explain", "timeout",
    "detach", "keep", "detach_keys",
)  # fmt: skip
_FIXED = {"detach": True, "keep": False, "timeout": None}

_detach_keys = click.option("--detach-keys", default=DEFAULT_DETACH_KEYS, show_default=True,
                            metavar="KEYS", help="What to type to leave it running.")  # fmt: skip
_sig_proxy = click.option("--sig-proxy/--no-sig-proxy", default=True, show_default=True,
                          help="Pass signals on, where it has no terminal.")  # fmt: skip


def _create(**options: Any) -> None:
    """Make a container of IMAGE that `inn start` starts; print its id.

    Options are those of `inn run`.
    """
    from innkeeper.cli.container_run import container_request, shown
    from innkeeper.guests.containers.detached import create as make

    request = container_request({**options, **_FIXED}, given_options())
    once = {"stdin_once": True} if options["interactive"] else {}
    from innkeeper.base.record import replace

    click.echo(make(replace(request, **once), shown).id)


create = click.Command(
    "create",
    callback=_create,
    params=[param for param in run.params if param.name not in _NOT_CREATED],
    help=_create.__doc__,
    context_settings={"allow_interspersed_args": False},
    epilog=examples("inn create --name web -m 64M busybox -- sleep 1000", "inn start -a web"),
)


@click.command(epilog=examples("inn start web", "inn start -ai shell"))
@click.option("--attach", "-a", "attached", is_flag=True,
              help="Attach to its output and pass signals on; exit with its status.")  # fmt: skip
@click.option("--interactive", "-i", is_flag=True, help="Attach this command's input, too.")
@_detach_keys
@_sig_proxy
@containers_argument
def start(
    attached: bool, interactive: bool, detach_keys: str, sig_proxy: bool, names: tuple[str, ...]
) -> int:
    """Start containers that were created, or have ended, with the files they have."""
    from innkeeper.guests.containers.detached import start_again

    if not (attached or interactive):
        return for_each(names, start_again)
    if len(names) > 1:
        raise UsageError("only one container can be attached to", fix="leave out -a and -i")
    from _socket import AF_UNIX, SOCK_SEQPACKET, socketpair

    from innkeeper.guests.containers.attaching import attach as join
    from innkeeper.guests.containers.attaching import parse_keys

    parse_keys(detach_keys)
    record = records.find(names[0])
    ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET)
    start_again(record, theirs)
    theirs.close()
    return join(records.find(record.id), ours, stdin=interactive, keys=detach_keys, proxy=sig_proxy)


@click.command(epilog=examples("inn attach web", "inn attach --detach-keys ctrl-a,d shell"))
@_detach_keys
@_sig_proxy
@click.option("--no-stdin", is_flag=True, help="Do not pass this command's input on.")
@container_argument
def attach(detach_keys: str, sig_proxy: bool, no_stdin: bool, name: str) -> int:
    """Join a detached container's output and input, or its terminal; exit with its status.

    Several may be attached at once. The detach keys leave the container running; so does ending
    this command otherwise.
    """
    from innkeeper.guests.containers.attaching import attach as join
    from innkeeper.guests.containers.attaching import connect, parse_keys

    parse_keys(detach_keys)
    record = records.find(name)
    stdin = not no_stdin and has_input(interactive=True)
    return join(record, connect(record), stdin=stdin, keys=detach_keys, proxy=sig_proxy)


@click.command(epilog=examples("inn restart web", "inn restart -t 1 web db"))
@stop_time_option
@containers_argument
def restart(timeout: float, names: tuple[str, ...]) -> int:
    """Stop detached containers and start them again, with the files they have."""
    return for_each(names, lambda record: control.restart(record, timeout_s=timeout))


@click.command(epilog=examples("inn wait web", "inn wait --condition healthy web"))
@click.option("--condition", type=click.Choice(CONDITIONS), default="exited", show_default=True,
              help="What to wait for.")  # fmt: skip
@containers_argument
def wait(condition: str, names: tuple[str, ...]) -> None:
    """Wait for containers to end; print the exit status of each, 255 when nobody saw it.

    With another condition, print -1 for one that meets it without having ended. One that ends
    instead is an error.
    """
    for record in [records.find(name) for name in names]:
        click.echo(wait_for(record, condition))


@click.command(epilog=examples("inn rename web old"))
@container_argument
@click.argument("new", metavar="NAME")
def rename(name: str, new: str) -> None:
    """Give a container another name; its host name stays."""
    from innkeeper.guests.containers.changing import rename as change

    change(records.find(name), new)


@click.command(
    epilog=examples("inn update -m 128M web", "inn update --restart always --cpus 0.5 web")
)
@click.option("--memory", "-m", type=size, default=None, metavar="SIZE", help="Its memory limit.")
@click.option("--cpus", type=processors, default=None, metavar="N", help="Its processors' share.")
@click.option("--pids-limit", type=click.IntRange(0, 4194304), default=None, metavar="N",
              help="Most processes and threads (0: no limit).")  # fmt: skip
@click.option("--restart", default=None, metavar="POLICY", help="Its restart policy.")
@containers_argument
def update(
    memory: int | None, cpus: float | None, pids_limit: int | None, restart: str | None,
    names: tuple[str, ...],
) -> int:  # fmt: skip
    """Change limits and restart policy of containers, running or not."""
    from innkeeper.guests.containers.changing import Changes
    from innkeeper.guests.containers.changing import update as change

    changes = Changes(memory_bytes=memory, cpus=cpus, pids_limit=pids_limit, restart=restart)
    return for_each(names, lambda record: change(record, changes))


@click.group(epilog=examples("inn healthcheck run web"))
def healthcheck() -> None:
    """Look at a container's health."""


@healthcheck.command("run", epilog=examples("inn healthcheck run web"))
@container_argument
def run_check(name: str) -> int:
    """Look now, and note the result; print the status that follows, and exit with 1 on failure."""
    from innkeeper.guests.containers.health import check, health_of

    record = records.find(name)
    status = check(record)
    click.echo(status)
    last = (health_of(record) or {"log": []})["log"]
    return int(bool(last and last[-1]["exit_code"]))
