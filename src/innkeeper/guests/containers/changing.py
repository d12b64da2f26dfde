"""What is changed of a container that is there: its name, its limits, its restart policy."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from innkeeper.base.errors import ContainerError, MachineError, UsageError
from innkeeper.base.record import record as plain
from innkeeper.guests.containers import control, records
from innkeeper.guests.containers.bundle import CPU_PERIOD_US
from innkeeper.guests.containers.making import settings_of
from innkeeper.guests.containers.records import Record
from innkeeper.guests.containers.request import read_policy

CONFIG = "config.json"
NO_LIMIT = -1


def rename(record: Record, name: str) -> None:
    """Give a container another name."""
    record.rename(records.check_name(name))
    if record.data.get("net", {}).get("mode") == "bridge":
        from innkeeper.guests.containers.networks import bridge

        bridge.renamed(record)


@plain(kw_only=True)
class Changes:
    """What `inn update` is asked for; None leaves it as it is, a `pids_limit` of 0 is none."""

    memory_bytes: int | None = None
    cpus: float | None = None
    pids_limit: int | None = None
    restart: str | None = None

    def __post_init__(self) -> None:
        from innkeeper.guests.containers.options import BundleOptions

        if not any(value is not None for value in self.__dict__.values()):
            raise UsageError("nothing to change", fix="inn update --help")
        BundleOptions(memory_bytes=self.memory_bytes, cpus=self.cpus)  # their bounds
        if self.restart is not None:
            read_policy(self.restart)

    def resources(self) -> dict[str, dict[str, int]]:
        """Return the limits as a bundle's `linux.resources` has them."""
        found: dict[str, dict[str, int]] = {}
        if self.memory_bytes is not None:
            found["memory"] = {"limit": self.memory_bytes, "swap": self.memory_bytes}
        if self.cpus is not None:
            quota = int(self.cpus * CPU_PERIOD_US)
            found["cpu"] = {"quota": quota, "period": CPU_PERIOD_US}
        if self.pids_limit is not None:
            found["pids"] = {"limit": self.pids_limit or NO_LIMIT}
        return found

    def request(self, old: dict[str, Any]) -> dict[str, Any]:
        """Return a kept request with the changes in it."""
        options = dict(old.get("options") or {})
        for name in ("memory_bytes", "cpus"):
            if getattr(self, name) is not None:
                options[name] = getattr(self, name)
        new = {**old, "options": options} if options else dict(old)
        for name in ("pids_limit", "restart"):
            if getattr(self, name) is not None:
                new[name] = getattr(self, name)
        return new


def update(record: Record, changes: Changes) -> None:
    """Change a container: first what runs, then what it is started with the next time."""
    if changes.restart not in (None, "no") and not (
        record.data.get("detach") and record.data.get("keep")
    ):
        raise UsageError("--restart is for containers that stay", fix="use -d, without --rm")
    resources = changes.resources()
    if resources:
        _update_running(record, resources)
        _update_bundle(record, resources)
    kept: dict[str, Any] = {"request": changes.request(record.data.get("request") or {})}
    if changes.memory_bytes is not None:
        kept["memory_bytes"] = changes.memory_bytes
    if changes.restart is not None:
        kept["restart"] = changes.restart
    record.change(**kept)


def _update_running(record: Record, resources: dict[str, Any]) -> None:
    """Change the limits of one that runs; `MachineError` leaves everything as it was."""
    from innkeeper.containers.resources import change_limits

    with suppress(MachineError):
        control.running(record)
        try:
            change_limits(settings_of(record), record.id, resources)
        except ContainerError as error:
            raise UsageError(
                f"container {record.name} cannot get these limits", why=str(error)
            ) from None


def _update_bundle(record: Record, resources: dict[str, Any]) -> None:
    with record.changing():
        config = records.read_json(record.folder / CONFIG)
        if config is None:
            raise MachineError(f"container {record.name} has lost its bundle", fix="inn rm")
        kept = config.setdefault("linux", {}).setdefault("resources", {})
        for part, values in resources.items():
            kept[part] = {**kept.get(part, {}), **values}
        records.write_json(record.folder / CONFIG, config)
