"""Mounting overlayfs (Linux Documentation/filesystems/overlayfs.rst, mount(2))."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from innkeeper.base.errors import StorageError

MAX_DATA_BYTES = 4000  # mount(2) takes one page
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
# Renamed folders and files of which only the attributes changed are copied as they always were,
# so that the upper folder alone says what a container has changed.
_FEATURES = "redirect_dir=nofollow,metacopy=off,index=off"
_SPECIAL = frozenset(':,\\"')


def overlay_data(lower: Sequence[Path], upper: Path, work: Path, *, user: bool) -> str:
    """Return the options of an overlay, `lower` top first; `user` for a user namespace's."""
    layers = ":".join(map(str, lower))
    return _data(layers, str(upper), str(work), user=user)


def mount_overlay(
    lower: Sequence[Path], upper: Path, work: Path, target: Path, *, user: bool,
    volatile: bool = False,
) -> None:  # fmt: skip
    """Mount an overlay at `target`; `StorageError` when the kernel or our privileges refuse.

    What is written to one that is `volatile` is never synced, so unmounting waits for no disk; it
    cannot be mounted again ("Volatile mount").
    """
    with ExitStack() as stack:
        data = overlay_data(lower, upper, work, user=user)
        special = any(_SPECIAL & set(str(path)) for path in (*lower, upper, work))
        if special or len(os.fsencode(data)) > MAX_DATA_BYTES:
            # By descriptor every path is short and has no character that would have to be quoted.
            names = [_by_descriptor(path, stack) for path in (*lower, upper, work)]
            data = _data(":".join(names[:-2]), names[-2], names[-1], user=user)
        data += ",volatile" if volatile else ""
        if len(os.fsencode(data)) > MAX_DATA_BYTES:
            raise StorageError("an overlay cannot be mounted", why=f"{len(lower)} layers")
        libc = ctypes.CDLL(None, use_errno=True)
        arguments = (b"overlay", os.fsencode(target), b"overlay", 0, os.fsencode(data))
        if libc.mount(*arguments) != 0:
            number = ctypes.get_errno()
            raise StorageError(
                "an overlay cannot be mounted",
                why=f"{target}: {os.strerror(number)}",
                fix="the root file system can be copied instead",
            )


def unmount(target: Path) -> None:
    """Unmount what is at `target`, if anything is, even while it is in use."""
    while os.path.ismount(target):
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.umount2(os.fsencode(target), _MNT_DETACH | _UMOUNT_NOFOLLOW) != 0:
            number = ctypes.get_errno()
            raise StorageError(f"{target} cannot be unmounted", why=os.strerror(number))


def _data(lower: str, upper: str, work: str, *, user: bool) -> str:
    mode = ",userxattr" if user else ""
    return f"lowerdir={lower},upperdir={upper},workdir={work},{_FEATURES}{mode}"


def _by_descriptor(path: Path, stack: ExitStack) -> str:
    fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    stack.callback(os.close, fd)
    return f"/proc/self/fd/{fd}"
