"""The public Python interface: guests, machines and bare CPUs.

    from innkeeper.api import Guest

    result = Guest.run("busybox", ["uname", "-a"])
    print(result.stdout.decode(), result.status)

    with Guest.boot(kernel="Image", initrd="initrd", append="console=ttyS0") as guest:
        guest.console.expect(b"login:")
        guest.console.send(b"root\\n")

Names are imported when they are first used: the command line needs few of them, and soon.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from innkeeper.base.errors import (
        DownloadError,
        GuestTimeout,
        ImageError,
        InnError,
        IntegrityError,
        LoadError,
        MachineError,
        NotExecutableError,
        NotFoundError,
        StorageError,
        UsageError,
    )
    from innkeeper.cpu import Cpu, Stop, StopReason
    from innkeeper.guests.boot import boot, device_tree
    from innkeeper.guests.config import BootConfig, Disk, RunConfig, TerminalSize, Volume
    from innkeeper.guests.containers.build import build_oci_image
    from innkeeper.guests.explain import explain
    from innkeeper.guests.guest import Completed, Console, Guest
    from innkeeper.guests.io import GuestIO
    from innkeeper.guests.run import build_image, run
    from innkeeper.images.store import Store

_WHERE = {
    "base.errors": (
        "DownloadError", "GuestTimeout", "ImageError", "InnError", "IntegrityError", "LoadError",
        "MachineError", "NotExecutableError", "NotFoundError", "StorageError", "UsageError",
    ),
    "cpu": ("Cpu", "Stop", "StopReason"),
    "guests.boot": ("boot", "device_tree"),
    "guests.config": ("BootConfig", "Disk", "RunConfig", "TerminalSize", "Volume"),
    "guests.containers.build": ("build_oci_image",),
    "guests.explain": ("explain",),
    "guests.guest": ("Completed", "Console", "Guest"),
    "guests.io": ("GuestIO",),
    "guests.run": ("build_image", "run"),
    "images.store": ("Store",),
}  # fmt: skip
_MODULE_OF = {name: module for module, names in _WHERE.items() for name in names}

__all__ = [
    "BootConfig", "Completed", "Console", "Cpu", "Disk", "DownloadError", "Guest", "GuestIO",
    "GuestTimeout", "ImageError", "InnError", "IntegrityError", "LoadError", "MachineError",
    "NotExecutableError", "NotFoundError", "RunConfig", "Stop", "StopReason", "StorageError",
    "Store", "TerminalSize", "UsageError", "Volume", "boot", "build_image", "build_oci_image",
    "device_tree",
    "explain", "run",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'innkeeper.api' has no attribute {name!r}")
    return getattr(import_module(f"innkeeper.{_MODULE_OF[name]}"), name)
