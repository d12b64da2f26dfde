"""`inn image load|save|import|tag`: OCI images from files, into files, and by another name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from innkeeper.cli.options import FILE, compression_option
from innkeeper.cli.progress import shown_progress

if TYPE_CHECKING:
    from innkeeper.images.oci.content import ContentStore
    from innkeeper.images.oci.documents import Platform

FORMATS = ("oci", "oci-dir", "docker")
platform_option = click.option(
    "--platform", default=None, metavar="OS/ARCH[/VARIANT]",
    help="The platform to take of an image that has several (default: this host's).",
)  # fmt: skip


def store() -> ContentStore:
    """Return the user's store of OCI images."""
    from innkeeper.images.oci.content import ContentStore

    return ContentStore()


def parse(platform: str | None) -> Platform | None:
    """Read `--platform`."""
    from innkeeper.images.oci.platforms import parse_platform

    return parse_platform(platform) if platform else None


@click.command(epilog="\b\nExamples:\n  inn image load image.tar\n  inn image load layout/")
@click.argument("source", type=FILE, metavar="FILE|DIR")
@click.option("--name", default="", help="What to call an image that has no name of its own.")
def load(source: Path, name: str) -> None:
    """Take OCI images from a layout (folder or archive) or an archive of `docker save`."""
    from innkeeper.images.oci import archives

    with shown_progress() as progress:
        token = progress.start(f"loading {source}")
        try:
            names = archives.load(store(), source, name=name)
        finally:
            progress.finish(token)
    for loaded in names:
        click.echo(loaded)


@click.command(
    epilog="\b\nExamples:\n  inn image save busybox:latest -o busybox.tar\n"
    "  inn image save busybox:latest --format docker | docker load"
)
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "-o",
    "--output",
    "target",
    type=FILE,
    default=None,
    metavar="FILE|DIR",
    help="Where to (default: standard output).",
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(FORMATS),
    default=FORMATS[0],
    show_default=True,
    help="An OCI layout as archive or folder, or docker's archive.",
)
@platform_option
def save(names: tuple[str, ...], target: Path | None, kind: str, platform: str | None) -> None:
    """Write OCI images to a file that other tools read."""
    from innkeeper.images.oci import archives

    if target is None and sys.stdout.isatty():
        raise click.UsageError("an archive is not written to a terminal: give -o FILE")
    archives.save(store(), names, target=target, kind=kind, platform=parse(platform),
                  out=sys.stdout.buffer)  # fmt: skip


@click.command(
    "import",
    epilog="\b\nExamples:\n  inn image import rootfs.tar.xz mine:1 --cmd /bin/sh\n"
    "  inn image import --arch riscv64 rootfs/ mine:1",
)
@click.argument("source", type=FILE, metavar="ROOTFS")
@click.argument("name")
@click.option("--arch", default=None, help="The architecture it is for (default: this host's).")
@click.option("--cmd", multiple=True, metavar="WORD", help="A word of the default command.")
@click.option("--entrypoint", multiple=True, metavar="WORD", help="A word of the entry point.")
@click.option("--env", "-e", "env", multiple=True, metavar="NAME=VALUE", help="A variable.")
@click.option("--workdir", "-w", default="", metavar="DIR", help="The working directory.")
@click.option("--user", "-u", default="", help="The user commands run as.")
@click.option("--expose", multiple=True, metavar="PORT[/udp]", help="A port it serves (-P).")
@compression_option
def import_(source: Path, name: str, arch: str | None, **options: Any) -> None:
    """Make the OCI image NAME of a root file system: a folder, or a tar archive (`-`: stdin)."""
    from innkeeper.images.oci.imports import import_rootfs
    from innkeeper.images.oci.platforms import host_platform, parse_platform

    config = {
        "Cmd": list(options["cmd"]), "Entrypoint": list(options["entrypoint"]),
        "ExposedPorts": {port: {} for port in options["expose"]},
        "Env": list(options["env"]), "WorkingDir": options["workdir"], "User": options["user"],
    }  # fmt: skip
    made = import_rootfs(
        store(), source, name,
        platform=parse_platform(arch) if arch else host_platform(),
        config={key: value for key, value in config.items() if value},
        compression=options["compression"],
    )  # fmt: skip
    click.echo(f"{made.name}@{made.descriptor.digest}")


@click.command(epilog="\b\nExample:\n  inn image tag busybox:latest registry.example/me/busybox:1")
@click.argument("name")
@click.argument("new", metavar="NEW-NAME")
def tag(name: str, new: str) -> None:
    """Give an OCI image a further name."""
    from innkeeper.images.oci.image import find_target
    from innkeeper.images.oci.reference import Reference

    reference = Reference.parse(new)
    if reference.digest:
        raise click.UsageError(f"{new}: a name with a digest cannot be given")
    here = store()
    here.tag(reference.tagged, find_target(here, name)[1])
    click.echo(reference.tagged)


COMMANDS = (load, save, import_, tag)
