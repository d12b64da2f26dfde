"""What is known of containers between two commands: one folder for each.

    $XDG_STATE_HOME/innkeeper/containers/ID/
        container.json        what was asked for (written once, by rename)
        lock                  held (flock(2)) by the process that attends to the container
        exit.json             how it ended, once it has
        stopped               it is not to be started again by its restart policy
        again                 it is to be started again at once, whatever that says
        health.json           what the checks of its health have found
        runtime/ID/           the OCI runtime's own state
        config.json rootfs/   the bundle; upper/ and work/ are the overlay's
        output.log attach     a detached container's output; the socket to attach to it
    $XDG_STATE_HOME/innkeeper/names/NAME -> ID

The kernel gives a lock back when its holder is killed, so what a crash left can be told from what
is in use.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from innkeeper.base.errors import (
    InnError,
    MachineError,
    NotExecutableError,
    NotFoundError,
    UsageError,
)
from innkeeper.images.locks import try_lock
from innkeeper.images.oci.removal import remove_tree
from innkeeper.images.paths import make_dir, state_dir, storage_errors

RECORD, EXIT, LOCK = "container.json", "exit.json", "lock"
STOPPED, AGAIN, CHANGES = "stopped", "again", "changes.lock"
LOG, ATTACH, HEALTH = "output.log", "attach", "health.json"
ID_BYTES, SHORT = 16, 12
MAX_RECORD_BYTES = 4 << 20
MAX_NAME = 63
LOOKS, LOOK_S = 50, 0.01  # whoever asks whether it is in use has the lock for a moment
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


class Record:
    """One container's folder; `data` is what `container.json` holds."""

    def __init__(self, folder: Path, data: dict[str, Any]) -> None:
        self.folder, self.data = folder, data
        self.lock_fd = -1
        self.namespaces: tuple[int, ...] = ()  # of its process, while its network is set up

    @property
    def id(self) -> str:
        """The container's id, which no other has."""
        return self.folder.name

    @property
    def name(self) -> str:
        """The name it was given, else the beginning of its id."""
        return self.data.get("name") or self.id[:SHORT]

    @property
    def runtime_root(self) -> str:
        """Where the OCI runtime keeps its state of this one container."""
        return str(self.folder / "runtime")

    @property
    def log_path(self) -> Path:
        """Where a detached container's output is written down."""
        return self.folder / LOG

    def take(self) -> bool:
        """Take the container for this process; False when another attends to it."""
        if self.lock_fd >= 0:
            return True
        try:
            fd = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            return False  # removed meanwhile
        if not try_lock(fd) or not _is_at(fd, self.folder / LOCK):
            os.close(fd)
            return False
        self.lock_fd = fd
        return True

    def take_soon(self) -> bool:
        """Take the container, also when another process has only just looked at its lock."""
        for _ in range(LOOKS):
            if self.take() or not self.folder.is_dir():
                break
            time.sleep(LOOK_S)
        return self.lock_fd >= 0

    def wait(self) -> dict[str, Any]:
        """Wait until nobody attends to the container; return how it ended, empty if nobody saw.

        The lock's own file says so: it can still be read when the folder has been removed.
        """
        try:
            fd = os.open(self.folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return {}
        with os.fdopen(fd, "rb") as file:
            fcntl.flock(fd, fcntl.LOCK_SH)
            text = file.read(MAX_RECORD_BYTES)
        return json.loads(text) if text else {}

    def note_end(self, end: dict[str, Any]) -> None:
        """Write down how it ended, for those who wait and for those who ask later."""
        write_json(self.folder / EXIT, end)
        os.ftruncate(self.lock_fd, 0)
        os.pwrite(self.lock_fd, json.dumps(end).encode(), 0)

    def forget_end(self, *, stopped: bool = True) -> None:
        """Make it one that has not ended: it is started again.

        That somebody wants it to stop is forgotten with `stopped` only.
        """
        os.ftruncate(self.lock_fd, 0)
        for name in (EXIT, AGAIN, HEALTH, *((STOPPED,) if stopped else ())):
            (self.folder / name).unlink(missing_ok=True)

    @property
    def is_to_stop(self) -> bool:
        """Whether somebody has asked for its end: then it is not started again."""
        return (self.folder / STOPPED).exists()

    def ask_to_stop(self) -> None:
        """Say that it is not to be started again."""
        with suppress(FileNotFoundError):  # it was removed at its end
            (self.folder / AGAIN).unlink(missing_ok=True)
            (self.folder / STOPPED).touch()

    @property
    def is_to_start_again(self) -> bool:
        """Whether somebody has asked for it to end and to be started again."""
        return (self.folder / AGAIN).exists()

    def ask_to_start_again(self, *, by_user: bool) -> None:
        """Say that it is to be started again as soon as it has ended.

        Only a user's wish outdoes an earlier one that it should stop.
        """
        with suppress(FileNotFoundError):
            if by_user:
                (self.folder / STOPPED).unlink(missing_ok=True)
            (self.folder / AGAIN).touch()

    def attended(self) -> bool:
        """Tell whether a process attends to the container."""
        if self.lock_fd >= 0 or not self.take():
            return self.folder.is_dir()
        self.release()
        return False

    def release(self) -> None:
        """Let another process attend to the container."""
        os.close(self.lock_fd)
        self.lock_fd = -1

    def save(self) -> None:
        """Write the record as a whole or not at all."""
        write_json(self.folder / RECORD, self.data)

    def change(self, **values: Any) -> None:
        """Change the record as it is on disk now, which another process may have changed."""
        with self.changing():
            self.data = {**self.data, **(read_json(self.folder / RECORD) or {}), **values}
            self.save()

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Keep other processes from changing what is written down of the container."""
        try:
            fd = os.open(self.folder / CHANGES, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            raise NotFoundError(f"container {self.name} is gone") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def ended(self) -> dict[str, Any] | None:
        """Return how it ended (`status`, `at`, `oom`), or None when it has not, or nobody saw."""
        return read_json(self.folder / EXIT)

    def rename(self, name: str) -> None:
        """Give it another name, which must be free; killed in between, it has both."""
        old = self.data.get("name", "")
        if name == old:
            raise UsageError(f"container {name!r} has that name already")
        _claim(name, self.id)
        self.change(name=name)
        if old and _target(names_dir() / old) == self.id:
            (names_dir() / old).unlink(missing_ok=True)

    def forget(self) -> None:
        """Remove the folder, and the name last: until then `prune` finds what is left."""
        remove_tree(self.folder)
        link = names_dir() / self.data.get("name", "")
        if self.data.get("name") and _target(link) == self.id:
            link.unlink(missing_ok=True)
        if self.lock_fd >= 0:
            self.release()


def containers_dir() -> Path:
    """Return the folder of all containers."""
    return state_dir() / "containers"


def names_dir() -> Path:
    """Return the folder of names."""
    return state_dir() / "names"


def create(data: dict[str, Any]) -> Record:
    """Make a new container's folder, taken for this process; its name must be free."""
    record = Record(containers_dir(), {**data, "created": time.time()})
    while record.lock_fd < 0:  # again where a sweep took the empty folder for a remnant
        record.folder = containers_dir() / os.urandom(ID_BYTES).hex()
        make_dir(record.folder)
        record.take()
    try:
        if data.get("name"):
            _claim(data["name"], record.id)
        record.save()
    except BaseException:
        record.forget()
        raise
    return record


def check_name(name: str) -> str:
    """Return a name that a container may have: it becomes its host name, and a file's name."""
    if not name or len(name) > MAX_NAME or name[0] in "._-" or not _NAME.issuperset(name):
        raise UsageError(
            f"{name[:80]!r} is no name for a container",
            fix=f"use up to {MAX_NAME} letters, digits, '-', '_' and '.'",
        )
    return name


def check_free(name: str) -> None:
    """Refuse a name that a container has."""
    other = _target(names_dir() / name)
    if other and (containers_dir() / other).is_dir():
        raise MachineError(f"there is a container {name!r} already", fix=f"inn rm {name}")


def _claim(name: str, container: str) -> None:
    """Give a name to a container; one whose container is gone is free."""
    link = make_dir(names_dir()) / check_name(name)
    for _ in range(2):
        try:
            os.symlink(container, link)
        except FileExistsError:
            other = _target(link)
            if other and (containers_dir() / other).is_dir():
                raise MachineError(
                    f"there is a container {name!r} already", fix=f"inn rm {name}"
                ) from None
            link.unlink(missing_ok=True)
        else:
            return


def _is_at(fd: int, path: Path) -> bool:
    """Tell whether an open file still is the one at a path."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path))
    except FileNotFoundError:
        return False


def _target(link: Path) -> str:
    try:
        return os.readlink(link)
    except OSError:
        return ""


def every() -> list[Record]:
    """Return all containers, oldest first; a record that cannot be read is an empty one."""
    try:
        folders = [Path(entry.path) for entry in os.scandir(containers_dir())]
    except FileNotFoundError:
        return []
    found = [Record(folder, read_json(folder / RECORD) or {}) for folder in folders]
    return sorted(found, key=lambda record: (record.data.get("created", 0), record.id))


def find(text: str) -> Record:
    """Return the container of a name, or of the beginning of an id."""
    if text and _NAME.issuperset(text):
        target = _target(names_dir() / text)
        names = [target] if target else []
        if not names and containers_dir().is_dir():
            names = [n for n in os.listdir(containers_dir()) if n.startswith(text)]
        if len(names) > 1:
            raise UsageError(f"{text} is the beginning of {len(names)} containers' ids")
        for name in names:
            data = read_json(containers_dir() / name / RECORD)
            if data is not None:
                return Record(containers_dir() / name, data)
    raise NotFoundError(f"there is no container {text[:80]!r}", fix="inn ps -a")


def write_json(path: Path, document: Any) -> None:
    """Write a file of ours by rename."""
    new = path.with_name(f"{path.name}.new")
    with storage_errors("keep a container", path):
        new.write_text(json.dumps(document))
        os.replace(new, path)


def read_json(path: Path) -> dict[str, Any] | None:
    """Read a file of ours; one that is damaged counts as missing."""
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(MAX_RECORD_BYTES))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def as_guest_error(error: InnError) -> InnError:
    """Return an error of the runtime with the exit status that `inn run` gives it.

    126 and 127 are for a program that cannot be executed or is not there, 125 for the rest.
    """
    text = str(error)
    _, found, why = text.partition("exec: ")
    missing = ("executable file not found", "no such file or directory")
    denied = ("permission denied", "is a directory", "exec format error")
    if found and any(words in why.lower() for words in missing):
        return NotFoundError("the command is not there", why=why)
    if found and any(words in why.lower() for words in denied):
        return NotExecutableError("the command cannot be executed", why=why)
    return MachineError("the container could not be run", why=text, fix=error.fix)
