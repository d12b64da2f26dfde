"""`spec`: write a `config.json` to start from (runc-spec(8))."""

from __future__ import annotations

import os

from innkeeper.base.errors import ContainerError
from innkeeper.containers.config import CONFIG_FILE, OCI_VERSION
from innkeeper.containers.jsontext import pretty
from innkeeper.containers.kernel import reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from innkeeper.containers.settings import Settings

_CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")
MASKED_PATHS = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
    "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
    "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
)  # fmt: skip
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_QUIET = ["nosuid", "noexec", "nodev"]


def spec_command(settings: Settings, options: dict[str, Any], args: list[str]) -> int:
    """Write the file; one that is there stays."""
    path = os.path.join(options.get("bundle") or ".", CONFIG_FILE)
    document = default_spec()
    if options.get("rootless"):
        make_rootless(document)
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        os.write(fd, (pretty(document, indent="\t") + "\n").encode())
        os.close(fd)
    except FileExistsError:
        raise ContainerError(f"File {path} exists. Remove it first") from None
    except OSError as error:
        raise ContainerError(f"open {path}", why=reason(error)) from None
    return 0


def default_spec() -> dict[str, Any]:
    """Return runc's example: a shell on a terminal, on a read-only root."""
    capabilities = {name: list(_CAPABILITIES) for name in ("bounding", "effective", "permitted")}
    return {
        "ociVersion": OCI_VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm",
            ],
            "cwd": "/",
            "capabilities": capabilities,
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "innkeeper",
        "mounts": _mounts(),
        "linux": {
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "namespaces": [
                {"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")
            ],
            "maskedPaths": list(MASKED_PATHS),
            "readonlyPaths": list(READONLY_PATHS),
        },
    }  # fmt: skip


def _mounts() -> list[dict[str, Any]]:
    rows = (
        ("/proc", "proc", "proc", None),
        ("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        ("/dev/pts", "devpts", "devpts",
         ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        ("/dev/shm", "tmpfs", "shm", [*_QUIET, "mode=1777", "size=65536k"]),
        ("/dev/mqueue", "mqueue", "mqueue", _QUIET),
        ("/sys", "sysfs", "sysfs", [*_QUIET, "ro"]),
        ("/sys/fs/cgroup", "cgroup", "cgroup", [*_QUIET, "relatime", "ro"]),
    )  # fmt: skip
    return [
        {"destination": place, "type": kind, "source": source}
        | ({"options": list(given)} if given else {})
        for place, kind, source, given in rows
    ]


def make_rootless(document: dict[str, Any]) -> None:
    """Change a document so that a user without privilege can run it (runc-spec(8) --rootless)."""
    linux = document["linux"]
    linux["namespaces"] = [one for one in linux["namespaces"] if one["type"] != "network"]
    linux["namespaces"].append({"type": "user"})
    linux["uidMappings"] = [{"containerID": 0, "hostID": os.geteuid(), "size": 1}]
    linux["gidMappings"] = [{"containerID": 0, "hostID": os.getegid(), "size": 1}]
    del linux["resources"]
    kept = [one for one in document["mounts"] if one["destination"] not in ("/sys/fs/cgroup",)]
    for mount in kept:
        mount["options"] = [o for o in mount.get("options", []) if o[:4] not in ("gid=", "uid=")]
        if mount["destination"] == "/sys":
            bound = ["rbind", *_QUIET, "ro"]
            mount.update(type="none", source="/sys", options=bound)
    document["mounts"] = kept
