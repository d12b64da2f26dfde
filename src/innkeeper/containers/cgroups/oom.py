"""Out-of-memory notification: something to poll, and how many times it happened.

v1: an eventfd on `memory.oom_control` (cgroup-v1/memory.rst 9 and 10). v2: `memory.events` becomes
ready when a counter in it changes (cgroup-v2.rst "Memory Interface Files").
"""

from __future__ import annotations

import os

from innkeeper.containers.cgroups import files, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from innkeeper.containers.cgroups.base import Cgroup


class OomWatch:
    """Watches one container. `fileno()` is to be polled for `events`; `take()` counts and rearms.

    The watch ends with the cgroup: `gone` then tells so. Use as a context manager, or `close`.
    """

    def __init__(self, cgroup: Cgroup) -> None:
        import select

        self._v1 = cgroup.paths.get("memory")
        path = self._v1 or cgroup.paths.get("")
        if path is None:
            raise files.unavailable("memory", "memory")
        self._path = path
        self._control = -1
        try:
            if self._v1:
                self._fd = self._arm_v1(path)
                self.events = select.POLLIN
            else:
                self._fd = os.open(f"{path}/memory.events", os.O_RDONLY | os.O_CLOEXEC)
                self.events = select.POLLPRI
        except FileNotFoundError as e:
            raise files.unavailable(f"memory ({e.filename})", "memory") from None
        self._seen = self.kills()

    def _arm_v1(self, path: str) -> int:
        self._control = os.open(f"{path}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            files.set_value(path, "cgroup.event_control", f"{fd} {self._control}", "oom events")
        except BaseException:
            os.close(fd)
            os.close(self._control)
            raise
        return fd

    def fileno(self) -> int:
        """Return what to poll."""
        return self._fd

    @property
    def gone(self) -> bool:
        """Whether the cgroup no longer exists."""
        return not os.path.isdir(self._path)

    def kills(self) -> int:
        """Return how many processes the kernel has killed here for want of memory."""
        name = "memory.oom_control" if self._v1 else "memory.events"
        return parse.key_values(self._path, name).get("oom_kill", 0)

    def take(self) -> int:
        """Return how many times memory ran out since the last call, and rearm."""
        if not self._v1:
            os.pread(self._fd, 4096, 0)
            kills = self.kills()
            new, self._seen = max(kills - self._seen, 0), kills
            return new
        try:
            told = os.eventfd_read(self._fd)
        except BlockingIOError:
            return 0
        return 0 if self.gone else told  # the end of a cgroup is told the same way

    def __iter__(self) -> Iterator[int]:
        """Yield counts as they come, until the cgroup is gone."""
        import select

        poll = select.poll()
        poll.register(self._fd, self.events)
        while not self.gone:
            if poll.poll(1000) and (count := self.take()):
                yield count

    def close(self) -> None:
        """Stop watching."""
        for fd in (self._fd, self._control):
            if fd >= 0:
                os.close(fd)
        self._fd = self._control = -1

    def __enter__(self) -> OomWatch:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
