"""Control groups: limits, device access, freezing, counting and ending of a container's processes.

`open_cgroup` finds out what the host has (cgroup v1, v2 or both; systemd or the file system) and
returns a `Cgroup`. Nothing is imported until it is needed: this is on the path of every container.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from innkeeper.containers.cgroups.base import Cgroup as Cgroup
    from innkeeper.containers.cgroups.oom import OomWatch


def open_cgroup(path: str | None, container_id: str, *, systemd: bool, rootless: bool) -> Cgroup:
    """Return the (not yet created) cgroup for `linux.cgroupsPath` (config-linux "Cgroups Path").

    Without a path it is named after the container, below this process's own cgroup. With
    `systemd` the path is `slice:prefix:name` and a unit is made of it. `rootless` accepts that
    cgroups cannot be made, as long as no limit needs one and no path was asked for.
    """
    if systemd:
        from innkeeper.containers.cgroups.systemd import open_unit

        return open_unit(path, container_id, rootless=rootless)
    from innkeeper.containers.cgroups import layout

    found = layout.read_layout()
    inner = layout.clean(path) if path else layout.clean(container_id.replace("/", "_"))
    optional = rootless and not path
    if found.unified:
        from innkeeper.containers.cgroups.v2 import CgroupV2

        return CgroupV2({"": layout.v2_path(found, inner)}, rootless=rootless, optional=optional)
    from innkeeper.containers.cgroups.v1 import CgroupV1

    return CgroupV1(layout.v1_paths(found, inner), rootless=rootless, optional=optional)


def load_cgroup(paths: dict[str, str], *, rootless: bool = False) -> Cgroup:
    """Return the existing cgroup whose `paths` were kept, in the container's state or elsewhere.

    Directories with the name of a unit belong to systemd, and are given back to it.
    """
    if set(paths) <= {""}:
        from innkeeper.containers.cgroups.v2 import CgroupV2 as Made
    else:
        from innkeeper.containers.cgroups.v1 import CgroupV1 as Made  # type: ignore[assignment]
    cgroup: Cgroup = Made(dict(paths), rootless=rootless)
    if (cgroup.home or "").endswith((".scope", ".slice")):
        from innkeeper.containers.cgroups.systemd import load_unit, running

        if running():
            return load_unit(cgroup, rootless=rootless)
    return cgroup


def watch_oom(cgroup: Cgroup) -> OomWatch:
    """Return something to poll that becomes ready when the container runs out of memory."""
    from innkeeper.containers.cgroups.oom import OomWatch

    return OomWatch(cgroup)


def __getattr__(name: str) -> object:
    if name == "Cgroup":
        from innkeeper.containers.cgroups.base import Cgroup

        return Cgroup
    raise AttributeError(name)
