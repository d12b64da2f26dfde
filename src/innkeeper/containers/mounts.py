"""Mount file systems and trees by descriptor: fsopen(2), open_tree(2), move_mount(2).

A mount is made detached, gets all its attributes, and only then appears at its target, which is a
descriptor too: there is no moment at which it is writable that should be read-only, and no path
that could be swapped (CVE-2021-30465).
"""

from __future__ import annotations

import os

from innkeeper.base.errors import ContainerError
from innkeeper.containers import kernel as k
from innkeeper.containers.mount_options import MountOptions
from innkeeper.containers.targets import check_target, is_directory, open_existing, open_target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# One superblock serves many mounts, or is filled after it is mounted: only the mount is read-only.
_MOUNT_ONLY = ("proc", "sysfs", "mqueue", "cgroup", "cgroup2", "devpts", "tmpfs")


def set_attributes(
    fd: int, *, set_: int = 0, clear: int = 0, deep: bool = False, propagation: int = 0,
    user_namespace: int = 0,
) -> None:  # fmt: skip
    """Change attributes of a mount, and with `deep` of all below it (mount_setattr(2))."""
    if set_ & k.MOUNT_ATTR_ATIME:
        clear |= k.MOUNT_ATTR_ATIME
    attributes = k.words(set_, clear & ~(set_ & ~k.MOUNT_ATTR_ATIME), propagation, user_namespace)
    flags = k.AT_EMPTY_PATH | (k.AT_RECURSIVE if deep else 0)
    k.syscall("mount_setattr", fd, b"", flags, attributes, len(attributes))


def clone_tree(path: str, *, deep: bool, directory: int = k.AT_FDCWD) -> int:
    """Return a detached copy of the mount tree at `path` (of `directory` itself when empty)."""
    flags = k.OPEN_TREE_CLONE | k.OPEN_TREE_CLOEXEC | (k.AT_RECURSIVE if deep else 0)
    if not path:
        flags |= k.AT_EMPTY_PATH
    return k.syscall("open_tree", directory, os.fsencode(path), flags)


def attach(tree: int, target: int) -> None:
    """Make a detached mount appear at the opened `target`."""
    flags = k.MOVE_MOUNT_F_EMPTY_PATH | k.MOVE_MOUNT_T_EMPTY_PATH
    k.syscall("move_mount", tree, b"", target, b"", flags)


def new_filesystem(kind: str, source: str, options: MountOptions) -> int:
    """Return a new file system as a detached mount; the kernel's own words when it refuses."""
    context = k.syscall("fsopen", os.fsencode(kind), k.FSOPEN_CLOEXEC)
    try:
        if source:
            _configure(context, "source", source)
        if options.set & k.MOUNT_ATTR_RDONLY and kind not in _MOUNT_ONLY:
            _configure(context, "ro", None)
        for flag in options.filesystem:
            _configure(context, flag, None)
        for one in options.data:
            key, equals, value = one.partition("=")
            _configure(context, key, value if equals else None)
        k.syscall("fsconfig", context, k.FSCONFIG_CMD_CREATE, 0, 0, 0)
        return k.syscall("fsmount", context, k.FSMOUNT_CLOEXEC, options.set)
    except OSError as error:
        raise OSError(error.errno, _explain(context, error)) from None
    finally:
        os.close(context)


def _configure(context: int, key: str, value: str | None) -> None:
    command = k.FSCONFIG_SET_FLAG if value is None else k.FSCONFIG_SET_STRING
    text = 0 if value is None else os.fsencode(value)
    k.syscall("fsconfig", context, command, os.fsencode(key), text, 0)


def _explain(context: int, error: OSError) -> str:
    """Read what the file system had to say, one message a read, as fsopen(2) has it."""
    said = []
    try:
        while message := os.read(context, 4096):
            said.append(message[2:].decode("utf-8", "replace").strip())
    except OSError:
        pass
    return ": ".join([k.reason(error), *said])


