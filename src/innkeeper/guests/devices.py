"""Makers of the virtio devices that guests are given."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from innkeeper.devices.virtio.device import VirtioDevice
from innkeeper.guests.config import Volume
from innkeeper.guests.request import VOLUME_TAG
from innkeeper.memory.ram import GuestMemory

MakeDevice = Callable[[GuestMemory], VirtioDevice]


def share_makers(volumes: Iterable[Volume]) -> list[MakeDevice]:
    """Return a maker of a 9P device for every volume, tagged in order."""
    return [
        _share(volume.source, VOLUME_TAG.format(index=n), read_only=volume.read_only)
        for n, volume in enumerate(volumes)
    ]


def _share(source: Path, tag: str, *, read_only: bool) -> MakeDevice:
    def make(memory: GuestMemory) -> VirtioDevice:
        from innkeeper.backends.share import NinePServer
        from innkeeper.devices.virtio.p9 import NineP

        return NineP(memory, NinePServer(source, read_only=read_only), tag=tag)

    return make


def scratch_disk_maker(path: Path) -> MakeDevice:
    """Return a maker of a disk whose writes are forgotten: the file stays as it is."""

    def make(memory: GuestMemory) -> VirtioDevice:
        from innkeeper.backends.block_file import FileDisk
        from innkeeper.backends.block_overlay import OverlayDisk
        from innkeeper.devices.virtio.block import Block

        return Block(memory, OverlayDisk(FileDisk(path, read_only=True)))

    return make
