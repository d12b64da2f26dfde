"""Which control group a container of `inn run` gets, and who makes it.

Root's are below `/innkeeper`, or scopes of systemd's in `machine.slice` where that runs the host
and owns the tree. A user's need version 2 and a part of the tree that is his (cgroup-v2.rst,
"Delegation"): beside the cgroup he is in, where he may write there, else from his own systemd.
"""

from __future__ import annotations

import os

from innkeeper.base.errors import InnError, MachineError
from innkeeper.base.record import record
from innkeeper.containers.cgroups import layout
from innkeeper.guests.containers.subids import is_rootless

CGROUP_PARENT = "/innkeeper"
_EVERY = frozenset(("cpu", "memory", "pids"))
_FIX = "log in with systemd's user session, or: systemd-run --user --scope -p Delegate=yes inn ..."


@record(kw_only=True)
class Cgrouping:
    """`path` is for `linux.cgroupsPath`; `lacking` says why there are no limits, if there are none.

    `controllers` are those of `cpu`, `memory` and `pids` that can limit.
    """

    systemd: bool = False
    path: str = ""
    controllers: frozenset[str] = frozenset()
    lacking: str = ""

    def require(self, controller: str, option: str) -> None:
        """Refuse an option whose controller is not to be had, and say what is lacking."""
        if controller not in self.controllers:
            why = self.lacking or f"the {controller} controller is not delegated to this user"
            raise MachineError(f"{option} cannot limit {controller}", why=why, fix=_FIX)


def choose(container_id: str) -> Cgrouping:
    """Find out what this host offers to this user."""
    if not is_rootless():
        if _systemd_is_there():
            path = f"machine.slice:inn:{container_id}"
            return Cgrouping(systemd=True, path=path, controllers=_EVERY)
        return Cgrouping(path=f"{CGROUP_PARENT}/{container_id}", controllers=_EVERY)
    found = layout.read_layout()
    if not found.unified:
        return Cgrouping(lacking="cgroup version 1, which this host has, gives users no limits")
    above = os.path.dirname(layout.v2_path(found, layout.clean(container_id)))
    if os.access(above, os.W_OK) and os.access(f"{above}/cgroup.procs", os.W_OK):
        return Cgrouping(controllers=_controllers(above))
    return _of_the_users_systemd(found.mounts[""][0], container_id, above)


def _systemd_is_there() -> bool:
    from innkeeper.containers.cgroups.systemd import running

    if not running():
        return False
    from innkeeper.containers.cgroups import dbus

    return any(path[:1] == "\0" or os.path.exists(path) for path, _ in dbus.addresses(user=False))


def _of_the_users_systemd(point: str, container_id: str, above: str) -> Cgrouping:
    from innkeeper.containers.cgroups.systemd import Manager

    try:
        own = str(Manager(user=True).get("ControlGroup")).rstrip("/")
    except InnError as error:
        why = f"{above} is not this user's to write to, and he has no systemd: {error}"
        return Cgrouping(lacking=why)
    path = f"user.slice:inn:{container_id}"
    return Cgrouping(systemd=True, path=path, controllers=_controllers(f"{point}{own}"))


def _controllers(directory: str) -> frozenset[str]:
    from innkeeper.containers.cgroups import files

    return _EVERY & frozenset(files.get_or(directory, "cgroup.controllers", "").split())
