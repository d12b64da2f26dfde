"""virtio entropy device (virtio 1.3, 5.4)."""

from __future__ import annotations

import os
from collections.abc import Callable

from innkeeper.devices.virtio.device import VirtioDevice
from innkeeper.devices.virtio.queue import Virtqueue
from innkeeper.memory import GuestMemory

QUEUE_SIZE = 64
MAX_REQUEST_BYTES = 64 << 10


class Entropy(VirtioDevice):
    """Fill the driver's buffers with random bytes from `source(size_bytes)`."""

    device_id = 4
    name = "entropy"

    def __init__(self, memory: GuestMemory, *, source: Callable[[int], bytes] = os.urandom) -> None:
        super().__init__(memory, queue_sizes=[QUEUE_SIZE])
        self._source = source

    def handle_queue(self, queue: Virtqueue) -> None:
        """Fill what is there; a buffer larger than the limit is filled in part, as 5.4.6.2
        allows."""
        while (chain := queue.pop()) is not None:
            size_bytes = min(chain.writable_bytes, MAX_REQUEST_BYTES)
            queue.used(chain, chain.write(self._source(size_bytes)))
        self.notify(queue)
