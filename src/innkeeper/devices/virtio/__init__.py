"""virtio devices, by the name they have on a command line; one line a device, loaded when asked
for."""

from __future__ import annotations

from importlib import import_module

from innkeeper.base.errors import NotFoundError
from innkeeper.devices.virtio.device import VirtioDevice

_DEVICES = {
    "9p": ("innkeeper.devices.virtio.p9", "NineP"),
    "block": ("innkeeper.devices.virtio.block", "Block"),
    "console": ("innkeeper.devices.virtio.console", "Console"),
    "entropy": ("innkeeper.devices.virtio.entropy", "Entropy"),
}
DEVICE_NAMES = tuple(_DEVICES)


def device_class(name: str) -> type[VirtioDevice]:
    """Return the class of the virtio device called `name`; `NotFoundError` if there is none."""
    if name not in _DEVICES:
        known = ", ".join(DEVICE_NAMES)
        raise NotFoundError(f"there is no virtio device {name!r}", fix=f"use one of: {known}")
    module, attribute = _DEVICES[name]
    found: type[VirtioDevice] = getattr(import_module(module), attribute)
    return found


__all__ = ["DEVICE_NAMES", "VirtioDevice", "device_class"]
