"""Make a root file system and live in it: config.md "Root", "Mounts"; config-linux.md.

Runs in the container's first process, in its new mount namespace. The host's `/proc` stays open as
a descriptor to the end, and everything that must be written to a procfs is written there: what a
container has at `/proc`, nobody knows (CVE-2019-19921, CVE-2025-52881).
"""

from __future__ import annotations

import os

from innkeeper.base.errors import ContainerError
from innkeeper.containers import kernel as k
from innkeeper.containers.devices import make_devices, wants_devices
from innkeeper.containers.mount_options import (
    MountOptions,
    add_label,
    parse_options,
    propagation_flags,
)
from innkeeper.containers.mounts import attach, clone_tree, make_mount, set_attributes
from innkeeper.containers.targets import (
    clean,
    is_directory,
    open_existing,
    open_target,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from innkeeper.containers.config import Config

MASK_OPTIONS = k.MOUNT_ATTR_RDONLY | k.MOUNT_ATTR_NOSUID | k.MOUNT_ATTR_NODEV | k.MOUNT_ATTR_NOEXEC


class Rootfs:
    """The root file system while it is made; `trees` are bind sources opened beforehand."""

    def __init__(self, config: Config, proc: int, trees: dict[int, int], *, mapped: bool) -> None:
        self.config, self.proc, self.trees, self.mapped = config, proc, trees, mapped
        self.null = os.open("/dev/null", k.O_PATH | os.O_CLOEXEC)
        self.root = -1

    def attach_root(self, mount_root: Callable[[], None] | None = None) -> None:
        """Cut the mount namespace off from the host's and mount the root onto itself.

        `mount_root` mounts what the root is to show, which may take this namespace.
        """
        shared = self.config.linux.get("rootfsPropagation", "").lstrip("r") == "shared"
        if not shared:  # else bind mounts may ask to stay the host's peers
            k.syscall("mount", 0, b"/", 0, k.MS_SLAVE | k.MS_REC, 0)
        if mount_root is not None:
            mount_root()
        path = self.config.rootfs
        try:
            place = os.open(path, k.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self.root = clone_tree("", deep=True, directory=place)
            if shared:
                _make_parent_private(path)
                set_attributes(self.root, propagation=k.MS_PRIVATE)
            attach(self.root, place)
        except OSError as error:
            raise ContainerError(f"error preparing rootfs {path}", why=k.reason(error)) from None
        os.close(place)

    def fill(self) -> None:
        """Make every mount in the order given, then `/dev`, then the working directory."""
        late = []
        for index, mount in enumerate(self.config.mounts):
            options = parse_options(mount)
            add_label(options, mount.get("type", ""), self.config.linux.get("mountLabel", ""))
            if clean(mount["destination"]) == "/dev" and options.set & k.MOUNT_ATTR_RDONLY:
                options.set &= ~k.MOUNT_ATTR_RDONLY
                late.append(mount["destination"])
            if mount.get("type") == "cgroup" and not options.bind:
                self._mount_cgroups(index, options)
            else:
                make_mount(self.root, mount, options, self.trees.get(index))
        if wants_devices(self.config.mounts):
            devices = self.config.linux.get("devices", [])
            make_devices(self.root, devices, bind=self.mapped)
        self._make_cwd()
        for place in late:
            self._make_readonly(place)

    def _mount_cgroups(self, index: int, options: MountOptions) -> None:
        from innkeeper.containers.cgroup_mount import mount_cgroups

        mount = self.config.mounts[index]
        own = "cgroup" in self.config.namespaces
        mount_cgroups(self.root, mount, options, own_namespace=own, proc=self.proc)

    def _make_cwd(self) -> None:
        """Make the working directory where it is missing, as runc does."""
        cwd = self.config.process.get("cwd", "/")
        try:
            os.close(open_target(self.root, cwd, directory=True))
        except OSError as error:
            if error.errno != 30:  # a read-only root: chdir will say that it is missing
                raise ContainerError(f"mkdir {cwd}", why=k.reason(error)) from None

    def _make_readonly(self, place: str) -> None:
        target = k.open_in_root(self.root, clean(place))
        set_attributes(target, set_=k.MOUNT_ATTR_RDONLY)
        os.close(target)

    def enter(self, *, pivot: bool) -> None:
        """Make the root this process's, and let go of the host's."""
        os.fchdir(self.root)
        try:
            if pivot:
                _pivot()
            else:
                _move(self.config.rootfs)
        except OSError as error:
            name = "pivot_root" if pivot else "moving the root"
            raise ContainerError(f"error jailing process inside rootfs: {name}",
                                 why=k.reason(error)) from None  # fmt: skip
        os.chdir("/")
        if self.config.linux.get("rootfsPropagation"):
            flags = propagation_flags(self.config.linux["rootfsPropagation"])
            k.syscall("mount", 0, b"/", 0, flags, 0)

    def guard(self) -> None:
        """Mask paths, make paths and the root read-only; in this order nothing is left open."""
        for path in self.config.linux.get("readonlyPaths", []):
            self._guard(path, self._readonly)
        for path in self.config.linux.get("maskedPaths", []):
            self._guard(path, self._mask)
        if self.config.raw["root"].get("readonly"):
            set_attributes(self.root, set_=k.MOUNT_ATTR_RDONLY)

    def _guard(self, path: str, action: Callable[[int], None]) -> None:
        target = open_existing(self.root, path)
        if target is None:
            return
        try:
            action(target)
        except OSError as error:
            raise ContainerError(f"can't mask or guard path {path}", why=k.reason(error)) from None
        finally:
            os.close(target)

    def _readonly(self, target: int) -> None:
        tree = clone_tree("", deep=True, directory=target)
        set_attributes(tree, set_=k.MOUNT_ATTR_RDONLY, deep=True)
        attach(tree, target)
        os.close(tree)

    def _mask(self, target: int) -> None:
        """Hide a directory behind an empty tmpfs, a file behind the host's own /dev/null.

        The host's, since the container's could be anything by now: CVE-2025-31133.
        """
        if is_directory(target):
            from innkeeper.containers.mounts import new_filesystem

            empty = MountOptions()
            empty.set, empty.data = MASK_OPTIONS, ["size=0k", "nr_blocks=1"]
            tree = new_filesystem("tmpfs", "tmpfs", empty)
        else:
            tree = clone_tree("", deep=False, directory=self.null)
        attach(tree, target)
        os.close(tree)


def _make_parent_private(path: str) -> None:
    """Make the mount that holds `path` private: pivot_root(2) refuses a shared parent."""
    while True:
        try:
            k.syscall("mount", 0, os.fsencode(path), 0, k.MS_PRIVATE, 0)
            return
        except OSError:
            if path == "/":
                raise
            path = os.path.dirname(path)


def _pivot() -> None:
    """Swap the roots on top of each other, then drop the old one (pivot_root(2), example)."""
    old = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    k.syscall("pivot_root", b".", b".")
    os.fchdir(old)
    k.syscall("mount", 0, b".", 0, k.MS_SLAVE | k.MS_REC, 0)
    k.syscall("umount2", b".", k.MNT_DETACH)
    os.close(old)


def _move(path: str) -> None:
    """Move the root mount over `/` and change into it, for a root on the initial ramfs."""
    k.syscall("mount", os.fsencode(path), b"/", 0, k.MS_MOVE, 0)
    os.chroot(".")
