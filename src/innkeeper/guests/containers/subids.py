"""Which users and groups a rootless container has (subuid(5), user_namespaces(7))."""

from __future__ import annotations

import os

from innkeeper.base.record import record
from innkeeper.guests.containers.hostfiles import host_file
from innkeeper.guests.containers.options import IdMap

MAX_ID = (1 << 32) - 2


@record
class IdMaps:
    """The maps of users and of groups that a user namespace gets."""

    uids: tuple[IdMap, ...]
    gids: tuple[IdMap, ...]

    @property
    def several(self) -> bool:
        """Whether there is anybody but root."""
        return len(self.uids) > 1

    def as_linux(self) -> dict[str, list[dict[str, int]]]:
        """Return the maps as `linux` of config.json has them."""
        return {"uidMappings": _objects(self.uids), "gidMappings": _objects(self.gids)}


def is_rootless() -> bool:
    """Tell whether containers get a user namespace because this process has no privileges."""
    return os.geteuid() != 0


def own_maps() -> IdMaps:
    """Return this user's maps: root in the container is the user; others come from subuid(5)."""
    uid, gid = os.geteuid(), os.getegid()
    uids, gids = _range("/etc/subuid"), _range("/etc/subgid")
    from shutil import which

    if uids and gids and which("newuidmap") and which("newgidmap"):
        return IdMaps(((0, uid, 1), (1, *uids)), ((0, gid, 1), (1, *gids)))
    return single_map()


def single_map() -> IdMaps:
    """Return the map that needs no helper: root inside is the user, and nobody else is there."""
    return IdMaps(((0, os.geteuid(), 1),), ((0, os.getegid(), 1),))


def read_maps(linux: object) -> IdMaps | None:
    """Return the maps that a bundle's `linux` has; None when it has none that make sense."""
    if not isinstance(linux, dict):
        return None
    try:
        uids, gids = (
            tuple((int(m["containerID"]), int(m["hostID"]), int(m["size"])) for m in linux[name])
            for name in ("uidMappings", "gidMappings")
        )
    except (KeyError, TypeError, ValueError):
        return None
    return IdMaps(uids, gids) if uids and gids else None


def _objects(maps: tuple[IdMap, ...]) -> list[dict[str, int]]:
    return [{"containerID": inside, "hostID": host, "size": size} for inside, host, size in maps]


def _range(path: str) -> tuple[int, int] | None:
    """Return the first range of numbers that a file gives the user, who needs a name for that."""
    from pwd import getpwuid

    try:
        names = (getpwuid(os.geteuid()).pw_name, str(os.geteuid()))
    except KeyError:
        return None
    for line in host_file(path).decode("utf-8", "replace").splitlines():
        parts = line.split(":")
        if len(parts) == 3 and parts[0] in names and parts[1].isdigit() and parts[2].isdigit():
            start, count = int(parts[1]), int(parts[2])
            if count and start + count - 1 <= MAX_ID:
                return start, count
    return None
