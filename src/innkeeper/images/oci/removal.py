"""Removing folders that were unpacked from archives."""

from __future__ import annotations

import os
from pathlib import Path


def remove_tree(path: Path) -> None:
    """Remove a folder with all in it, also where its owner may not write."""
    if not path.exists():
        return
    import shutil

    if os.geteuid() != 0:
        for folder, _, _ in os.walk(path):
            os.chmod(folder, 0o700, follow_symlinks=True)
    shutil.rmtree(path, ignore_errors=True)
