"""What both versions of cgroups share: processes, ending them, removing directories."""

from __future__ import annotations

import os

from innkeeper.containers.cgroups import files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

MAX_DEPTH = 64
KILL_ROUNDS = 100


class Cgroup:
    """A container's cgroup in whatever hierarchies the host has.

    `paths` maps a controller to its directory ("" for the unified hierarchy) and is what a state
    file keeps. It is emptied of what a rootless container could not have.
    """

    by_manager = False  # whether a service moves the first process: `add` it before it goes on

    def __init__(self, paths: dict[str, str], *, rootless: bool = False, optional: bool = False):
        self.paths, self.rootless = paths, rootless
        self.optional = optional  # to do without is better than to fail
        self.new: list[str] = []  # directories that `create` made
        self.expected: frozenset[int] = frozenset()  # processes that may be there before

    @staticmethod
    def load(paths: dict[str, str], *, rootless: bool = False) -> Cgroup:
        """Return the existing cgroup whose `paths` a state file kept."""
        from innkeeper.containers.cgroups import load_cgroup

        return load_cgroup(paths, rootless=rootless)

    def create(self, resources: dict[str, Any]) -> None:
        """Make the directories and set every limit; nothing new is left behind on failure."""
        try:
            self._make(resources)
            self._limit(resources, fresh=True)
        except BaseException:
            self._forget_new()
            raise

    def update(self, resources: dict[str, Any]) -> None:
        """Set the limits that `resources` names; the device list only where it has one."""
        self._limit(resources, fresh=False)

    def add(self, pid: int) -> None:
        """Move a process into the cgroup."""
        raise NotImplementedError

    def joiners(self, *, unified: bool = True) -> list[int]:
        """Return open files into which a process writes "0" to join the cgroup itself.

        Moving another process waits for an RCU grace period, some 15 ms; a thread that moves
        itself, before it has others, does not on v1. On v2 only `clone3` with CLONE_INTO_CGROUP
        (a directory: `paths[""]`) does not; `unified=False` leaves that hierarchy to it.
        """
        raise NotImplementedError

    def freeze(self) -> None:
        """Stop every process; return when they have stopped."""
        raise NotImplementedError

    def thaw(self) -> None:
        """Let the processes go on."""
        raise NotImplementedError

    @property
    def frozen(self) -> bool:
        """Whether the processes are stopped by this cgroup."""
        raise NotImplementedError

    def stats(self) -> dict[str, Any]:
        """Return usage in the shape of `data` in `runc events --stats`."""
        raise NotImplementedError

    def _make(self, resources: dict[str, Any]) -> None:
        raise NotImplementedError

    def _limit(self, resources: dict[str, Any], *, fresh: bool) -> None:
        raise NotImplementedError

    @property
    def home(self) -> str | None:
        """The directory whose processes are the container's, or None where there is none."""
        raise NotImplementedError

    def delegate(self, uid: int) -> None:
        """Give the cgroup to the user who is root inside; nothing is safe to give on v1."""

    def exists(self) -> bool:
        """Tell whether the cgroup is there."""
        return self.home is not None and os.path.isdir(self.home)

    def pids(self, recursive: bool = True) -> list[int]:
        """Return the processes in the cgroup, and in those below it."""
        if self.home is None:
            return []
        found: set[int] = set()
        for directory in descend(self.home) if recursive else [self.home]:
            found |= processes(directory)
        return sorted(found)

    def kill(self) -> None:
        """End every process in the cgroup and below it, at once where the kernel can."""
        unified = self.paths.get("")
        if unified and files.exists(unified, "cgroup.kill"):
            files.set_value(unified, "cgroup.kill", "1", "kill")
            return
        self._kill_each()

    def _kill_each(self) -> None:
        """Freeze so that nothing forks away, signal, thaw; again until nothing is left."""
        from signal import SIGKILL

        for _ in range(KILL_ROUNDS):
            pids = self.pids()
            if not pids:
                return
            stopped = self._try_freeze()
            for pid in self.pids() if stopped else pids:
                try:
                    os.kill(pid, SIGKILL)
                except ProcessLookupError:
                    continue
            if stopped:
                self.thaw()
                return
            os.sched_yield()

    def _try_freeze(self) -> bool:
        from innkeeper.base.errors import ContainerError

        try:
            self.freeze()
        except ContainerError:
            return False
        return True

    def remove(self) -> None:
        """Remove the cgroup's directories, those below it first; what is gone is no error."""
        for path in {*self.paths.values()}:
            remove_tree(path)

    def _forget_new(self) -> None:
        """Remove what `create` made before it failed."""
        for path in reversed(self.new):
            try:
                os.rmdir(path)
            except OSError:
                continue
        self.new = []

    def _check_fit(self) -> None:
        """Refuse a cgroup that has processes or is frozen (config-linux "Control groups")."""
        from innkeeper.containers.cgroups.errors import CgroupError

        why = ""
        if pids := sorted(set(self.pids()) - self.expected):
            why = f"it is not empty: {len(pids)} processes, the first is {pids[0]}"
        elif self.frozen:
            why = "it is frozen"
        if why:
            raise CgroupError(f"cannot use the cgroup {self.home}", why=why)


def descend(directory: str, depth: int = 0) -> Iterator[str]:
    """Yield a directory and every cgroup below it, parents first."""
    yield directory
    try:
        with os.scandir(directory) as listing:
            below = [each.path for each in listing if each.is_dir(follow_symlinks=False)]
    except OSError:
        return
    if depth < MAX_DEPTH:
        for each in below:
            yield from descend(each, depth + 1)


def processes(directory: str) -> set[int]:
    """Return the processes of one cgroup; of a threaded one, the processes of its threads."""
    try:
        text = files.get(directory, "cgroup.procs")
    except FileNotFoundError:
        return set()
    except OSError:  # EOPNOTSUPP: threaded, so only the domain has a list
        text = files.get_or(directory, "cgroup.threads", "")
    return {int(pid) for pid in text.split() if pid.isdigit()}


def join(directory: str, pid: int) -> None:
    """Write a process into a cgroup, again where it is too young to be moved; raises OSError."""
    pause = files.FIRST_PAUSE_S
    for attempt in range(files.RETRIES):
        try:
            files.put(directory, "cgroup.procs", str(pid))
        except OSError as e:
            if e.errno != 22 or attempt == files.RETRIES - 1:  # EINVAL
                raise
            pause = _sleep(pause)
        else:
            return


def open_joiner(directory: str, name: str) -> int:
    """Open a file to join by; raises OSError."""
    return os.open(f"{directory}/{name}", os.O_WRONLY | os.O_CLOEXEC)


def remove_tree(directory: str) -> None:
    """Remove a cgroup and all below it, waiting for processes that are about to be gone."""
    for path in reversed(list(descend(directory))):
        pause = files.FIRST_PAUSE_S
        for attempt in range(files.RETRIES):
            try:
                os.rmdir(path)
            except FileNotFoundError:
                break
            except OSError as e:
                if e.errno != 16 or attempt == files.RETRIES - 1:  # EBUSY
                    raise files.refused("removal", path, "rmdir", e) from None
                pause = _sleep(pause)
            else:
                break


def _sleep(seconds: float) -> float:
    """Wait, and return how long to wait the next time."""
    import time

    time.sleep(seconds)
    return seconds * 2