def make_mount(root: int, mount: dict[str, Any], options: MountOptions, tree: int | None) -> None:
    """Mount one entry of `mounts`; `tree` is its source where that was opened beforehand."""
    place, source = mount["destination"], mount.get("source", "")
    try:
        if "remount" in options.words:
            _remount(root, place, options)
        elif options.bind:
            if tree is None:
                tree = open_source(source, options)
            _place(root, place, tree, options, kind=_kind_of(tree))
        else:
            _mount_new(root, mount, options)
    except OSError as error:
        what = f'error mounting "{source}" to rootfs at "{place}"'
        raise ContainerError(what, why=k.reason(error)) from None
    except ContainerError as error:
        what = f'error mounting "{source}" to rootfs at "{place}"'
        raise ContainerError(what, why=str(error)) from None


def open_source(source: str, options: MountOptions) -> int:
    """Copy the tree that a bind mount shows."""
    try:
        return clone_tree(source, deep="rbind" in options.words)
    except FileNotFoundError:
        raise ContainerError(f"stat {source}", why="no such file or directory") from None


def _kind_of(tree: int) -> str:
    """Return "proc" for a bind mount of a procfs, which may go where procfs may."""
    return "proc" if k.filesystem_type(tree) == k.PROC_SUPER_MAGIC else "bind"


def _place(root: int, place: str, tree: int, options: MountOptions, *, kind: str) -> None:
    target = open_target(root, place, directory=is_directory(tree))
    try:
        check_target(root, target, place, kind=kind)
        _dress(tree, options)
        attach(tree, target)
        _propagate(tree, options)
    finally:
        os.close(target)
        os.close(tree)


def _dress(tree: int, options: MountOptions) -> None:
    """Give a copied tree its attributes; those locked by the host's user namespace stay."""
    if options.set:
        set_attributes(tree, set_=options.set)
    clear = _cleared(options)
    if clear:
        try:
            set_attributes(tree, clear=clear)
        except PermissionError:
            pass
    if options.deep_set or options.deep_clear:
        set_attributes(tree, set_=options.deep_set, clear=options.deep_clear, deep=True)


def _cleared(options: MountOptions) -> int:
    """Return what is only cleared; the access time bits are one field, cleared as a whole."""
    clear = options.clear & ~options.set
    return clear & ~k.MOUNT_ATTR_ATIME if options.set & k.MOUNT_ATTR_ATIME else clear


def _propagate(tree: int, options: MountOptions) -> None:
    for kind, deep in options.propagation:
        set_attributes(tree, propagation=kind, deep=deep)


def _mount_new(root: int, mount: dict[str, Any], options: MountOptions) -> None:
    place, kind = mount["destination"], mount.get("type", "")
    if not kind:
        raise ContainerError("it has neither a type nor the option bind")
    there = open_existing(root, place)
    target = there if there is not None else open_target(root, place, directory=True)
    try:
        check_target(root, target, place, kind=kind)
        if kind == "tmpfs" and there is not None and not _says_mode(options):
            options.data.append(f"mode={os.fstat(target).st_mode & 0o7777:o}")
        tree = new_filesystem(kind, mount.get("source", ""), options)
        if "tmpcopyup" in options.words:
            from innkeeper.containers.copy_up import copy_up

            copy_up(target, tree)
        if options.deep_set or options.deep_clear:
            set_attributes(tree, set_=options.deep_set, clear=options.deep_clear, deep=True)
        attach(tree, target)
        _propagate(tree, options)
        os.close(tree)
    finally:
        os.close(target)


def _says_mode(options: MountOptions) -> bool:
    return any(one.startswith("mode=") for one in options.data)


def _remount(root: int, place: str, options: MountOptions) -> None:
    target = k.open_in_root(root, place)
    try:
        set_attributes(target, set_=options.set, clear=_cleared(options))
        set_attributes(target, set_=options.deep_set, clear=options.deep_clear, deep=True)
        _propagate(target, options)
    finally:
        os.close(target)
