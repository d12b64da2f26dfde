"""One port of a virtio console: a character stream over a pair of virtqueues."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from innkeeper.base.record import record
from innkeeper.devices.char import BytesLike, CharPort, CharSink
from innkeeper.devices.virtio.chain import Chain, VirtqueueError, slice_views
from innkeeper.devices.virtio.queue import Virtqueue
from innkeeper.memory import GuestMemoryError

if TYPE_CHECKING:
    from innkeeper.devices.virtio.console import Console

MAX_NAME_BYTES = 64


@record(kw_only=True)
class PortConfig:
    """A port's name (`/dev/virtio-ports/NAME` in Linux), and whether it is a console (`hvcN`)."""

    name: str
    is_console: bool = False
    sink: CharSink | None = None


class ConsolePort(CharPort):
    """A port: its bytes go straight to and from the driver's buffers, none are kept here.

    Input waits until the guest has opened the port and given buffers; output waits, in the guest's
    buffer, until the sink takes it. `close` reaches the guest after all that was fed; the guest's
    own close reaches the sink after all that the guest wrote.
    """

    def __init__(self, device: Console, config: PortConfig, index: int) -> None:
        super().__init__()
        if config.sink is not None:
            self.sink = config.sink
        self.name = config.name
        self.is_console = config.is_console
        self.index = index
        self.host_open = True
        self.guest_is_open = False
        self.is_ready = False
        self._device = device
        self._chain: Chain | None = None
        self._sent = 0
        self._starved = False
        self._closing = False
        self.on_host_open: Callable[[ConsolePort], None] = lambda port: None

    @property
    def rx(self) -> Virtqueue:
        """Return the queue that carries host input."""
        return self._device.queues[0 if self.index == 0 else 2 * self.index + 2]

    @property
    def tx(self) -> Virtqueue:
        """Return the queue that carries guest output."""
        return self._device.queues[1 if self.index == 0 else 2 * self.index + 3]

    # Host side

    def feed(self, data: BytesLike) -> int:
        """Copy bytes into the driver's buffers, as many as there is room for."""
        taken = 0
        if self.guest_is_open and self._device.is_live:
            try:
                taken = self._fill(memoryview(data))
            except (VirtqueueError, GuestMemoryError) as error:
                self._device.fail(str(error))
        self._starved = taken < len(data)
        return taken

    def _fill(self, data: memoryview) -> int:
        taken, queue = 0, self.rx
        while taken < len(data):
            chain = queue.pop()
            if chain is None:
                break
            written = chain.write(data[taken:])
            queue.used(chain, written)
            taken += written
        self._device.notify(queue)
        return taken

    def close(self) -> None:
        """Give the guest end of file, after all that was fed."""
        self._set_host_open(False)

    def open(self) -> None:
        """Connect the host's side again."""
        self._set_host_open(True)

    def _set_host_open(self, is_open: bool) -> None:
        if self.host_open is not is_open:
            self.host_open = is_open
            self.on_host_open(self)

    def resume(self) -> None:
        """Go on with output that the sink had no room for."""
        self._device.guarded(self.drain)

    # Guest side

    def buffers_added(self) -> None:
        """Let the host feed again, the driver having added receive buffers."""
        if self._starved and self.guest_is_open and self.on_writable is not None:
            self._starved = False
            self.on_writable()

    def drain(self) -> None:
        """Pass the driver's output to the sink until either has no more to give or take."""
        queue = self.tx
        while True:
            chain = self._chain
            if chain is None:
                chain = queue.pop()
                if chain is None:
                    break
                self._chain, self._sent = chain, 0
            if not self._send(chain):
                break
            queue.used(chain)
            self._chain = None
        self._device.notify(queue)
        if self._closing and self._chain is None:
            self._closing = self.guest_is_open = False
            self.sink.guest_open(False)

    def _send(self, chain: Chain) -> bool:
        for view in slice_views(chain.readable, self._sent, chain.readable_bytes - self._sent):
            taken = self.sink.write(view)
            self._sent += taken
            if taken < len(view):
                return False
        return True

    def set_guest_open(self, is_open: bool) -> None:
        """Take the guest's word that it opened or closed its end."""
        if is_open:
            self._closing = False
            if not self.guest_is_open:
                self.guest_is_open = True
                self.sink.guest_open(True)
            self.buffers_added()
        elif self.guest_is_open:
            self._closing = True
            self.drain()

    def reset(self) -> None:
        """Forget the driver, and tell the sink that the guest's end is closed."""
        was_open, self.guest_is_open = self.guest_is_open, False
        self.is_ready = self._closing = False
        self._chain, self._sent = None, 0
        if was_open:
            self.sink.guest_open(False)
