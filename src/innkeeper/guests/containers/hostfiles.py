"""Small files of the host's that containers go by."""

from __future__ import annotations

MAX_HOST_FILE_BYTES = 1 << 20
"""What lies behind is not read."""


def host_file(path: str) -> bytes:
    """Return a small file of the host's, or nothing when it is not there."""
    try:
        with open(path, "rb") as file:
            return file.read(MAX_HOST_FILE_BYTES)
    except OSError:
        return b""
