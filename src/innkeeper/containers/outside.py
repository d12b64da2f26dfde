"""What only some containers need to be done outside: bind sources, listeners."""

from __future__ import annotations

import os

from innkeeper.base.errors import ContainerError
from innkeeper.containers import kernel as k
from innkeeper.containers.jsontext import dumps
from innkeeper.containers.mount_options import parse_options
from innkeeper.containers.mounts import open_source, set_attributes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from innkeeper.containers.config import Config


def open_trees(config: Config, *, mapped: bool) -> dict[int, int]:
    """Open the sources of bind mounts as the caller: in a user namespace they may be out of reach.

    The result has the tree of each entry of `mounts` by its index. Identifiers are mapped here,
    since that takes privilege over the file system (mount_setattr(2), "ID-mapped mounts").
    """
    trees = {}
    for index, mount in enumerate(config.mounts):
        options = parse_options(mount)
        maps = mount.get("uidMappings"), mount.get("gidMappings")
        if not maps[0] and {"idmap", "ridmap"} & options.words:
            maps = config.linux.get("uidMappings"), config.linux.get("gidMappings")
        if not options.bind or not (mapped or maps[0]):
            continue
        what = f'error mounting "{mount.get("source", "")}" to rootfs at "{mount["destination"]}"'
        try:
            trees[index] = open_source(mount.get("source", ""), options)
            if maps[0] and maps[1]:
                _map(trees[index], maps[0], maps[1], deep="ridmap" in options.words)
            set_attributes(trees[index], propagation=k.MS_SLAVE, deep=True)
        except (OSError, ContainerError) as error:
            why = k.reason(error) if isinstance(error, OSError) else str(error)
            raise ContainerError(what, why=why) from None
    return trees


def _map(tree: int, uids: list[Any], gids: list[Any], *, deep: bool) -> None:
    from innkeeper.containers.idmaps import namespace_of

    namespace = namespace_of(uids, gids)
    try:
        set_attributes(tree, set_=k.MOUNT_ATTR_IDMAP, deep=deep, user_namespace=namespace)
    finally:
        os.close(namespace)


def send_listener(pid: int, fd: int, seccomp: dict[str, Any], state: dict[str, Any]) -> None:
    """Send the notifying descriptor to its agent (config-linux.md "Container Process State")."""
    from innkeeper.containers.console import connect, send_descriptor

    path = seccomp.get("listenerPath")
    if not path:
        raise ContainerError("linux.seccomp.listenerPath", why="is needed for SCMP_ACT_NOTIFY")
    process = os.pidfd_open(pid)
    listener = k.syscall("pidfd_getfd", process, fd, 0)
    os.close(process)
    message = {
        "ociVersion": state["ociVersion"],
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": seccomp.get("listenerMetadata", ""),
        "state": state,
    }
    sock = connect(path)
    send_descriptor(sock, listener, dumps(message))
    sock.close()
    os.close(listener)
