"""`pause`, `resume` and `update` (runc(8))."""

from __future__ import annotations

from innkeeper.base.errors import ContainerError
from innkeeper.containers import schema
from innkeeper.containers.jsontext import read_fd, read_file
from innkeeper.containers.kernel import reason
from innkeeper.containers.launch import open_container_cgroup
from innkeeper.containers.state import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from innkeeper.containers.settings import Settings

# option: where it stands in linux.resources
_PLACES = {
    "blkio-weight": ("blockIO", "weight"),
    "cpu-period": ("cpu", "period"),
    "cpu-quota": ("cpu", "quota"),
    "cpu-burst": ("cpu", "burst"),
    "cpu-share": ("cpu", "shares"),
    "cpu-rt-period": ("cpu", "realtimePeriod"),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime"),
    "cpu-idle": ("cpu", "idle"),
    "cpuset-cpus": ("cpu", "cpus"),
    "cpuset-mems": ("cpu", "mems"),
    "memory": ("memory", "limit"),
    "memory-reservation": ("memory", "reservation"),
    "memory-swap": ("memory", "swap"),
    "kernel-memory-tcp": ("memory", "kernelTCP"),
    "pids-limit": ("pids", "limit"),
}


def pause_command(settings: Settings, options: dict[str, Any], args: list[str]) -> int:
    """Freeze the container's processes."""
    container = Container.load(settings.root, args[0])
    status = container.status()
    if status not in ("running", "created"):
        raise ContainerError("container not running" if status == "stopped" else "already paused")
    open_container_cgroup(container.data).freeze()
    return 0


def resume_command(settings: Settings, options: dict[str, Any], args: list[str]) -> int:
    """Let a frozen container run on."""
    container = Container.load(settings.root, args[0])
    if container.status() != "paused":
        raise ContainerError("container not paused")
    open_container_cgroup(container.data).thaw()
    return 0


def update_command(settings: Settings, options: dict[str, Any], args: list[str]) -> int:
    """Change the limits of a container that runs, and remember them."""
    change_limits(settings, args[0], _changes(options))
    return 0


def change_limits(settings: Settings, name: str, changes: dict[str, Any]) -> None:
    """Change limits given as `linux.resources` has them, and remember them."""
    container = Container.load(settings.root, name)
    if not container.pid:
        raise ContainerError("container not running")
    schema.resources(changes, "resources")
    container.lock(wait=True)
    linux = container.data["config"].setdefault("linux", {})
    kept = linux.setdefault("resources", {})
    for part, values in changes.items():
        kept[part] = {**kept.get(part, {}), **values} if isinstance(values, dict) else values
    open_container_cgroup(container.data).update(changes)
    container.save()


def _changes(options: dict[str, Any]) -> dict[str, Any]:
    source = options.get("resources")
    if source:
        try:
            changes = read_fd(0, name="standard input") if source == "-" else read_file(source)
        except OSError as error:
            raise ContainerError(f"open {source}", why=reason(error)) from None
        if not isinstance(changes, dict):
            raise ContainerError("resources", why="must be a JSON object")
        return {part: _given(values) for part, values in changes.items() if _given(values)}
    changes = {}
    for option, (part, field) in _PLACES.items():
        if option in options:
            changes.setdefault(part, {})[field] = options[option]
    return changes


def _given(values: Any) -> Any:
    """Leave out what is zero or empty: for `update` that means unchanged (runc-update(8))."""
    if isinstance(values, dict):
        return {key: value for key, value in values.items() if value not in (0, "", None)}
    return values
