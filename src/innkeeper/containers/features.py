"""`features`: what this runtime can do, as features.md and features-linux.md have it."""

from __future__ import annotations

from innkeeper import __version__
from innkeeper.containers.capabilities import NAMES
from innkeeper.containers.config import NAMESPACES, OCI_VERSION
from innkeeper.containers.jsontext import pretty
from innkeeper.containers.mount_options import known_options
from innkeeper.containers.schema import HOOKS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from innkeeper.containers.settings import Settings

_ACTIONS = (
    "ALLOW", "ERRNO", "KILL", "KILL_PROCESS", "KILL_THREAD", "LOG", "NOTIFY", "TRACE", "TRAP",
)  # fmt: skip
_OPERATORS = ("EQ", "GE", "GT", "LE", "LT", "MASKED_EQ", "NE")
_SECCOMP_FLAGS = (
    "SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
)  # fmt: skip


def features_command(settings: Settings, options: dict[str, Any], args: list[str]) -> int:
    """Print the features document."""
    print(pretty(features(), indent="    "))
    return 0


def features() -> dict[str, Any]:
    """Return the features document."""
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": OCI_VERSION,
        "hooks": list(HOOKS),
        "mountOptions": known_options(),
        "linux": {
            "namespaces": sorted(NAMESPACES),
            "capabilities": [f"CAP_{name}" for name in NAMES],
            "cgroup": {
                "v1": True, "v2": True, "systemd": True, "systemdUser": True, "rdma": True,
            },
            "seccomp": {
                "enabled": True,
                "actions": [f"SCMP_ACT_{name}" for name in _ACTIONS],
                "operators": [f"SCMP_CMP_{name}" for name in _OPERATORS],
                "archs": _architectures(),
                "knownFlags": list(_SECCOMP_FLAGS),
                "supportedFlags": list(_SECCOMP_FLAGS),
            },
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": True, "schemata": True},
            "mountExtensions": {"idmap": {"enabled": True}},
        },
        "annotations": {
            "io.innkeeper.version": __version__,
            "org.opencontainers.runc.checkpoint.enabled": "true",
        },
        "potentiallyUnsafeConfigAnnotations": [],
    }  # fmt: skip


def _architectures() -> list[str]:
    from innkeeper.containers.seccomp.arches import ABIS

    return sorted(ABIS)
