"""OCI images made from Debian packages, unprivileged, with the signatures checked.

`busybox` is ready as it is: a static program and the few files around it. `debian` is *unpacked*:
the packages' files are in place and dpkg knows of them, but their maintainer scripts have not run.
Where containers can be run as root that is done afterwards (guests/containers/build.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from innkeeper.base.errors import UsageError
from innkeeper.images import deb, debian, initramfs, secondstage, tarwrite
from innkeeper.images.archive import Archive
from innkeeper.images.debian import RECIPES, Recipe
from innkeeper.images.fetch import Fetcher
from innkeeper.images.oci.commit import image_from_layer
from innkeeper.images.oci.content import ContentStore
from innkeeper.images.oci.documents import Platform
from innkeeper.images.oci.image import Image
from innkeeper.images.oci.platforms import normalise
from innkeeper.images.oci.reference import Reference
from innkeeper.images.packages import PackageIndex
from innkeeper.images.progress import SILENT, Progress
from innkeeper.images.store import Store
from innkeeper.images.tree import Tree

STATE_LABEL = "io.innkeeper.state"
READY, UNPACKED = "ready", "unpacked"
ARCHITECTURES = ("amd64", "arm64", "riscv64", "i386", "armhf", "ppc64el", "s390x")
SECOND_STAGE_PATH = f"/{secondstage.SCRIPT_PATH}"
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_FOLDERS = ("dev", "etc", "home", "proc", "root", "run", "sys", "usr/bin", "usr/sbin", "var/log")
_PASSWD = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
_GROUP = b"root:x:0:\nnogroup:x:65534:\n"
_MASTER = "usr/share/base-passwd/{0}.master"


def build(
    name: str,
    *,
    arch: str,
    suite: str = debian.DEFAULT_SUITE,
    include: Sequence[str] = (),
    tag: str = "",
    mirror: str | None = None,
    store: ContentStore | None = None,
    fetcher: Fetcher | None = None,
    progress: Progress = SILENT,
) -> Image:
    """Make the OCI image `name` (`busybox` or `debian`) and keep it as `tag` (default: `name`).

    `arch` is Debian's name. Images of other platforms under that name stay beside it, in an index.
    `state_of` says whether it is ready or unpacked.
    """
    _check(name, arch, include)
    kept = Reference.parse(tag or name)
    recipe = Recipe(name, suite, arch, tuple(sorted(set(include))), tag or name, mirror)
    store = store or ContentStore()
    work = debian.Build(recipe, Store(), fetcher or Fetcher(progress=progress), progress)
    archive = Archive.open(suite, fetcher=work.fetcher, mirror=mirror)
    index = archive.index(arch)
    with work.tree() as tree:
        if name == "busybox":
            labels = _busybox(work, tree, archive, index)
            command = "sh"
        else:
            labels = _debian(work, tree, archive, index)
            command = "bash" if tree.find("bin/bash") or tree.find("usr/bin/bash") else "sh"
        token = progress.start("making the layer")
        try:
            return image_from_layer(
                store,
                kept.tagged,
                lambda tar: tarwrite.write_entries(tree, tar),
                platform=_platform(arch),
                config={"Env": [_PATH], "Cmd": [command], "Labels": labels},
                created_by=f"inn image build {name} --format oci --suite {suite} --arch {arch}",
                add=True,
            )
        finally:
            progress.finish(token)


def state_of(image: Image) -> str:
    """Return `unpacked` for an image whose packages are not configured, else `ready`."""
    return (image.config.execution.labels or {}).get(STATE_LABEL, READY)


def _check(name: str, arch: str, include: Sequence[str]) -> None:
    if name not in RECIPES:
        raise UsageError(
            f"there is no recipe for an image {name!r}", fix=f"build one of: {', '.join(RECIPES)}"
        )
    if arch not in ARCHITECTURES:
        raise UsageError(
            f"OCI images for {arch!r} cannot be built",
            fix=f"give one of: {', '.join(ARCHITECTURES)}",
        )
    if include and name == "busybox":
        raise UsageError("the busybox image takes no packages", fix="build debian --include ...")


def _platform(arch: str) -> Platform:
    """Return OCI's platform for Debian's architecture."""
    return normalise(Platform(arch, "linux"))


def _busybox(
    work: debian.Build, tree: Tree, archive: Archive, index: PackageIndex
) -> dict[str, Any]:
    """Fill the tree with busybox under all of its names; the package's own files stay."""
    package = index["busybox-static"]
    for folder in _FOLDERS:
        tree.folder(folder)
    for name in ("bin", "sbin"):
        tree.symlink(name, f"usr/{name}")
    tree.folder("tmp", mode=0o1777)
    tree.folder("root", mode=0o700)
    with deb.open_data(work.fetch(archive, package)) as reader:
        tree.unpack(reader)
    for applet in ("sh", *initramfs.applets(tree.read("usr/bin/busybox"))):
        if tree.find(f"usr/bin/{applet}", follow=False) is None:
            tree.symlink(f"usr/bin/{applet}", "busybox")
    tree.write("etc/passwd", _PASSWD)
    tree.write("etc/group", _GROUP)
    return {
        STATE_LABEL: READY,
        "org.opencontainers.image.title": "busybox",
        "org.opencontainers.image.version": package.version,
    }


def _debian(
    work: debian.Build, tree: Tree, archive: Archive, index: PackageIndex
) -> dict[str, Any]:
    """Fill the tree with an unpacked system, and the little that needs no script to be run."""
    debs = [(p, work.fetch(archive, p)) for p in work.packages(index)]
    work.unpack(tree, debs)
    for name in ("passwd", "group"):
        master = _MASTER.format(name)
        if tree.find(master) and tree.find(f"etc/{name}") is None:
            tree.write(f"etc/{name}", tree.read(master))
    if tree.find("usr/bin/awk", follow=False) is None and tree.find("usr/bin/mawk"):
        tree.symlink("usr/bin/awk", "mawk")
    tree.write("etc/machine-id", b"", mode=0o444)
    debian.add_sources(tree, archive, work.recipe.suite)
    return {
        STATE_LABEL: UNPACKED,
        "org.opencontainers.image.title": "debian",
        "org.opencontainers.image.version": archive.release.codename or work.recipe.suite,
    }
