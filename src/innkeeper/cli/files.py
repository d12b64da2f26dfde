"""Files that commands write, `-` being standard output."""

from __future__ import annotations

import sys
from pathlib import Path


def write_file(file: Path, data: bytes) -> None:
    """Write `data` to `file`; `StorageError` when the host refuses."""
    from innkeeper.images.paths import storage_errors

    if str(file) == "-":
        sys.stdout.buffer.write(data)
        return
    with storage_errors("write a file", file):
        file.write_bytes(data)
