"""virtio console device (virtio 1.3, 5.3): named ports, window size, emergency write."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from innkeeper.base.errors import MachineError
from innkeeper.devices.virtio.console_port import MAX_NAME_BYTES, ConsolePort, PortConfig
from innkeeper.devices.virtio.device import VirtioDevice
from innkeeper.devices.virtio.queue import Virtqueue
from innkeeper.memory import GuestMemory

F_SIZE, F_MULTIPORT, F_EMERG_WRITE = 1, 2, 4
DEVICE_READY, DEVICE_ADD, DEVICE_REMOVE, PORT_READY = 0, 1, 2, 3
CONSOLE_PORT, RESIZE, PORT_OPEN, PORT_NAME = 4, 5, 6, 7

QUEUE_SIZE = 32
MAX_PORTS = 31
CONTROL_RX, CONTROL_TX = 2, 3
EMERG_OFFSET = 8

_CONTROL = struct.Struct("<IHH")
_CONFIG = struct.Struct("<HHII")
_SIZE = struct.Struct("<HH")


class Console(VirtioDevice):
    """A set of named character ports; `ports[n]` is what a backend is connected to.

    Port 0 also serves drivers without multiport, and the emergency write. `columns` and `rows` are
    the window of every console port. Linux before 6.15 reads the RESIZE message with its two
    fields exchanged, against 5.3.6.2: `rows_first` sends it that way.
    """

    device_id = 3
    name = "console"

    def __init__(
        self,
        memory: GuestMemory,
        ports: Sequence[PortConfig],
        *,
        columns: int = 0,
        rows: int = 0,
        rows_first: bool = False,
    ) -> None:
        names = [port.name.encode() for port in ports]
        if not 1 <= len(ports) <= MAX_PORTS or max(map(len, names)) > MAX_NAME_BYTES:
            raise MachineError(
                f"a console of {len(ports)} ports is not possible",
                why=f"it has 1 to {MAX_PORTS} ports, with names of {MAX_NAME_BYTES} bytes at most",
            )
        super().__init__(
            memory,
            queue_sizes=[QUEUE_SIZE] * (2 * len(ports) + 2),
            features=F_MULTIPORT | F_EMERG_WRITE | F_SIZE,
            config=_CONFIG.pack(columns, rows, len(ports), 0),
        )
        self.ports = [ConsolePort(self, config, index) for index, config in enumerate(ports)]
        for port in self.ports:
            port.on_host_open = self._host_open_changed
        self._rows_first = rows_first
        self._outbox: dict[tuple[int, int], bytes] = {}  # the latest of each kind for each port

    def port(self, name: str) -> ConsolePort:
        """Return the port of that name; `MachineError` if there is none."""
        for port in self.ports:
            if port.name == name:
                return port
        raise MachineError(f"the console has no port {name!r}")

    @property
    def _multiport(self) -> bool:
        return bool(self.features & F_MULTIPORT)

    def resize(self, columns: int, rows: int) -> None:
        """Tell the guest the size of the window."""
        self.set_config(0, _SIZE.pack(columns & 0xFFFF, rows & 0xFFFF), notify=not self._multiport)
        for port in self.ports:
            self._post_size(port)
        self.guarded(self._send_control)

    # What the driver does

    def on_driver_ok(self) -> None:
        """Open port 0 at once for a driver that knows of one port only."""
        if not self._multiport:
            self.ports[0].set_guest_open(True)

    def on_reset(self) -> None:
        """Forget the driver."""
        self._outbox.clear()
        for port in self.ports:
            port.reset()

    def on_config_write(self, offset: int, data: bytes) -> None:
        """Take an emergency write: one byte for port 0, even before the driver is ready."""
        if offset == EMERG_OFFSET:
            self.ports[0].sink.write(data[:1])

    def handle_queue(self, queue: Virtqueue) -> None:
        """Serve one of the queues (5.3.2)."""
        index = queue.index
        if index == CONTROL_RX:
            self._send_control()
        elif index == CONTROL_TX:
            self._take_control(queue)
        else:
            port = self.ports[0 if index < CONTROL_RX else index // 2 - 1]
            if index & 1:
                port.drain()
            else:
                port.buffers_added()

    # Control messages (5.3.6.2)

    def _take_control(self, queue: Virtqueue) -> None:
        while (chain := queue.pop()) is not None:
            message = chain.read(_CONTROL.size)
            queue.used(chain)
            if len(message) == _CONTROL.size:
                self._control(*_CONTROL.unpack(message))
        self.notify(queue)
        self._send_control()

    def _control(self, number: int, event: int, value: int) -> None:
        if event == DEVICE_READY:
            for port in self.ports if value == 1 else ():
                self._post(port, DEVICE_ADD, 1)
        elif number < len(self.ports):
            port = self.ports[number]
            if event == PORT_READY and value == 1:
                self._introduce(port)
            elif event == PORT_OPEN:
                port.set_guest_open(value == 1)

    def _introduce(self, port: ConsolePort) -> None:
        port.is_ready = True
        if port.is_console:
            self._post(port, CONSOLE_PORT, 1)
        self._post(port, PORT_NAME, 1, port.name.encode())
        self._post_size(port)
        if port.host_open:
            self._post(port, PORT_OPEN, 1)

    def _post(self, port: ConsolePort, event: int, value: int, payload: bytes = b"") -> None:
        key = (port.index, event)
        self._outbox.pop(key, None)
        self._outbox[key] = _CONTROL.pack(port.index, event, value) + payload

    def _post_size(self, port: ConsolePort) -> None:
        columns, rows = _SIZE.unpack_from(self.config)
        if port.is_console and port.is_ready and columns and rows:
            pair = (rows, columns) if self._rows_first else (columns, rows)
            self._post(port, RESIZE, 1, _SIZE.pack(*pair))

    def _host_open_changed(self, port: ConsolePort) -> None:
        if port.is_ready:
            self._post(port, PORT_OPEN, int(port.host_open))
            self.guarded(self._send_control)

    def _send_control(self) -> None:
        queue = self.queues[CONTROL_RX]
        while self._outbox and (chain := queue.pop()) is not None:
            key = next(iter(self._outbox))
            queue.used(chain, chain.write(self._outbox.pop(key)))
        self.notify(queue)
