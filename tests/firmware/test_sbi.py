"""The built-in SBI: every function, with good and bad arguments."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from innkeeper.base.units import KIB
from innkeeper.firmware.sbi import MAX_CONSOLE_BYTES, ULONG_MAX, SbiFirmware, SbiRet
from innkeeper.firmware.sbi_host import Fence, SbiHost
from innkeeper.firmware.sbi_ids import IMPL_ID, Eid, Error, HartState
from tests.firmware.files import PlainMemory

RAM = 0x8000_0000
NOT_RAM = 0x4000_0000
HARTS = 4
OK = SbiRet(Error.SUCCESS)


@dataclass
class Machine:
    """A host that writes down what it was asked."""

    hart_count: int = HARTS
    memory: PlainMemory = field(default_factory=lambda: PlainMemory(RAM, 256 * KIB))
    states: dict[int, HartState] = field(
        default_factory=lambda: {i: HartState(i != 0) for i in range(HARTS)}
    )
    log: list[tuple[object, ...]] = field(default_factory=list)
    typed: bytes = b""
    broken: bool = False
    virtual: bytes | None = None

    def hart_state(self, hart: int) -> HartState:
        return self.states[hart]

    def start_hart(self, hart: int, address: int, opaque: int) -> bool:
        if self.states[hart] is not HartState.STOPPED:
            return False
        self.states[hart] = HartState.STARTED
        self.log.append(("start", hart, address, opaque))
        return True

    def stop_hart(self, hart: int) -> None:
        self.log.append(("stop", hart))

    def suspend_hart(self, hart: int, resume: tuple[int, int] | None) -> None:
        self.log.append(("suspend", hart, resume))

    def set_timer(self, hart: int, value: int) -> None:
        self.log.append(("timer", hart, value))

    def send_ipi(self, hart: int) -> None:
        self.log.append(("ipi", hart))

    def clear_ipi(self, hart: int) -> bool:
        self.log.append(("clear", hart))
        return True

    def remote_fence(
        self, kind: Fence, harts: list[int], start: int, size: int, asid: int | None
    ) -> None:
        self.log.append((kind, harts, start, size, asid))

    def read_virtual(self, hart: int, gva: int, size: int) -> bytes | None:
        self.log.append(("read", hart, gva, size))
        return self.virtual

    def console_write(self, data: bytes) -> int:
        if self.broken:
            raise OSError("gone")
        self.log.append(("write", data))
        return len(data)

    def console_write_byte(self, byte: int) -> None:
        self.console_write(bytes([byte]))

    def console_read(self, count: int) -> bytes:
        if self.broken:
            raise OSError("gone")
        data, self.typed = self.typed[:count], self.typed[count:]
        return data

    def shutdown(self, reason: int) -> None:
        self.log.append(("shutdown", reason))

    def reboot(self, reason: int) -> None:
        self.log.append(("reboot", reason))


@pytest.fixture
def machine() -> Machine:
    return Machine()


def call(machine: Machine, eid: int, fid: int = 0, *args: int, hart: int = 0) -> SbiRet | None:
    host: SbiHost = machine
    padded = (*(arg & ULONG_MAX for arg in args), 0, 0, 0, 0, 0, 0)[:6]
    return SbiFirmware(host, mvendorid=7, marchid=8, mimpid=9).handle(hart, eid, fid, padded)


def run_all(machine: Machine) -> None:
    machine.states = dict.fromkeys(range(HARTS), HartState.STARTED)


@pytest.mark.parametrize(
    ("fid", "value"), [(0, 0x200_0000), (1, IMPL_ID), (2, 1), (4, 7), (5, 8), (6, 9)]
)
def test_base_tells_versions_and_machine(machine: Machine, fid: int, value: int) -> None:
    assert call(machine, Eid.BASE, fid) == SbiRet(Error.SUCCESS, value)


@pytest.mark.parametrize("eid", [*range(9), 0x10, 0x54494D45, 0x735049, 0x52464E43, 0x48534D,
                                 0x53525354, 0x4442434E])  # fmt: skip
def test_probe_finds_what_is_here(machine: Machine, eid: int) -> None:
    assert call(machine, Eid.BASE, 3, eid) == SbiRet(Error.SUCCESS, 1)


@pytest.mark.parametrize(
    "eid", [Eid.PMU, Eid.SUSP, Eid.CPPC, Eid.NACL, Eid.STA, 9, 0x0A00_0000, ULONG_MAX]
)
def test_what_is_not_here_probes_zero_and_is_not_supported(machine: Machine, eid: int) -> None:
    assert call(machine, Eid.BASE, 3, eid) == SbiRet(Error.SUCCESS, 0)
    assert call(machine, eid) == SbiRet(Error.NOT_SUPPORTED)


@pytest.mark.parametrize(
    ("eid", "fid"),
    [(Eid.BASE, 7), (Eid.TIME, 1), (Eid.IPI, 1), (Eid.RFENCE, 3), (Eid.RFENCE, 6), (Eid.RFENCE, 7),
     (Eid.HSM, 4), (Eid.SRST, 1), (Eid.DBCN, 3), (Eid.TIME, ULONG_MAX)],
)  # fmt: skip
def test_an_unknown_function_is_not_supported(machine: Machine, eid: int, fid: int) -> None:
    assert call(machine, eid, fid) == SbiRet(Error.NOT_SUPPORTED)
    assert machine.log == []


def test_set_timer_is_for_the_calling_hart(machine: Machine) -> None:
    assert call(machine, Eid.TIME, 0, ULONG_MAX, hart=2) == OK
    assert machine.log == [("timer", 2, ULONG_MAX)]


@pytest.mark.parametrize(
    ("mask", "base", "harts"),
    [(0b1010, 0, [1, 3]), (0b1, 3, [3]), (0, 0, []), (0xFFFF, -1, [0, 1, 2, 3]),
     (0, -1, [0, 1, 2, 3])],
)  # fmt: skip
def test_ipi_reaches_the_harts_of_the_mask(
    machine: Machine, mask: int, base: int, harts: list[int]
) -> None:
    run_all(machine)
    assert call(machine, Eid.IPI, 0, mask, base) == OK
    assert machine.log == [("ipi", hart) for hart in harts]


@pytest.mark.parametrize(
    ("mask", "base"), [(0b10000, 0), (1 << 63, 0), (0b11, 3), (1, 4), (0, 4), (1, -2), (1, 1 << 40)]
)
def test_a_mask_with_a_hart_that_is_not_reaches_nobody(
    machine: Machine, mask: int, base: int
) -> None:
    run_all(machine)
    for eid in (Eid.IPI, Eid.RFENCE):
        assert call(machine, eid, 0, mask, base) == SbiRet(Error.INVALID_PARAM)
    assert machine.log == []


def test_stopped_harts_get_no_ipi_and_no_fence(machine: Machine) -> None:
    machine.states[2] = HartState.SUSPENDED
    call(machine, Eid.IPI, 0, 0, -1)
    call(machine, Eid.RFENCE, 0, 0, -1)
    assert machine.log[:2] == [("ipi", 0), ("ipi", 2)]
    assert machine.log[2][:2] == (Fence.FENCE_I, [0, 2])


@pytest.mark.parametrize(
    ("fid", "args", "expected"),
    [
        (0, (), (Fence.FENCE_I, [0, 1], 0, ULONG_MAX, None)),
        (1, (0x1000, 0x2000), (Fence.SFENCE_VMA, [0, 1], 0x1000, 0x2000, None)),
        (1, (0, 0), (Fence.SFENCE_VMA, [0, 1], 0, ULONG_MAX, None)),
        (1, (0x1000, -1), (Fence.SFENCE_VMA, [0, 1], 0x1000, ULONG_MAX, None)),
        (2, (0x1000, 0x2000, 5), (Fence.SFENCE_VMA_ASID, [0, 1], 0x1000, 0x2000, 5)),
    ],
)  # fmt: skip
def test_remote_fences_reach_the_host(
    machine: Machine, fid: int, args: tuple[int, ...], expected: tuple[object, ...]
) -> None:
    run_all(machine)
    assert call(machine, Eid.RFENCE, fid, 0b11, 0, *args) == OK
    assert machine.log == [expected]


def test_a_stopped_hart_starts_once(machine: Machine) -> None:
    assert call(machine, Eid.HSM, 0, 1, RAM + 0x1000, 0xABCD) == OK
    assert machine.log == [("start", 1, RAM + 0x1000, 0xABCD)]
    assert call(machine, Eid.HSM, 0, 1, RAM + 0x1000, 0) == SbiRet(Error.ALREADY_AVAILABLE)


@pytest.mark.parametrize(
    ("hart", "address", "error"),
    [(HARTS, RAM, Error.INVALID_PARAM), (-1, RAM, Error.INVALID_PARAM),
     (1, NOT_RAM, Error.INVALID_ADDRESS),
     (1, RAM + 1, Error.INVALID_ADDRESS), (1, -2, Error.INVALID_ADDRESS),
     (1, RAM + 256 * KIB, Error.INVALID_ADDRESS)],
)  # fmt: skip
def test_a_bad_hart_start_is_refused(
    machine: Machine, hart: int, address: int, error: Error
) -> None:
    assert call(machine, Eid.HSM, 0, hart, address) == SbiRet(error)
    assert machine.log == []


def test_stop_does_not_return(machine: Machine) -> None:
    assert call(machine, Eid.HSM, 1, hart=3) is None
    assert machine.log == [("stop", 3)]


def test_status_tells_the_state(machine: Machine) -> None:
    machine.states[2] = HartState.SUSPENDED
    assert [call(machine, Eid.HSM, 2, i) for i in range(3)] == [
        SbiRet(Error.SUCCESS, 0), SbiRet(Error.SUCCESS, 1), SbiRet(Error.SUCCESS, 4)
    ]  # fmt: skip
    assert call(machine, Eid.HSM, 2, HARTS) == SbiRet(Error.INVALID_PARAM)


def test_retentive_suspend_returns_and_the_other_does_not(machine: Machine) -> None:
    assert call(machine, Eid.HSM, 3, 0, NOT_RAM, 5) == OK
    assert call(machine, Eid.HSM, 3, 0x8000_0000, RAM, 5) is None
    sign_extended = -0x8000_0000
    assert call(machine, Eid.HSM, 3, sign_extended, RAM, 6) is None
    assert machine.log == [("suspend", 0, None), ("suspend", 0, (RAM, 5)), ("suspend", 0, (RAM, 6))]


@pytest.mark.parametrize(
    "kind", [1, 0x0FFF_FFFF, 0x1000_0000, 0x8000_0001, 0x9000_0000, 0xFFFF_FFFF]
)
def test_other_suspend_types_are_invalid(machine: Machine, kind: int) -> None:
    assert call(machine, Eid.HSM, 3, kind, RAM) == SbiRet(Error.INVALID_PARAM)
    assert machine.log == []


def test_non_retentive_suspend_wants_an_address_in_ram(machine: Machine) -> None:
    result = call(machine, Eid.HSM, 3, 0x8000_0000, NOT_RAM)
    assert result == SbiRet(Error.INVALID_ADDRESS) and machine.log == []


@pytest.mark.parametrize(
    ("kind", "reason", "asked"),
    [
        (0, 0, ("shutdown", 0)),
        (0, 1, ("shutdown", 1)),
        (1, 0, ("reboot", 0)),
        (2, 1, ("reboot", 1)),
    ],
)
def test_system_reset_goes_down_and_does_not_return(
    machine: Machine, kind: int, reason: int, asked: tuple[str, int]
) -> None:
    assert call(machine, Eid.SRST, 0, kind, reason) is None
    assert machine.log == [asked]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(3, 0), (0xF000_0000, 0), (0, 2), (0, 0xE000_0000), (1, 0xF000_0000), (-1, 0), (0, -1)],
)
def test_a_bad_system_reset_changes_nothing(machine: Machine, kind: int, reason: int) -> None:
    assert call(machine, Eid.SRST, 0, kind, reason) == SbiRet(Error.INVALID_PARAM)
    assert machine.log == []


def test_console_write_takes_guest_memory(machine: Machine) -> None:
    machine.memory.write(RAM + 16, b"hello")
    assert call(machine, Eid.DBCN, 0, 5, RAM + 16, 0) == SbiRet(Error.SUCCESS, 5)
    assert machine.log == [("write", b"hello")]


def test_console_write_moves_a_bounded_part(machine: Machine) -> None:
    result = call(machine, Eid.DBCN, 0, 128 * KIB, RAM)
    assert result == SbiRet(Error.SUCCESS, MAX_CONSOLE_BYTES)


def test_console_read_puts_what_was_typed_into_guest_memory(machine: Machine) -> None:
    machine.typed = b"ls -l\n"
    assert call(machine, Eid.DBCN, 1, 4, RAM) == SbiRet(Error.SUCCESS, 4)
    assert call(machine, Eid.DBCN, 1, 4, RAM + 4) == SbiRet(Error.SUCCESS, 2)
    assert call(machine, Eid.DBCN, 1, 4, RAM + 8) == SbiRet(Error.SUCCESS, 0)
    assert machine.memory.read(RAM, 9) == b"ls -l\n\0\0\0"


@pytest.mark.parametrize(
    ("count", "low", "high"),
    [(1, NOT_RAM, 0), (1, RAM, 1), (256 * KIB + 1, RAM, 0), (-1, RAM, 0), (2, -1, 0),
     (1, RAM - 1, 0),
     (16, RAM + 256 * KIB - 8, 0)],
)  # fmt: skip
def test_console_memory_that_is_not_ram_is_invalid(
    machine: Machine, count: int, low: int, high: int
) -> None:
    machine.typed = b"typed"
    for fid in (0, 1):
        assert call(machine, Eid.DBCN, fid, count, low, high) == SbiRet(Error.INVALID_PARAM)
    assert machine.log == [] and machine.typed == b"typed"


def test_nothing_to_write_or_read_is_fine(machine: Machine) -> None:
    assert call(machine, Eid.DBCN, 0, 0, NOT_RAM) == OK
    assert call(machine, Eid.DBCN, 1, 0, NOT_RAM) == OK


def test_console_write_byte_takes_the_low_byte(machine: Machine) -> None:
    assert call(machine, Eid.DBCN, 2, 0x1_41) == OK
    assert machine.log == [("write", b"A")]


def test_a_broken_console_fails_and_does_not_raise(machine: Machine) -> None:
    machine.broken = True
    for fid, args in ((0, (1, RAM)), (1, (1, RAM)), (2, (65,))):
        assert call(machine, Eid.DBCN, fid, *args) == SbiRet(Error.FAILED)
    assert call(machine, Eid.LEGACY_PUTCHAR, 0, 65) == SbiRet(Error.FAILED, None)
    assert call(machine, Eid.LEGACY_GETCHAR) == SbiRet(-1, None)


def test_legacy_calls_leave_a1_alone(machine: Machine) -> None:
    machine.typed = b"\xff"
    assert call(machine, Eid.LEGACY_SET_TIMER, 99, 1234) == SbiRet(0, None)
    assert call(machine, Eid.LEGACY_PUTCHAR, 99, 0x41) == SbiRet(0, None)
    assert call(machine, Eid.LEGACY_GETCHAR, 99) == SbiRet(255, None)
    assert call(machine, Eid.LEGACY_GETCHAR, 99) == SbiRet(-1, None)
    assert call(machine, Eid.LEGACY_CLEAR_IPI) == SbiRet(1, None)
    assert machine.log == [("timer", 0, 1234), ("write", b"A"), ("clear", 0)]


def test_legacy_masks_are_read_through_the_callers_page_tables(machine: Machine) -> None:
    run_all(machine)
    machine.virtual = (0b110).to_bytes(8, "little")
    assert call(machine, Eid.LEGACY_SEND_IPI, 0, 0xFFFF_0000) == SbiRet(0, None)
    assert call(machine, Eid.LEGACY_REMOTE_FENCE_I, 0, 0xFFFF_0000) == SbiRet(0, None)
    assert call(machine, Eid.LEGACY_REMOTE_SFENCE_VMA, 0, 0xFFFF_0000, 1, 2) == SbiRet(0, None)
    call(machine, Eid.LEGACY_REMOTE_SFENCE_VMA_ASID, 0, 0xFFFF_0000, 1, 2, 3)
    read = ("read", 0, 0xFFFF_0000, 8)
    assert machine.log == [
        read, ("ipi", 1), ("ipi", 2),
        read, (Fence.FENCE_I, [1, 2], 0, ULONG_MAX, None),
        read, (Fence.SFENCE_VMA, [1, 2], 1, 2, None),
        read, (Fence.SFENCE_VMA_ASID, [1, 2], 1, 2, 3),
    ]  # fmt: skip


def test_a_legacy_mask_that_is_null_means_all_and_one_that_traps_does_not_return(
    machine: Machine,
) -> None:
    run_all(machine)
    call(machine, Eid.LEGACY_SEND_IPI, 0, 0)
    assert machine.log == [("ipi", hart) for hart in range(HARTS)]
    assert call(machine, Eid.LEGACY_SEND_IPI, 0, 0x1000) is None
    assert call(machine, Eid.LEGACY_REMOTE_FENCE_I, 0, 0x1000) is None
    machine.virtual = b"\xff" * 8
    assert call(machine, Eid.LEGACY_SEND_IPI, 0, 0x1000) == SbiRet(Error.INVALID_PARAM, None)


def test_legacy_shutdown_does_not_return(machine: Machine) -> None:
    assert call(machine, Eid.LEGACY_SHUTDOWN) is None
    assert machine.log == [("shutdown", 0)]


_words = st.one_of(
    st.integers(0, ULONG_MAX), st.sampled_from([0, 1, RAM, RAM - 1, ULONG_MAX, 1 << 31, 1 << 63])
)


@settings(derandomize=True, max_examples=400, deadline=None)
@given(
    st.one_of(st.sampled_from([int(eid) for eid in Eid]), st.integers(0, ULONG_MAX)),
    st.integers(0, 8),
    st.tuples(_words, _words, _words, _words, _words, _words),
)
def test_any_call_is_answered(eid: int, fid: int, args: tuple[int, ...]) -> None:
    result = SbiFirmware(Machine()).handle(1, eid, fid, args)
    assert result is None or Error.NO_SHMEM <= result.error <= 255
