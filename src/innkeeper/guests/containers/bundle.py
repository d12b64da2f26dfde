"""An image's configuration turned into a runtime bundle's (image-spec conversion.md; runtime-spec).

What the image does not say and the caller does not ask for is as `defaults.py` has it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from innkeeper.base.errors import UsageError
from innkeeper.guests.config import DEFAULT_PATH
from innkeeper.guests.containers import defaults
from innkeeper.guests.containers.options import BundleOptions, IdMap
from innkeeper.guests.containers.security import (
    hidden_paths,
    seccomp_profile,
    set_labels,
    words_of,
)
from innkeeper.guests.containers.users import User, resolve_user

if TYPE_CHECKING:
    from innkeeper.images.oci.documents import Config, Execution
    from innkeeper.images.oci.image import Image
    from innkeeper.images.oci.ready import ReadyConfig, ReadyExecution, ReadyImage

OCI_VERSION = "1.2.0"
CPU_PERIOD_US = 100_000
_ANNOTATION = "org.opencontainers.image."


def make_bundle(
    image: Image | ReadyImage, command: Sequence[str], options: BundleOptions, *, root: Path,
    shown: Sequence[Path] = (),
) -> dict[str, Any]:  # fmt: skip
    """Return the `config.json` of a container that runs `command` (or what the image says).

    `root` is the root file system as `prepare_rootfs` made it. Users are looked up in `shown`, what
    it will show when it is mounted (top first), else in itself. `UsageError` or `NotFoundError`
    when there is nothing to run, or no such user.
    """
    config, execution = image.config, image.config.execution
    user = resolve_user(options.user or execution.user or "", shown or [root])
    bounding, added = defaults.capabilities(
        add=options.cap_add, drop=options.cap_drop, privileged=options.privileged
    )
    process = {
        "terminal": options.tty,
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups)},
        "args": _arguments(execution, command, options),
        "env": _environment(execution, options, user),
        "cwd": _workdir(execution, options),
        "capabilities": _capability_sets(bounding, added, user),
        "noNewPrivileges": "no-new-privileges" in words_of(options),
        "rlimits": [
            {"type": f"RLIMIT_{name.upper()}", "soft": soft, "hard": hard}
            for name, soft, hard in options.ulimits
        ],
    }
    if options.oom_score_adj is not None:
        process["oomScoreAdj"] = options.oom_score_adj
    set_labels(options, process)
    return {
        "ociVersion": OCI_VERSION,
        "process": process,
        "root": {"path": str(root), "readonly": options.read_only},
        "hostname": "" if "uts" in options.host_namespaces else options.hostname,
        "mounts": _mounts(execution, options),
        "annotations": _annotations(config, options),
        "linux": _linux(options, bounding),
    }


def _arguments(
    execution: Execution | ReadyExecution, command: Sequence[str], options: BundleOptions
) -> list[str]:
    """Put entry point and command together: a command of the caller's replaces the image's `Cmd`,
    an entry point of the caller's replaces both."""
    entry, default = execution.entrypoint or [], execution.cmd or []
    if options.entrypoint is not None:
        entry, default = list(options.entrypoint), []
    words = [*entry, *(command or default)]
    if not words or not words[0]:
        raise UsageError(
            "nothing to run", why="the image has no default command", fix="give one after the image"
        )
    return list(words)


def _environment(
    execution: Execution | ReadyExecution, options: BundleOptions, user: User
) -> list[str]:
    found: dict[str, str] = {"PATH": DEFAULT_PATH}
    if options.tty:
        found["TERM"] = "xterm"
    if options.hostname:
        found["HOSTNAME"] = options.hostname
    for item in execution.env or ():
        name, equals, value = item.partition("=")
        if name and equals:
            found[name] = value
    found.update(options.env)
    found.setdefault("HOME", user.home)
    return [f"{name}={value}" for name, value in found.items()]


def _workdir(execution: Execution | ReadyExecution, options: BundleOptions) -> str:
    where = options.workdir or execution.working_dir or "/"
    return where if where.startswith("/") else f"/{where}"


def _capability_sets(bounding: list[str], added: list[str], user: User) -> dict[str, list[str]]:
    """Return the five sets: root gets all that is allowed, others what was asked for by name."""
    held = bounding if user.uid == 0 else added
    ambient = [] if user.uid == 0 else added
    return {
        "bounding": bounding, "effective": held, "permitted": held, "inheritable": ambient,
        "ambient": ambient,
    }  # fmt: skip


def _mounts(execution: Execution | ReadyExecution, options: BundleOptions) -> list[dict[str, Any]]:
    found = defaults.mounts(
        network_is_host=options.network == "host",
        user_namespace=options.has_user_namespace,
        shm_bytes=options.shm_bytes,
        privileged=options.privileged,
    )
    if "ipc" in options.host_namespaces:
        found = [m for m in found if m["destination"] not in ("/dev/mqueue", "/dev/shm")]
        found += [_bind("/dev/mqueue", "/dev/mqueue"), _bind("/dev/shm", "/dev/shm")]
    taken = {volume.target for volume in options.volumes}
    # A volume of the image's that nobody gave one for lives as long as the container.
    for path in sorted(set(execution.volumes or ()) - taken):
        if path.startswith("/"):
            found.append(_tmpfs(path, ["nosuid", "nodev", "tmpcopyup"]))
    for text in options.tmpfs:
        path, _, more = text.partition(":")
        found.append(_tmpfs(path, ["nosuid", "nodev", "noexec", *filter(None, more.split(","))]))
    for path, source in options.files.items():
        found.append(_bind(source, path))
    for volume in options.volumes:
        found.append(_bind(str(volume.source), volume.target, read_only=volume.read_only))
    return found


