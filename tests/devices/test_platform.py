"""The board's small devices: bus, ACLINT, PLIC, clock, test finisher."""

from __future__ import annotations

import pytest

from innkeeper.base.errors import MachineError
from innkeeper.devices.aclint import MTIME_OFFSET, AclintMswi, AclintMtimer, AclintSswi
from innkeeper.devices.bus import Bus, BusError, IrqLine
from innkeeper.devices.plic import CONTEXT_OFFSET, ENABLE_OFFSET, PENDING_OFFSET, Plic
from innkeeper.devices.rtc_goldfish import GoldfishRtc
from innkeeper.devices.test_finisher import Finish, TestFinisher
from tests.devices.driver import IrqRecorder


class Scratch:
    def __init__(self):
        self.log = []

    def read(self, offset, size):
        return offset << 8 | size

    def write(self, offset, size, value):
        self.log.append((offset, size, value))


def test_the_bus_routes_by_address():
    bus, low, high = Bus(), Scratch(), Scratch()
    bus.map(0x2000, 0x100, high, "high")
    bus.map(0x1000, 0x1000, low, "low")
    assert bus.read(0x1FFC, 4) == 0xFFC << 8 | 4
    bus.write(0x2000, 8, 5)
    assert high.log == [(0, 8, 5)] and not low.log
    assert bus.find(0x20FF).name == "high" and bus.find(0x2100) is None
    assert [m.name for m in bus.mappings] == ["low", "high"]


@pytest.mark.parametrize(
    ("gpa", "size"), [(0, 4), (0x1100, 1), (0x10FE, 4), (0x1000, 3), (0x1000, 16)]
)
def test_unmapped_and_odd_accesses_are_bus_errors(gpa, size):
    bus = Bus()
    bus.map(0x1000, 0x100, Scratch(), "it")
    with pytest.raises(BusError):
        bus.read(gpa, size)
    with pytest.raises(BusError):
        bus.write(gpa, size, 0)


@pytest.mark.parametrize(
    ("gpa", "size"), [(0xFFF, 2), (0x1000, 1), (0x10FF, 0x1000), (0x800, 0x1000)]
)
def test_overlapping_mappings_are_refused(gpa, size):
    bus = Bus()
    bus.map(0x1000, 0x100, Scratch(), "first")
    with pytest.raises(MachineError, match="overlaps first"):
        bus.map(gpa, size, Scratch(), "second")


def test_a_line_tells_of_changes_only():
    seen = []
    line = IrqLine(seen.append)
    for level in (False, True, True, False, False):
        line.set(level)
    assert seen == [True, False]


def test_mswi_and_sswi():
    msip, ssip = [], []
    mswi = AclintMswi(2, set_msip=lambda hart, level: msip.append((hart, level)))
    mswi.write(4, 4, 0xFFFF_FFFF)
    assert mswi.read(4, 4) == 1 and mswi.read(0, 4) == 0
    mswi.write(4, 4, 2)
    mswi.write(8, 4, 1)
    assert msip == [(1, True), (1, False)] and mswi.read(8, 4) == 0
    sswi = AclintSswi(2, set_ssip=ssip.append)
    for offset, value in ((0, 0), (4, 1), (8, 1)):
        sswi.write(offset, 4, value)
    assert ssip == [1] and sswi.read(4, 4) == 0


def test_mtimer_by_halves_and_whole():
    compared, set_to = [], []
    timer = AclintMtimer(
        2,
        clock=lambda: 0x1_2345_6789,
        set_mtimecmp=lambda hart, value: compared.append((hart, value)),
        set_mtime=set_to.append,
    )
    assert timer.read(MTIME_OFFSET, 8) == 0x1_2345_6789
    assert (timer.read(MTIME_OFFSET, 4), timer.read(MTIME_OFFSET + 4, 4)) == (0x2345_6789, 1)
    timer.write(8, 8, 0x10_0000_0000)
    timer.write(8, 4, 7)
    timer.write(12, 4, 2)
    assert compared[-1] == (1, 0x2_0000_0007) == (1, timer.read(8, 8))
    assert timer.read(0, 8) == (1 << 64) - 1
    timer.write(MTIME_OFFSET, 4, 0)
    assert set_to == [0x1_0000_0000]
    timer.write(0x100, 8, 1)
    assert timer.read(0x100, 8) == 0 and len(compared) == 3


class PlicRig:
    def __init__(self, sources=96, contexts=4):
        self.eip = {}
        self.plic = Plic(source_count=sources, context_count=contexts, set_eip=self.eip.__setitem__)

    def w(self, offset, value):
        self.plic.write(offset, 4, value)

    def r(self, offset):
        return self.plic.read(offset, 4)

    def enable(self, context, *sources):
        for source in sources:
            at = ENABLE_OFFSET + 0x80 * context + source // 32 * 4
            self.w(at, self.r(at) | 1 << source % 32)
            self.w(4 * source, 1)

    def claim(self, context):
        return self.r(CONTEXT_OFFSET + 0x1000 * context + 4)

    def complete(self, context, source):
        self.w(CONTEXT_OFFSET + 0x1000 * context + 4, source)


