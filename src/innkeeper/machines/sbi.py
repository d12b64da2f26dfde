"""The built-in SBI's view of the `virt` board."""

from __future__ import annotations

from typing import TYPE_CHECKING

from innkeeper.firmware.sbi import SbiFirmware
from innkeeper.firmware.sbi_host import Fence
from innkeeper.firmware.sbi_ids import HartState
from innkeeper.isa.riscv.sbi import FENCED_CODE, FENCED_TRANSLATIONS
from innkeeper.machines.outcome import End, Outcome

if TYPE_CHECKING:
    from innkeeper.machines.virt import VirtMachine
    from innkeeper.memory.ram import GuestMemory

RUNNING, STOPPED, SUSPENDED = 0, 1, 2
A0, A1, A6, A7 = 10, 11, 16, 17
SSIP = 2
MASK64 = (1 << 64) - 1


class BoardSbi:
    """Answers the SBI calls that native code does not (machines side of `firmware.sbi`)."""

    def __init__(self, machine: VirtMachine) -> None:
        self._machine = machine
        self._firmware = SbiFirmware(self)
        self._typed = bytearray()

    def call(self, hart: int) -> None:
        """Answer the call in a hart's registers; its pc is already past the `ecall`."""
        raw = self._machine.harts[hart]
        args = tuple(raw.x[A0 + n] for n in range(6))
        result = self._firmware.handle(hart, raw.x[A7], raw.x[A6], args)
        if result is not None:
            raw.x[A0] = result.error & MASK64
            if result.value is not None:
                raw.x[A1] = result.value & MASK64

    @property
    def hart_count(self) -> int:
        return self._machine.config.hart_count

    @property
    def memory(self) -> GuestMemory:
        return self._machine.memory

    def hart_state(self, hart: int) -> HartState:
        stop = self._machine.harts[hart].stop
        if stop == STOPPED and not self._machine.emulator.is_parked(hart):
            return HartState.STOP_PENDING
        return {RUNNING: HartState.STARTED, STOPPED: HartState.STOPPED}.get(
            stop, HartState.SUSPENDED
        )

    def start_hart(self, hart: int, address: int, opaque: int) -> bool:
        if self.hart_state(hart) is not HartState.STOPPED:
            return False
        self._enter(hart, address, opaque)
        self._machine.emulator.signals.wake(hart)
        return True

    def _enter(self, hart: int, address: int, opaque: int) -> None:
        emulator = self._machine.emulator
        raw = self._machine.harts[hart]
        emulator.reset_hart(hart, stop=raw.stop)
        emulator.enter_supervisor(hart)
        raw.pc, raw.x[A0], raw.x[A1], raw.stop = address, hart, opaque, RUNNING

    def stop_hart(self, hart: int) -> None:
        self._machine.harts[hart].stop = STOPPED

    def suspend_hart(self, hart: int, resume: tuple[int, int] | None) -> None:
        if resume is not None:
            self._enter(hart, *resume)
        self._machine.harts[hart].wfi = 1

    def set_timer(self, hart: int, value: int) -> None:
        raw = self._machine.harts[hart]
        raw.stimecmp = value
        raw.timer_lines &= ~(1 << 5)

    def send_ipi(self, hart: int) -> None:
        self._machine.emulator.signals.set_pending(hart, SSIP, on=True)

    def clear_ipi(self, hart: int) -> bool:
        return bool(self._machine.emulator.signals.set_pending(hart, SSIP, on=False) & SSIP)

    def remote_fence(
        self, kind: Fence, harts: list[int], start: int, size: int, asid: int | None
    ) -> None:
        what = FENCED_CODE if kind is Fence.FENCE_I else FENCED_TRANSLATIONS
        for hart in harts:
            self._machine.emulator.signals.request_flush(hart, what)

    def read_virtual(self, hart: int, gva: int, size: int) -> bytes | None:
        return self._machine.emulator.read_virtual(hart, gva, size)

    def console_write(self, data: bytes) -> int:
        return self._machine.uart.sink.write(data)

    def console_write_byte(self, byte: int) -> None:
        self._machine.uart.sink.write(bytes([byte]))

    def console_read(self, count: int) -> bytes:
        return self._machine.uart.take_input(count)

    def shutdown(self, reason: int) -> None:
        self._machine.finish(Outcome(End.FAILURE if reason else End.POWER_OFF, reason))

    def reboot(self, reason: int) -> None:
        self._machine.finish(Outcome(End.RESET, reason))
