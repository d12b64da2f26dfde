"""Make and join namespaces: config-linux.md "Namespaces", namespaces(7)."""

from __future__ import annotations

import os

from innkeeper.base.errors import ContainerError
from innkeeper.containers import kernel as k
from innkeeper.containers.config import NAMESPACES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from innkeeper.containers.config import Config

_AT_CLONE = ("user", "pid", "network", "ipc", "uts", "mount")  # cgroup and time come later
_SIOCSIFFLAGS, _LOOPBACK_UP = 0x8914, 0x49  # IFF_UP, IFF_LOOPBACK, IFF_RUNNING


class Namespaces:
    """The namespaces of a container to be: opened paths, and clone flags for the new ones."""

    def __init__(self, config: Config) -> None:
        self.flags = 0
        for kind in _AT_CLONE:
            if config.new(kind):
                self.flags |= NAMESPACES[kind][0]
        self.joined = {kind: _open(path) for kind, path in config.namespaces.items() if path}

    def spawn(self, main: Callable[[], None], cgroup: int | None) -> int:
        """Start a process in the namespaces, the new ones included; return its number.

        `main` runs in it and must not return. The process is this one's child, and no other
        process is left in between. `cgroup` is as for `clone`.
        """
        if "user" in self.joined:
            return spawn_in(self._join_all, self.flags, main)
        pid_namespace = self.joined.pop("pid", None)
        if pid_namespace is not None:
            k.setns(pid_namespace, k.CLONE_NEWPID)
        pid = k.clone(self.flags, cgroup)
        if pid == 0:
            run_child(self._join_all, main)
        if pid_namespace is not None:  # the hooks that come later belong outside
            own = _open("/proc/self/ns/pid")
            k.setns(own, k.CLONE_NEWPID)
            os.close(own)
            os.close(pid_namespace)
        return pid

    def _join_all(self) -> None:
        """Join what has a path: first what this user namespace owns, then it, then the rest."""
        later = {}
        for kind, fd in self.joined.items():
            if kind == "user":
                continue
            try:
                k.setns(fd, NAMESPACES[kind][0])
            except PermissionError:
                later[kind] = fd
        if "user" in self.joined:
            _join("user", self.joined["user"])
        for kind, fd in later.items():
            _join(kind, fd)
        for fd in self.joined.values():
            os.close(fd)


def spawn_in(join: Callable[[], None], flags: int, main: Callable[[], None]) -> int:
    """Spawn from within namespaces that exist: a helper joins them, and they own the new ones.

    The helper ends at once; the process is this one's child (CLONE_PARENT).
    """
    read, write = os.pipe()
    helper = k.clone(0)
    if helper == 0:
        run_child(join, lambda: _help(write, flags, main), failed=write)
    os.close(write)
    text = os.read(read, 256)
    os.close(read)
    os.waitpid(helper, 0)
    if not text.isdigit():
        raise ContainerError("cannot join namespaces", why=text.decode() or "the helper died")
    return int(text)


def _help(write: int, flags: int, main: Callable[[], None]) -> None:
    pid = k.clone(flags | k.CLONE_PARENT)
    if pid == 0:
        os.close(write)
        main()
    os.write(write, str(pid).encode())


def run_child(first: Callable[[], None], main: Callable[[], None], failed: int = 2) -> None:
    """Run a child's whole life; whatever happens, it never returns into the parent's code."""
    try:
        first()
        main()
    except (OSError, ContainerError) as error:
        os.write(failed, str(error)[:200].encode())
    finally:
        os._exit(1)


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ContainerError(f"open namespace {path}", why=k.reason(error)) from None


def _join(kind: str, fd: int) -> None:
    try:
        k.setns(fd, NAMESPACES[kind][0])
    except OSError as error:
        raise ContainerError(f"cannot join the {kind} namespace", why=k.reason(error)) from None


def become_root() -> None:
    """Become the root of a user namespace that this process is in by now."""
    try:
        os.setgroups([])
    except OSError:  # given up for the sake of the map
        pass
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)


def enter_time_namespace(offsets: dict[str, Any], proc: int) -> None:
    """Make a time namespace, set its clocks, enter it: time_namespaces(7)."""
    k.unshare(k.CLONE_NEWTIME)
    own = os.readlink("self", dir_fd=proc)
    lines = "".join(
        f"{clock} {offset.get('secs', 0)} {offset.get('nanosecs', 0)}\n"
        for clock, offset in offsets.items()
    )
    if lines:
        fd = k.open_beneath(proc, f"{own}/timens_offsets", os.O_WRONLY)
        os.write(fd, lines.encode())
        os.close(fd)
    fd = os.open(f"{own}/ns/time_for_children", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
    k.setns(fd, k.CLONE_NEWTIME)
    os.close(fd)


def raise_loopback() -> None:
    """Bring up `lo`, which a new network namespace has down."""
    fd = k.syscall("socket", 2, 2 | os.O_CLOEXEC, 0)  # AF_INET, SOCK_DGRAM
    request = b"lo".ljust(16, b"\0") + k.words(_LOOPBACK_UP, size=2) + bytes(22)
    k.syscall("ioctl", fd, _SIOCSIFFLAGS, request)
    os.close(fd)


def set_names(raw: dict[str, Any]) -> None:
    """Set host and domain name (config.md "Hostname", "Domainname")."""
    for field, call in (("hostname", "sethostname"), ("domainname", "setdomainname")):
        if raw.get(field):
            name = os.fsencode(raw[field])
            k.syscall(call, name, len(name))


def set_sysctls(values: dict[str, str], proc: int) -> None:
    """Write kernel parameters of the namespaces, through the host's procfs (CVE-2019-16884)."""
    for key, value in values.items():
        path = "sys/" + (key if "/" in key else key.replace(".", "/"))
        try:
            fd = k.open_beneath(proc, path, os.O_WRONLY)
            os.write(fd, value.encode())
            os.close(fd)
        except OSError as error:
            raise ContainerError(f"write sysctl {key}", why=k.reason(error)) from None
