"""virtio block device (virtio 1.3, 5.2)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from innkeeper.base.log import log
from innkeeper.devices.block import BlockBackend
from innkeeper.devices.virtio.chain import Chain, slice_views
from innkeeper.devices.virtio.device import VirtioDevice
from innkeeper.devices.virtio.queue import Virtqueue
from innkeeper.memory import GuestMemory

F_SIZE_MAX, F_SEG_MAX, F_RO, F_BLK_SIZE = 1 << 1, 1 << 2, 1 << 5, 1 << 6
F_FLUSH, F_TOPOLOGY, F_CONFIG_WCE, F_MQ = 1 << 9, 1 << 10, 1 << 11, 1 << 12
F_DISCARD, F_WRITE_ZEROES = 1 << 13, 1 << 14

T_IN, T_OUT, T_FLUSH, T_GET_ID, T_DISCARD, T_WRITE_ZEROES = 0, 1, 4, 8, 11, 13
S_OK, S_IOERR, S_UNSUPP = 0, 1, 2

SECTOR_BYTES = 512
ID_BYTES = 20
QUEUE_SIZE = 256
MAX_QUEUES = 16
SEG_MAX = QUEUE_SIZE - 2
SIZE_MAX = 1 << 20
MAX_REQUEST_BYTES = SEG_MAX * SIZE_MAX  # what those two allow
MAX_RANGES = 64
MAX_RANGE_SECTORS = (1 << 30) // SECTOR_BYTES
WRITEBACK_OFFSET = 32
UNMAP_FLAG = 1

_HEADER = struct.Struct("<IIQ")
_RANGE = struct.Struct("<QII")
# capacity, size_max, seg_max, geometry, blk_size, topology, writeback, num_queues,
# discard (sectors, segments, alignment), write zeroes (sectors, segments, may unmap)
_CONFIG = struct.Struct("<QIIHBBIBBHIBxHIIIIIB3x")


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockConfig:
    """How a disk presents itself: a serial number, block sizes, and the number of queues."""

    serial: str = ""
    logical_block_bytes: int = 512
    physical_block_bytes: int = 4096
    queue_count: int = 1

    def __post_init__(self) -> None:
        """Reject what no driver could use."""
        logical, physical = self.logical_block_bytes, self.physical_block_bytes
        powers = all(size >= SECTOR_BYTES and not size & (size - 1) for size in (logical, physical))
        if not powers or physical < logical or not 1 <= self.queue_count <= MAX_QUEUES:
            raise ValueError(f"no such disk: {self}")


class Block(VirtioDevice):
    """A disk with `backend` behind it; guest memory goes to and from it without a copy."""

    device_id = 2
    name = "block"

    def __init__(
        self, memory: GuestMemory, backend: BlockBackend, config: BlockConfig | None = None
    ) -> None:
        shape = config if config is not None else BlockConfig()
        self.backend = backend
        self._serial = shape.serial.encode()[:ID_BYTES].ljust(ID_BYTES, b"\0")
        self._sectors = -(-backend.size_bytes // SECTOR_BYTES)
        self._reported: set[int] = set()
        features = F_SEG_MAX | F_SIZE_MAX | F_BLK_SIZE | F_TOPOLOGY | F_FLUSH | F_CONFIG_WCE
        features |= F_RO if backend.read_only else F_DISCARD | F_WRITE_ZEROES
        features |= F_MQ if shape.queue_count > 1 else 0
        super().__init__(
            memory,
            queue_sizes=[QUEUE_SIZE] * shape.queue_count,
            features=features,
            config=self._config(shape),
        )

    def _config(self, shape: BlockConfig) -> bytes:
        exponent = (shape.physical_block_bytes // shape.logical_block_bytes).bit_length() - 1
        alignment = shape.physical_block_bytes // SECTOR_BYTES
        return _CONFIG.pack(
            *(self._sectors, SIZE_MAX, SEG_MAX, 0, 0, 0, shape.logical_block_bytes),
            *(exponent, 0, 1 << exponent, 0, 1, shape.queue_count),
            *(MAX_RANGE_SECTORS, MAX_RANGES, alignment),
            *(MAX_RANGE_SECTORS, MAX_RANGES, 1),
        )

    def on_reset(self) -> None:
        """Return to write-back."""
        self.set_config(WRITEBACK_OFFSET, b"\1")

    def on_config_write(self, offset: int, data: bytes) -> None:
        """Take the driver's choice of write-back or write-through (5.2.5.2)."""
        if offset == WRITEBACK_OFFSET and self.features & F_CONFIG_WCE and data in (b"\0", b"\1"):
            self.set_config(offset, data, notify=False)

    @property
    def _write_through(self) -> bool:
        if self.features & F_CONFIG_WCE:
            return not self.config[WRITEBACK_OFFSET]
        return not self.features & F_FLUSH

    def handle_queue(self, queue: Virtqueue) -> None:
        """Serve all requests that are there."""
        while (chain := queue.pop()) is not None:
            queue.used(chain, self._serve(chain))
        self.notify(queue)

    def _serve(self, chain: Chain) -> int:
        """Serve one request; return how many bytes were written to it, the status included."""
        if chain.readable_bytes < _HEADER.size or chain.writable_bytes < 1:
            self.fail("a request without header or status")
            return 0
        kind, _reserved, sector = _HEADER.unpack(chain.read(_HEADER.size))
        room = chain.writable_bytes - 1
        try:
            status = self._request(chain, kind, sector, room)
        except OSError as error:
            self._report(error)
            status = S_IOERR
        chain.write(bytes([status]), room)
        return room + 1  # a failed read may have filled any part of the room

    def _request(self, chain: Chain, kind: int, sector: int, room: int) -> int:
        payload = chain.readable_bytes - _HEADER.size
        if kind == T_IN:
            if not self._in_range(sector, room):
                return S_IOERR
            self.backend.readv(slice_views(chain.writable, 0, room), sector * SECTOR_BYTES)
            return S_OK
        if kind == T_GET_ID:
            chain.write(self._serial[:room])
            return S_OK
        if kind == T_FLUSH:
            self.backend.flush()
            return S_OK
        if kind not in (T_OUT, T_DISCARD, T_WRITE_ZEROES):
            return S_UNSUPP
        if self.backend.read_only:
            return S_IOERR
        if kind == T_OUT:
            if not self._in_range(sector, payload):
                return S_IOERR
            views = slice_views(chain.readable, _HEADER.size, payload)
            self.backend.writev(views, sector * SECTOR_BYTES)
        else:
            status = self._ranges(chain, kind, payload)
            if status != S_OK:
                return status
        if self._write_through:
            self.backend.flush()
        return S_OK

    def _in_range(self, sector: int, size_bytes: int) -> bool:
        whole, rest = divmod(size_bytes, SECTOR_BYTES)
        fits = not rest and size_bytes <= MAX_REQUEST_BYTES
        return fits and sector + whole <= self._sectors

    def _ranges(self, chain: Chain, kind: int, payload: int) -> int:
        """Serve a discard or a write-zeroes request (5.2.6.2)."""
        if payload == 0 or payload % _RANGE.size or payload > MAX_RANGES * _RANGE.size:
            return S_IOERR
        body = b"".join(slice_views(chain.readable, _HEADER.size, payload))
        ranges = list(_RANGE.iter_unpack(body))
        for sector, count, flags in ranges:
            if flags & ~UNMAP_FLAG or (kind == T_DISCARD and flags):
                return S_UNSUPP
            if count > MAX_RANGE_SECTORS or sector + count > self._sectors:
                return S_IOERR
        for sector, count, flags in ranges:
            offset, length = sector * SECTOR_BYTES, count * SECTOR_BYTES
            if kind == T_DISCARD:
                self.backend.discard(offset, length)
            else:
                self.backend.write_zeroes(offset, length, may_unmap=bool(flags & UNMAP_FLAG))
        return S_OK

    def _report(self, error: OSError) -> None:
        code = error.errno or 0
        if code not in self._reported:  # once a kind: a guest may try for ever
            self._reported.add(code)
            log("devices.virtio.block").error(
                "disk %s: %s; the guest gets an I/O error", self.backend.name, error
            )
