"""Linux capabilities: config.md "Linux Process" `capabilities`, capabilities(7)."""

from __future__ import annotations

from innkeeper.containers import kernel as k

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# In the order of their numbers, linux/capability.h
NAMES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
    "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW",
    "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT",
    "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD",
    "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG",
    "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
)  # fmt: skip
_NUMBERS = {f"CAP_{name}": number for number, name in enumerate(NAMES)}
_VERSION_3 = 0x20080522
_AMBIENT_RAISE, _AMBIENT_CLEAR_ALL = 2, 4


def unknown(names: Iterable[str]) -> list[str]:
    """Return the names that are no capability, which are ignored with a warning (config.md)."""
    return sorted({name for name in names if name not in _NUMBERS})


def _mask(names: Iterable[str]) -> int:
    mask = 0
    for name in names:
        if name in _NUMBERS:
            mask |= 1 << _NUMBERS[name]
    return mask


def drop_bounding(names: Iterable[str]) -> None:
    """Take from the bounding set what is not named; it can never come back."""
    kept = _mask(names)
    for number in range(64):
        if not kept >> number & 1:
            try:
                k.prctl(k.PR_CAPBSET_DROP, number)
            except OSError as error:
                if error.errno == 22:  # beyond the last capability of this kernel
                    return
                raise


def apply(sets: dict[str, list[str]]) -> None:
    """Set the effective, permitted, inheritable and ambient sets of this thread."""
    masks = [_mask(sets.get(name, ())) for name in ("effective", "permitted", "inheritable")]
    words = [mask >> shift & 0xFFFFFFFF for shift in (0, 32) for mask in masks]
    k.syscall("capset", k.words(_VERSION_3, 0, size=4), k.words(*words, size=4))
    k.prctl(k.PR_CAP_AMBIENT, _AMBIENT_CLEAR_ALL)
    ambient = _mask(sets.get("ambient", ())) & masks[1] & masks[2]
    for number in range(64):
        if ambient >> number & 1:
            k.prctl(k.PR_CAP_AMBIENT, _AMBIENT_RAISE, number)
