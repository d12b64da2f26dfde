"""The systemd cgroup driver: a container as a transient scope (org.freedesktop.systemd1).

`cgroupsPath` is `slice:prefix:name` (runc docs/systemd.md). systemd owns the upper directories and
is told the limits as unit properties, so that it does not undo them; what it has no property for
is written to the same files as without it.
"""

from __future__ import annotations

import os
from contextlib import suppress

from innkeeper.containers.cgroups import base, layout
from innkeeper.containers.cgroups.dbus import Connection, DBusError, connect
from innkeeper.containers.cgroups.unit_properties import resource_properties, slice_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Property = tuple[str, tuple[str, Any]]  # name, variant

NAME = "org.freedesktop.systemd1"
PATH = "/org/freedesktop/systemd1"
MANAGER = "org.freedesktop.systemd1.Manager"
PROPERTIES = "org.freedesktop.DBus.Properties"
BOOTED = "/run/systemd/system"
PREFIX = "inn"
MAX_UNIT_NAME = 255
UNIT_CHARACTERS = frozenset("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ:-_.\\@")


class Manager:
    """systemd's manager, of the system or of the user."""

    def __init__(self, *, user: bool) -> None:
        self.user = user
        self._connection: Connection | None = None
        self._version = -1

    def call(self, member: str, signature: str, *body: Any) -> list[Any]:
        """Call a method of the manager."""
        return self._bus().call(PATH, MANAGER, member, signature, *body, to=NAME)

    def _bus(self) -> Connection:
        if self._connection is None:
            bus = connect(user=self.user)
            if bus.is_bus:
                rule = f"type='signal',sender='{NAME}',interface='{MANAGER}',member='JobRemoved'"
                bus.call_bus("AddMatch", "s", rule)
            bus.call(PATH, MANAGER, "Subscribe", to=NAME)
            self._connection = bus
        return self._connection

    def get(self, name: str) -> Any:
        """Return one property of the manager."""
        body = self._bus().call(PATH, PROPERTIES, "Get", "ss", MANAGER, name, to=NAME)
        return body[0][1]

    @property
    def version(self) -> int:
        """The version, 0 where it cannot be told: "v252.4-1" and "252" are 252."""
        if self._version < 0:
            digits = ""
            for char in str(self.get("Version")).lstrip("v"):
                if not char.isdigit():
                    break
                digits += char
            self._version = int(digits or 0)
        return self._version

    def finish(self, job: str) -> str:
        """Wait for a job's end and return its result."""
        while True:
            body = self._bus().wait_signal("JobRemoved").body
            if len(body) == 4 and body[1] == job:
                return str(body[3])

    def start(self, unit: str, properties: list[Property]) -> None:
        """Start a transient unit; a failed one of the same name is forgotten first."""
        try:
            job = self._start(unit, properties)
        except DBusError as e:
            if not e.name.endswith(".UnitExists"):
                raise
            self.reset(unit)
            job = self._start(unit, properties)
        result = self.finish(job)
        if result != "done":
            self.reset(unit)
            raise DBusError(f"cannot start the unit {unit}", why=f"systemd says {result!r}")

    def _start(self, unit: str, properties: list[Property]) -> str:
        listed = [list(each) for each in properties]
        body = self.call("StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "replace", listed, [])
        return str(body[0])

    def stop(self, unit: str) -> None:
        """Stop a unit and wait until it is gone; one that is not there is no error."""
        try:
            self.finish(self.call("StopUnit", "ss", unit, "replace")[0])
        except DBusError as e:
            if not e.name.endswith(".NoSuchUnit"):
                raise
        self.reset(unit)

    def reset(self, unit: str) -> None:
        """Make systemd forget that a unit failed."""
        with suppress(DBusError):
            self.call("ResetFailedUnit", "s", unit)


def running() -> bool:
    """Tell whether systemd runs this host (sd_booted(3))."""
    return os.path.isdir(BOOTED)


def open_unit(path: str | None, container_id: str, *, rootless: bool) -> UnitCgroup:
    """Return the (not yet started) unit for `slice:prefix:name`."""
    found = layout.read_layout()
    if rootless and not found.unified:
        raise _bad(path, "systemd gives a user no cgroups on cgroup v1; leave --systemd-cgroup out")
    slice_, prefix, name = "user.slice" if rootless else "system.slice", PREFIX, container_id
    if path:
        parts = path.split(":")
        if len(parts) != 3:
            raise _bad(path, "with systemd it has the form slice:prefix:name")
        slice_, prefix, name = parts[0] or slice_, parts[1], parts[2]
    unit = name if name.endswith(".slice") else f"{prefix}-{name}.scope"
    for each in (unit, slice_):
        if not each or len(each) > MAX_UNIT_NAME or not set(each) <= UNIT_CHARACTERS:
            raise _bad(path, f"{each[:80]!r} is no name of a unit")
    manager = Manager(user=rootless)
    above = str(manager.get("ControlGroup")).rstrip("/") if rootless else ""
    inner = f"{above}{slice_path(slice_)}/{unit}"
    cgroup: base.Cgroup
    if found.unified:
        from innkeeper.containers.cgroups.v2 import CgroupV2

        cgroup = CgroupV2({"": layout.v2_path(found, inner)}, rootless=rootless)
    else:
        from innkeeper.containers.cgroups.v1 import CgroupV1

        cgroup = CgroupV1(layout.v1_paths(found, inner), rootless=rootless)
    return UnitCgroup(cgroup, unit, slice_, manager)


def _bad(path: str | None, why: str) -> Exception:
    from innkeeper.base.errors import ConfigError

    return ConfigError(f"linux.cgroupsPath {(path or '')[:80]!r} cannot be used", why=why)


def load_unit(cgroup: base.Cgroup, *, rootless: bool) -> UnitCgroup:
    """Return the unit that an existing cgroup belongs to: its directory has the unit's name."""
    home = cgroup.home or ""
    user = rootless or "/user@" in home
    return UnitCgroup(cgroup, home.rpartition("/")[2], "", Manager(user=user))


class UnitCgroup(base.Cgroup):
    """A cgroup that systemd makes; it exists from the first `add`, for a scope is never empty."""

    def __init__(self, inner: base.Cgroup, unit: str, slice_: str, manager: Manager) -> None:
        super().__init__(inner.paths, rootless=inner.rootless)
        self.inner, self.unit, self.slice, self.manager = inner, unit, slice_, manager
        self._waiting: dict[str, Any] | None = None

    @property
    def by_manager(self) -> bool:  # type: ignore[override]
        """Whether the unit waits for its first process."""
        return self._waiting is not None

    def create(self, resources: dict[str, Any]) -> None:
        """Check the limits and keep them for the first process."""
        self._properties(resources, fresh=True)
        self._waiting = resources

    def add(self, pid: int) -> None:
        if self._waiting is None:
            self.inner.add(pid)
            return
        resources, self._waiting = self._waiting, None
        self.manager.start(self.unit, self._start_properties(pid, resources))
        try:
            self.inner.expected = frozenset((pid,))
            self.inner.create(resources)
            self.inner.add(pid)
        except BaseException:
            self.manager.stop(self.unit)
            raise

    def _start_properties(self, pid: int, resources: dict[str, Any]) -> list[Property]:
        io = "IOAccounting" if set(self.paths) == {""} else "BlockIOAccounting"
        place: Property = ("Slice", ("s", self.slice))
        if self.unit.endswith(".slice"):
            place = ("Wants", ("as", [self.slice]))
        accounting = ("MemoryAccounting", "CPUAccounting", io, "TasksAccounting")
        return [
            ("Description", ("s", f"innkeeper container {self.unit}")),
            place,
            *([] if self.unit.endswith(".slice") else [("Delegate", ("b", True))]),
            ("PIDs", ("au", [pid])),
            *((name, ("b", True)) for name in accounting),
            ("DefaultDependencies", ("b", False)),
            *self._properties(resources, fresh=True),
        ]

    def _properties(self, resources: dict[str, Any], *, fresh: bool) -> list[Property]:
        unified = set(self.paths) == {""}
        version = self.manager.version
        return resource_properties(resources, unified=unified, version=version, fresh=fresh)

    def update(self, resources: dict[str, Any]) -> None:
        properties = self._properties(resources, fresh=False)
        if properties:
            listed = [list(each) for each in properties]
            self.manager.call("SetUnitProperties", "sba(sv)", self.unit, True, listed)
        self.inner.update(resources)

    @property
    def home(self) -> str | None:
        return self.inner.home

    @property
    def frozen(self) -> bool:
        return self.inner.frozen

    def joiners(self, *, unified: bool = True) -> list[int]:
        """Return nothing: systemd moves the first process itself."""
        if self._waiting is not None:
            return []
        return self.inner.joiners(unified=unified)

    def freeze(self) -> None:
        self.inner.freeze()

    def thaw(self) -> None:
        self.inner.thaw()

    def delegate(self, uid: int) -> None:
        self.inner.delegate(uid)

    def kill(self) -> None:
        self.inner.kill()

    def stats(self) -> dict[str, Any]:
        return self.inner.stats()

    def remove(self) -> None:
        """Stop the unit, then remove what is left; an empty scope also ends without being told."""
        with suppress(DBusError):
            self.manager.stop(self.unit)
        self.inner.remove()
