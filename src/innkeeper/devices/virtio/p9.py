"""virtio 9P transport: carries a guest's 9P messages to a server for a host directory.

Source: device ID 9 of virtio 1.3, 5 (device types); the layout, which that leaves open, is the one
of Linux (`linux/virtio_9p.h`): one queue, and a mount tag in the configuration space. A chain's
readable bytes are one T-message, its writable bytes the room for the R-message.
"""

from __future__ import annotations

import struct
from typing import Protocol

from innkeeper.base.errors import UsageError
from innkeeper.devices.virtio.chain import VirtqueueError
from innkeeper.devices.virtio.device import VirtioDevice
from innkeeper.devices.virtio.queue import Virtqueue
from innkeeper.memory import GuestMemory

F_MOUNT_TAG = 1 << 0
QUEUE_SIZE = 128  # what Linux puts in a chain at most (VIRTQUEUE_NUM)
MAX_TAG_BYTES = 255
_HEADER = struct.Struct("<IBH")  # size, type, tag of every 9P message
_RLERROR = struct.Struct("<IBHI")
_RLERROR_TYPE = 7
_EMSGSIZE = 90  # Linux's number, as 9P2000.L has it, whatever the host's is


class NinePBackend(Protocol):
    """What answers the messages: `innkeeper.backends.share.NinePServer`."""

    @property
    def msize(self) -> int:
        """The longest message it takes."""
        ...

    def handle(self, request: bytes) -> bytes:
        """Answer one message; every sequence of bytes has an answer."""
        ...

    def reset(self) -> None:
        """Forget the client."""
        ...


class NineP(VirtioDevice):
    """A host directory that a guest mounts as `tag` (`mount -t 9p -o trans=virtio TAG DIR`)."""

    device_id = 9
    name = "9p"

    def __init__(self, memory: GuestMemory, backend: NinePBackend, *, tag: str) -> None:
        encoded = tag.encode()
        if not 1 <= len(encoded) <= MAX_TAG_BYTES or b"\0" in encoded:
            raise UsageError(
                f"mount tag {tag!r} cannot be", fix=f"use 1 to {MAX_TAG_BYTES} bytes without NUL"
            )
        config = len(encoded).to_bytes(2, "little") + encoded
        super().__init__(memory, queue_sizes=[QUEUE_SIZE], features=F_MOUNT_TAG, config=config)
        self.backend = backend
        self.tag = tag

    def on_reset(self) -> None:
        """Close what the guest had open on the host."""
        self.backend.reset()

    def handle_queue(self, queue: Virtqueue) -> None:
        """Answer all messages that are there."""
        while (chain := queue.pop()) is not None:
            # One byte more than allowed is enough for the backend to see that it is too long.
            reply = self.backend.handle(chain.read(self.backend.msize + 1))
            if len(reply) > chain.writable_bytes:
                reply = _too_long(reply, chain.writable_bytes)
            queue.used(chain, chain.write(reply))
        self.notify(queue)


def _too_long(reply: bytes, room: int) -> bytes:
    """Say that a reply does not fit its buffer; `VirtqueueError` if that does not fit either."""
    if room < _RLERROR.size:
        raise VirtqueueError(f"{room} bytes of room for a 9P reply")
    _, _, tag = _HEADER.unpack_from(reply)
    return _RLERROR.pack(_RLERROR.size, _RLERROR_TYPE, tag, _EMSGSIZE)
