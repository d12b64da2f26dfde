"""The virtio console: ports, flow control both ways, end of file, window size."""

from __future__ import annotations

import struct

import pytest

from innkeeper.backends.char import InputFeeder, MemorySink
from innkeeper.base.errors import MachineError
from innkeeper.devices.virtio.console import Console
from innkeeper.devices.virtio.console_port import PortConfig
from tests.devices.driver import FLAVOURS, Driver, make_memory

READY, ADD, PORT_READY, CONSOLE_PORT, RESIZE, OPEN, NAME = 0, 1, 3, 4, 5, 6, 7
CONTROL_RX, CONTROL_TX = 2, 3


class Guest:
    """A multiport driver: collects control messages, opens ports."""

    def __init__(self, console: Console, flavour=None, *, control_buffers: int = 16) -> None:
        self.driver = Driver(console, flavour).start()
        for _ in range(control_buffers):
            self.driver.submit(CONTROL_RX, [], [64])

    def control(self, port: int, event: int, value: int = 1) -> None:
        self.driver.submit(CONTROL_TX, [struct.pack("<IHH", port, event, value)], [])

    def messages(self) -> list[tuple[int, int, int, bytes]]:
        got = []
        for buffer in self.collected():
            got.append((*struct.unpack("<IHH", buffer[:8]), buffer[8:]))
        return got

    def collected(self) -> list[bytes]:
        answers = [b.answer for b in self.driver.poll(CONTROL_RX)]
        for _ in answers:
            self.driver.add(CONTROL_RX, [], [64])
        return answers

    def open(self, port: int) -> None:
        self.control(port, PORT_READY)
        self.control(port, OPEN)


@pytest.fixture(params=FLAVOURS, ids=str)
def flavour(request):
    return request.param


def make(names=("console", "stdin", "stdout"), **kwargs):
    sinks = {name: MemorySink() for name in names}
    ports = [PortConfig(name=n, is_console=n == "console", sink=sinks[n]) for n in names]
    return Console(make_memory(), ports, **kwargs), sinks


def test_ports_are_introduced_with_name_kind_and_size(flavour):
    console, _ = make(columns=80, rows=24)
    guest = Guest(console, flavour)
    guest.control(0xFFFF_FFFF, READY)
    assert guest.messages() == [(n, ADD, 1, b"") for n in range(3)]
    guest.control(0, PORT_READY)
    assert guest.messages() == [
        (0, CONSOLE_PORT, 1, b""),
        (0, NAME, 1, b"console"),
        (0, RESIZE, 1, struct.pack("<HH", 80, 24)),
        (0, OPEN, 1, b""),
    ]
    guest.control(1, PORT_READY)
    assert guest.messages() == [(1, NAME, 1, b"stdin"), (1, OPEN, 1, b"")]


def test_control_messages_wait_for_buffers():
    console, _ = make()
    guest = Guest(console, control_buffers=1)
    guest.control(0, READY)
    assert [m[0] for m in guest.messages()] == [0]
    guest.driver.transport.kick(CONTROL_RX)
    assert [m[0] for m in guest.messages()] == [1]
    guest.driver.transport.kick(CONTROL_RX)
    assert [m[0] for m in guest.messages()] == [2]


def test_output_goes_to_the_ports_sink(flavour):
    console, sinks = make()
    guest = Guest(console, flavour)
    guest.open(2)
    assert sinks["stdout"].is_open
    for n in range(50):
        guest.driver.submit(7, [b"%d," % n, b"\n"], [])
    assert sinks["stdout"].take() == b"".join(b"%d,\n" % n for n in range(50))


def test_output_waits_in_the_guest_until_the_sink_has_room():
    sink = MemorySink(limit_bytes=4)
    console = Console(make_memory(), [PortConfig(name="out", sink=sink)])
    guest = Guest(console)
    guest.open(0)
    guest.driver.submit(1, [b"abcdef", b"gh"], [])
    guest.driver.submit(1, [b"ij"], [])
    guest.control(0, OPEN, 0)
    assert bytes(sink.data) == b"abcd" and not guest.driver.poll(1)
    got = b""
    while sink.data:
        assert sink.is_open is (got + sink.data != b"abcdefghij")
        got += sink.take()
        console.ports[0].resume()
    assert got == b"abcdefghij" and not sink.is_open
    assert len(guest.driver.poll(1)) == 2


