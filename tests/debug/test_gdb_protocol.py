"""The protocol as scripts of packets, against a machine in memory."""

from __future__ import annotations

import binascii
from xml.etree import ElementTree

import pytest
from fake_machine import ADD, BASE, CELL, LOAD, LOOP, PROGRAM, SIZE, STORE, FakeMachine
from hypothesis import given, settings
from hypothesis import strategies as st

from innkeeper.base.errors import MachineError
from innkeeper.debug import inspection
from innkeeper.debug.gdb_protocol import GdbSession
from innkeeper.debug.packets import (
    MAX_PACKET_BYTES,
    Packet,
    PacketReader,
    Signal,
    checksum,
    escape,
    pack,
    unescape,
)
from innkeeper.debug.target import StopReply


class Script:
    """A client without acknowledgements: a packet's data in, the reply's data out."""

    def __init__(self, machine: FakeMachine | None = None) -> None:
        self.machine = machine or FakeMachine()
        self.session = GdbSession(self.machine, self.machine.stop or StopReply())
        assert self.session.receive(pack(b"QStartNoAckMode")) == b"+" + pack(b"OK")

    def __call__(self, data: bytes) -> bytes:
        return self._data(self.session.receive(pack(data)))

    def run(self, data: bytes) -> bytes:
        """Resume, and return the stop reply."""
        assert self.session.receive(pack(data)) == b""
        assert self.session.running
        stop = self.machine.wait_stop(0)
        assert stop is not None
        return self._data(self.session.stopped(stop))

    @staticmethod
    def _data(reply: bytes) -> bytes:
        events = PacketReader().feed(reply)
        assert len(events) == 1, reply
        assert isinstance(events[0], Packet)
        return events[0].data


@pytest.fixture
def script() -> Script:
    return Script()


def test_packets_survive_any_cut() -> None:
    stream = b"+$m0,4#fd\x03-" + pack(b"X0,2:" + escape(b"}#")) + b"junk$a#00"
    expected = [
        Signal.ACK,
        Packet(b"m0,4"),
        Signal.INTERRUPT,
        Signal.NAK,
        Packet(b"X0,2:}#"),
        Signal.DAMAGED,
    ]
    for step in (1, 2, 3, 5, len(stream)):
        reader = PacketReader()
        events = [
            e for at in range(0, len(stream), step) for e in reader.feed(stream[at : at + step])
        ]
        assert events == expected


@settings(max_examples=100, derandomize=True, deadline=None)
@given(data=st.binary(max_size=200))
def test_escapes_round_trip(data: bytes) -> None:
    assert not set(b"#$*") & set(escape(data))
    assert unescape(escape(data)) == data
    assert PacketReader().feed(pack(escape(data))) == [Packet(data)]


def test_a_lone_escape_is_harmless() -> None:
    assert unescape(b"a}") == b"a"
    assert unescape(b"}}") == b"]"


def test_packets_that_are_too_long_are_dropped() -> None:
    reader = PacketReader()
    longest = b"m" * MAX_PACKET_BYTES
    assert reader.feed(pack(longest)) == [Packet(longest)]
    for _ in range(100):
        assert reader.feed(b"$" + b"m" * MAX_PACKET_BYTES) in ([], [Signal.DAMAGED])
        assert len(reader._body or b"") <= MAX_PACKET_BYTES
    reader.feed(b"#00")
    assert reader.feed(pack(b"g")) == [Packet(b"g")]


def test_acknowledgements() -> None:
    session = GdbSession(FakeMachine(), StopReply())
    reply = pack(b"T05thread:1;")
    assert session.receive(b"$?#3f") == b"+" + reply
    assert session.receive(b"-") == reply
    assert session.receive(b"+") == b""
    assert session.receive(b"$?#00") == b"-"
    session.receive(pack(b"QStartNoAckMode"))
    assert session.receive(b"-") == b""
    assert session.receive(b"$?#00") == b""
    assert session.receive(b"$?#3F") == reply


def test_what_it_says_it_can_do(script: Script) -> None:
    features = script(b"qSupported:multiprocess+;swbreak+;hwbreak+").split(b";")
    assert b"PacketSize=4000" in features
    assert {b"QStartNoAckMode+", b"qXfer:features:read+", b"vContSupported+"} <= set(features)
    assert script(b"vCont?") == b"vCont;c;C;s;S"
    for unknown in (b"vMustReplyEmpty", b"QNonStop:1", b"qOffsets", b"!", b"qTStatus", b"zz", b""):
        assert script(unknown) == b""
    assert script(b"qSymbol::") == b"OK"
    assert script(b"qAttached") == b"1"


