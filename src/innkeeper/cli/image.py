"""`inn image`: build, list, inspect and remove images of both kinds, machines' and OCI's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from innkeeper.cli import image_files, image_registry
from innkeeper.cli.options import ARCHITECTURES, combined, json_option
from innkeeper.cli.progress import in_words, shown_progress
from innkeeper.cli.table import show_rows

if TYPE_CHECKING:
    from innkeeper.images.oci.content import ContentStore
    from innkeeper.images.oci.image import Image
    from innkeeper.images.store import Manifest, Store

DEFAULT_SUITE = "trixie"
_EXAMPLES = """\b
Examples:
  inn image build busybox
  inn image build debian --include python3 --include gcc --tag debian-dev
  inn image pull registry.example/me/busybox:1
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
    """Build, list, inspect and remove images.

    There are two kinds: images of machines, with a kernel, called by a plain name (debian);
    and OCI images, called [REGISTRY/]NAME[:TAG]. A plain name means the former if there is one.
    """


for _command in (*image_files.COMMANDS, *image_registry.COMMANDS):
    image.add_command(_command)


@image.command(
    epilog="\b\nExamples:\n  inn image build debian --include git --tag debian-git\n"
    "  inn image build busybox --format oci --arch amd64"
)
@click.argument("name")
@click.option(
    "--format",
    "kind",
    type=click.Choice(("machine", "oci")),
    default="machine",
    show_default=True,
    help="An image of a machine, or an OCI image for containers.",
)
@click.option(
    "--suite", default=DEFAULT_SUITE, show_default=True, help="The distribution's release."
)
@click.option(
    "--arch",
    default=None,
    help=f"The architecture (machine: {ARCHITECTURES[0]}; oci: this host's).",
)
@mirror_option
@click.option("--include", multiple=True, metavar="PACKAGE", help="A further package to install.")
@click.option("--tag", default="", help="What to call the image (default: NAME).")
@click.option("--rebuild", is_flag=True, help="Make it again even if it is here.")
@click.option(
    "--configure/--no-configure",
    default=None,
    help="Configure an OCI image's packages (default: where this host can).",
)
def build(name: str, kind: str, arch: str | None, configure: bool | None, **options: Any) -> None:
    """Make the image NAME (busybox or debian) from the host's package mirror.

    An OCI image of debian needs root, and this host's architecture, for its packages to be
    configured; elsewhere they are only unpacked.
    """
    if kind == "oci":
        _make_oci(name, arch, configure, options)
        return
    if arch not in (None, *ARCHITECTURES):
        raise click.UsageError(f"--arch {arch}: machines are of {', '.join(ARCHITECTURES)}")
    _make(name, options | {"arch": arch or ARCHITECTURES[0]})


@image.command(
    epilog="\b\nExamples:\n  inn image pull debian --suite trixie\n"
    "  inn image pull registry.example/me/busybox:1 --platform linux/riscv64"
)
@click.argument("name")
@which_options
@mirror_option
@image_registry.pull_options
def pull(
    name: str, platform: str | None, all_platforms: bool, insecure: bool, **options: Any
) -> None:
    """Fetch the image NAME unless it is here.

    A machine's image (debian, busybox) is made from the host's package mirror; any other name is
    an OCI image, from the registry that it names or that INN_REGISTRY gives.
    """
    from innkeeper.images.debian import RECIPES

    if name in RECIPES:
        _make(name, options | {"include": (), "tag": "", "rebuild": False})
        return
    image_registry.pull_image(name, platform=platform, every=all_platforms, insecure=insecure)


@image.command(epilog="\b\nExample:\n  inn image ls -o json")
@json_option
def ls(output: str) -> None:
    """List the images that are here."""
    from innkeeper.images.oci.image import images_of
    from innkeeper.images.oci.machine import SUITE

    store = _store()
    # The disks that OCI images run from in machines are no images to anybody but us.
    rows = [_row(store, found) for found in store.images() if found.suite != SUITE]
    rows += [_oci_row(found) for _, images in images_of(_oci()) for found in images]
    columns = ["name", "kind", "suite", "arch", "size", "created", "state"]
    show_rows(rows, columns=columns, output=output)


@image.command(
    epilog="\b\nExamples:\n  inn image inspect debian | jq .packages\n"
    "  inn image inspect --platform linux/riscv64 busybox:latest"
)
@click.argument("name")
@which_options
@image_files.platform_option
def inspect(name: str, suite: str, arch: str, platform: str | None) -> None:
    """Show all that is known of the image NAME, as JSON."""
    from innkeeper.images.oci.describe import describe_image

    store = _store()
    if not _is_machine(store, name, suite=suite, arch=arch):
        wanted = image_files.parse(platform)
        click.echo(json.dumps(describe_image(_oci(), name, wanted), indent=2))
        return
    import msgspec

    found = store.get(name, suite=suite, arch=arch)
    facts = msgspec.to_builtins(found)
    for part in ("kernel", "initrd", "disk", "setup_initrd"):
        blob = getattr(found, part)
        if blob is not None:
            facts[part]["path"] = str(store.blob_path(blob))
    click.echo(json.dumps(facts, indent=2))


