"""Character streams on real pipes, with a port that takes a little at a time."""

from __future__ import annotations

import os
import threading

from innkeeper.backends.char import CallbackSink, InputFeeder, MemorySink
from innkeeper.backends.fd_stream import BUFFER_BYTES, FdReader, FdWriter
from innkeeper.devices.char import CharPort, NullSink


class SlowPort(CharPort):
    """Take `step` bytes a time; the test plays the guest with `more`."""

    def __init__(self, step=3):
        super().__init__()
        self.step, self.got = step, bytearray()
        self.closed = threading.Event()
        self.fed = threading.Event()
        self.resumed = threading.Event()

    def feed(self, data):
        taken = min(self.step, len(data))
        self.got += data[:taken]
        self.fed.set()
        return taken

    def close(self):
        self.closed.set()

    def resume(self):
        self.resumed.set()


def test_feeder_gives_all_in_order_then_the_end():
    port = SlowPort()
    room = []
    feeder = InputFeeder(port, limit_bytes=8, on_room=lambda: room.append(1))
    assert feeder.send(b"abcdefghijkl") == 8
    assert feeder.room == 3
    feeder.close()
    assert not port.closed.is_set()
    while not port.closed.is_set():
        assert port.on_writable
        port.on_writable()
    assert port.got == b"abcdefgh" and room == [1]


def test_sinks():
    memory, got, opens = MemorySink(limit_bytes=3), [], []
    assert memory.write(b"abcd") == 3 and memory.take() == b"abc" and memory.write(b"d") == 1
    sink = CallbackSink(got.append, opens.append)
    assert sink.write(memoryview(b"xy")) == 2
    sink.guest_open(True)
    assert got == [b"xy"] and opens == [True]
    assert NullSink().write(b"abc") == 3


def test_reader_feeds_a_pipe_and_tells_its_end():
    source, write_end = os.pipe()
    port, lock, ended = SlowPort(step=1 << 20), threading.RLock(), []
    reader = FdReader(
        source, port, lock=lock, transform=bytes.upper, on_eof=lambda: ended.append(1)
    )
    reader.start()
    os.write(write_end, b"hello ")
    os.write(write_end, b"world")
    os.close(write_end)
    assert port.closed.wait(10)
    reader.stop()
    assert port.got == b"HELLO WORLD" and ended == [1]
    os.close(source)


def test_reader_stops_while_the_guest_takes_nothing():
    source, write_end = os.pipe()
    port = SlowPort(step=0)
    reader = FdReader(source, port, lock=threading.RLock())
    reader.start()
    os.write(write_end, b"x" * 100)
    assert port.fed.wait(10)
    reader.stop()
    reader.stop()
    assert not port.closed.is_set()
    os.close(source)
    os.close(write_end)


def test_writer_holds_the_guest_back_and_resumes_it():
    read_end, target = os.pipe()
    port = SlowPort()
    writer = FdWriter(target, lock=threading.RLock())
    writer.attach(port)
    assert port.sink is writer
    data = bytes(range(256)) * (BUFFER_BYTES // 128)
    taken = writer.write(data)
    assert taken == BUFFER_BYTES and writer.write(b"x") == 0
    writer.start()
    assert port.resumed.wait(10)
    got = bytearray()
    while len(got) < taken:
        got += os.read(read_end, 1 << 16)
    assert got == data[:taken]
    assert writer.drain(10)
    writer.write(b"last")
    writer.stop(10)
    assert os.read(read_end, 10) == b"last"
    os.close(read_end)
    os.close(target)


def test_writer_to_a_broken_pipe_tells_once_and_drops_the_rest():
    read_end, target = os.pipe()
    os.close(read_end)
    errors = []
    writer = FdWriter(target, lock=threading.RLock(), on_error=errors.append)
    writer.start()
    writer.write(b"a")
    assert writer.drain(10)
    assert writer.write(b"b" * (2 * BUFFER_BYTES)) == 2 * BUFFER_BYTES
    writer.stop(10)
    assert [type(e) for e in errors] == [BrokenPipeError]
    os.close(target)
