"""A built-in SBI 2.0, so that a kernel boots without a firmware file.

`SbiFirmware.handle` answers one `ecall` from S-mode. It keeps no state: harts, timers and console
belong to the machine, which it reaches through `SbiHost`. TIME, IPI and RFENCE are here as well as
in native code, for engines that have no such shortcut; both must answer the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from innkeeper.base.errors import InnError
from innkeeper.base.units import KIB
from innkeeper.firmware.sbi_host import Fence, SbiHost
from innkeeper.firmware.sbi_ids import (
    IMPL_ID,
    SPEC_VERSION,
    BaseFid,
    DbcnFid,
    Eid,
    Error,
    HartState,
    HsmFid,
    ResetReason,
    ResetType,
    RfenceFid,
    SuspendType,
)

XLEN = 64
ULONG_MAX = (1 << XLEN) - 1
IMPL_VERSION = 1
MAX_CONSOLE_BYTES = 64 * KIB
"""The most one console call moves: DBCN calls may do part of what is asked (SBI 2.0 12.1)."""

MAX_HART_MASK_WORDS = 64
"""The longest hart mask read for a legacy call: 4096 harts."""

_U32 = (1 << 32) - 1


class SbiRet(NamedTuple):
    """What the caller gets: `error` in a0 and `value` in a1; a `value` of None leaves a1 as it is
    (legacy calls).

    Both are signed; a register takes them modulo 2**64.
    """

    error: int
    value: int | None = 0


class _Refused(Exception):
    """A call ends with this error."""

    def __init__(self, error: Error) -> None:
        self.error = error


Args = tuple[int, ...]
_Handler = Callable[[int, int, Args], SbiRet | None]


class SbiFirmware:
    """The supervisor execution environment of one machine."""

    def __init__(
        self, host: SbiHost, *, mvendorid: int = 0, marchid: int = 0, mimpid: int = 0
    ) -> None:
        self._host = host
        self._machine_ids = {
            BaseFid.MVENDORID: mvendorid,
            BaseFid.MARCHID: marchid,
            BaseFid.MIMPID: mimpid,
        }
        self._extensions: dict[int, _Handler] = {
            Eid.BASE: self._base,
            Eid.TIME: self._time,
            Eid.IPI: self._ipi,
            Eid.RFENCE: self._rfence,
            Eid.HSM: self._hsm,
            Eid.SRST: self._srst,
            Eid.DBCN: self._dbcn,
        }
        self._legacy: dict[int, _Handler] = {
            Eid.LEGACY_SET_TIMER: self._legacy_set_timer,
            Eid.LEGACY_PUTCHAR: self._legacy_putchar,
            Eid.LEGACY_GETCHAR: self._legacy_getchar,
            Eid.LEGACY_CLEAR_IPI: self._legacy_clear_ipi,
            Eid.LEGACY_SEND_IPI: self._legacy_send_ipi,
            Eid.LEGACY_REMOTE_FENCE_I: self._legacy_fence,
            Eid.LEGACY_REMOTE_SFENCE_VMA: self._legacy_fence,
            Eid.LEGACY_REMOTE_SFENCE_VMA_ASID: self._legacy_fence,
            Eid.LEGACY_SHUTDOWN: self._legacy_shutdown,
        }

    def handle(self, hart: int, eid: int, fid: int, args: Args) -> SbiRet | None:
        """Answer the call `eid`/`fid` (a7, a6) of `hart` with `args` (a0 to a5), all unsigned
        64-bit.

        None means that the caller's registers are not to be touched: the hart stopped, suspended to
        another address, the machine went down, or a trap was delivered. Otherwise a0 and a1 take
        the result and the hart goes on after its `ecall`. An unknown call is NOT_SUPPORTED (SBI 2.0
        3).
        """
        legacy = self._legacy.get(eid)
        handler = legacy or self._extensions.get(eid)
        if handler is None:
            return SbiRet(Error.NOT_SUPPORTED)
        try:
            return handler(hart, eid if legacy else fid, args)
        except _Refused as refused:
            return SbiRet(refused.error, None if legacy else 0)

    def probe(self, eid: int) -> bool:
        """Say whether extension `eid` is here."""
        return eid in self._extensions or eid in self._legacy

    def _base(self, hart: int, fid: int, args: Args) -> SbiRet:
        match fid:
            case BaseFid.SPEC_VERSION:
                return SbiRet(Error.SUCCESS, SPEC_VERSION)
            case BaseFid.IMPL_ID:
                return SbiRet(Error.SUCCESS, IMPL_ID)
            case BaseFid.IMPL_VERSION:
                return SbiRet(Error.SUCCESS, IMPL_VERSION)
            case BaseFid.PROBE:
                return SbiRet(Error.SUCCESS, int(self.probe(args[0])))
            case BaseFid.MVENDORID | BaseFid.MARCHID | BaseFid.MIMPID:
                return SbiRet(Error.SUCCESS, self._machine_ids[BaseFid(fid)])
        return SbiRet(Error.NOT_SUPPORTED)

    def _time(self, hart: int, fid: int, args: Args) -> SbiRet:
        if fid != 0:
            return SbiRet(Error.NOT_SUPPORTED)
        self._host.set_timer(hart, args[0])
        return SbiRet(Error.SUCCESS)

    def _ipi(self, hart: int, fid: int, args: Args) -> SbiRet:
        if fid != 0:
            return SbiRet(Error.NOT_SUPPORTED)
        self._send_ipis(self._harts(args[0], args[1]))
        return SbiRet(Error.SUCCESS)

    def _rfence(self, hart: int, fid: int, args: Args) -> SbiRet:
        mask, base, start, size, asid = args[:5]
        match fid:
            case RfenceFid.FENCE_I:
                self._fence(Fence.FENCE_I, self._harts(mask, base))
            case RfenceFid.SFENCE_VMA:
                self._fence(Fence.SFENCE_VMA, self._harts(mask, base), start, size)
            case RfenceFid.SFENCE_VMA_ASID:
                kind = Fence.SFENCE_VMA_ASID
                self._fence(kind, self._harts(mask, base), start, size, asid)
            case _:
                return SbiRet(Error.NOT_SUPPORTED)
        return SbiRet(Error.SUCCESS)

    def _hsm(self, hart: int, fid: int, args: Args) -> SbiRet | None:
        match fid:
            case HsmFid.START:
                return self._start(*args[:3])
            case HsmFid.STOP:
                self._host.stop_hart(hart)
                return None
            case HsmFid.STATUS:
                return SbiRet(Error.SUCCESS, int(self._host.hart_state(self._hart(args[0]))))
            case HsmFid.SUSPEND:
                return self._suspend(hart, *args[:3])
        return SbiRet(Error.NOT_SUPPORTED)

    def _start(self, target: int, address: int, opaque: int) -> SbiRet:
        target = self._hart(target)
        self._check_code(address)
        if not self._host.start_hart(target, address, opaque):
            return SbiRet(Error.ALREADY_AVAILABLE)
        return SbiRet(Error.SUCCESS)

    def _suspend(self, hart: int, kind: int, address: int, opaque: int) -> SbiRet | None:
        kind &= _U32
        if kind == SuspendType.RETENTIVE:
            self._host.suspend_hart(hart, None)
            return SbiRet(Error.SUCCESS)
        if kind != SuspendType.NON_RETENTIVE:
            return SbiRet(Error.INVALID_PARAM)
        self._check_code(address)
        self._host.suspend_hart(hart, (address, opaque))
        return None

    def _srst(self, hart: int, fid: int, args: Args) -> SbiRet | None:
        if fid != 0:
            return SbiRet(Error.NOT_SUPPORTED)
        kind, reason = args[0] & _U32, args[1] & _U32
        if kind not in set(ResetType) or reason not in set(ResetReason):
            return SbiRet(Error.INVALID_PARAM)
        if kind == ResetType.SHUTDOWN:
            self._host.shutdown(reason)
        else:
            self._host.reboot(reason)
        return None

    def _dbcn(self, hart: int, fid: int, args: Args) -> SbiRet:
        match fid:
            case DbcnFid.WRITE:
                return self._console(self._write_from, *args[:3])
            case DbcnFid.READ:
                return self._console(self._read_to, *args[:3])
            case DbcnFid.WRITE_BYTE:
                return self._console(self._write_byte, 0, args[0] & 0xFF, 0)
        return SbiRet(Error.NOT_SUPPORTED)

    def _console(
        self, action: Callable[[int, int], int], count: int, address: int, high: int
    ) -> SbiRet:
        if high:
            return SbiRet(Error.INVALID_PARAM)
        try:
            return SbiRet(Error.SUCCESS, action(address, count))
        except OSError:
            return SbiRet(Error.FAILED)

    def _write_from(self, address: int, count: int) -> int:
        view = self._shared(address, count)
        return self._host.console_write(bytes(view[:MAX_CONSOLE_BYTES])) if count else 0

    def _read_to(self, address: int, count: int) -> int:
        self._shared(address, count)
        data = self._host.console_read(min(count, MAX_CONSOLE_BYTES)) if count else b""
        if data:
            self._host.memory.write(address, data)
        return len(data)

    def _write_byte(self, byte: int, _count: int) -> int:
        self._host.console_write_byte(byte)
        return 0

    def _legacy_set_timer(self, hart: int, eid: int, args: Args) -> SbiRet:
        self._host.set_timer(hart, args[0])
        return SbiRet(Error.SUCCESS, None)

    def _legacy_putchar(self, hart: int, eid: int, args: Args) -> SbiRet:
        try:
            self._host.console_write_byte(args[0] & 0xFF)
        except OSError:
            return SbiRet(Error.FAILED, None)
        return SbiRet(Error.SUCCESS, None)

    def _legacy_getchar(self, hart: int, eid: int, args: Args) -> SbiRet:
        try:
            data = self._host.console_read(1)
        except OSError:
            data = b""
        return SbiRet(data[0] if data else -1, None)

    def _legacy_clear_ipi(self, hart: int, eid: int, args: Args) -> SbiRet:
        return SbiRet(int(self._host.clear_ipi(hart)), None)

    def _legacy_send_ipi(self, hart: int, eid: int, args: Args) -> SbiRet | None:
        harts = self._harts_at(hart, args[0])
        if harts is None:
            return None
        self._send_ipis(harts)
        return SbiRet(Error.SUCCESS, None)

    def _legacy_fence(self, hart: int, eid: int, args: Args) -> SbiRet | None:
        harts = self._harts_at(hart, args[0])
        if harts is None:
            return None
        if eid == Eid.LEGACY_REMOTE_FENCE_I:
            self._fence(Fence.FENCE_I, harts)
        elif eid == Eid.LEGACY_REMOTE_SFENCE_VMA:
            self._fence(Fence.SFENCE_VMA, harts, args[1], args[2])
        else:
            self._fence(Fence.SFENCE_VMA_ASID, harts, args[1], args[2], args[3])
        return SbiRet(Error.SUCCESS, None)

    def _legacy_shutdown(self, hart: int, eid: int, args: Args) -> None:
        self._host.shutdown(ResetReason.NONE)

    def _hart(self, number: int) -> int:
        if number >= self._host.hart_count:
            raise _Refused(Error.INVALID_PARAM)
        return number

    def _harts(self, mask: int, base: int) -> list[int]:
        """Return the harts of a mask and its base (SBI 2.0 3.1); INVALID_PARAM if one is none."""
        if base == ULONG_MAX:
            return list(range(self._host.hart_count))
        if base + max(1, mask.bit_length()) > self._host.hart_count:
            raise _Refused(Error.INVALID_PARAM)
        return [base + bit for bit in range(mask.bit_length()) if mask >> bit & 1]

    def _harts_at(self, hart: int, gva: int) -> list[int] | None:
        """Return the harts of a legacy mask in virtual memory; a null pointer means all of them."""
        if not gva:
            return list(range(self._host.hart_count))
        words = min(-(-self._host.hart_count // XLEN), MAX_HART_MASK_WORDS)
        raw = self._host.read_virtual(hart, gva, words * XLEN // 8)
        return None if raw is None else self._harts(int.from_bytes(raw, "little"), 0)

    def _running(self, harts: Iterable[int]) -> list[int]:
        """Leave out harts without a supervisor: a start finds them fenced, with nothing pending."""
        idle = (HartState.STOPPED, HartState.STOP_PENDING)
        return [hart for hart in harts if self._host.hart_state(hart) not in idle]

    def _send_ipis(self, harts: Iterable[int]) -> None:
        for hart in self._running(harts):
            self._host.send_ipi(hart)

    def _fence(
        self, kind: Fence, harts: list[int], start: int = 0, size: int = 0, asid: int | None = None
    ) -> None:
        """Fence those of `harts` that run; a range of 0 and 0 is everything (SBI 2.0 8)."""
        if start == 0 and size == 0:
            size = ULONG_MAX
        self._host.remote_fence(kind, self._running(harts), start, size, asid)

    def _check_code(self, address: int) -> None:
        """Refuse a start address that is not in RAM or not on an instruction boundary."""
        try:
            self._host.memory.view(address, 2).release()
        except InnError:
            raise _Refused(Error.INVALID_ADDRESS) from None
        if address % 2:
            raise _Refused(Error.INVALID_ADDRESS)

    def _shared(self, address: int, count: int) -> memoryview:
        """Return the shared memory a call names (SBI 2.0 3.2); INVALID_PARAM if it is not RAM."""
        if not count:
            return memoryview(b"")
        try:
            return self._host.memory.view(address, count)
        except InnError:
            raise _Refused(Error.INVALID_PARAM) from None
