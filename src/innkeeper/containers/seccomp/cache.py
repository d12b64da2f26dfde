"""Compiled filters on disk, found by their profile and compared with it whole.

An entry is one file: magic, checksum, the length of the key, the key (the profile itself), then
the compiled filter. A collision of file names is therefore harmless, and no cryptographic digest,
which costs an import of several milliseconds, is needed. Owner, mode, length and checksum are
checked; anything odd counts as absent. Entries are written to a temporary name and renamed.
"""

from __future__ import annotations

import marshal
import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Compiled = tuple[bytes, int, bool]  # filter, flags, a listener is asked for

MAGIC = b"INNBPF01"
HEAD_BYTES = len(MAGIC) + 8 + 4
CHECKSUM_KEY = 0x494E4E42
MAX_ENTRY_BYTES = 4 << 20
MAX_ENTRIES = 64
_SOURCES = ("rules.py", "codegen.py", "compile.py", "arches.py", "tables")


def folder() -> str | None:
    """Return where entries lie: the volatile folder of this user, or None where there is none."""
    if os.geteuid() == 0 and os.access("/run", os.W_OK):
        return "/run/innkeeper/seccomp"
    base = os.environ.get("XDG_RUNTIME_DIR", "")
    return base + "/innkeeper/seccomp" if base.startswith("/") else None


def key_of(profile: dict[str, Any], machine: str) -> bytes | None:
    """Return what identifies a compilation: the profile, the machine and this compiler."""
    here = os.path.dirname(__file__)
    try:
        made = [os.stat(f"{here}/{name}").st_mtime_ns for name in _SOURCES]
        return marshal.dumps((machine, made, profile), 2)
    except (OSError, ValueError):
        return None  # installed as a zip, or not made of JSON's types: compile it


def checksum(content: bytes) -> bytes:
    """Return 64 bits that change when a byte does; against accidents, not against attack."""
    try:
        from _imp import source_hash
    except ImportError:
        from importlib.util import source_hash as portable

        return portable(content)
    return source_hash(CHECKSUM_KEY, content)


def path_of(key: bytes) -> str | None:
    """Return the file of an entry."""
    where = folder()
    return f"{where}/{checksum(key).hex()}" if where else None


def load(key: bytes) -> Compiled | None:
    """Return the compiled filter kept under this key, or None."""
    path = path_of(key)
    if path is None:
        return None
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        found = os.fstat(fd)
        ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
        if not ours or found.st_mode & 0o022 or found.st_size > MAX_ENTRY_BYTES:
            return None
        content = os.read(fd, found.st_size)
    except OSError:
        return None
    finally:
        os.close(fd)
    return _decode(content, key)


def _decode(content: bytes, key: bytes) -> Compiled | None:
    """Return what an entry holds where it is whole and for this very key."""
    kept_sum, body = content[len(MAGIC) : len(MAGIC) + 8], content[len(MAGIC) + 8 :]
    if content[: len(MAGIC)] != MAGIC or checksum(body) != kept_sum:
        return None
    end = 4 + int.from_bytes(body[:4], "little")
    if body[4:end] != key:
        return None
    code, flags, notify = marshal.loads(body[end:])
    return code, flags, notify


def store(key: bytes, compiled: Compiled) -> None:
    """Keep a compiled filter; a cache that cannot be written costs time, never a container."""
    path = path_of(key)
    if path is None:
        return
    body = len(key).to_bytes(4, "little") + key + marshal.dumps(compiled, 2)
    try:
        if not _own_folder(os.path.dirname(path)):
            return
        temporary = f"{path}.{os.getpid()}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(temporary, flags, 0o600)
        try:
            os.write(fd, MAGIC + checksum(body) + body)
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except OSError:
        return


def _own_folder(where: str) -> bool:
    """Make the folder, and room in it; tell whether it is ours alone to write to."""
    for folder_, mode in ((os.path.dirname(where), 0o755), (where, 0o700)):
        if not os.path.isdir(folder_):
            os.mkdir(folder_, mode)
        found = os.lstat(folder_)
        ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
        if not ours or found.st_mode & 0o022:
            return False
    names = os.listdir(where)
    if len(names) >= MAX_ENTRIES:
        for name in names:
            os.unlink(f"{where}/{name}")
    return True
