"""Options of a container's life, read without click; what is missing is the default."""

from __future__ import annotations

import json
from typing import Any

from innkeeper.base.errors import ImageError, UsageError
from innkeeper.base.units import parse_size
from innkeeper.guests.containers.request_parts import (
    HealthOptions,
    LogOptions,
    check_test,
)

_HEALTH = ("interval", "timeout", "start_period", "start_interval")


def log_options(options: dict[str, Any]) -> LogOptions:
    """Read `--log-driver` and `--log-opt`."""
    found: dict[str, Any] = {}
    if options.get("log_driver"):
        found["driver"] = (
            "k8s-file" if options["log_driver"] == "json-file" else options["log_driver"]
        )
    for text in options.get("log_opt") or ():
        name, _, value = text.partition("=")
        if name == "max-size":
            found["max_bytes"] = parse_size(value)
        elif name == "max-file" and value.isascii() and value.isdigit() and len(value) < 7:
            found["max_files"] = int(value)
        else:
            raise UsageError(f"--log-opt {text!r}", fix="give max-size=SIZE or max-file=N")
    return LogOptions(**found)


def health_options(options: dict[str, Any]) -> HealthOptions:
    """Read `--health-...` and `--no-healthcheck`."""
    found: dict[str, Any] = {f"{name}_s": options.get(f"health_{name}") for name in _HEALTH}
    found["retries"] = options.get("health_retries")
    command = options.get("health_cmd")
    if options.get("no_healthcheck") and command is not None:
        raise UsageError("--no-healthcheck and --health-cmd contradict each other")
    if options.get("no_healthcheck"):
        found["test"] = ("NONE",)
    elif command is not None:
        found["test"] = read_test(command)
    if options.get("health_on_failure"):
        found["on_failure"] = options["health_on_failure"]
    return HealthOptions(**found)


def read_test(text: str) -> tuple[str, ...]:
    """Read a health command: a line for the shell, a JSON list of words, or `none`."""
    if text == "none":
        return ("NONE",)
    words: Any = ["CMD-SHELL", text]
    if text.lstrip().startswith("["):
        try:
            words = json.loads(text)
        except ValueError:
            words = None
        if isinstance(words, list) and words and words[0] not in ("CMD", "CMD-SHELL", "NONE"):
            words = ["CMD", *words]
    try:
        if not text.strip():
            raise ImageError("it is empty")
        return tuple(check_test(words))
    except ImageError as error:
        raise UsageError(
            f"--health-cmd {text[:80]!r}", why=error.why or error.what,
            fix="give a line for /bin/sh, or a JSON list of words",
        ) from None  # fmt: skip