def _bind(source: str, target: str, *, read_only: bool = False) -> dict[str, Any]:
    options = ["rbind", "rprivate", "rro" if read_only else "rw"]
    return {"destination": target, "type": "bind", "source": source, "options": options}


def _tmpfs(target: str, options: list[str]) -> dict[str, Any]:
    if not target.startswith("/"):
        raise UsageError(f"tmpfs {target!r} is not an absolute path", fix="--tmpfs /run")
    return {"destination": target, "type": "tmpfs", "source": "tmpfs", "options": options}


def _linux(options: BundleOptions, bounding: list[str]) -> dict[str, Any]:
    masked, read_only = hidden_paths(options)
    linux: dict[str, Any] = {
        "namespaces": _namespaces(options),
        "resources": _resources(options),
        "maskedPaths": masked,
        "readonlyPaths": read_only,
        "rootfsPropagation": "rprivate",
        "sysctl": _sysctls(options),
    }
    if options.devices:
        linux["devices"] = [_device(text) for text in options.devices]
        linux["resources"]["devices"] += [
            {"allow": True, "type": d["type"], "major": d["major"], "minor": d["minor"],
             "access": "rwm"} for d in linux["devices"]
        ]  # fmt: skip
    if options.cgroups_path:
        linux["cgroupsPath"] = options.cgroups_path
    if options.has_user_namespace:
        linux["uidMappings"] = [_mapping(m) for m in options.uid_maps]
        linux["gidMappings"] = [_mapping(m) for m in options.gid_maps or options.uid_maps]
    seccomp = seccomp_profile(options, bounding)
    if seccomp is not None:
        linux["seccomp"] = seccomp
    return linux


def _namespaces(options: BundleOptions) -> list[dict[str, str]]:
    kinds = ["pid", "ipc", "uts", "cgroup"]
    found = [{"type": kind} for kind in kinds if kind not in options.host_namespaces]
    found.append({"type": "mount"})
    if options.has_user_namespace:
        found.append({"type": "user"})
    if options.network != "host":
        path = {"path": str(options.netns)} if options.netns else {}
        found.append({"type": "network", **path})
    return found


def _resources(options: BundleOptions) -> dict[str, Any]:
    allow = [{"allow": True, "access": "rwm"}] if options.privileged else defaults.DEVICE_ALLOW
    found: dict[str, Any] = {"devices": [dict(rule) for rule in allow]}
    if options.pids_limit > 0:
        found["pids"] = {"limit": options.pids_limit}
    if options.memory_bytes is not None:
        found["memory"] = {"limit": options.memory_bytes, "swap": options.memory_bytes}
    cpu: dict[str, Any] = {}
    if options.cpus is not None:
        cpu |= {"quota": int(options.cpus * CPU_PERIOD_US), "period": CPU_PERIOD_US}
    if options.cpu_shares is not None:
        cpu["shares"] = options.cpu_shares
    if options.cpuset:
        cpu["cpus"] = options.cpuset
    return found | ({"cpu": cpu} if cpu else {})


def _sysctls(options: BundleOptions) -> dict[str, str]:
    if options.network == "host":
        return dict(options.sysctls)
    last = max((start + size - 1 for start, _, size in options.gid_maps), default=0)
    return {"net.ipv4.ping_group_range": f"0 {last}", **options.sysctls}


def _device(text: str) -> dict[str, Any]:
    """Describe a device node of the host's for `--device SOURCE[:TARGET]`."""
    import stat

    source, _, target = text.partition(":")
    try:
        status = os.stat(source)
    except OSError as error:
        raise UsageError(f"device {source}", why=error.strerror or "") from None
    kinds = {stat.S_IFCHR: "c", stat.S_IFBLK: "b"}
    kind = kinds.get(stat.S_IFMT(status.st_mode))
    if kind is None:
        raise UsageError(f"device {source}", why="it is not a device")
    return {
        "path": target or source, "type": kind, "major": os.major(status.st_rdev),
        "minor": os.minor(status.st_rdev), "fileMode": stat.S_IMODE(status.st_mode),
        "uid": 0, "gid": 0,
    }  # fmt: skip


def _mapping(mapped: IdMap) -> dict[str, int]:
    return {"containerID": mapped[0], "hostID": mapped[1], "size": mapped[2]}


def _annotations(config: Config | ReadyConfig, options: BundleOptions) -> dict[str, str]:
    """Return the annotations that conversion.md derives from an image's configuration."""
    execution = config.execution
    facts = {
        "os": config.os, "architecture": config.architecture, "variant": config.variant,
        "author": config.author, "created": config.created, "stopSignal": execution.stop_signal,
        "exposedPorts": ",".join(sorted(execution.exposed_ports or ())),
    }  # fmt: skip
    derived = {f"{_ANNOTATION}{key}": value for key, value in facts.items() if value}
    return derived | dict(execution.labels or {}) | dict(options.annotations)
