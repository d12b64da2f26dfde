"""Guest memory: the RAM of a guest, as the devices and the engine see it."""

from innkeeper.memory.ram import GuestMemory, GuestMemoryError, GuestRam

__all__ = ["GuestMemory", "GuestMemoryError", "GuestRam"]
