"""What can go wrong with control groups, beside a field that cannot be followed."""

from __future__ import annotations

from innkeeper.base.errors import ContainerError


class CgroupError(ContainerError):
    """The kernel or the host does not do what was asked of a cgroup; `errno` is its answer."""

    def __init__(self, what: str, *, why: str = "", fix: str = "", errno: int = 0) -> None:
        self.errno = errno
        super().__init__(what, why=why, fix=fix)
