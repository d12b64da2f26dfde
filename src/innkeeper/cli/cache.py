"""`inn cache`: what can be made or downloaded again, and how to be rid of it."""

from __future__ import annotations

import os
from pathlib import Path

import click

from innkeeper.cli.options import json_option
from innkeeper.cli.progress import in_words
from innkeeper.cli.table import show_rows

_EXAMPLES = """\b
Examples:
  inn cache ls
  inn cache clear code
  inn cache clear"""


@click.group(epilog=_EXAMPLES)
def cache() -> None:
    """List or clear what can be made or downloaded again."""


@cache.command(epilog="\b\nExample:\n  inn cache ls -o json")
@json_option
def ls(output: str) -> None:
    """List the caches with their sizes."""
    rows = []
    for folder in _folders():
        files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
        size = sum(_occupied(path) for path in files)
        rows.append({"name": folder.name, "files": len(files), "size": in_words(size),
                     "size_bytes": size, "path": str(folder)})  # fmt: skip
    show_rows(rows, columns=["name", "files", "size", "path"], output=output)


@cache.command(epilog="\b\nExample:\n  inn cache clear downloads")
@click.argument("names", nargs=-1, metavar="[NAME...]")
def clear(names: tuple[str, ...]) -> None:
    """Remove the caches NAME, or all of them. Images stay; see `inn image prune`."""
    from innkeeper.base.errors import NotFoundError
    from innkeeper.images.paths import storage_errors

    folders = {folder.name: folder for folder in _folders()}
    for name in names:
        if name not in folders:
            known = ", ".join(folders) or "none"
            raise NotFoundError(f"there is no cache {name!r}", why=f"there are: {known}")
    for name in names or folders:
        freed = 0
        with storage_errors("clear a cache", folders[name]):
            # Lock files stay: another process may be waiting on one.
            for path in folders[name].rglob("*"):
                if not path.is_dir() and path.suffix != ".lock":
                    freed += _occupied(path)
                    path.unlink(missing_ok=True)
        click.echo(f"{name}: {in_words(freed)} freed")


def _folders() -> list[Path]:
    from innkeeper.images.paths import cache_dir

    root = cache_dir()
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def _occupied(path: Path) -> int:
    try:
        return os.lstat(path).st_blocks * 512
    except FileNotFoundError:  # another process was quicker
        return 0
