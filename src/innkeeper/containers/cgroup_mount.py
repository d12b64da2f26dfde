"""Show a container its control groups: mounts of type `cgroup` (config-linux.md)."""

from __future__ import annotations

import os

from innkeeper.base.errors import ContainerError
from innkeeper.containers import kernel as k
from innkeeper.containers.mount_options import MountOptions
from innkeeper.containers.mounts import attach, clone_tree, new_filesystem, set_attributes
from innkeeper.containers.targets import check_target, open_target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

UNIFIED = "/sys/fs/cgroup"
_TMPFS = k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NODEV | k.MOUNT_ATTR_NOEXEC


def mount_cgroups(
    root: int, mount: dict[str, Any], options: MountOptions, *, own_namespace: bool, proc: int
) -> None:
    """Mount this process's hierarchies at the destination, each where the host has it.

    `proc` is the host's `/proc`. In a cgroup namespace the file system itself is mounted, whose
    root is then the container's cgroup; otherwise the container's directory is bound.
    """
    place = mount["destination"]
    try:
        target = open_target(root, place, directory=True)
        check_target(root, target, place, kind="cgroup")
        if _is_unified():
            own = hierarchies(proc).get("", "/")
            tree = _hierarchy("", UNIFIED, own, options, own_namespace)
        else:
            tree = _legacy(options, own_namespace, proc)
        if options.deep_set or options.deep_clear:
            set_attributes(tree, set_=options.deep_set, clear=options.deep_clear, deep=True)
        attach(tree, target)
        os.close(tree)
        os.close(target)
    except (OSError, ContainerError) as error:
        why = k.reason(error) if isinstance(error, OSError) else str(error)
        raise ContainerError(f'error mounting "cgroup" to rootfs at "{place}"', why=why) from None


def _is_unified() -> bool:
    fd = os.open(UNIFIED, k.O_PATH | os.O_CLOEXEC)
    try:
        return k.filesystem_type(fd) == k.CGROUP2_SUPER_MAGIC
    finally:
        os.close(fd)


def hierarchies(proc: int) -> dict[str, str]:
    """Return controllers (as `/proc/self/cgroup` joins them) and this process's path in each."""
    found = {}
    for line in _read(proc, "self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        found[controllers] = path
    return found


def _read(proc: int, path: str) -> str:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
    chunks = []
    try:
        while chunk := os.read(fd, 1 << 16):
            chunks.append(chunk)
    finally:
        os.close(fd)
    return os.fsdecode(b"".join(chunks))


def mount_points(proc: int) -> dict[str, str]:
    """Return where the host has each hierarchy: controllers, and the mount point."""
    found: dict[str, str] = {}
    for line in _read(proc, "self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        kind, _, superblock = after.split(" ", 2)
        point = before.split(" ")[4]
        if kind == "cgroup2":
            found.setdefault("", point)
        elif kind == "cgroup":
            names = [n for n in superblock.split(",") if n not in ("rw", "ro", "xattr", "noprefix")]
            found.setdefault(",".join(n for n in names if "=" not in n or n[:5] == "name="), point)
    return found


def _legacy(options: MountOptions, own_namespace: bool, proc: int) -> int:
    """Build the tree of version 1: a tmpfs with a directory per hierarchy, and links to it."""
    points = mount_points(proc)
    shell = MountOptions()
    shell.set, shell.data = _TMPFS, ["mode=755"]
    tree = new_filesystem("tmpfs", "tmpfs", shell)
    parts = []
    for controllers, path in hierarchies(proc).items():
        point = points.get(controllers)
        if point is None:
            continue
        name = os.path.basename(point)
        os.mkdir(name, 0o755, dir_fd=tree)
        for alias in controllers.split(","):
            if alias and "=" not in alias and alias != name:
                os.symlink(name, alias, dir_fd=tree)
        parts.append((name, _hierarchy(controllers, point, path, options, own_namespace)))
    for name, part in parts:
        place = os.open(name, k.O_PATH | os.O_CLOEXEC, dir_fd=tree)
        attach(part, place)
        os.close(place)
        os.close(part)
    if options.set & k.MOUNT_ATTR_RDONLY:
        set_attributes(tree, set_=k.MOUNT_ATTR_RDONLY)
    return tree


def _hierarchy(
    controllers: str, point: str, path: str, options: MountOptions, own_namespace: bool
) -> int:
    """Return one hierarchy as a detached mount."""
    if own_namespace:
        one = MountOptions()
        one.set = options.set
        if controllers:
            named = controllers.startswith("name=")
            one.data = ["none", controllers] if named else controllers.split(",")
        try:
            return new_filesystem("cgroup" if controllers else "cgroup2", "cgroup", one)
        except OSError:  # a user namespace that does not own it: the directory will do
            pass
    tree = clone_tree(os.path.normpath(f"{point}/{path}"), deep=False)
    if options.set:
        set_attributes(tree, set_=options.set)
    return tree
