"""Loggers, imported when something is worth logging: most guests end without it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from logging import Logger


def log(name: str) -> Logger:
    """Return the standard library's logger `innkeeper.NAME`."""
    from logging import getLogger

    return getLogger(f"innkeeper.{name}")
