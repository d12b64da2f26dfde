"""`inn image`: build, list, inspect and remove images."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from innkeeper.cli.options import ARCHITECTURES, combined, json_option
from innkeeper.cli.progress import in_words, shown_progress
from innkeeper.cli.table import show_rows

if TYPE_CHECKING:
    from innkeeper.images.store import Manifest, Store

DEFAULT_SUITE = "trixie"
_EXAMPLES = """\b
Examples:
  inn image build busybox
  inn image build debian --include python3 --include gcc --tag debian-dev
  inn image ls -o json
  inn image rm debian && inn image prune"""

which_options = combined(
    [
        click.option("--suite", default=DEFAULT_SUITE, show_default=True,
                     help="The distribution's release."),
        click.option("--arch", type=click.Choice(ARCHITECTURES), default=ARCHITECTURES[0],
                     show_default=True, help="The architecture."),
    ]
)  # fmt: skip
mirror_option = click.option(
    "--mirror", default=None, metavar="URL",
    help="Where packages come from, instead of the host's own mirror.",
)  # fmt: skip


@click.group(epilog=_EXAMPLES)
def image() -> None:
    """Build, list, inspect and remove images."""


@image.command(epilog="\b\nExample:\n  inn image build debian --include git --tag debian-git")
@click.argument("name")
@which_options
@mirror_option
@click.option("--include", multiple=True, metavar="PACKAGE", help="A further package to install.")
@click.option("--tag", default="", help="What to call the image (default: NAME).")
@click.option("--rebuild", is_flag=True, help="Make it again even if it is here.")
def build(name: str, **options: Any) -> None:
    """Make the image NAME (busybox or debian) from the host's package mirror."""
    _make(name, options)


@image.command(epilog="\b\nExample:\n  inn image pull debian --suite trixie")
@click.argument("name")
@which_options
@mirror_option
def pull(name: str, **options: Any) -> None:
    """Fetch and make the image NAME unless it is here; a second pull downloads nothing."""
    _make(name, options | {"include": (), "tag": "", "rebuild": False})


@image.command(epilog="\b\nExample:\n  inn image ls -o json")
@json_option
def ls(output: str) -> None:
    """List the images that are here."""
    store = _store()
    rows = [_row(store, found) for found in store.images()]
    show_rows(rows, columns=["name", "suite", "arch", "size", "created", "state"], output=output)


@image.command(epilog="\b\nExample:\n  inn image inspect debian | jq .packages")
@click.argument("name")
@which_options
def inspect(name: str, suite: str, arch: str) -> None:
    """Show all that is known of the image NAME, as JSON."""
    import msgspec

    store = _store()
    found = store.get(name, suite=suite, arch=arch)
    facts = msgspec.to_builtins(found)
    for part in ("kernel", "initrd", "disk", "setup_initrd"):
        blob = getattr(found, part)
        if blob is not None:
            facts[part]["path"] = str(store.blob_path(blob))
    click.echo(json.dumps(facts, indent=2))


@image.command(epilog="\b\nExample:\n  inn image rm debian busybox")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@which_options
def rm(names: tuple[str, ...], suite: str, arch: str) -> None:
    """Remove images; `inn image prune` then gives the space back."""
    store = _store()
    for name in names:
        store.get(name, suite=suite, arch=arch)
    for name in names:
        store.remove(name, suite=suite, arch=arch)
        click.echo(f"{name} {suite} {arch}")


@image.command(epilog="\b\nExample:\n  inn image prune --keep-downloads")
@click.option("--keep-downloads", is_flag=True, help="Keep the downloaded packages.")
def prune(keep_downloads: bool) -> None:
    """Remove what no image needs: contents, leftovers of killed builds, downloads."""
    from innkeeper.images import prune as pruning

    done = pruning.prune(_store(), downloads=not keep_downloads)
    click.echo(f"{done.files} files removed, {in_words(done.bytes)} freed")


def _store() -> Store:
    from innkeeper.images.store import Store

    return Store()


def _make(name: str, options: dict[str, Any]) -> None:
    from innkeeper import api

    with shown_progress() as progress:
        made = api.build_image(name, progress=progress, **options)
    click.echo(f"{made.name} {made.suite} {made.arch}")


def _row(store: Store, found: Manifest) -> dict[str, Any]:
    occupied = 0
    for blob in found.blobs():
        path = store.blob_path(blob)
        occupied += path.stat().st_blocks * 512 if path.exists() else 0
    return {
        "name": found.name,
        "suite": found.suite,
        "arch": found.arch,
        "size": in_words(occupied),
        "size_bytes": occupied,
        "created": found.created,
        "state": found.state,
        "kernel": found.kernel_release,
        "include": list(found.include),
    }
