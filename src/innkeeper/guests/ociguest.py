"""`inn run --engine emulate` of an OCI image: its files as a disk, its defaults as ours."""

from __future__ import annotations

import re
from collections.abc import Callable

from innkeeper.base.errors import NotFoundError, UsageError
from innkeeper.base.record import replace
from innkeeper.guests.config import RunConfig
from innkeeper.images.oci.content import ContentStore
from innkeeper.images.oci.documents import Platform
from innkeeper.images.oci.image import Image, find_image
from innkeeper.images.oci.machine import machine_of
from innkeeper.images.oci.reference import Reference
from innkeeper.images.progress import Progress
from innkeeper.images.store import Manifest, Store

KERNEL_FROM = "busybox"
MAX_HOSTNAME = 63


def is_oci_name(name: str) -> bool:
    """Tell whether a name can only be an OCI image's: it has a path, a tag or a digest."""
    return bool(set(name) & set(":/@"))


def find_oci(config: RunConfig) -> Image | None:
    """Return the OCI image that a run means, or None when a plain name is not one's."""
    try:
        return find_image(ContentStore(), config.image, Platform(config.arch, "linux"))
    except NotFoundError:
        if is_oci_name(config.image):
            raise
        return None


def as_machine(
    config: RunConfig,
    image: Image,
    obtain: Callable[[str], Manifest],
    *,
    store: Store,
    progress: Progress,
) -> tuple[RunConfig, Manifest]:
    """Return the run with the image's defaults filled in, and the machine's image to boot.

    `obtain` gives the machine's image whose kernel is used. What the caller asks for goes before
    what the image says (image-spec config.md).
    """
    execution = image.config.execution
    argv = (*(execution.entrypoint or ()), *(config.argv or execution.cmd or ()))
    if not argv:
        raise UsageError(
            f"nothing to run in {image.name}", why="the image has no default command",
            fix=f"inn run {config.image} -- COMMAND",
        )  # fmt: skip
    defaults = dict(item.split("=", 1) for item in execution.env or () if "=" in item[1:])
    changed = replace(
        config,
        argv=argv,
        env={**defaults, **config.env},
        workdir=config.workdir if config.workdir != "/" else execution.working_dir or "/",
        user=config.user or execution.user or None,
        hostname=config.hostname or config.name or _hostname(image),
    )
    made = machine_of(image, obtain(KERNEL_FROM), store=store, progress=progress)
    return changed, made


def _hostname(image: Image) -> str:
    last = Reference.parse(image.name).repository.rpartition("/")[2]
    return re.sub(r"[^a-z0-9-]", "-", last)[:MAX_HOSTNAME].strip("-") or "inn"
