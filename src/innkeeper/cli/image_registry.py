"""`inn image push|login|logout`, and the part of `pull` that asks a registry."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from innkeeper.cli.image_files import parse, platform_option, store
from innkeeper.cli.options import combined
from innkeeper.cli.progress import shown_progress

if TYPE_CHECKING:
    from innkeeper.images.oci.documents import Descriptor

MAX_PASSWORD_BYTES = 64 << 10
insecure_option = click.option(
    "--insecure", is_flag=True,
    help="Take any certificate, and plain http where there is no https.",
)  # fmt: skip
pull_options = combined(
    [
        platform_option,
        click.option("--all-platforms", is_flag=True, help="Take the image for every platform."),
        insecure_option,
    ]
)


def pull_image(name: str, *, platform: str | None, every: bool, insecure: bool) -> None:
    """Pull an OCI image and print its name and digest."""
    from innkeeper.images.oci.pull import pull
    from innkeeper.images.oci.reference import Reference, with_registry

    reference = with_registry(Reference.parse(name))
    with shown_progress() as progress:
        pulled, target = pull(
            store(), reference, platform=parse(platform), every=every, insecure=insecure,
            progress=progress,
        )  # fmt: skip
    click.echo(pulled if "@" in pulled else f"{pulled}@{target.digest}")


@click.command(
    epilog="\b\nExamples:\n  inn image push busybox:latest registry.example/me/busybox:1\n"
    "  inn image push registry.example/me/busybox:1"
)
@click.argument("name")
@click.argument("destination", required=False)
@platform_option
@insecure_option
def push(name: str, destination: str | None, platform: str | None, insecure: bool) -> None:
    """Send the OCI image NAME to a registry, under its own name or as DESTINATION.

    An image of several platforms is sent with all of them, or one with --platform.
    """
    from innkeeper.images.oci.push import push as push_image
    from innkeeper.images.oci.reference import Reference, with_registry

    found, target = _target(name, platform)
    reference = with_registry(Reference.parse(destination or found))
    with shown_progress() as progress:
        digest = push_image(store(), target, reference, insecure=insecure, progress=progress)
    click.echo(f"{reference.tagged}@{digest}")


def _target(name: str, platform: str | None) -> tuple[str, Descriptor]:
    from innkeeper.images.oci.image import find_image, find_target

    if platform is None:
        return find_target(store(), name)
    image = find_image(store(), name, parse(platform))
    return image.name, image.descriptor


@click.command(
    epilog="\b\nExample:\n  inn image login -u me --password-stdin registry.example < password"
)
@click.argument("registry", required=False)
@click.option("--username", "-u", default=None, help="The user's name (asked for when not given).")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@insecure_option
def login(registry: str | None, username: str | None, password_stdin: bool, insecure: bool) -> None:
    """Log in to REGISTRY, and remember it if the registry agrees.

    Passwords are kept in the form that podman and docker use, in REGISTRY_AUTH_FILE or our own
    auth.json, readable by you alone. What podman and docker have kept counts as well.
    """
    from innkeeper.images.oci import credentials
    from innkeeper.images.oci.registry import Registry

    name = _registry(registry)
    user = username or click.prompt("User", err=True)
    if password_stdin:
        password = sys.stdin.read(MAX_PASSWORD_BYTES).rstrip("\r\n")
    else:
        password = click.prompt("Password", hide_input=True, err=True)
    given = credentials.Credentials(user=user, password=password)
    Registry(name, insecure=insecure).check_login(given)
    path = credentials.save(name, given)
    click.echo(f"logged in to {name}; kept in {path}")


@click.command(epilog="\b\nExample:\n  inn image logout registry.example")
@click.argument("registry", required=False)
def logout(registry: str | None) -> None:
    """Forget the login to REGISTRY that `inn image login` has kept."""
    from innkeeper.images.oci import credentials

    name = _registry(registry)
    click.echo(f"logged out of {name}; removed from {credentials.forget(name)}")


def _registry(given: str | None) -> str:
    from innkeeper.images.oci.reference import Reference, default_registry

    name = given or default_registry()
    if name is None:
        raise click.UsageError("give a registry, or set INN_REGISTRY")
    Reference.parse(f"{name}/x")  # says what is wrong with it
    return name


COMMANDS = (push, login, logout)
