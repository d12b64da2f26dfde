"""System calls that Python's `os` does not have, called through one C function.

Only `_ctypes` is imported, not `ctypes`: that is 3 ms less before the container runs. No call here
releases the interpreter's lock, so each is safe between `clone` and `execve` in a child that never
had a second thread. Numbers and structures: Linux uapi `asm/unistd.h`, `linux/mount.h`,
`linux/openat2.h`, `linux/sched.h`.
"""

from __future__ import annotations

import os
import sys
from _ctypes import (
    FUNCFLAG_CDECL,
    FUNCFLAG_PYTHONAPI,
    FUNCFLAG_USE_ERRNO,
    CFuncPtr,
    _SimpleCData,
    addressof,
    dlopen,
    dlsym,
    get_errno,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MACHINE = os.uname().machine

# name: (x86_64, the generic table that aarch64 and riscv64 use)
_NUMBERS = {
    "bpf": (321, 280),
    "capget": (125, 90),
    "capset": (126, 91),
    "clone": (56, 220),
    "clone3": (435, 435),
    "close_range": (436, 436),
    "fcntl": (72, 25),
    "flock": (73, 32),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fstatfs": (138, 44),
    "ioctl": (16, 29),
    "ioprio_set": (251, 30),
    "keyctl": (250, 219),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "openat2": (437, 437),
    "pidfd_getfd": (438, 438),
    "personality": (135, 92),
    "pivot_root": (155, 41),
    "prctl": (157, 167),
    "prlimit64": (302, 261),
    "sched_setattr": (314, 274),
    "seccomp": (317, 277),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "socket": (41, 198),
    "umount2": (166, 39),
    "unshare": (272, 97),
}
_COLUMN = 0 if MACHINE == "x86_64" else 1

_SIGCHLD, _CLONE_INTO_CGROUP = 17, 0x200000000
CLONE_NEWTIME = 0x80
CLONE_PARENT = 0x8000
CLONE_NEWNS = 0x20000
CLONE_NEWCGROUP = 0x2000000
CLONE_NEWUTS = 0x4000000
CLONE_NEWIPC = 0x8000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH = 0x4
MOVE_MOUNT_T_EMPTY_PATH = 0x40
FSOPEN_CLOEXEC = 1
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6
FSMOUNT_CLOEXEC = 1

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8
MOUNT_ATTR_ATIME = 0x70
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_IDMAP = 0x100000
MOUNT_ATTR_NOSYMFOLLOW = 0x200000

MS_REC = 0x4000
MS_UNBINDABLE = 0x20000
MS_PRIVATE = 0x40000
MS_SLAVE = 0x80000
MS_SHARED = 0x100000
MS_MOVE = 0x2000
MNT_DETACH = 2

RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10
O_PATH = 0o10000000

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47

PROC_SUPER_MAGIC = 0x9FA0
SYSFS_MAGIC = 0x62656572
CGROUP2_SUPER_MAGIC = 0x63677270
OPENAT2_TRIES = 128  # openat2 answers EAGAIN while somebody renames directories under it


class _Long(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "l"


class _Word(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "P"  # an integer of a register's size, bytes, or None


class _Byte(_SimpleCData):  # type: ignore[type-arg]
    _type_ = "c"


class _Function(CFuncPtr):
    _flags_ = FUNCFLAG_CDECL | FUNCFLAG_PYTHONAPI | FUNCFLAG_USE_ERRNO
    _restype_ = _Long
    _argtypes_ = (_Word,) * 7


_THIS_PROGRAM: Any = None  # for dlopen: what is loaded already, the C library among it
_syscall: Any = _Function(dlsym(dlopen(_THIS_PROGRAM, 0), "syscall"))


def syscall(name: str, *args: Any) -> int:
    """Call the kernel; `OSError` with its errno when it refuses.

    Arguments are integers, `bytes` (passed by address) or None; buffers that the kernel writes to
    are `_ctypes` arrays.
    """
    answer: int = _syscall(_NUMBERS[name][_COLUMN], *args, *(0,) * (6 - len(args)))
    if answer < 0:
        number = get_errno()
        raise OSError(number, os.strerror(number))
    return answer


def reason(error: OSError) -> str:
    """Return the kernel's reason as callers of runc look for it: in small letters."""
    return (error.strerror or str(error)).lower()


def words(*values: int, size: int = 8) -> bytes:
    """Pack integers as the kernel's structures have them: native order, `size` bytes each."""
    mask = (1 << 8 * size) - 1
    return b"".join((value & mask).to_bytes(size, sys.byteorder) for value in values)


def pinned(data: bytes) -> tuple[Any, int]:
    """Copy bytes to where they stay as long as the first result does; the second is the address."""
    kept = (_Byte * len(data)).from_buffer_copy(data)
    return kept, addressof(kept)


def two_words() -> Any:
    """Return room for two integers that the kernel writes."""
    return (_Long * 2)()


def clone(flags: int, cgroup: int | None = None) -> int:
    """Fork with new namespaces; 0 in the child, which has only this thread.

    `cgroup` is a directory of the unified hierarchy that the child starts in: to move a process
    later waits for an RCU grace period (clone(2), CLONE_INTO_CGROUP).
    """
    if cgroup is None:
        return syscall("clone", flags | _SIGCHLD)
    arguments = words(flags | _CLONE_INTO_CGROUP, 0, 0, 0, _SIGCHLD, 0, 0, 0, 0, 0, cgroup)
    return syscall("clone3", arguments, len(arguments))


def unshare(flags: int) -> None:
    """Put this process into new namespaces."""
    syscall("unshare", flags)


def setns(fd: int, kind: int) -> None:
    """Join the namespace (or with a pidfd: the namespaces) of `fd`."""
    syscall("setns", fd, kind)


def prctl(option: int, value: int = 0, third: int = 0) -> int:
    """Change a property of this process."""
    return syscall("prctl", option, value, third, 0, 0)


def close_on_exec_from(first: int) -> None:
    """Mark every descriptor from `first` on to be closed by `execve`."""
    syscall("close_range", first, 0xFFFFFFFF, 4)  # CLOSE_RANGE_CLOEXEC


def open_in_root(root: int, path: str, flags: int = O_PATH) -> int:
    """Open `path` as if `root` were the root directory; no magic link is followed on the way.

    `openat2(2)` RESOLVE_IN_ROOT: symlinks and `..` never leave `root`, whoever races.
    """
    return _openat2(root, path, flags, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)


def open_beneath(root: int, path: str, flags: int) -> int:
    """Open `path` beneath `root`; any symlink on the way is refused (ELOOP)."""
    return _openat2(root, path, flags, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS)


def _openat2(root: int, path: str, flags: int, resolve: int) -> int:
    how = words(flags | os.O_CLOEXEC, 0, resolve)
    for _ in range(OPENAT2_TRIES):
        try:
            return syscall("openat2", root, os.fsencode(path or "."), how, len(how))
        except BlockingIOError:
            continue
    raise BlockingIOError(11, f"{path} keeps changing while it is opened")


def filesystem_type(fd: int) -> int:
    """Return `statfs.f_type`, the magic number of the file system that `fd` is on."""
    answer = (_Long * 16)()  # struct statfs: 120 bytes, f_type comes first
    syscall("fstatfs", fd, answer)
    return int(answer[0])
