"""The end of a container: what it ended with, and giving back all that it held."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from innkeeper.base.errors import ContainerError, InnError, NotFoundError
from innkeeper.guests.containers.making import settings_of
from innkeeper.guests.containers.records import Record, every
from innkeeper.guests.containers.roots import maps_of
from innkeeper.guests.containers.subids import is_rootless
from innkeeper.images.oci.mounting import unmount
from innkeeper.images.oci.removal import remove_tree
from innkeeper.images.oci.rootfs import ROOT_FOLDERS, release_rootfs
from innkeeper.images.paths import data_dir

if TYPE_CHECKING:
    from collections.abc import Callable


UNKNOWN_STATUS = 255  # nobody saw the end: the host, or the process that waited, was killed


def container_of(record: Record) -> Any:
    """Return the OCI runtime's container; `NotFoundError` when there is none (any more)."""
    from innkeeper.containers.state import Container

    try:
        return Container.load(record.runtime_root, record.id)
    except ContainerError as error:
        raise NotFoundError(f"container {record.name} does not run", why=str(error)) from None


def oom_kills(record: Record) -> int:
    """Return how many processes of a container the kernel killed for want of memory."""
    from innkeeper.containers.cgroups import parse

    try:
        paths = container_of(record).data.get("cgroupPaths", {})
        if "memory" in paths:
            found = parse.key_values(paths["memory"], "memory.oom_control")
        elif "" in paths:
            found = parse.key_values(paths[""], "memory.events")
        else:
            return 0
        return found.get("oom_kill", 0)
    except (OSError, InnError):
        return 0


def note_end(record: Record, status: int) -> dict[str, Any]:
    """Write down how a container ended; to be called before its cgroup is removed."""
    end = {"status": status, "at": time.time(), "oom": oom_kills(record)}
    record.note_end(end)
    return end


def stop_holding(record: Record) -> None:
    """Kill what still runs, remove the cgroup, the runtime's state and what the network holds;
    nothing left is no error."""
    from innkeeper.containers.lifecycle import delete_command

    if os.path.isdir(f"{record.runtime_root}/{record.id}"):
        delete_command(settings_of(record), {"force": True}, [record.id])
    if "net" in record.data:
        from innkeeper.guests.containers import networks

        networks.detach(record)


def remove(record: Record) -> None:
    """Give back everything that a container holds, whatever state it is in."""
    stop_holding(record)
    if is_rootless():
        _remove_as_root_inside(record)
    release_rootfs(record.folder, data_dir() / "oci")
    record.forget()


def _remove_as_root_inside(record: Record) -> None:
    """Remove files of users of /etc/subuid, who are not this one, as the container's root."""
    from innkeeper.guests.containers.inside import call_as_root

    maps = maps_of(record)
    if maps.several:
        with suppress(InnError):  # what then stays is found again by the next `prune`
            call_as_root(maps, lambda: _remove_files(record.folder))


def _remove_files(folder: Path) -> None:
    for name in ROOT_FOLDERS:
        remove_tree(folder / name)


def keep(record: Record) -> None:
    """Give back what only a running container needs; its files and its record stay."""
    stop_holding(record)
    unmount(record.folder / "rootfs")
    record.release()


def _tell(text: str) -> None:
    os.write(2, f"inn: {text}\n".encode())


def sweep(
    *, but: str = "", ended: bool = False, failed: Callable[[str], None] = _tell
) -> list[str]:
    """Remove what killed processes have left; return the containers' ids.

    A container nobody attends to is one of those. What was detached, or was to be kept, keeps its
    files and its output until `inn rm`, and is written down as ended; `ended` removes it, too.
    `failed` is told of what cannot be removed.
    """
    swept = []
    for record in every():
        if record.id == but or not record.take():
            continue
        try:
            if _sweep_one(record, ended=ended):
                swept.append(record.id)
        except InnError as error:  # what holds on to one is no reason to leave the others
            failed(f"container {record.name} cannot be cleaned up: {error}")
            if record.lock_fd >= 0:
                record.release()
    return swept


def _sweep_one(record: Record, *, ended: bool) -> bool:
    """Clean up after a container that nobody attends to; tell whether that is news."""
    if record.data.get("fresh") and "command" in record.data and not ended:
        record.release()  # `inn create` has made it, for somebody to start
        return False
    if not record.data.get("keep") or "command" not in record.data or ended:
        remove(record)
        return True
    news = record.ended() is None
    if news:
        note_end(record, UNKNOWN_STATUS)
    keep(record)
    return news