def test_harts_are_threads(script: Script) -> None:
    assert script(b"qfThreadInfo") == b"m1,2"
    assert script(b"qsThreadInfo") == b"l"
    assert script(b"qC") == b"QC1"
    assert script(b"Hg2") == b"OK"
    assert script(b"qC") == b"QC2"
    assert script(b"T2") == b"OK"
    assert binascii.unhexlify(script(b"qThreadExtraInfo,2")) == b"hart 1: M-mode at 0x80000000"
    for bad in (b"T3", b"Hg3", b"T0", b"Hx1", b"Hg", b"qThreadExtraInfo,9"):
        assert script(bad) == b"E16"


def test_many_harts_come_in_pieces() -> None:
    script = Script(FakeMachine(hart_count=600))
    pieces = [script(b"qfThreadInfo"), *(script(b"qsThreadInfo") for _ in range(3))]
    assert pieces.pop() == b"l"
    assert all(len(piece) < MAX_PACKET_BYTES for piece in pieces)
    numbers = [int(n, 16) for piece in pieces for n in piece[1:].split(b",")]
    assert numbers == list(range(1, 601))


def test_registers(script: Script) -> None:
    machine = script.machine
    machine.hart_list[1].x[5] = 0x1122
    assert script(b"Hg2") == b"OK"
    everything = binascii.unhexlify(script(b"g"))
    assert len(everything) == 33 * 8
    assert everything[40:48] == (0x1122).to_bytes(8, "little")
    assert everything[256:264] == BASE.to_bytes(8, "little")
    assert script(b"P6=8877665544332211") == b"OK"
    assert machine.hart_list[1].x[6] == 0x1122334455667788
    assert script(b"p6") == b"8877665544332211"
    assert script(b"P0=0100000000000000") == b"OK"
    assert machine.hart_list[1].x[0] == 0
    changed = bytearray(everything)
    changed[8:16] = b"\1" * 8
    assert script(b"G" + binascii.hexlify(changed)) == b"OK"
    assert machine.hart_list[1].x[1] == 0x0101010101010101
    assert machine.hart_list[0].x[1] == 0


def test_registers_beyond_the_general_ones(script: Script) -> None:
    assert script(b"P21=000000000000f03f") == b"OK"  # ft0
    assert script.machine.hart_list[0].f[0] == 0x3FF0000000000000
    assert script(b"p21") == b"000000000000f03f"
    assert script(b"p%x" % (65 + 0x300)) == b"000000000a000000"
    assert script(b"p%x" % (65 + 3)) == b"00000000"  # fcsr has 32 bits
    assert script(b"p%x" % 4161) == b"0300000000000000"
    assert script(b"p%x" % (65 + 0x7FF)) == b"x" * 16
    assert script(b"P%x=0000000000000000" % (65 + 0x7FF)) == b"E05"
    for bad in (b"p1062", b"p", b"p-1", b"px", b"P1=11", b"P1", b"G00", b"Gzz"):
        assert script(bad) == b"E16"


def test_memory(script: Script) -> None:
    assert script(b"m80000000,4") == binascii.hexlify(PROGRAM[:4])
    assert script(b"M80000200,3:0a0b0c") == b"OK"
    assert script(b"X80000203,4:" + escape(b"}#$*")) == b"OK"
    assert script(b"m80000200,7") == b"0a0b0c7d23242a"
    assert script(b"X80000200,0:") == b"OK"
    assert script(b"m%x,10" % (BASE + SIZE - 2)) == b"0000"  # what is there
    assert script(b"m1000,4") == b"E0e"
    assert script(b"M1000,1:00") == b"E0e"
    assert script(b"mffffffffffffffff,8") == b"E0e"
    assert len(script(b"m80000000,ffffffff")) <= MAX_PACKET_BYTES
    assert script(b"m80000000,0") == b""
    for bad in (b"m", b"m1", b"m1,2,3", b"m0x10,4", b"m1_0,4", b"m-1,4", b"m" + b"f" * 17 + b",1",
                b"M80000200,2:00", b"M80000200,1:0", b"M80000200,1", b"X80000200,1:ab",
                b"Mffffffffffffffff,2:0000"):  # fmt: skip
        assert script(bad) == b"E16", bad


