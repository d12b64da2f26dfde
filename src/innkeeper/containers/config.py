"""Load a bundle's `config.json` and refuse what cannot be meant (config.md, config-linux.md)."""

from __future__ import annotations

import os

from innkeeper.base.errors import ConfigError, ContainerError
from innkeeper.containers import schema
from innkeeper.containers.jsontext import read_file
from innkeeper.containers.kernel import (
    CLONE_NEWCGROUP,
    CLONE_NEWIPC,
    CLONE_NEWNET,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    CLONE_NEWUTS,
    reason,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CONFIG_FILE = "config.json"
OCI_VERSION = "1.2.0"
# config-linux.md "Namespaces": type, clone flag, name in /proc/PID/ns
NAMESPACES = {
    "user": (CLONE_NEWUSER, "user"),
    "pid": (CLONE_NEWPID, "pid"),
    "network": (CLONE_NEWNET, "net"),
    "ipc": (CLONE_NEWIPC, "ipc"),
    "uts": (CLONE_NEWUTS, "uts"),
    "mount": (CLONE_NEWNS, "mnt"),
    "cgroup": (CLONE_NEWCGROUP, "cgroup"),
    "time": (CLONE_NEWTIME, "time"),
}
RLIMITS = (
    "CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS", "LOCKS",
    "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME",
)  # fmt: skip
_IPC_SYSCTLS = {
    "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall",
    "kernel.shmmax", "kernel.shmmni", "kernel.shm_rmid_forced",
}  # fmt: skip


class Config:
    """A checked configuration: `raw` as it was read, and what is asked of it again and again."""

    def __init__(self, raw: dict[str, Any], bundle: str) -> None:
        self.raw, self.bundle = raw, bundle
        self.linux: dict[str, Any] = raw.get("linux", {})
        self.process: dict[str, Any] = raw.get("process", {})
        self.mounts: list[dict[str, Any]] = raw.get("mounts", [])
        self.namespaces: dict[str, str] = {
            one["type"]: one.get("path", "") for one in self.linux.get("namespaces", [])
        }
        self.rootfs = os.path.normpath(os.path.join(bundle, raw.get("root", {}).get("path", "")))

    def new(self, kind: str) -> bool:
        """Say whether the container gets a new namespace of this type."""
        return self.namespaces.get(kind) == ""

    def hooks(self, point: str) -> list[dict[str, Any]]:
        """Return the hooks of one point in the container's life, in order."""
        found: list[dict[str, Any]] = self.raw.get("hooks", {}).get(point, [])
        return found


def load_bundle(bundle: str) -> Config:
    """Read and check the `config.json` of a bundle directory."""
    try:
        os.chdir(bundle)
    except OSError as error:
        raise ContainerError(f"chdir {bundle}", why=reason(error)) from None
    try:
        raw = read_file(CONFIG_FILE)
    except FileNotFoundError:
        raise ContainerError(f"JSON specification file {CONFIG_FILE} not found") from None
    except OSError as error:
        raise ContainerError(f"open {CONFIG_FILE}", why=reason(error)) from None
    return parse(raw, os.getcwd())


def parse(raw: Any, bundle: str) -> Config:
    """Check a configuration's fields one by one and against each other."""
    schema.config(raw, "")
    config = Config(raw, bundle)
    _check_version(raw["ociVersion"])
    _check_namespaces(config)
    _check_root(config)
    if config.process:
        check_process(config.process, "process")
    _check_uts(config)
    _check_user_namespace(config)
    _check_sysctl(config)
    _check_time(config)
    _check_files(config)
    return config


def _check_version(version: str) -> None:
    major, _, rest = version.partition(".")
    if not (major.isdigit() and rest.partition(".")[0].isdigit() and int(major) <= 1):
        raise ConfigError(
            "ociVersion", why=f"{version!r} is not a version 1.x of the specification"
        )


def _check_namespaces(config: Config) -> None:
    seen: set[str] = set()
    for one in config.linux.get("namespaces", []):
        kind, path = one["type"], one.get("path", "")
        if kind not in NAMESPACES:
            raise ConfigError(f'namespace {{"{kind}" "{path}"}} does not exist')
        if kind in seen:
            raise ConfigError(f'malformed spec file: duplicated ns {{"{kind}" "{path}"}}')
        if path and not path.startswith("/"):
            raise ConfigError("linux.namespaces", why=f"the path {path!r} is not absolute")
        seen.add(kind)


def _check_root(config: Config) -> None:
    if "root" not in config.raw:
        raise ConfigError("root", why="is missing")
    try:
        mode = os.stat(config.rootfs).st_mode
    except OSError as error:
        why = f"stat {config.rootfs}: {reason(error)}"
        raise ConfigError("invalid rootfs", why=why) from None
    if mode & 0o170000 != 0o040000:
        raise ConfigError("invalid rootfs", why=f"{config.rootfs} is not a directory")
    if config.rootfs == "/":
        raise ConfigError("root.path", why="is the root directory of the host")


def check_process(process: dict[str, Any], name: str) -> None:
    """Check a `process` object beyond its types; `name` is what errors call it."""
    if not process["cwd"].startswith("/"):
        raise ConfigError("Cwd must be an absolute path", why=f"{name}.cwd is {process['cwd']!r}")
    if not process.get("args"):
        raise ConfigError("args must not be empty", why=f"{name}.args names the program")
    for index, one in enumerate(process.get("env", [])):
        if one.find("=") < 1:
            raise ConfigError(f"{name}.env[{index}]", why=f"{one!r} is not KEY=VALUE")
    seen: set[str] = set()
    for index, one in enumerate(process.get("rlimits", [])):
        if one["type"].removeprefix("RLIMIT_") not in RLIMITS or not one["type"].startswith("R"):
            raise ConfigError(f"wrong rlimit value: {one['type']}", why=f"{name}.rlimits[{index}]")
        if one["type"] in seen or one["soft"] > one["hard"]:
            why = "is given twice, or its soft limit is above the hard one"
            raise ConfigError(f"{name}.rlimits[{index}]", why=why)
        seen.add(one["type"])
    _check_label(process)


def _check_label(process: dict[str, Any]) -> None:
    if process.get("selinuxLabel") and not os.path.exists("/sys/fs/selinux/enforce"):
        raise ConfigError(
            "selinux label is specified in config, but selinux is disabled or not supported"
        )


def _check_uts(config: Config) -> None:
    for name in ("hostname", "domainname"):
        if config.raw.get(name) and "uts" not in config.namespaces:
            raise ConfigError(f"unable to set {name} without a private UTS namespace")
        if len(os.fsencode(config.raw.get(name, ""))) > 64:
            raise ConfigError(name, why="is longer than 64 bytes")


def _check_user_namespace(config: Config) -> None:
    maps = [config.linux.get(name) for name in ("uidMappings", "gidMappings")]
    if config.new("user"):
        if not all(maps):
            raise ConfigError("User namespaces enabled, but no uid or gid mappings found")
    elif any(maps) and "user" not in config.namespaces:
        raise ConfigError("User namespace mappings specified, but USER namespace isn't enabled")


def _check_sysctl(config: Config) -> None:
    spaces = config.namespaces
    for key in config.linux.get("sysctl", {}):
        dotted = key.replace("/", ".")
        if dotted in _IPC_SYSCTLS or dotted.startswith("fs.mqueue."):
            allowed = "ipc" in spaces
        elif dotted.startswith("net."):
            allowed = "network" in spaces
        elif dotted in ("kernel.domainname", "kernel.hostname"):
            allowed = "uts" in spaces
        else:
            allowed = dotted.startswith("user.") and "user" in spaces
        if not allowed or ".." in dotted:
            raise ConfigError(f'sysctl "{key}" is not in a separate kernel namespace')


def _check_time(config: Config) -> None:
    offsets = config.linux.get("timeOffsets", {})
    if offsets and not config.new("time"):
        raise ConfigError("linux.timeOffsets", why="needs a new time namespace")
    for clock in offsets:
        if clock not in ("monotonic", "boottime"):
            raise ConfigError("linux.timeOffsets", why=f"there is no offset of a clock {clock!r}")


def _check_files(config: Config) -> None:
    guarded = ("maskedPaths", "readonlyPaths")
    if "mount" not in config.namespaces:
        if any(config.linux.get(name) for name in guarded):
            raise ConfigError("unable to restrict sys entries without a private MNT namespace")
        raise ConfigError(
            "linux.namespaces", why="has no mount namespace: the mounts would be made on the host"
        )
    for name in guarded:
        for index, path in enumerate(config.linux.get(name, [])):
            if not path.startswith("/"):
                raise ConfigError(f"linux.{name}[{index}]", why=f"{path!r} is not absolute")
    for index, device in enumerate(config.linux.get("devices", [])):
        if not device["path"].startswith("/"):
            raise ConfigError(f"linux.devices[{index}].path", why="is not absolute")
    if config.linux.get("mountLabel") and not os.path.exists("/sys/fs/selinux/enforce"):
        raise ConfigError("linux.mountLabel", why="this kernel has no SELinux")
