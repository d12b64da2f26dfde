"""Populate `/dev`: config-linux.md "Devices" and "Default Devices"; runtime-linux.md's links."""

from __future__ import annotations

import os

from innkeeper.base.errors import ContainerError
from innkeeper.containers import kernel as k
from innkeeper.containers.mounts import attach, clone_tree
from innkeeper.containers.targets import open_target

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT_DEVICES = {
    "/dev/null": (1, 3),
    "/dev/zero": (1, 5),
    "/dev/full": (1, 7),
    "/dev/random": (1, 8),
    "/dev/urandom": (1, 9),
    "/dev/tty": (5, 0),
}
_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}
_KINDS = {"c": 0o020000, "u": 0o020000, "b": 0o060000, "p": 0o010000}
_TYPE = 0o170000


def wants_devices(mounts: list[dict[str, Any]]) -> bool:
    """Say whether `/dev` is the runtime's to fill: not when it is a tree of the host's."""
    for mount in mounts:
        if os.path.normpath(mount["destination"]) == "/dev":
            options = mount.get("options", [])
            return mount.get("type") != "bind" and not {"bind", "rbind"} & set(options)
    return True


def make_devices(root: int, devices: list[dict[str, Any]], *, bind: bool) -> None:
    """Make the default devices, then those of `linux.devices`, then the links.

    With `bind` (no right to `mknod`) the host's node is mounted instead.
    """
    given = {device["path"] for device in devices}
    for path, (major, minor) in DEFAULT_DEVICES.items():
        if path not in given:
            _make({"path": path, "type": "c", "major": major, "minor": minor}, root, bind)
    for device in devices:
        _make(device, root, bind)
    _make_links(root)


def _make(device: dict[str, Any], root: int, bind: bool) -> None:
    path = device["path"]
    try:
        if bind or not _make_node(root, device):
            _bind_node(root, path)
    except OSError as error:
        raise ContainerError(f"error creating device node {path}", why=k.reason(error)) from None


def _make_node(root: int, device: dict[str, Any]) -> bool:
    """Make one node; False when this process may not."""
    head, name = os.path.split(os.path.normpath(device["path"]))
    parent = open_target(root, head, directory=True)
    mode = _KINDS[device["type"]] | device.get("fileMode", 0o666) & 0o7777
    number = os.makedev(device.get("major", 0), device.get("minor", 0))
    try:
        os.mknod(name, mode, number, dir_fd=parent)
        os.chown(
            name, device.get("uid", 0), device.get("gid", 0), dir_fd=parent, follow_symlinks=False
        )
    except FileExistsError:
        _check_node(parent, name, mode, number)
    except PermissionError:
        return False
    finally:
        os.close(parent)
    return True


def _check_node(parent: int, name: str, mode: int, number: int) -> None:
    """Accept a node that is there already only when it is the very device."""
    stat = os.stat(name, dir_fd=parent, follow_symlinks=False)
    same = stat.st_mode & _TYPE == mode & _TYPE
    if not same or (mode & _TYPE != _KINDS["p"] and stat.st_rdev != number):
        raise FileExistsError(17, "something else is there already")


def _bind_node(root: int, path: str) -> None:
    tree = clone_tree(path, deep=False)
    target = open_target(root, path, directory=False)
    try:
        attach(tree, target)
    finally:
        os.close(target)
        os.close(tree)


def _make_links(root: int) -> None:
    dev = open_target(root, "/dev", directory=True)
    links = dict(_LINKS)
    if os.path.exists("/proc/kcore"):
        links["core"] = "/proc/kcore"
    try:
        for name, target in links.items():
            _link(dev, name, target)
        if _exists(dev, "pts"):
            _remove(dev, "ptmx")
            _link(dev, "ptmx", "pts/ptmx")
    except OSError as error:
        raise ContainerError("error making the links in /dev", why=k.reason(error)) from None
    finally:
        os.close(dev)


def _exists(parent: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _remove(parent: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass


def _link(parent: int, name: str, target: str) -> None:
    try:
        os.symlink(target, name, dir_fd=parent)
    except FileExistsError:
        pass
