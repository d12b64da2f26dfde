"""`inn export`, `import`, `checkpoint`, `restore`: containers that move, or stop for a while."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from innkeeper.base.errors import UsageError
from innkeeper.cli.completing import container_argument, containers_argument
from innkeeper.cli.containers import for_each
from innkeeper.cli.options import FILE, examples
from innkeeper.guests.containers import control, records

STDIN = Path("-")


@click.command(
    epilog=examples(
        "inn export web | ssh host inn import -", "inn export web -o web.inn",
        "inn export --rootfs web | tar -t",
    )
)  # fmt: skip
@click.option("--output", "-o", "output", type=FILE, default=None, metavar="FILE",
              help="Write to FILE instead of standard output.")  # fmt: skip
@click.option("--rootfs", is_flag=True,
              help="Only its files, as a tar archive: what docker and podman export.")  # fmt: skip
@click.option("--pause", is_flag=True, help="Freeze one that runs meanwhile.")
@container_argument
def export(output: Path | None, rootfs: bool, pause: bool, name: str) -> None:
    """Write a container as one stream that `inn import` makes it from again.

    Its files, command, environment, limits and name; not what runs, what is in memory, its log or
    host directories. One that runs is written as its files are found: stop it first, or --pause.
    """
    from innkeeper.guests.containers import moving

    record = records.find(name)
    write = moving.export_rootfs if rootfs else moving.export
    if output is None and os.isatty(1):
        raise UsageError("this is no text for a terminal", fix="-o FILE, or a pipe")
    freezes = pause and control.status_of(record) == "running"
    if freezes:
        control.freeze(record, on=True)
    try:
        if output is None:
            sys.stdout.flush()
            write(record, 1)
        else:
            moving.write_file(output, lambda fd: write(record, fd))
    finally:
        if freezes:
            control.freeze(record, on=False)


@click.command(
    "import",
    epilog=examples("inn export web | ssh host inn import -", "inn import --name web2 web.inn"),
)
@click.option("--name", default=None, help="Another name than it had; empty for none.")
@click.option("--trust", is_flag=True,
              help="Let it have what is this host's, as volumes and devices.")  # fmt: skip
@click.argument("source", type=FILE, metavar="FILE|-")
def import_(name: str | None, trust: bool, source: Path) -> None:
    """Make a container of what `inn export` has written; print its id. `inn start` starts it.

    A root file system alone becomes an image: inn image import.
    """
    from innkeeper.cli.container_run import shown
    from innkeeper.guests.containers.arriving import take
    from innkeeper.images.paths import storage_errors

    if source == STDIN:
        if os.isatty(0):
            raise UsageError("a container is no text to be typed", fix="inn import FILE")
        made = take(sys.stdin.buffer, shown, source="standard input", name=name, trusted=trust)
    else:
        with storage_errors("read a container", source):
            file = source.open("rb")
        with file:
            made = take(file, shown, source=source.name, name=name, trusted=trust)
    click.echo(made.id)


@click.command(epilog=examples("inn checkpoint web", "inn checkpoint --leave-running web"))
@click.option("--leave-running", "-R", is_flag=True, help="Go on after that.")
@click.option("--tcp-established", is_flag=True, help="With connections that are open.")
@click.option("--file-locks", is_flag=True, help="With locks on files.")
@containers_argument
def checkpoint(
    leave_running: bool, tcp_established: bool, file_locks: bool, names: tuple[str, ...]
) -> int:
    """Save the processes of detached containers, which end; `inn restore` brings them back.

    criu does the work, as root, where it works with the kernel (criu check).
    """
    from innkeeper.guests.containers.checkpoints import checkpoint as save

    return for_each(
        names,
        lambda record: save(
            record, leave_running=leave_running, tcp_established=tcp_established,
            file_locks=file_locks,
        ),
    )  # fmt: skip


@click.command(epilog=examples("inn restore web"))
@click.option("--keep", "-k", is_flag=True, help="Keep the checkpoint.")
@containers_argument
def restore(keep: bool, names: tuple[str, ...]) -> int:
    """Bring the processes of containers back that `inn checkpoint` has saved."""
    from innkeeper.guests.containers.checkpoints import restore as bring

    return for_each(names, lambda record: bring(record, keep=keep))