def test_breakpoints(script: Script) -> None:
    script(b"qSupported:swbreak+;hwbreak+")
    assert script(b"Z0,%x,4" % LOAD) == b"OK"
    assert script(b"Z0,%x,4" % LOAD) == b"OK"
    assert len(script.machine.breakpoints) == 1
    assert script.run(b"vCont;c") == b"T05thread:1;swbreak:;"
    assert script.machine.hart_list[0].pc == LOAD
    assert script(b"z0,%x,4" % LOAD) == b"OK"
    assert script(b"z0,%x,4" % LOAD) == b"OK"
    assert script(b"Z1,%x,2" % LOOP) == b"OK"
    assert script.run(b"c") == b"T05thread:1;hwbreak:;"
    for bad in (b"Z0", b"Z0,1", b"Z0,1,0", b"Z0,1,100", b"Z2,1,1001", b"Z2,ffffffffffffffff,2",
                b"Z0,1,4;X1,00"):  # fmt: skip
        assert script(bad) == b"E16", bad
    assert script(b"Z7,1,1") == script(b"Z\xb2,1,1") == b""


def test_break_reasons_only_if_the_client_knows_them(script: Script) -> None:
    script(b"Z0,%x,4" % LOAD)
    assert script.run(b"vCont;c") == b"T05thread:1;"
    assert script(b"?") == b"T05thread:1;"


@pytest.mark.parametrize(
    ("kind", "name", "at"), [(2, b"watch", STORE), (3, b"rwatch", LOAD), (4, b"awatch", STORE)]
)
def test_watchpoints(script: Script, kind: int, name: bytes, at: int) -> None:
    assert script(b"Z%d,%x,8" % (kind, CELL)) == b"OK"
    assert script.run(b"c") == b"T05thread:1;" + name + b":%x;" % CELL
    assert script.machine.hart_list[0].pc == at


def test_breakpoints_are_bounded(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "MAX_BREAKPOINTS", 3)
    assert [script(b"Z0,%x,4" % (4 * n)) for n in range(4)] == [b"OK", b"OK", b"OK", b"E1c"]


def test_running_and_stepping(script: Script) -> None:
    script.run(b"s")
    script.run(b"vCont;s:2")
    script.run(b"vCont;s:2;c")
    assert script.machine.log == [
        "resume step=0 harts=None",
        "resume step=1 harts=[1]",
        "resume step=1 harts=None",
    ]
    script.machine.log.clear()
    script(b"Hc2")
    assert script.run(b"s%x" % LOOP).startswith(b"T05thread:2;")
    assert script.machine.hart_list[1].pc == ADD
    script.run(b"S05")
    script.run(b"vCont;S05:1")
    script.run(b"vCont;s")
    assert script.machine.log == [
        "resume step=1 harts=[1]",
        "resume step=1 harts=[1]",
        "resume step=0 harts=[0]",
        "resume step=0 harts=[0]",
    ]
    for bad in (b"vCont;", b"vCont;x", b"vCont;c:9", b"vCont;cc", b"vCont;Szz", b"vCont;t", b"cxyz",
                b"C", b"vCont;s:p1.1"):  # fmt: skip
        assert script(bad) == b"E16", bad
    assert not script.session.running


def test_interrupt(script: Script) -> None:
    assert script.session.receive(pack(b"c")) == b""
    assert script.machine.wait_stop(0) is None
    assert script.session.receive(pack(b"g")) == b""  # not while it runs
    assert script.session.receive(b"\x03") == b""
    stop = script.machine.wait_stop(0)
    assert stop is not None
    assert script.session.stopped(stop) == pack(b"T02thread:1;")
    assert script.session.receive(b"\x03") == b""  # nothing runs


def test_the_guest_powers_off() -> None:
    script = Script(FakeMachine(exit_after=50))
    assert script.run(b"c") == b"W07"
    assert script.session.finished
    script.session.close()
    assert "detach" not in script.machine.log


def test_detaching_removes_breakpoints(script: Script) -> None:
    script(b"Z0,%x,4" % LOAD)
    script(b"Z2,%x,8" % CELL)
    assert script(b"D") == b"OK"
    assert script.session.finished
    assert script.machine.breakpoints == set()
    script.session.close()
    assert script.machine.log == ["detach"]
    assert script.session.receive(pack(b"g")) == b""


