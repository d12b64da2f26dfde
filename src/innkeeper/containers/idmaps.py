"""User namespaces: maps of user and group numbers (user_namespaces(7), config-linux.md)."""

from __future__ import annotations

import os

from innkeeper.base.errors import ContainerError
from innkeeper.containers import kernel as k

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MAX_LINES = 340  # of a map, user_namespaces(7)


def write_maps(pid: int, linux: dict[str, Any]) -> None:
    """Map the numbers of a process that is in a new user namespace."""
    own = os.geteuid(), os.getegid()
    if own[0] != 0 and not _alone(linux.get("uidMappings", []), own[0]):
        _helper("newuidmap", pid, linux.get("uidMappings", []))
        _helper("newgidmap", pid, linux.get("gidMappings", []))
        return
    if own[0] != 0:  # user_namespaces(7): without privilege setgroups(2) is given up first
        _write(f"/proc/{pid}/setgroups", "deny")
        if not _alone(linux.get("gidMappings", []), own[1]):
            _helper("newgidmap", pid, linux.get("gidMappings", []))
            _write(f"/proc/{pid}/uid_map", _text(linux.get("uidMappings", [])))
            return
    _write(f"/proc/{pid}/gid_map", _text(linux.get("gidMappings", [])))
    _write(f"/proc/{pid}/uid_map", _text(linux.get("uidMappings", [])))


def _alone(maps: list[dict[str, Any]], own: int) -> bool:
    """Say whether a map is the one that needs no privilege: the caller's own number."""
    return len(maps) == 1 and maps[0]["size"] == 1 and maps[0]["hostID"] == own


def _text(maps: list[dict[str, Any]]) -> str:
    if len(maps) > _MAX_LINES:
        raise ContainerError("linux.uidMappings", why=f"more than {_MAX_LINES} ranges")
    lines = (f"{one.get('containerID', 0)} {one['hostID']} {one['size']}\n" for one in maps)
    return "".join(lines)


def _write(path: str, text: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise ContainerError(f"write {path}", why=k.reason(error)) from None


def _helper(program: str, pid: int, maps: list[dict[str, Any]]) -> None:
    """Let the set-user-ID helper write a map that /etc/subuid allows (newuidmap(1))."""
    args = [program, str(pid)]
    for one in maps:
        args += [str(one.get("containerID", 0)), str(one["hostID"]), str(one["size"])]
    try:
        helper = os.posix_spawnp(program, args, os.environ)
    except OSError as error:
        raise ContainerError(program, why=f"{k.reason(error)}; install uidmap") from None
    status = os.waitstatus_to_exitcode(os.waitpid(helper, 0)[1])
    if status:
        raise ContainerError(" ".join(args), why=f"exit status {status}; see /etc/subuid")


def namespace_of(uid_maps: list[dict[str, Any]], gid_maps: list[dict[str, Any]]) -> int:
    """Return a descriptor of a new user namespace with these maps, for an idmapped mount."""
    go_on = os.pipe()
    pid = k.clone(k.CLONE_NEWUSER)
    if pid == 0:
        os.close(go_on[1])
        os.read(go_on[0], 1)
        os._exit(0)
    try:
        _write(f"/proc/{pid}/gid_map", _text(gid_maps))
        _write(f"/proc/{pid}/uid_map", _text(uid_maps))
        return os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        for fd in go_on:
            os.close(fd)
        os.waitpid(pid, 0)
