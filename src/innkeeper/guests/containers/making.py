"""A container from a request: root file system, bundle, and the launch that will run it.

Only what a start needs is imported: an image that was started before is found ready.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from innkeeper.base.errors import ContainerError, UsageError
from innkeeper.base.record import replace
from innkeeper.guests.containers import cgrouping, roots
from innkeeper.guests.containers.bundle import make_bundle
from innkeeper.guests.containers.hostfiles import host_file
from innkeeper.guests.containers.options import DEFAULT_PIDS, BundleOptions
from innkeeper.guests.containers.records import Record, as_guest_error
from innkeeper.guests.containers.request import PLAIN_MODES
from innkeeper.guests.containers.subids import IdMaps, is_rootless, own_maps
from innkeeper.images.paths import storage_errors

if TYPE_CHECKING:
    from innkeeper.containers.launch import Launch
    from innkeeper.guests.containers.request import ContainerRequest
    from innkeeper.guests.containers.roots import ShowProgress
    from innkeeper.images.oci.image import Image

_MAX_HOSTNAME = 63


def make(
    request: ContainerRequest, record: Record, show: ShowProgress, given: Image | None = None
) -> Launch:
    """Make everything but the container itself, in the record's folder.

    `given` is an image that the request's name does not find.
    """
    image, rootfs = roots.make_root(request, record, show, given)
    hostname = (request.options.hostname or request.name or record.id[:12])[:_MAX_HOSTNAME]
    if request.mode not in PLAIN_MODES:
        from innkeeper.guests.containers import networks

        record.data |= {
            "hostname": hostname, "exposed": sorted(image.config.execution.exposed_ports or ()),
        }  # fmt: skip
        networks.prepare(request, record)
    options = _completed(request, record, hostname)
    shown = roots.shown(rootfs)
    config = make_bundle(image, request.argv, options, root=rootfs.path, shown=shown)
    if is_rootless():
        _fit_ids(config, options)
    if options.tty:
        config["process"]["consoleSize"] = _console_size()
    record.data |= {
        "image": image.name,
        "command": config["process"]["args"],
        "stop_signal": image.config.execution.stop_signal or "SIGTERM",
        "health": request.health.resolve(image.config.execution.healthcheck),
    }
    record.save()
    with storage_errors("make a container", record.folder):
        (record.folder / "config.json").write_text(json.dumps(config))
    return launch_of(record)


def launch_of(record: Record) -> Launch:
    """Return the launch of a container whose bundle is made."""
    from innkeeper.containers.lifecycle import prepare

    launch = prepare(settings_of(record), {"bundle": str(record.folder)}, record.id)
    launch.mount_root = roots.mounter(record)
    if "net" in record.data:
        from innkeeper.guests.containers import networks

        launch.waiting = lambda pid: networks.admit(record, pid)
        launch.network = lambda pid: networks.attach(record, pid)
    return launch


def launch_now(launch: Launch) -> None:
    """Start the container; an error has the exit status that `inn run` gives it.

    It dies with this process (PR_SET_PDEATHSIG), or what this process becomes. The runtime's lock
    is given back: this process has the record's.
    """
    launch.bound = True
    try:
        container = launch.make()
    except ContainerError as error:
        raise as_guest_error(error) from None
    os.close(container.lock_fd)


def settings_of(record: Record) -> Any:
    """Return the OCI runtime's settings for one container."""
    from innkeeper.containers.settings import Settings

    systemd = bool(record.data.get("systemd"))
    return Settings({"root": record.runtime_root, "systemd-cgroup": systemd})


def _completed(request: ContainerRequest, record: Record, hostname: str) -> BundleOptions:
    """Fill in what depends on the host and on the container's folder."""
    options, maps = request.options, own_maps() if is_rootless() else IdMaps((), ())
    cgroup = cgrouping.choose(record.id)
    _check_limits(request, cgroup)
    record.data["systemd"] = cgroup.systemd
    pids = request.pids_limit
    return replace(
        options,
        network="host" if request.mode == "host" else "private",
        netns=_network_namespace(request.networks[0]),
        hostname=hostname,
        files=_files(request, record, hostname),
        pids_limit=(DEFAULT_PIDS if "pids" in cgroup.controllers else 0) if pids is None else pids,
        cgroups_path=cgroup.path,
        uid_maps=maps.uids,
        gid_maps=maps.gids,
    )


def _check_limits(request: ContainerRequest, cgroup: cgrouping.Cgrouping) -> None:
    """Refuse limits that could not be kept."""
    if request.options.memory_bytes is not None:
        cgroup.require("memory", "--memory")
    if request.options.cpus is not None:
        cgroup.require("cpu", "--cpus")
    if request.pids_limit:
        cgroup.require("pids", "--pids-limit")


def _network_namespace(network: str) -> Path | None:
    """Return the namespace to join, if it is not one of the container's own."""
    kind, _, which = network.partition(":")
    if kind not in ("ns", "container"):
        return None
    if is_rootless():
        raise UsageError(f"--network {network} needs root", fix="--network none or host")
    if kind == "ns":
        return Path(which).absolute()
    from innkeeper.guests.containers.control import running
    from innkeeper.guests.containers.records import find

    return Path(f"/proc/{running(find(which)).pid}/ns/net")


def _files(request: ContainerRequest, record: Record, hostname: str) -> dict[str, str]:
    """Write the container's own hosts, hostname and resolv.conf; none is shared with the host."""
    folder = record.folder
    texts = {
        "hosts": b"127.0.0.1\tlocalhost\n::1\tlocalhost\n127.0.1.1\t%s\n" % hostname.encode(),
        "hostname": f"{hostname}\n".encode(),
        "resolv.conf": b"",
    }
    if request.mode == "host":
        texts["hosts"] = host_file("/etc/hosts") or texts["hosts"]
        texts["resolv.conf"] = host_file("/etc/resolv.conf")
    if request.net is not None or request.mode not in ("none", "host", "ns"):
        from innkeeper.guests.containers.networks.files import adapt

        adapt(texts, request, record)
    with storage_errors("make a container", folder):
        for name, data in texts.items():
            (folder / name).write_bytes(data)
    return {f"/etc/{name}": str(folder / name) for name in texts}


def _console_size() -> dict[str, int]:
    """Return the size of this process's terminal (config.md `process.consoleSize`)."""
    for fd in (0, 1, 2):
        with suppress(OSError):
            size = os.get_terminal_size(fd)
            if size.lines and size.columns:
                return {"height": size.lines, "width": size.columns}
    return {"height": 24, "width": 80}


def _fit_ids(config: dict[str, Any], options: BundleOptions) -> None:
    """Leave out groups, and refuse a user, that a map of a single number does not have."""
    if len(options.uid_maps) > 1:
        return
    user = config["process"]["user"]
    user["additionalGids"] = []
    if user["uid"] or user["gid"]:
        raise UsageError(
            f"user {user['uid']}:{user['gid']} cannot be had without privileges",
            why="only root is mapped: there is no newuidmap, or nothing for you in /etc/subuid",
            fix="apt-get install uidmap, or run as --user 0:0",
        )
    config["mounts"] = [
        {**mount, "options": [o for o in mount["options"] if not o.startswith("gid=")]}
        for mount in config["mounts"]
    ]