@image.command(epilog="\b\nExample:\n  inn image rm debian busybox:latest")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@which_options
def rm(names: tuple[str, ...], suite: str, arch: str) -> None:
    """Remove images; `inn image prune` then gives the space back."""
    from innkeeper.images.oci.image import find_target

    store, oci = _store(), _oci()
    machines = [name for name in names if _is_machine(store, name, suite=suite, arch=arch)]
    tags = [find_target(oci, name)[0] for name in names if name not in machines]
    for name in machines:
        store.remove(name, suite=suite, arch=arch)
        click.echo(f"{name} {suite} {arch}")
    for tag in tags:
        oci.untag(tag)
        click.echo(tag)


@image.command(epilog="\b\nExample:\n  inn image prune --keep-downloads")
@click.option("--keep-downloads", is_flag=True, help="Keep the downloaded packages.")
def prune(keep_downloads: bool) -> None:
    """Remove what no image needs: contents, leftovers of killed builds, downloads."""
    from innkeeper.guests.containers import roots
    from innkeeper.images import prune as pruning
    from innkeeper.images.oci import machine, reach

    machine.forget_stale(_store(), _oci())
    done = pruning.prune(_store(), downloads=not keep_downloads)
    more = roots.as_owner(lambda: reach.prune(_oci()))
    freed = in_words(done.bytes + more.bytes)
    click.echo(f"{done.files + more.files} files removed, {freed} freed")


def _store() -> Store:
    from innkeeper.images.store import Store

    return Store()


def _oci() -> ContentStore:
    from innkeeper.images.oci.content import ContentStore

    return ContentStore()


def _is_machine(store: Store, name: str, *, suite: str, arch: str) -> bool:
    """Tell whether a name means an image of a machine: it is plain, and there is one.

    Of a name that means nothing at all the error should say how machines' images are made, too.
    """
    from innkeeper.images.debian import RECIPES

    if set(name) & set(":/@") or not name:
        return False
    if store.find(name, suite=suite, arch=arch) is not None:
        return True
    return name in RECIPES and _oci().lookup(f"{name}:latest") is None


def _make(name: str, options: dict[str, Any]) -> None:
    from innkeeper import api

    with shown_progress() as progress:
        made = api.build_image(name, progress=progress, **options)
    click.echo(f"{made.name} {made.suite} {made.arch}")


def _make_oci(name: str, arch: str | None, configure: bool | None, options: dict[str, Any]) -> None:
    from innkeeper import api
    from innkeeper.images.oci.debianimage import UNPACKED, state_of
    from innkeeper.images.oci.platforms import host_platform

    options.pop("rebuild")  # an OCI image is made anew each time: nothing tells that it is the same
    with shown_progress() as progress:
        made = api.build_oci_image(
            name, arch=arch or host_platform().architecture, configure=configure,
            progress=progress, **options,
        )  # fmt: skip
    click.echo(f"{made.name}@{made.descriptor.digest}")
    if state_of(made) == UNPACKED:
        from innkeeper.guests.containers.build import why_not

        why = why_not(made) or "--no-configure"
        click.echo(f"its packages are unpacked, not configured ({why})", err=True)


def _row(store: Store, found: Manifest) -> dict[str, Any]:
    occupied = 0
    for blob in found.blobs():
        path = store.blob_path(blob)
        occupied += path.stat().st_blocks * 512 if path.exists() else 0
    return {
        "name": found.name,
        "kind": "machine",
        "suite": found.suite,
        "arch": found.arch,
        "size": in_words(occupied),
        "size_bytes": occupied,
        "created": found.created,
        "state": found.state,
        "kernel": found.kernel_release,
        "include": list(found.include),
    }


def _oci_row(found: Image) -> dict[str, Any]:
    from innkeeper.images.oci.debianimage import state_of
    from innkeeper.images.oci.platforms import describe

    size = sum(d.size for d in (found.manifest.config, *found.manifest.layers))
    return {
        "name": found.name,
        "kind": "oci",
        "suite": "-",
        "arch": describe(found.platform).removeprefix("linux/"),
        "size": in_words(size),
        "size_bytes": size,
        "created": found.config.created or "",
        "state": "incomplete" if found.missing() else state_of(found),
        "digest": found.descriptor.digest,
        "id": found.id,
    }
