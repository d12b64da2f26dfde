"""Checkpoints: a detached container's processes, saved and brought back by criu (criu(8)).

They are kept in the container's folder until they are restored or it is removed:

    checkpoint/descriptors.json   what its standard streams were: pipes, whose other ends are ours
    checkpoint/*.img dump.log     criu's own
"""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

from innkeeper.base.errors import ContainerError, MachineError, NotFoundError, UsageError
from innkeeper.guests.containers import control, records
from innkeeper.guests.containers.making import settings_of
from innkeeper.guests.containers.records import STOPPED, Record
from innkeeper.guests.containers.subids import is_rootless
from innkeeper.images.oci.removal import remove_tree

if TYPE_CHECKING:
    from pathlib import Path

    from innkeeper.containers.launch import Launch

FOLDER, DESCRIPTORS = "checkpoint", "descriptors.json"
CHECK_TIMEOUT_S = 60
# A network of its own has a loopback interface and no more, which is made anew.
_NETWORK: dict[str, Any] = {"new-network": True}


def checkpoint(record: Record, *, leave_running: bool = False, **switches: bool) -> None:
    """Save a container's processes; it has ended then, unless it is left running.

    `switches` are criu's: `tcp_established`, `file_locks`. An older checkpoint is replaced when
    the new one is there.
    """
    container = control.running(record)
    _refuse(record, leave_running=leave_running)
    check_criu(settings_of(record).criu)
    images = record.folder / f"{FOLDER}.new"
    remove_tree(images)
    images.mkdir(mode=0o700)
    options: dict[str, Any] = {name.replace("_", "-"): on for name, on in switches.items() if on}
    options |= {"image-path": str(images), "leave-running": leave_running, **_NETWORK}
    records.write_json(images / DESCRIPTORS, _streams_of(container.pid))
    _dump(record, container, options)
    remove_tree(record.folder / FOLDER)
    images.rename(record.folder / FOLDER)
    if not leave_running:
        record.wait()


def _dump(record: Record, container: Any, options: dict[str, Any]) -> None:
    from innkeeper.containers.criu import dump

    stops = not options["leave-running"]
    if stops:
        record.ask_to_stop()  # its end, which criu brings about, is none to be followed by a start
    try:
        dump(container, settings_of(record), options)
    except ContainerError as error:
        if stops:
            (record.folder / STOPPED).unlink(missing_ok=True)
        raise MachineError(
            f"container {record.name} cannot be saved", why=str(error), fix=error.fix
        ) from None


def restore(record: Record, *, keep: bool = False) -> None:
    """Bring a container back from its checkpoint, which is removed then unless it is kept."""
    from innkeeper.guests.containers.detached import start_again

    images = record.folder / FOLDER
    if not (images / "inventory.img").is_file():
        raise NotFoundError(
            f"container {record.name} has no checkpoint", fix=f"inn checkpoint {record.name}"
        )
    check_criu(settings_of(record).criu)
    start_again(record, images=images)
    if not keep:
        remove_tree(images)


def bring_back(record: Record, launch: Launch, images: Path, theirs: dict[int, int]) -> None:
    """Let criu restore the processes as children of this one; `theirs` are their new streams."""
    from innkeeper.containers.criu import restore as criu_restore

    were = records.read_json(images / DESCRIPTORS) or {}
    inherited = {were[str(fd)]: end for fd, end in theirs.items() if str(fd) in were}
    options = {"image-path": str(images), **_NETWORK}
    try:
        container = criu_restore(launch.settings, options, launch.config, record.id, inherited)
    except ContainerError as error:
        raise MachineError(f"container {record.name} cannot be restored", why=str(error)) from None
    os.close(container.lock_fd)
    launch.pid = container.data["pid"]


def check_criu(program: str) -> None:
    """Ask criu whether it works with this kernel; `MachineError` in its own words when not."""
    try:
        done = subprocess.run(
            [program, "check"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            errors="replace", check=False, timeout=CHECK_TIMEOUT_S,
        )  # fmt: skip
    except OSError as error:
        raise MachineError(
            f"criu cannot be run: {program}", why=error.strerror or "", fix="install criu"
        ) from None
    except subprocess.TimeoutExpired:
        raise MachineError(f"criu check took longer than {CHECK_TIMEOUT_S} s") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "Error" in line]
        said = lines[0] if lines else done.stderr.strip() or f"it ended with {done.returncode}"
        raise MachineError(
            "criu does not work with this kernel",
            why=said[:300],
            fix="criu check says more; a newer criu may know this kernel",
        )  # fmt: skip


def _refuse(record: Record, *, leave_running: bool) -> None:
    """Refuse what would not come back."""
    if is_rootless():
        raise UsageError("a checkpoint needs root")
    if not record.data.get("detach"):
        raise MachineError(f"container {record.name} is another command's, in the foreground")
    if record.data.get("tty"):
        raise UsageError("a container with a terminal cannot be saved", why="criu needs its owner")
    if not record.data.get("keep") and not leave_running:
        raise UsageError("a container of --rm would be removed with its checkpoint")
    if record.data.get("networks", ["none"]) != ["none"]:
        raise UsageError("only a container with --network none can be saved")


def _streams_of(pid: int) -> dict[str, str]:
    """Return the pipes that are a process's standard streams, by their names in procfs."""
    links = {str(fd): os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1, 2)}
    return {fd: link for fd, link in links.items() if link.startswith("pipe:")}
