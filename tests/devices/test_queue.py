"""Virtqueues of both formats, through a device that echoes."""

from __future__ import annotations

import pytest

from innkeeper.devices.virtio.device import VirtioDevice
from innkeeper.devices.virtio.queue import Virtqueue
from tests.devices.driver import FLAVOURS, Driver, Flavour, make_memory


class Echo(VirtioDevice):
    """Answer each buffer with its own bytes, now or when `release` is called."""

    device_id, name = 42, "echo"

    def __init__(self, memory, *, sizes=(64,)):
        super().__init__(memory, queue_sizes=sizes)
        self.held = None

    def handle_queue(self, queue: Virtqueue) -> None:
        while (chain := queue.pop()) is not None:
            if self.held is not None:
                self.held.append(chain)
            else:
                queue.used(chain, chain.write(chain.read()))
        self.notify(queue)

    def release(self, order) -> None:
        held, self.held = self.held, None
        for index in order:
            chain = held[index]
            self.queues[0].used(chain, chain.write(chain.read()))
        self.notify(self.queues[0])


@pytest.fixture(params=FLAVOURS, ids=str)
def driver(request) -> Driver:
    return Driver(Echo(make_memory()), request.param)


def test_bytes_come_back_through_many_laps_of_the_ring(driver):
    driver.start(queue_size=8)
    for lap in range(100):
        data = [bytes([lap, n]) * (n + 1) for n in range(1 + lap % 3)]
        whole = b"".join(data)
        buffer = driver.submit(0, data, [3, 1, len(whole)][: 1 + lap % 3] + [len(whole)])
        assert buffer.answer == whole
    assert not driver.needs_reset


def test_buffers_used_out_of_order_reach_their_owners(driver):
    driver.start(queue_size=16)
    for lap in range(20):
        driver.device.held = []
        buffers = [driver.submit(0, [b"%d-%d" % (lap, n)], [16]) for n in range(5)]
        driver.device.release([3, 0, 4, 1, 2])
        assert len(driver.poll(0)) == 5
        assert [b.answer for b in buffers] == [b"%d-%d" % (lap, n) for n in range(5)]


def test_a_full_ring_is_served(driver):
    driver.start(queue_size=8)
    buffers = [driver.add(0, [b"%d" % n], []) for n in range(8)]
    driver.transport.kick(0)
    assert driver.poll(0) == buffers
    assert not driver.needs_reset


def test_interrupts_follow_the_drivers_wish(driver):
    driver.start(queue_size=8)
    irq = driver.transport.irq
    ring = driver.rings[0]
    for _lap in range(20):
        ring.want_interrupt(False)
        driver.submit(0, [b"quiet"], [8])
        assert driver.transport.take_interrupts() == 0
        ring.want_interrupt(True)
        before = irq.rises
        driver.submit(0, [b"loud"], [8])
        assert irq.rises == before + 1
        assert driver.transport.take_interrupts() == 1
        assert not irq.line.level


@pytest.mark.parametrize("packed", [False, True])
def test_the_event_index_spares_kicks_while_the_device_is_behind(packed):
    driver = Driver(Echo(make_memory()), Flavour(packed=packed, event_idx=True)).start()
    ring = driver.rings[0]
    driver.transport.kick(0)  # the device looks, finds nothing, and asks for a kick at the first
    driver.add(0, [b"a"], [1])
    assert ring.wants_kick()
    driver.add(0, [b"b"], [1])
    assert not ring.wants_kick()
    driver.transport.kick(0)
    assert len(driver.poll(0)) == 2
    driver.add(0, [b"c"], [1])
    assert ring.wants_kick()


def test_device_writes_are_told_to_the_engine(driver):
    told: list[tuple[int, int]] = []
    driver.start()
    driver.memory.on_dma_write = lambda gpa, size: told.append((gpa, size))
    buffer = driver.add(0, [b"12345678"], [3, 10])
    told.clear()
    driver.transport.kick(0)
    (_, _, _), (first, _, _), (second, _, _) = buffer.segments
    assert (first, 3) in told and (second, 5) in told


class Refilling(Echo):
    """Echo for a guest whose other hart adds a buffer for each one that is used."""

    driver: Driver
    left = 0

    def handle_queue(self, queue: Virtqueue) -> None:
        while (chain := queue.pop()) is not None:
            queue.used(chain, chain.write(b"x"))
            self.driver.poll(0)
            if self.left:
                self.left -= 1
                self.driver.rings[0].add(self.buffer)
        self.notify(queue)


def test_a_kick_is_bounded_when_the_machine_can_defer(monkeypatch):
    monkeypatch.setattr("innkeeper.devices.virtio.device.MAX_CHAINS_PER_KICK", 10)
    device = Refilling(make_memory())
    device.driver = driver = Driver(device).start()
    device.left, device.buffer = 24, driver.buffer([], [1])
    deferred = []
    device.defer = deferred.append
    driver.rings[0].add(device.buffer)
    driver.transport.kick(0)
    left = [device.left]
    while deferred:
        deferred.pop()()
        left.append(device.left)
    assert left == [14, 4, 0]


def test_a_reset_forgets_the_rings(driver):
    driver.start(queue_size=8)
    assert driver.submit(0, [b"one"], [3]).answer == b"one"
    driver.start(queue_size=4)
    assert driver.submit(0, [b"two"], [3]).answer == b"two"
    assert driver.device.queues[0].size == 4
