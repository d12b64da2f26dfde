"""Removing folders that were unpacked from archives, or that containers have written to."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NAME_BYTES = 8


def remove_tree(path: Path) -> None:
    """Remove a folder with all in it, also where its owner may not write; links are not followed.

    Folders are moved up to the top before they are looked into, so it may be nested deeper than
    a path or the interpreter's stack is long. What the host refuses to remove stays.
    """
    with suppress(OSError):
        _unlock(path)
        top = os.open(path, _FOLDER)
        try:
            names = _fresh_names()
            while _remove_once(top, names):
                pass
        finally:
            os.close(top)
        os.rmdir(path)


def _remove_once(top: int, names: Iterator[str]) -> bool:
    """Remove what is in a folder, lifting what is in its folders; False when nothing could be."""
    removed = False
    for name in os.listdir(top):
        with suppress(OSError):
            if not _unlink(top, name):
                _unlock(name, top)
                folder = os.open(name, _FOLDER, dir_fd=top)
                try:
                    _lift(folder, top, names)
                finally:
                    os.close(folder)
                os.rmdir(name, dir_fd=top)
            removed = True
    return removed


def _lift(folder: int, top: int, names: Iterator[str]) -> None:
    """Remove the files of a folder, and move its folders to the top."""
    for name in os.listdir(folder):
        with suppress(OSError):
            if not _unlink(folder, name):
                _unlock(name, folder)  # its `..` is about to change
                os.rename(name, next(names), src_dir_fd=folder, dst_dir_fd=top)


def _unlink(folder: int, name: str) -> bool:
    """Remove a name; False when it is a folder."""
    try:
        os.unlink(name, dir_fd=folder)
    except IsADirectoryError:
        return False
    return True


def _unlock(name: str | Path, folder: int | None = None) -> None:
    """Let the owner look into a folder and change it; root can anyway."""
    if os.geteuid() != 0:
        os.chmod(name, 0o700, dir_fd=folder)


def _fresh_names() -> Iterator[str]:
    """Yield names that nothing in the folder has."""
    prefix = f".{os.urandom(_NAME_BYTES).hex()}"
    number = 0
    while True:
        yield f"{prefix}-{number}"
        number += 1
