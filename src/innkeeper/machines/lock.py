"""The one lock of a machine, shared by the thread that runs its harts and those that do its I/O."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType


class MachineLock:
    """Whoever holds it may touch devices. The harts' thread gives it up when somebody waits.

    `interrupt` asks native code to come back; it is called by a thread that wants the lock.
    """

    def __init__(self, interrupt: Callable[[], None]) -> None:
        self._interrupt = interrupt
        self._condition = threading.Condition(threading.Lock())
        self._owner: int | None = None
        self._depth = 0
        self._waiting = 0
        self._wakeups = 0

    def __enter__(self) -> MachineLock:
        me = threading.get_ident()
        with self._condition:
            if self._owner == me:
                self._depth += 1
                return self
            self._waiting += 1
            if self._owner is not None:
                self._interrupt()
            self._condition.wait_for(lambda: self._owner is None)
            self._waiting -= 1
            self._owner, self._depth = me, 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._condition:
            self._depth -= 1
            if self._depth == 0:
                self._owner = None
                self._wakeups += 1
                self._condition.notify_all()

    def acquire(self) -> bool:
        """Take the lock, as `with` does."""
        self.__enter__()
        return True

    def release(self) -> None:
        """Give the lock back, as `with` does."""
        self.__exit__(None, None, None)

    def yield_to_others(self) -> None:
        """Let every thread that waits have its turn; the caller holds the lock before and after."""
        if self._waiting:
            self._pause(lambda: self._waiting == 0, None)

    @property
    def wakeups(self) -> int:
        """How often the sleeper has been given a reason to look again."""
        return self._wakeups

    def sleep(self, timeout_s: float | None, *, since: int) -> None:
        """Give the lock up until another thread has had it, `wake` was called or time is up.

        `since` is `wakeups` as it was before the caller looked whether it has to sleep: what
        happened after that look ends the sleep at once.
        """
        self._pause(lambda: self._wakeups != since and self._waiting == 0, timeout_s)

    def _pause(self, ready: Callable[[], bool], timeout_s: float | None) -> None:
        with self._condition:
            me, depth = self._owner, self._depth
            self._owner, self._depth = None, 0
            self._condition.notify_all()
            self._condition.wait_for(lambda: ready() and self._owner is None, timeout_s)
            self._condition.wait_for(lambda: self._owner is None)
            self._owner, self._depth = me, depth

    def wake(self) -> None:
        """End the sleep of the harts' thread; needs no lock and is safe in any thread."""
        with self._condition:
            self._wakeups += 1
            self._condition.notify_all()
