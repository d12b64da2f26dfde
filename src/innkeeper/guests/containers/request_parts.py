"""Parts of a request that concern a container's life: its log and its health."""

from __future__ import annotations

from typing import Any

from innkeeper.base.errors import ImageError, UsageError
from innkeeper.base.record import record

DEFAULT_LOG_BYTES, DEFAULT_LOG_FILES = 20 << 20, 5
LEAST_LOG_BYTES, MOST_LOG_BYTES, MOST_LOG_FILES = 1 << 10, 1 << 40, 1000
LOG_DRIVERS = ("k8s-file", "none")
ON_FAILURE = ("none", "kill", "restart", "stop")
LEAST_S, MOST_S = 0.1, 1e6
MOST_RETRIES = 1_000_000
MAX_TEST_WORDS, MAX_TEST_CHARS = 1000, 64 << 10
_TIMES = ("interval", "timeout", "start_period", "start_interval")
_DEFAULTS = {"interval": 30.0, "timeout": 30.0, "start_period": 0.0, "start_interval": 5.0}


@record(kw_only=True)
class LogOptions:
    """Where a detached container's output goes, and how much of it is kept."""

    driver: str = "k8s-file"
    max_bytes: int = DEFAULT_LOG_BYTES
    max_files: int = DEFAULT_LOG_FILES

    def __post_init__(self) -> None:
        if self.driver not in LOG_DRIVERS:
            raise UsageError(
                f"there is no log driver {self.driver!r}", fix=f"one of: {', '.join(LOG_DRIVERS)}"
            )
        if not LEAST_LOG_BYTES <= self.max_bytes <= MOST_LOG_BYTES:
            raise UsageError(
                f"a log of {self.max_bytes} bytes", fix="--log-opt max-size=1k, or more"
            )
        if not 1 <= self.max_files <= MOST_LOG_FILES:
            raise UsageError(f"{self.max_files} log files", fix="--log-opt max-file=5")


@record(kw_only=True)
class HealthOptions:
    """What is asked for of a container's health beside what its image says; None: as that says.

    `test` is docker's form: `NONE`; `CMD` and words; or `CMD-SHELL` and a line for the shell.
    `on_failure` is podman's: what happens to a container that is found unhealthy.
    """

    test: tuple[str, ...] | None = None
    interval_s: float | None = None
    timeout_s: float | None = None
    start_period_s: float | None = None
    start_interval_s: float | None = None
    retries: int | None = None
    on_failure: str = "none"

    def __post_init__(self) -> None:
        for name in _TIMES:
            value = getattr(self, f"{name}_s")
            least = 0.0 if name == "start_period" else LEAST_S
            if value is not None and not least <= value <= MOST_S:
                raise UsageError(
                    f"--health-{name.replace('_', '-')} {value:g}", fix="give 0.1s or more"
                )
        if self.retries is not None and not 1 <= self.retries <= MOST_RETRIES:
            raise UsageError(f"--health-retries {self.retries}", fix="give 1 or more")
        if self.on_failure not in ON_FAILURE:
            raise UsageError(
                f"--health-on-failure {self.on_failure!r}", fix=f"one of: {', '.join(ON_FAILURE)}"
            )

    def resolve(self, image: dict[str, Any] | None) -> dict[str, Any] | None:
        """Return the check of a container, None when it has none.

        `image` is the image's `Healthcheck` (docker's image specification 1.2, times in
        nanoseconds), as hostile as the rest of it. Fields that it does not have, or zero, are the
        defaults.
        """
        said = read_image_check(image or {})
        test = list(self.test) if self.test is not None else said.pop("test", [])
        said.pop("test", None)
        if not test or test[0] == "NONE":
            return None
        asked = {f"{name}_s": getattr(self, f"{name}_s") for name in _TIMES}
        asked["retries"] = self.retries
        found = {f"{name}_s": value for name, value in _DEFAULTS.items()} | {"retries": 3} | said
        found |= {name: value for name, value in asked.items() if value is not None}
        return {"test": test, **found, "on_failure": self.on_failure}


def read_image_check(check: dict[str, Any]) -> dict[str, Any]:
    """Read an image's `Healthcheck`; only what it says is in the answer."""
    found: dict[str, Any] = {}
    test = check.get("Test")
    if test:
        found["test"] = check_test(test)
    for name in _TIMES:
        value = check.get(name.title().replace("_", ""))
        if value:
            found[f"{name}_s"] = _seconds(value, name)
    retries = check.get("Retries")
    if retries:
        if type(retries) is not int or not 1 <= retries <= MOST_RETRIES:
            raise _bad(f"Retries is {retries!r}")
        found["retries"] = retries
    return found


def check_test(test: Any) -> list[str]:
    """Return the words of a test that is one."""
    sound = isinstance(test, list) and all(isinstance(word, str) for word in test)
    if not sound or not test or len(test) > MAX_TEST_WORDS or sum(map(len, test)) > MAX_TEST_CHARS:
        raise _bad("Test is no list of words, or too long")
    words = {"NONE": 1, "CMD-SHELL": 2}.get(test[0], len(test))
    if test[0] not in ("NONE", "CMD", "CMD-SHELL") or len(test) != words or test == ["CMD"]:
        raise _bad(f"Test begins with {test[0][:40]!r}")
    if any("\0" in word for word in test):
        raise _bad("Test has a zero byte")
    return list(test)


def _seconds(value: Any, name: str) -> float:
    if type(value) is not int or not 0 <= value <= MOST_S * 1e9:
        raise _bad(f"{name} is {value!r}"[:100])
    return max(value / 1e9, LEAST_S)


def _bad(why: str) -> ImageError:
    return ImageError(
        "the image's Healthcheck is not sound", why=why, fix="--no-healthcheck runs it without"
    )
