"""The public Python interface: guests, machines and bare CPUs.

    from innkeeper.api import Guest

    result = Guest.run("busybox", ["uname", "-a"])
    print(result.stdout.decode(), result.status)

    with Guest.boot(kernel="Image", initrd="initrd", append="console=ttyS0") as guest:
        guest.console.expect(b"login:")
        guest.console.send(b"root\\n")
"""

from __future__ import annotations

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
from innkeeper.guests.guest import Completed, Console, Guest
from innkeeper.guests.io import GuestIO
from innkeeper.guests.explain import explain
from innkeeper.guests.run import build_image, run
from innkeeper.images.store import Store

__all__ = [
    "BootConfig", "Completed", "Console", "Cpu", "Disk", "DownloadError", "Guest", "GuestIO",
    "GuestTimeout", "ImageError", "InnError", "IntegrityError", "LoadError", "MachineError",
    "NotExecutableError", "NotFoundError", "RunConfig", "Stop", "StopReason", "StorageError",
    "Store", "TerminalSize", "UsageError", "Volume", "boot", "build_image", "device_tree",
    "explain", "run",
]  # fmt: skip
