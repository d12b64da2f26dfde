"""Compiled code on disk: found again without importing LLVM, and never trusted blindly.

An entry is one file: a magic line, a checksum, a JSON head (symbols and what else the writer wants
to keep) and the image. It is written to a temporary name, synced and renamed, so concurrent
writers cannot harm each other; a reader checks owner, mode, length and checksum and treats
anything odd as absent.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from pathlib import Path
from typing import Any

from innkeeper.base.record import record
from innkeeper.native.elf import Image

MAGIC = b"INNCODE1"
MAX_ENTRY_BYTES = 256 << 20
MAX_CACHE_BYTES = 512 << 20
MAX_CACHE_FILES = 24
"""What the folder may hold: what was not used for longest goes first."""


@record
class Entry:
    """An image and what was kept beside it."""

    image: Image
    extra: dict[str, Any]


def cache_dir() -> Path:
    """Return the folder for compiled code (XDG Base Directory)."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # "relative paths are invalid", says the specification
        base = os.path.expanduser("~/.cache")
    return Path(base) / "innkeeper" / "code"


def host_key() -> bytes:
    """Identify this CPU's instruction set and the LLVM that would compile for it."""
    import importlib.util

    found = importlib.util.find_spec("llvmlite")
    version = b""
    if found is not None and found.origin:
        with contextlib.suppress(OSError):
            version = (Path(found.origin).parent / "_version.py").read_bytes()
    cpu = b""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", "rb") as f:
        wanted = (b"flags", b"model name", b"Features", b"CPU part")
        cpu = b"".join(sorted({line for line in f if line.startswith(wanted)}))
    return hashlib.blake2b(version + cpu + os.uname().machine.encode()).digest()


def sources_key(*folders: Path) -> bytes:
    """Identify the source code that descriptions are compiled from."""
    digest = hashlib.blake2b()
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            digest.update(str(path.relative_to(folder)).encode())
            digest.update(path.read_bytes())
    return digest.digest()


def entry_path(name: str, *parts: bytes) -> Path:
    """Return where an entry of this name and key lies."""
    digest = hashlib.blake2b(b"".join(parts), digest_size=16).hexdigest()
    return cache_dir() / f"{name}-{digest}.code"


def read(path: Path) -> Entry | None:
    """Return an entry, or None where it is absent, not ours or damaged."""
    try:
        # Without O_NONBLOCK a FIFO in our place would hold us for ever.
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as f:
            if not _is_ours(os.fstat(f.fileno())):
                return None
            raw = f.read(MAX_ENTRY_BYTES)
    except OSError:
        return None
    touch(path)
    if raw[:8] != MAGIC or hashlib.blake2b(raw[40:], digest_size=32).digest() != raw[8:40]:
        return None
    head_bytes = int.from_bytes(raw[40:48], "little")
    try:
        head = json.loads(raw[48 : 48 + head_bytes])
        return Entry(Image(raw[48 + head_bytes :], head["symbols"]), head["extra"])
    except (ValueError, KeyError, TypeError):
        return None


def _is_ours(status: os.stat_result) -> bool:
    """Tell whether a file is regular, of a sane size, and nobody else's to write."""
    return (
        stat.S_ISREG(status.st_mode)
        and status.st_uid == os.geteuid()
        and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) == 0
        and status.st_size <= MAX_ENTRY_BYTES
    )


def write(path: Path, entry: Entry) -> None:
    """Keep an entry; a cache that cannot be written is no error, only slower next time."""
    import tempfile

    head = json.dumps({"symbols": entry.image.symbols, "extra": entry.extra}).encode()
    body = len(head).to_bytes(8, "little") + head + entry.image.data
    raw = MAGIC + hashlib.blake2b(body, digest_size=32).digest() + body
    with contextlib.suppress(OSError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as f:
                f.write(raw)
                f.flush()
                os.fsync(f.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        trim(path.parent)


def touch(path: Path) -> None:
    """Note that a file is in use, so that it is not what `trim` takes first."""
    with contextlib.suppress(OSError):
        os.utime(path)


def trim(folder: Path) -> None:
    """Remove what was not used for longest while there is too much; raises `OSError`.

    A file that a process has open or mapped stays whole for it. Lock files stay, and what another
    process renames or removes meanwhile is its affair.
    """
    found = []
    for one in os.scandir(folder):
        if one.is_file(follow_symlinks=False) and not one.name.endswith(".lock"):
            with contextlib.suppress(FileNotFoundError):
                status = one.stat(follow_symlinks=False)
                found.append((status.st_mtime, status.st_size, one.path))
    found.sort(reverse=True)
    total = 0
    for n, (_, size, path) in enumerate(found):
        total += size
        if n >= MAX_CACHE_FILES or total > MAX_CACHE_BYTES:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
