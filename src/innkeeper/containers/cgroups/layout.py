"""Which cgroup hierarchies this host has, and where a container's cgroups lie in them.

cgroups(7): version 1 has a hierarchy for each controller (or several), version 2 one for all;
hybrid hosts have both. /proc/self/mountinfo says what is mounted where (proc(5)), and the root of
a mount tells what part of the hierarchy it shows: a container sees the host's paths in
/proc/self/cgroup, but only its own part in /sys/fs/cgroup.
"""

from __future__ import annotations

import os

ROOT = "/sys/fs/cgroup"
MOUNTINFO = "/proc/self/mountinfo"
OWN_CGROUPS = "/proc/self/cgroup"
MAX_PATH_BYTES = 4096
MAX_NAME_BYTES = 255


class Layout:
    """The mounted hierarchies: `mounts` maps a controller to (mount point, root of the mount).

    The controller of the unified hierarchy is "". `unified` tells that there is no other.
    """

    __slots__ = ("mounts", "unified")

    def __init__(self, mounts: dict[str, tuple[str, str]], *, unified: bool) -> None:
        self.mounts, self.unified = mounts, unified


def read_layout() -> Layout:
    """Read what is mounted now."""
    with open(MOUNTINFO, encoding="utf-8", errors="surrogateescape") as f:
        lines = f.read().split("\n")
    mounts: dict[str, tuple[str, str]] = {}
    for line in lines:
        before, dash, after = line.partition(" - cgroup")
        if not dash:
            continue
        fields, kind = before.split(" "), after.split(" ")
        where = (_unescape(fields[4]), _unescape(fields[3]))
        if kind[0] == "2":
            mounts.setdefault("", where)
        else:
            for option in kind[2].split(","):
                if option not in ("rw", "ro"):
                    mounts.setdefault(option, where)
    return Layout(mounts, unified="" in mounts and mounts[""][0] == ROOT)


def _unescape(field: str) -> str:
    """Undo the kernel's octal escapes of blanks and backslashes."""
    if "\\" not in field:
        return field
    for code in ("\\040", "\\011", "\\012"):
        field = field.replace(code, chr(int(code[1:], 8)))
    return field.replace("\\134", "\\")


def own_cgroups(path: str = "") -> dict[str, str]:
    """Return this process's (or another file's) cgroup in each hierarchy, by controller."""
    with open(path or OWN_CGROUPS, encoding="utf-8", errors="surrogateescape") as f:
        text = f.read()
    found = {}
    for line in text.split("\n"):
        parts = line.split(":", 2)
        if len(parts) == 3:
            for controller in parts[1].split(","):
                found[controller] = parts[2]
    return found


def clean(path: str) -> str:
    """Return a path without dots or links to parents, as absolute or relative as it was.

    `..` cannot leave: it stops at the hierarchy's root, as runc has it.
    """
    if len(path) > MAX_PATH_BYTES or "\0" in path or "\n" in path:
        raise _bad_path(path, f"it is longer than {MAX_PATH_BYTES} bytes or not one line of text")
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            if parts:
                parts.pop()
        elif part not in ("", "."):
            if len(part) > MAX_NAME_BYTES:
                raise _bad_path(path, f"a name in it is longer than {MAX_NAME_BYTES} bytes")
            parts.append(part)
    return ("/" if path.startswith("/") else "") + "/".join(parts)


def _bad_path(path: str, why: str) -> Exception:
    from innkeeper.base.errors import ConfigError

    return ConfigError(f"linux.cgroupsPath {path[:80]!r} cannot be used", why=why)


def below(mount: tuple[str, str], own: str, path: str) -> str:
    """Return the directory for a path in one hierarchy.

    An absolute path starts at the mount, a relative one at this process's own cgroup `own`.
    """
    point, root = mount
    if path.startswith("/"):
        return point + path if path != "/" else point
    inside = own
    if root != "/" and (own == root or own.startswith(root + "/")):
        inside = own[len(root) :]
    return os.path.normpath(f"{point}/{inside}/{path}")


def v1_paths(layout: Layout, path: str) -> dict[str, str]:
    """Return the directory in every version 1 hierarchy, and in the unified one of hybrid hosts."""
    own = own_cgroups() if not path.startswith("/") else {}
    return {
        controller: below(mount, own.get(controller, "/"), path)
        for controller, mount in layout.mounts.items()
    }


def v2_path(layout: Layout, path: str) -> str:
    """Return the directory in the unified hierarchy.

    A relative path starts at the parent of this process's cgroup: cgroup v2 allows controllers
    only below cgroups without processes (cgroup-v2.rst, "No Internal Process Constraint").
    """
    own = "/"
    if not path.startswith("/"):
        own = os.path.dirname(own_cgroups().get("", "/"))
    return below(layout.mounts[""], own, path)
