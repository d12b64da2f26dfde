"""When a container's health is to be looked at: starts the process that does it, one at a time."""

import posix
import sys
import time

from .settings import Settings

HEALTHY, UNHEALTHY, STARTING = 0, 1, 2  # what that process ends with
_QUIET = [(posix.POSIX_SPAWN_OPEN, fd, "/dev/null", posix.O_RDWR, 0) for fd in (0, 1, 2)]


class Checks:
    """The timer of health checks: the next is due an interval after the last has ended.

    While the container still starts, the interval is `start_interval_s`.
    """

    def __init__(
        self, argv: list[str], *, interval_s: float, start_interval_s: float, start_period_s: float
    ) -> None:
        self.argv, self.interval_s, self.start_interval_s = argv, interval_s, start_interval_s
        self.pid = 0
        now = time.monotonic()
        self._grace = now + start_period_s
        self.due = now + self._interval(STARTING, now)

    def _interval(self, outcome: int, now: float) -> float:
        starting = outcome == STARTING and now < self._grace
        return self.start_interval_s if starting else self.interval_s

    def left_s(self) -> float | None:
        """Return in how many seconds a check is due; None while one goes on."""
        return None if self.pid else max(0.0, self.due - time.monotonic())

    def start_if_due(self) -> None:
        """Start the process that looks, when it is time."""
        if self.pid or time.monotonic() < self.due:
            return
        try:
            self.pid = posix.posix_spawn(
                self.argv[0], self.argv, posix.environ, file_actions=_QUIET
            )
        except OSError:  # no process to be had now
            self.due = time.monotonic() + self.interval_s

    def ended(self, outcome: int) -> None:
        """Note that the process has ended, and with what."""
        now = time.monotonic()
        self.pid, self.due = 0, now + self._interval(outcome, now)

    def stop(self) -> None:
        """End the process, for the container has ended."""
        if self.pid:
            try:
                posix.kill(self.pid, 9)
                posix.waitpid(self.pid, 0)
            except OSError:
                pass
            self.pid = 0


def checks_of(settings: Settings) -> Checks | None:
    """Return the timer that the words ask for, None when they ask for none."""
    if not settings.text("check"):
        return None
    return Checks(
        [sys.executable, "-P", "-c", settings.text("check"), settings.text("folder")],
        interval_s=settings.seconds("interval"),
        start_interval_s=settings.seconds("start_interval"),
        start_period_s=settings.seconds("start_period"),
    )
