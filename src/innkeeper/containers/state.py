"""What is known of a container between two commands: one directory each under `--root`.

`state.json` is written anew and renamed, so it is always whole; the directory itself is the lock
(flock(2)), which the kernel gives back when its holder is killed. `exec.fifo` is there exactly as
long as the container waits to be started.
"""

from __future__ import annotations

import os
import time

from innkeeper.base.errors import ContainerError
from innkeeper.containers import kernel as k
from innkeeper.containers.jsontext import dumps, read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STATE_FILE, FIFO = "state.json", "exec.fifo"
PID_FILE = "pid"  # criu's, when it restores
MAX_ID = 1024
_LOCK_EX, _LOCK_NB = 2, 4
_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")


def default_root() -> str:
    """Return where state is kept: a tmpfs of the system's, or of the user's."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if os.geteuid() != 0 and runtime:
        return f"{runtime}/inn-oci"
    return "/run/inn-oci"


def check_id(name: str) -> str:
    """Return an id that may name a container: it is also a directory's name."""
    if not name or name in (".", "..") or len(name) > MAX_ID or not _ID_CHARACTERS.issuperset(name):
        raise ContainerError("invalid container ID format")
    return name


def timestamp() -> str:
    """Return the time now as RFC 3339 with nanoseconds."""
    now = time.time_ns()
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 10**9))
    return f"{whole}.{now % 10**9:09d}Z"


class Container:
    """One container's record; `data` is what `state.json` holds."""

    def __init__(self, root: str, name: str, data: dict[str, Any]) -> None:
        self.id, self.directory, self.data = name, f"{root}/{name}", data
        self.lock_fd = -1

    @classmethod
    def create(cls, root: str, name: str, data: dict[str, Any]) -> Container:
        """Make the record of a new container, locked; an id is taken once."""
        container = cls(root, check_id(name), data)
        try:
            os.makedirs(root, 0o711, exist_ok=True)
            os.mkdir(container.directory, 0o711)
        except FileExistsError:
            raise ContainerError("container with given ID already exists") from None
        except OSError as error:
            raise ContainerError(f"mkdir {container.directory}", why=k.reason(error)) from None
        container.lock(wait=True)
        return container

    @classmethod
    def load(cls, root: str, name: str) -> Container:
        """Read a container's record."""
        path = f"{root}/{check_id(name)}/{STATE_FILE}"
        try:
            return cls(root, name, read_file(path))
        except (FileNotFoundError, NotADirectoryError):
            raise ContainerError("container does not exist") from None
        except OSError as error:
            raise ContainerError(f"open {path}", why=k.reason(error)) from None

    def lock(self, *, wait: bool) -> bool:
        """Take the container for this process; False when another has it and `wait` is not set."""
        if self.lock_fd < 0:
            self.lock_fd = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            k.syscall("flock", self.lock_fd, _LOCK_EX | (0 if wait else _LOCK_NB))
        except BlockingIOError:
            return False
        return True

    def save(self) -> None:
        """Write the record as a whole or not at all."""
        path = f"{self.directory}/{STATE_FILE}"
        fd = os.open(f"{path}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            text = dumps(self.data).encode()
            while text:
                text = text[os.write(fd, text) :]
        finally:
            os.close(fd)
        os.rename(f"{path}.new", path)

    def remove(self) -> None:
        """Forget the container."""
        for name in (FIFO, PID_FILE, f"{STATE_FILE}.new", STATE_FILE):
            try:
                os.unlink(f"{self.directory}/{name}")
            except FileNotFoundError:
                pass
        os.rmdir(self.directory)

    @property
    def fifo(self) -> str:
        """Return the path of the pipe that `start` writes to."""
        return f"{self.directory}/{FIFO}"

    @property
    def pid(self) -> int:
        """Return the process's number when it lives, else 0."""
        pid: int = self.data.get("pid", 0)
        return pid if pid and start_time(pid) == self.data.get("startTime") else 0

    def status(self) -> str:
        """Return the status as runtime.md "State" and runc name it."""
        if not self.pid:
            return "creating" if self._is_being_made() else "stopped"
        if is_frozen(self.data.get("cgroupPaths", {})):
            return "paused"
        return "created" if os.path.exists(self.fifo) else "running"

    def _is_being_made(self) -> bool:
        """Say whether another process has the record and no process number is in it yet."""
        if self.data.get("pid") or self.lock_fd >= 0:
            return False
        free = self.lock(wait=False)
        os.close(self.lock_fd)  # and with it the lock, if it was free
        self.lock_fd = -1
        return not free

    def report(self) -> dict[str, Any]:
        """Return what `state` prints; hooks get the same on their standard input."""
        status = self.status()
        return {
            "ociVersion": self.data["config"]["ociVersion"],
            "id": self.id,
            "pid": 0 if status in ("stopped", "creating") else self.data["pid"],
            "status": status,
            "bundle": self.data["bundle"],
            "rootfs": self.data["rootfs"],
            "created": self.data["created"],
            "annotations": self.data["config"].get("annotations", {}),
            "owner": "",
        }


def start_time(pid: int) -> int | None:
    """Return when a process was started, in ticks since boot; None when it is dead or a zombie.

    proc_pid_stat(5): with the number it names one process for good.
    """
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fields = os.read(fd, 4096).rpartition(b")")[2].split()
    except OSError:
        return None
    finally:
        os.close(fd)
    return None if fields[0] in b"ZX" else int(fields[19])


def is_frozen(paths: dict[str, str]) -> bool:
    """Say whether the container's cgroup is frozen, version 1 or 2."""
    for path, frozen in (
        (f"{paths.get('freezer', '')}/freezer.state", ("FROZEN", "FREEZING")),
        (f"{paths.get('', '')}/cgroup.freeze", ("1",)),
    ):
        if path[0] == "/" and path.count("/") > 1:
            try:
                with open(path, encoding="ascii") as file:
                    if file.read().strip() in frozen:
                        return True
            except OSError:
                pass
    return False
