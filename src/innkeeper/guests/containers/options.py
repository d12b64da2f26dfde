"""What a container may be asked to be, beside what its image says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from innkeeper.base.errors import UsageError
from innkeeper.base.record import field, record
from innkeeper.guests.config import Volume

DEFAULT_PIDS = 2048
DEFAULT_SHM_BYTES = 64 << 20
NETWORKS = ("private", "none", "host")
_NOTHING: Mapping[str, str] = MappingProxyType({})
IdMap = tuple[int, int, int]
"""Container id, host id, how many (runtime-spec config-linux "User namespace mappings")."""


@record(kw_only=True)
class BundleOptions:
    """How a container differs from its image's defaults; every field has the field's default.

    `network` is `private` (a namespace of its own, or the one at `netns`), `none` (the same, empty)
    or `host`. `cpus` counts processors. `ulimits` are `(NAME, SOFT, HARD)`. `security_opt` takes
    docker's words: `no-new-privileges`, `seccomp=unconfined|FILE`, `apparmor=PROFILE`,
    `label=LABEL`, `systempaths=unconfined`, `mask=PATH`, `unmask=ALL|PATH`.
    """

    entrypoint: tuple[str, ...] | None = None
    env: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    workdir: str | None = None
    user: str | None = None
    hostname: str = ""
    tty: bool = False
    read_only: bool = False
    privileged: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    security_opt: tuple[str, ...] = ()
    network: str = "private"
    netns: Path | None = None
    host_namespaces: frozenset[str] = frozenset()
    uid_maps: tuple[IdMap, ...] = ()
    gid_maps: tuple[IdMap, ...] = ()
    memory_bytes: int | None = None
    cpus: float | None = None
    cpu_shares: int | None = None
    cpuset: str = ""
    pids_limit: int = DEFAULT_PIDS
    cgroups_path: str = ""
    volumes: tuple[Volume, ...] = ()
    files: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    tmpfs: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    sysctls: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    ulimits: tuple[tuple[str, int, int], ...] = ()
    annotations: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    shm_bytes: int = DEFAULT_SHM_BYTES
    oom_score_adj: int | None = None

    def __post_init__(self) -> None:
        if self.network not in NETWORKS:
            raise UsageError(
                f"there is no network {self.network!r}", fix=f"give one of: {', '.join(NETWORKS)}"
            )
        if self.cpus is not None and not 0.01 <= self.cpus <= 4096:
            raise UsageError(f"{self.cpus:g} CPUs", fix="give a number from 0.01 to 4096")
        if self.memory_bytes is not None and self.memory_bytes < 6 << 20:
            raise UsageError("the memory limit is too small", fix="give at least 6M")
        unknown = self.host_namespaces - {"pid", "ipc", "uts", "cgroup"}
        if unknown:
            raise UsageError(f"there is no namespace {sorted(unknown)[0]!r} to share")

    @property
    def has_user_namespace(self) -> bool:
        """Whether the container gets a user namespace."""
        return bool(self.uid_maps)
