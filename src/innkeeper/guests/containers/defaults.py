"""What every container gets unless told otherwise: mounts, capabilities, hidden paths.

They are the ones that podman and docker agree on, the narrower where they do not.
"""

from __future__ import annotations

from typing import Any

from innkeeper.base.errors import UsageError

CAPABILITIES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL",
    "CAP_NET_BIND_SERVICE", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID",
    "CAP_SYS_CHROOT",
)  # fmt: skip
ALL_CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
    "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW",
    "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT",
    "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD",
    "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG",
    "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
)  # fmt: skip
MASKED_PATHS = (
    "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys",
    "/proc/latency_stats", "/proc/sched_debug", "/proc/scsi", "/proc/timer_list",
    "/proc/timer_stats", "/sys/dev/block", "/sys/devices/virtual/powercap", "/sys/firmware",
    "/sys/fs/selinux",
)  # fmt: skip
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
DEVICE_ALLOW = ({"allow": False, "access": "rwm"},)
_PLAIN = ["nosuid", "noexec", "nodev"]


def mounts(
    *, network_is_host: bool, user_namespace: bool, shm_bytes: int, privileged: bool
) -> list[dict[str, Any]]:
    """Return the mounts of a container, in the order they are made."""
    pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    if not user_namespace:
        pts.append("gid=5")  # in a user namespace the group may not be mapped
    writable = [] if privileged else ["ro"]
    found = [
        _mount("/proc", "proc", "proc", _PLAIN),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", "devpts", pts),
        _mount("/dev/shm", "tmpfs", "shm", [*_PLAIN, "mode=1777", f"size={shm_bytes}"]),
        _mount("/dev/mqueue", "mqueue", "mqueue", _PLAIN),
    ]
    if user_namespace and network_is_host:
        # sysfs belongs to the network namespace, which here is not ours to mount it from.
        found.append(_mount("/sys", "none", "/sys", ["rbind", *_PLAIN, "ro"]))
    else:
        found.append(_mount("/sys", "sysfs", "sysfs", [*_PLAIN, *writable]))
        found.append(_mount("/sys/fs/cgroup", "cgroup", "cgroup", [*_PLAIN, "relatime", *writable]))
    return found


def _mount(target: str, kind: str, source: str, options: list[str]) -> dict[str, Any]:
    return {"destination": target, "type": kind, "source": source, "options": list(options)}


def capabilities(
    *, add: tuple[str, ...], drop: tuple[str, ...], privileged: bool
) -> tuple[list[str], list[str]]:
    """Return a container's bounding set, and what was added by name; `ALL` is a name too."""
    every = [f"CAP_{name}" for name in ALL_CAPABILITIES]
    given = [_named(name) for name in add]
    taken = {_named(name) for name in drop}
    if privileged or "ALL" in given:
        bounding = set(every)
    else:
        bounding = set() if "ALL" in taken else set(CAPABILITIES)
    added = [name for name in every if name in given]
    bounding = (bounding - taken) | set(added)
    return [name for name in every if name in bounding], added


def _named(name: str) -> str:
    plain = name.upper().removeprefix("CAP_")
    if plain == "ALL":
        return plain
    if plain not in ALL_CAPABILITIES:
        raise UsageError(f"there is no capability {name!r}", fix="see capabilities(7)")
    return f"CAP_{plain}"