def test_plic_claims_by_priority_then_number():
    rig = PlicRig()
    rig.enable(1, 5, 40, 80)
    rig.w(4 * 80, 7)
    lines = {n: rig.plic.line(n) for n in (5, 40, 80)}
    for line in lines.values():
        line.set(True)
    assert rig.eip == {1: True}
    assert [rig.claim(1) for _ in range(4)] == [80, 5, 40, 0]
    assert rig.eip == {1: False}


def test_plic_gateway_waits_for_completion_and_looks_again():
    rig = PlicRig()
    rig.enable(0, 9)
    line = rig.plic.line(9)
    line.set(True)
    assert rig.claim(0) == 9
    line.set(False)
    line.set(True)
    assert rig.claim(0) == 0 and rig.eip[0] is False
    rig.complete(0, 9)
    assert rig.eip[0] is True and rig.claim(0) == 9
    line.set(False)
    rig.complete(0, 9)
    assert rig.eip[0] is False and rig.claim(0) == 0


def test_plic_threshold_enable_and_priority_gate():
    rig = PlicRig()
    rig.enable(2, 3)
    rig.w(CONTEXT_OFFSET + 0x2000, 1)
    rig.plic.line(3).set(True)
    assert rig.r(PENDING_OFFSET) == 1 << 3
    assert not rig.eip and rig.claim(2) == 0
    rig.w(CONTEXT_OFFSET + 0x2000, 0)
    assert rig.eip == {2: True}
    rig.w(4 * 3, 0)
    assert rig.eip == {2: False}
    rig.w(4 * 3, 2)
    rig.w(ENABLE_OFFSET + 0x100, 0)
    assert rig.eip == {2: False} and rig.claim(3) == 0


def test_plic_enabling_a_pending_source_interrupts_at_once():
    rig = PlicRig()
    rig.w(4 * 33, 1)
    rig.plic.line(33).set(True)
    assert not rig.eip
    rig.w(ENABLE_OFFSET + 0x80 * 3 + 4, 2)
    assert rig.eip == {3: True}
    rig.plic.reset()
    assert rig.eip == {3: False} and rig.r(PENDING_OFFSET + 4) == 2


def test_plic_completion_by_a_context_without_the_source_is_ignored():
    rig = PlicRig()
    rig.enable(0, 4)
    rig.plic.line(4).set(True)
    assert rig.claim(0) == 4
    rig.complete(1, 4)
    rig.complete(0, 4000)
    assert rig.claim(0) == 0
    rig.complete(0, 4)
    assert rig.claim(0) == 4


def test_plic_source_zero_and_beyond_do_not_exist():
    rig = PlicRig(sources=40)
    rig.w(0, 7)
    rig.w(ENABLE_OFFSET, 0xFFFF_FFFF)
    rig.w(ENABLE_OFFSET + 4, 0xFFFF_FFFF)
    assert rig.r(0) == 0
    assert (rig.r(ENABLE_OFFSET), rig.r(ENABLE_OFFSET + 4)) == (0xFFFF_FFFE, 0x1FF)
    for source in (0, 41):
        with pytest.raises(MachineError):
            rig.plic.line(source)


class Clock:
    now = 1_700_000_000_000_000_123

    def __call__(self):
        return self.now


def test_goldfish_time_is_latched_and_can_be_set():
    clock = Clock()
    rtc = GoldfishRtc(IrqRecorder().line, clock_ns=clock)
    low = rtc.read(0, 4)
    clock.now += 1 << 33
    assert rtc.read(4, 4) << 32 | low == 1_700_000_000_000_000_123
    rtc.write(4, 4, 1)
    rtc.write(0, 4, 5)
    clock.now += 10
    assert rtc.read(0, 4) == 15 and rtc.read(4, 4) == 1


def test_goldfish_alarm():
    clock, irq, asked = Clock(), IrqRecorder(), []
    rtc = GoldfishRtc(irq.line, clock_ns=clock, set_alarm=asked.append)
    when = clock.now + 1000
    rtc.write(0x10, 4, 1)
    rtc.write(0x0C, 4, when >> 32)
    rtc.write(0x08, 4, when & 0xFFFF_FFFF)
    assert asked == [when] and rtc.read(0x18, 4) == 1
    assert (rtc.read(0x0C, 4) << 32 | rtc.read(0x08, 4)) == when
    rtc.expire()
    assert not irq.line.level  # too early
    clock.now = when
    rtc.expire()
    assert irq.line.level and rtc.read(0x18, 4) == 0
    rtc.write(0x1C, 4, 1)
    assert not irq.line.level
    rtc.write(0x08, 4, 0)
    assert irq.line.level  # an alarm in the past is due
    rtc.write(0x14, 4, 1)
    assert asked[-1] is None


@pytest.mark.parametrize(
    ("value", "size", "expected"),
    [
        (0x5555, 4, [(Finish.PASS, 0)]),
        (0x2A_3333, 4, [(Finish.FAIL, 0x2A)]),
        (0x7777, 2, [(Finish.RESET, 0)]),
        (0x1234, 4, []),
        (0x55, 1, []),
    ],
)
def test_finisher(value, size, expected):
    got = []
    device = TestFinisher(lambda kind, code: got.append((kind, code)))
    device.write(0, size, value)
    device.write(4, 4, 0x5555)
    assert got == expected and device.read(0, 4) == 0
