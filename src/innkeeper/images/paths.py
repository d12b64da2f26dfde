"""Where images and downloads live on the host (XDG base directory specification)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from innkeeper.base.errors import StorageError


def _xdg(variable: str, default: str) -> Path:
    value = os.environ.get(variable, "")
    # The specification says a relative path is invalid and must be ignored.
    base = Path(value) if value.startswith("/") else Path.home() / default
    return base / "innkeeper"


def cache_dir() -> Path:
    """Return the folder of what can be downloaded again (`XDG_CACHE_HOME/innkeeper`)."""
    return _xdg("XDG_CACHE_HOME", ".cache")


def data_dir() -> Path:
    """Return the folder of what is kept (`XDG_DATA_HOME/innkeeper`)."""
    return _xdg("XDG_DATA_HOME", ".local/share")


def state_dir() -> Path:
    """Return the folder of what is known of guests (`XDG_STATE_HOME/innkeeper`)."""
    return _xdg("XDG_STATE_HOME", ".local/state")


@contextmanager
def storage_errors(what: str, where: Path) -> Iterator[None]:
    """Turn an `OSError` raised inside into a `StorageError` that says where and what to do."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot {what}",
            why=f"{where}: {error.strerror or error}",
            fix="free some space, or point XDG_CACHE_HOME and XDG_DATA_HOME at a disk with room",
        ) from error


def make_dir(path: Path) -> Path:
    """Make a folder with its parents; `StorageError` if the host refuses."""
    with storage_errors("make a folder", path):
        path.mkdir(parents=True, exist_ok=True)
    return path