def test_input_waits_for_the_port_and_for_buffers(flavour):
    console, _ = make()
    guest = Guest(console, flavour)
    feeder = InputFeeder(console.port("stdin"))
    feeder.send(b"hello ")
    feeder.send(b"world")
    guest.driver.add(4, [], [4])
    guest.driver.transport.kick(4)
    assert console.port("stdin").feed(b"?") == 0
    feeder.close()
    assert not guest.driver.poll(4)  # the guest has not opened it
    guest.open(1)
    got = b"".join(b.answer for b in guest.driver.poll(4))
    assert got == b"hell"
    assert (1, OPEN, 0, b"") not in guest.messages()
    while len(got) < 11:
        guest.driver.add(4, [], [4])
        guest.driver.transport.kick(4)
        got += b"".join(b.answer for b in guest.driver.poll(4))
    assert got == b"hello world"
    assert guest.messages() == [(1, OPEN, 0, b"")]  # end of file, after the last byte


def test_a_port_closed_before_the_guest_came_is_never_open():
    console, _ = make()
    console.port("stdin").close()
    guest = Guest(console)
    guest.open(1)
    assert guest.messages() == [(1, NAME, 1, b"stdin")]
    console.port("stdin").open()
    assert guest.messages() == [(1, OPEN, 1, b"")]


def test_only_the_latest_size_waits_for_the_guest():
    console, _ = make(rows_first=True)
    guest = Guest(console, control_buffers=3)
    guest.open(0)
    assert len(guest.messages()) == 3  # kind, name, open: every buffer is used, none given again
    for columns in range(100, 200):
        console.resize(columns, 50)
    guest.driver.transport.kick(CONTROL_RX)
    first = (0, RESIZE, 1, struct.pack("<HH", 50, 100))
    latest = (0, RESIZE, 1, struct.pack("<HH", 50, 199))
    seen = []
    for _ in range(5):
        seen += guest.messages()
        guest.driver.transport.kick(CONTROL_RX)
    assert seen[-1] == latest and len(seen) <= 4 and seen[0] == first


def test_a_driver_without_multiport_has_port_zero(flavour):
    console, sinks = make()
    driver = Driver(console, flavour).start(features=1)
    driver.submit(1, [b"boot"], [])
    assert sinks["console"].take() == b"boot"
    driver.add(0, [], [16])
    assert console.ports[0].feed(b"key") == 3
    assert driver.poll(0)[0].answer == b"key"
    driver.transport.take_interrupts()
    generation = driver.transport.generation()
    console.resize(132, 43)
    assert driver.transport.take_interrupts() == 2
    assert driver.transport.generation() != generation
    assert driver.transport.config(0, 4) == 43 << 16 | 132


def test_emergency_write_needs_no_driver():
    console, sinks = make()
    driver = Driver(console)
    driver.transport.set_config(8, 4, ord("!"))
    assert sinks["console"].take() == b"!"


def test_reset_closes_ports_and_drops_what_was_in_hand():
    sink = MemorySink(limit_bytes=1)
    console = Console(make_memory(), [PortConfig(name="out", sink=sink)])
    guest = Guest(console)
    guest.open(0)
    guest.driver.submit(1, [b"lost"], [])
    guest.driver.start()
    assert not sink.is_open
    sink.take()
    console.ports[0].resume()
    assert not sink.data
    guest.control(0, OPEN)
    guest.driver.submit(1, [b"x"], [])
    assert sink.take() == b"x"


def test_nonsense_control_messages_are_ignored():
    console, _ = make()
    guest = Guest(console)
    guest.driver.submit(CONTROL_TX, [b"abc"], [])
    guest.control(99, OPEN)
    guest.control(0, 1000, 7)
    guest.control(0xFFFF_FFFF, PORT_READY)
    assert not guest.messages() and not guest.driver.needs_reset


def test_too_many_ports_or_no_such_port():
    with pytest.raises(MachineError):
        Console(make_memory(), [PortConfig(name=str(n)) for n in range(32)])
    console, _ = make()
    with pytest.raises(MachineError, match="no port 'x'"):
        console.port("x")
