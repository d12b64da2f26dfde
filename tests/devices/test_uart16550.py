"""The 16550A, as Linux's 8250 driver, OpenSBI and U-Boot use it."""

from __future__ import annotations

import pytest

from innkeeper.backends.char import InputFeeder, MemorySink
from innkeeper.devices import uart16550 as u
from tests.devices.driver import IrqRecorder


class Rig:
    def __init__(self, limit=1000, **kwargs):
        self.irq = IrqRecorder()
        self.sink = MemorySink(limit_bytes=limit)
        self.uart = u.Uart16550(self.irq.line, self.sink, **kwargs)

    def r(self, reg):
        return self.uart.read(reg, 1)

    def w(self, reg, value):
        self.uart.write(reg, 1, value)

    @property
    def cause(self):
        return self.r(u.IIR_FCR) & 0x0F


@pytest.fixture
def rig():
    return Rig()


def test_a_byte_written_is_a_byte_sent(rig):
    for byte in b"hi\xff":
        assert rig.r(u.LSR) & u.LSR_THRE
        rig.w(u.RBR_THR, byte)
    assert rig.sink.take() == b"hi\xff"


def test_the_probe_of_the_linux_driver_finds_a_16550a(rig):
    rig.w(u.IER, 0)
    assert rig.r(u.IER) == 0
    rig.w(u.IER, 0xFF)
    assert rig.r(u.IER) == 0x0F  # more bits would be another chip
    rig.w(u.IER, 0)
    rig.w(u.MCR, u.MCR_LOOP | 0x0A)
    assert rig.r(u.MSR) & 0xF0 == 0x90
    rig.w(u.MCR, 0)
    rig.w(u.IIR_FCR, 1)
    assert rig.r(u.IIR_FCR) >> 6 == 3
    rig.w(u.LCR, 0x80)
    assert rig.r(2) != 0  # no extended feature register
    rig.w(u.LCR, 0)
    rig.w(u.SCR, 0x5A)
    assert rig.r(u.SCR) == 0x5A


def test_the_divisor_hides_behind_dlab(rig):
    rig.w(u.LCR, 0x83)
    rig.w(0, 0x34)
    rig.w(1, 0x12)
    assert (rig.r(0), rig.r(1), rig.r(u.LCR)) == (0x34, 0x12, 0x83)
    rig.w(u.LCR, 3)
    assert (rig.r(0), rig.r(1)) == (0, 0)
    assert not rig.sink.data


def test_enabling_thre_interrupts_at_once_and_reading_iir_clears_it(rig):
    rig.w(u.IER, u.IER_THRE)
    assert rig.irq.line.level
    assert rig.cause == u.IIR_THRE
    assert rig.cause == u.IIR_NONE and not rig.irq.line.level
    rig.w(u.IER, 0)
    rig.w(u.IER, u.IER_THRE)
    assert rig.irq.line.level
    rig.cause  # noqa: B018 - reading acknowledges
    rig.w(u.RBR_THR, 65)
    assert rig.irq.line.level and rig.cause == u.IIR_THRE


def test_receive_interrupts_by_trigger_level_and_timeout(rig):
    rig.w(u.IIR_FCR, 0x81)  # trigger at 8
    rig.w(u.IER, u.IER_RX)
    assert not rig.irq.line.level
    assert rig.uart.feed(b"abc") == 3
    assert rig.irq.line.level and rig.cause == u.IIR_TIMEOUT
    assert rig.uart.feed(b"defgh") == 5
    assert rig.cause == u.IIR_RX
    got = b""
    while rig.r(u.LSR) & u.LSR_DATA:
        got += bytes([rig.r(0)])
    assert got == b"abcdefgh"
    assert not rig.irq.line.level and rig.cause == u.IIR_NONE


def test_input_waits_for_the_fifo(rig):
    rig.w(u.IIR_FCR, 1)
    feeder = InputFeeder(rig.uart)
    text = bytes(range(100))
    assert feeder.send(text) == 100
    got = b""
    while rig.r(u.LSR) & u.LSR_DATA:
        got += bytes([rig.r(0)])
    assert got == text


def test_without_fifo_one_byte_fits(rig):
    assert rig.uart.feed(b"xy") == 1
    assert rig.r(0) == ord("x")


def test_output_that_the_host_does_not_take_holds_thre_down():
    rig = Rig(limit=2)
    rig.w(u.IER, u.IER_THRE)
    assert rig.cause == u.IIR_THRE
    for byte in b"abc":
        rig.w(0, byte)
    assert not rig.r(u.LSR) & (u.LSR_THRE | u.LSR_IDLE)
    assert not rig.irq.line.level
    assert rig.sink.take() == b"ab"
    rig.uart.resume()
    assert rig.sink.take() == b"c"
    assert rig.r(u.LSR) & u.LSR_THRE and rig.irq.line.level


def test_loopback_returns_bytes_and_counts_overruns(rig):
    rig.w(u.IIR_FCR, 1)
    rig.w(u.MCR, u.MCR_LOOP)
    rig.w(u.IER, u.IER_LINE)
    for n in range(17):
        rig.w(0, n)
    assert rig.cause == u.IIR_LINE
    assert rig.r(u.LSR) & (u.LSR_OVERRUN | u.LSR_DATA) == u.LSR_OVERRUN | u.LSR_DATA
    assert not rig.r(u.LSR) & u.LSR_OVERRUN
    assert [rig.r(0) for _ in range(17)] == [*range(16), 0]
    assert not rig.sink.data


def test_registers_may_lie_four_bytes_apart():
    rig = Rig(reg_shift=2)
    rig.w(0, ord("z"))
    rig.w(u.SCR << 2, 7)
    assert rig.sink.take() == b"z" and rig.r(u.SCR << 2) == 7
    assert rig.r(0xFF) == 0
