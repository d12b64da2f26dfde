"""Reading and writing control files, and errors that name the file, the value and the field."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_FILE_BYTES = 1 << 20
MAX_TEXT = 65536
# A task that was just cloned cannot be moved for a moment (TASK_NEW), nor a cgroup removed whose
# last task is about to be gone: both are asked again, with pauses that double.
RETRIES = 12
FIRST_PAUSE_S = 0.001
I64_MAX = (1 << 63) - 1
U64_MAX = (1 << 64) - 1
U32_MAX = (1 << 32) - 1


def put(directory: str, name: str, value: str) -> None:
    """Write one value in one write(2), as control files want it; raises OSError."""
    fd = os.open(f"{directory}/{name}", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, value.encode())
    finally:
        os.close(fd)


def set_value(directory: str, name: str, value: str, field: str) -> None:
    """Write a value that a field of `resources` asked for; raises CgroupError."""
    try:
        put(directory, name, value)
    except OSError as e:
        raise refused(field, f"{directory}/{name}", value, e) from None


def get(directory: str, name: str) -> str:
    """Return a control file's text; raises OSError."""
    fd = os.open(f"{directory}/{name}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        left = MAX_FILE_BYTES
        while left > 0 and (part := os.read(fd, min(left, 65536))):
            parts.append(part)
            left -= len(part)
        return b"".join(parts).decode(errors="replace")
    finally:
        os.close(fd)


def need(directory: str, name: str, field: str) -> str:
    """Return a control file's text for what a field asks for; raises CgroupError."""
    try:
        return get(directory, name)
    except OSError as e:
        from innkeeper.containers.cgroups.errors import CgroupError

        why = f"reading {directory}/{name}: {os.strerror(e.errno or 0)}"
        raise CgroupError(f"cannot apply {field}", why=why, errno=e.errno or 0) from None


def get_or(directory: str, name: str, default: str) -> str:
    """Return a control file's text, or a default where the kernel has none."""
    try:
        return get(directory, name)
    except OSError:
        return default


def exists(directory: str, name: str) -> bool:
    """Tell whether the kernel offers this control file here."""
    return os.access(f"{directory}/{name}", os.F_OK)


def make_directory(path: str) -> bool:
    """Create one cgroup; tell whether it is new. Raises OSError."""
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        return False
    return True


def make_directories(path: str) -> list[str]:
    """Create a cgroup and its missing parents; return the new ones, outermost first."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    return [each for each in reversed(missing) if make_directory(each)]


def refused(field: str, path: str, value: str, error: OSError) -> Exception:
    """Return the error for a write the kernel did not take."""
    from innkeeper.containers.cgroups.errors import CgroupError

    return CgroupError(
        f"cannot apply {field}",
        why=f"writing {value[:200]!r} to {path}: {os.strerror(error.errno or 0)}",
        errno=error.errno or 0,
    )


def invalid(field: str, why: str) -> Exception:
    """Return the error for a field whose value cannot be followed."""
    from innkeeper.base.errors import ConfigError

    return ConfigError(f"linux.resources.{field} cannot be applied", why=why)


def unavailable(field: str, controller: str) -> Exception:
    """Return the error for a limit whose controller this container does not have."""
    from innkeeper.containers.cgroups.errors import CgroupError

    return CgroupError(
        f"cannot apply linux.resources.{field}",
        why=f"the container could not join or create a {controller} cgroup",
        fix=f"enable the {controller} controller, or leave the limit out",
    )


def integer(value: Any, low: int, high: int, field: str) -> int:
    """Return an integer of `resources` within bounds, or refuse it."""
    if type(value) is not int or not low <= value <= high:
        raise invalid(field, f"{value!r} is not an integer from {low} to {high}")
    return value


def text(value: Any, field: str) -> str:
    """Return a short line of text from `resources`, or refuse it."""
    if (
        not isinstance(value, str)
        or len(value) > MAX_TEXT
        or not value.replace("\n", "").isprintable()
    ):
        raise invalid(field, f"it is not a string of at most {MAX_TEXT} printable characters")
    return value


def entries(value: Any, field: str, limit: int = 4096) -> list[dict[str, Any]]:
    """Return a list of objects from `resources`, or refuse it."""
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > limit:
        raise invalid(field, f"it is not a list of at most {limit} objects")
    for each in value:
        if not isinstance(each, dict):
            raise invalid(field, f"{each!r} is not an object")
    return value


def section(resources: dict[str, Any], key: str) -> dict[str, Any]:
    """Return one object of `resources`, empty where it is absent."""
    found = resources.get(key)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise invalid(key, "it is not an object")
    return found
