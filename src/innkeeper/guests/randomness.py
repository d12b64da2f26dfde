"""Where a guest's random numbers come from: the host's, or the same ones in every run."""

from __future__ import annotations

import itertools
import os

from innkeeper.base.record import record
from innkeeper.devices.virtio.device import VirtioDevice
from innkeeper.memory import GuestMemory

SEED_BYTES = 64
REPEATED_SEED = bytes(range(SEED_BYTES))


class SeededSource:
    """Bytes that look random and depend on a seed alone: SHA-512 of the seed and a counter."""

    def __init__(self, seed: bytes) -> None:
        self._seed, self._counter = seed, itertools.count()
        self._left = b""

    def __call__(self, size_bytes: int) -> bytes:
        """Return the next bytes."""
        import hashlib  # late: few runs need it

        while len(self._left) < size_bytes:
            block = self._seed + next(self._counter).to_bytes(8, "little")
            self._left += hashlib.sha512(block).digest()
        data, self._left = self._left[:size_bytes], self._left[size_bytes:]
        return data


@record
class Randomness:
    """`seed` is for the device tree; the entropy device has a stream of its own."""

    seed: bytes
    repeated: bool

    @classmethod
    def of(cls, *, repeated: bool) -> Randomness:
        """Return the host's, or what is the same in every run."""
        return cls(REPEATED_SEED if repeated else os.urandom(SEED_BYTES), repeated)

    def entropy(self, memory: GuestMemory) -> VirtioDevice:
        """Make the virtio entropy device."""
        from innkeeper.devices.virtio.entropy import Entropy

        if self.repeated:
            return Entropy(memory, source=SeededSource(self.seed))
        return Entropy(memory)
