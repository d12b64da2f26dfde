"""`inn image build --format oci`: an image from packages, configured in a container where possible.

Maintainer scripts need root and the packages' own architecture, so they run in a container as
root, or not at all: the image is then what it says it is, unpacked.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from innkeeper.base.errors import ImageError
from innkeeper.guests.containers.bundle import make_bundle
from innkeeper.guests.containers.options import BundleOptions
from innkeeper.images.debian import DEFAULT_SUITE
from innkeeper.images.oci import debianimage
from innkeeper.images.oci.changes import write_union
from innkeeper.images.oci.commit import image_from_layer
from innkeeper.images.oci.content import ContentStore
from innkeeper.images.oci.debianimage import READY, SECOND_STAGE_PATH, STATE_LABEL
from innkeeper.images.oci.documents import Descriptor
from innkeeper.images.oci.image import Image
from innkeeper.images.oci.platforms import choose, host_platform
from innkeeper.images.oci.rootfs import prepare_rootfs, release_rootfs
from innkeeper.images.oci.union import Union
from innkeeper.images.progress import SILENT, Progress

TIMEOUT_S = 1800
_TAIL_LINES = 15
_RUNTIME = "from innkeeper.containers.main import run; run()"


def build_oci_image(
    name: str,
    *,
    arch: str,
    suite: str = DEFAULT_SUITE,
    include: Sequence[str] = (),
    tag: str = "",
    mirror: str | None = None,
    progress: Progress = SILENT,
    configure: bool | None = None,
) -> Image:
    """Build an OCI image; `configure` None runs maintainer scripts where this host can.

    `configure=True` makes it an error when it cannot.
    """
    store = ContentStore()
    image = debianimage.build(
        name, arch=arch, suite=suite, include=include, tag=tag, mirror=mirror, store=store,
        progress=progress,
    )  # fmt: skip
    if debianimage.state_of(image) == READY or configure is False:
        return image
    obstacle = why_not(image)
    if obstacle and configure:
        raise ImageError("the image's packages cannot be configured on this host", why=obstacle)
    return image if obstacle else configure_image(image, progress=progress)


def why_not(image: Image) -> str:
    """Say why an image's maintainer scripts cannot be run here, or nothing."""
    entry = Descriptor(image.descriptor.media_type, image.descriptor.digest, 0,
                       platform=image.platform)  # fmt: skip
    if choose([entry], host_platform()) is None:
        return f"they are for {image.platform.architecture}"
    if os.geteuid() != 0:
        return "that needs root: packages have files of several owners"
    return ""


def configure_image(image: Image, *, progress: Progress = SILENT) -> Image:
    """Run the second stage of installation in a container; return the image that is ready.

    `ImageError` with the last lines of what the scripts said when they fail; the unpacked image
    is then still there.
    """
    store = image.store
    token = progress.start(f"configuring {image.name} in a container")
    try:
        with store.staging() as box:
            made = prepare_rootfs(image, box, rootless=False)
            try:
                _run(image, box, made.path)
                roots = [made.upper, *made.lower] if made.upper else [made.path]
                return _flattened(image, [root for root in roots if root])
            finally:
                release_rootfs(box, store)
    finally:
        progress.finish(token)


def _run(image: Image, box: Path, root: Path) -> None:
    options = BundleOptions(network="none", hostname="inn", pids_limit=0)
    config = make_bundle(image, [SECOND_STAGE_PATH], options, root=root)
    # The scripts need no limits, and a host without a cgroup for us is good enough for them.
    config["linux"].pop("resources")
    config["mounts"] = [m for m in config["mounts"] if m["type"] != "cgroup"]
    (box / "config.json").write_text(json.dumps(config))
    command = [sys.executable, "-c", _RUNTIME, "--root", str(box / "state"), "run",
               "--bundle", str(box), f"inn-build-{os.getpid()}"]  # fmt: skip
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace", check=False, timeout=TIMEOUT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ImageError(f"configuring {image.name} took longer than {TIMEOUT_S} s") from None
    if done.returncode != 0:
        lines = [line[:200] for line in done.stdout.splitlines() if line.strip()]
        tail = "\n".join(f"    {line}" for line in lines[-_TAIL_LINES:])
        raise ImageError(
            f"the second stage of {image.name} failed in its container",
            why=f"it ended with {done.returncode}" + (f"; it said last\n{tail}" if tail else ""),
            fix="inn image build --no-configure keeps the image unpacked",
        )


def _flattened(image: Image, roots: list[Path]) -> Image:
    """Make one layer of what the container sees, so that unpacked files are not carried twice."""
    execution = image.config.execution
    config: dict[str, Any] = {
        "Env": execution.env or [],
        "Cmd": execution.cmd or [],
        "Labels": {**(execution.labels or {}), STATE_LABEL: READY},
    }
    with Union(roots) as union:
        return image_from_layer(
            image.store, image.name, lambda tar: write_union(union, tar),
            platform=image.platform, config=config, created_by="inn image build", add=True,
        )  # fmt: skip