def test_a_lost_connection_is_a_detach(script: Script) -> None:
    script(b"Z0,%x,4" % LOAD)
    script.session.close()
    assert script.machine.breakpoints == set()
    assert script.machine.log == ["detach"]


@pytest.mark.parametrize(("packet", "reply"), [(b"k", b""), (b"vKill;1", pack(b"OK"))])
def test_killing(script: Script, packet: bytes, reply: bytes) -> None:
    assert script.session.receive(pack(packet)) == reply
    script.session.close()
    assert script.machine.log == ["kill"]
    assert script.session.finished


def test_monitor_commands(script: Script) -> None:
    def monitor(command: str) -> str:
        return binascii.unhexlify(script(b"qRcmd," + binascii.hexlify(command.encode()))).decode()

    assert monitor("info") == "a fake machine with 2 harts\n"
    assert "reset" in monitor("help")
    assert monitor("reset").startswith("reset")
    assert script.machine.log == ["reset"]
    assert "no monitor command 'frob'" in monitor("frob")
    assert script(b"qRcmd,zz") == b"E16"


def test_the_description_is_what_gdb_asks_for(script: Script) -> None:
    text, at = b"", 0
    while True:
        piece = script(b"qXfer:features:read:target.xml:%x,100" % at)
        text += piece[1:]
        at += len(piece) - 1
        if piece[:1] == b"l":
            break
        assert piece[:1] == b"m"
    root = ElementTree.fromstring(text)
    assert root.findtext("architecture") == "riscv:rv64"
    registers = {reg.get("name"): int(reg.get("regnum", "")) for reg in root.iter("reg")}
    expected = {"zero": 0, "ra": 1, "fp": 8, "a0": 10, "t6": 31, "pc": 32, "ft0": 33, "ft11": 64}
    expected |= {"fcsr": 68, "mstatus": 65 + 0x300, "satp": 65 + 0x180, "priv": 4161, "v31": 4193}
    assert expected.items() <= registers.items()
    assert len(set(registers.values())) == len(registers)
    features = [feature.get("name") for feature in root.iter("feature")]
    names = ("cpu", "fpu", "csr", "vector", "virtual")
    assert features == [f"org.gnu.gdb.riscv.{name}" for name in names]
    assert {reg.get("bitsize") for reg in root.iter("reg") if reg.get("group") == "vector"} == {
        "128"
    }
    assert script(b"qXfer:features:read:target.xml:fffff,100") == b"l"
    assert script(b"qXfer:features:read:other.xml:0,100") == b"E00"
    assert script(b"qXfer:features:read:target.xml:zz,100") == b"E16"
    assert script(b"qXfer:memory-map:read::0,100") == b""


def test_a_machine_that_cannot_is_an_error_reply(script: Script, monkeypatch) -> None:
    def broken(*_args: object, **_more: object) -> None:
        raise MachineError("the engine is gone")

    monkeypatch.setattr(script.machine, "read_registers", broken)
    monkeypatch.setattr(script.machine, "resume", broken)
    assert script(b"g") == b"E05"
    assert script(b"c") == b"E05"
    assert not script.session.running


_STARTS = st.sampled_from(
    [b"?", b"g", b"G", b"p", b"P", b"m", b"M", b"X", b"c", b"C", b"s", b"S", b"vCont;", b"vKill;",
     b"Z0,", b"z2,", b"H", b"T", b"q", b"Q", b"D", b"qXfer:features:read:target.xml:", b"qRcmd,",
     b"qSupported:", b"qThreadExtraInfo,", b"vCont;s:", b"\x03"]
)  # fmt: skip
_ENDS = st.one_of(
    st.binary(max_size=30), st.text("0123456789abcdef,:;-=", max_size=30).map(str.encode)
)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(parts=st.lists(st.tuples(_STARTS, _ENDS, st.booleans()), max_size=12))
def test_no_input_raises(parts: list[tuple[bytes, bytes, bool]]) -> None:
    session = GdbSession(FakeMachine(), StopReply())
    for start, end, framed in parts:
        data = start + end
        out = session.receive(pack(escape(data)) if framed else data)
        assert len(out) <= 2 * MAX_PACKET_BYTES
        if session.running:
            session.stopped(StopReply(hart=1))
    session.close()


def test_checksums() -> None:
    assert pack(b"OK") == b"$OK#9a"
    assert checksum(b"\xff\xff") == 0xFE
