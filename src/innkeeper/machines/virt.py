"""The `virt` board: memory, harts and devices wired together, and the loop that runs them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from innkeeper.base.record import field, record
from innkeeper.devices.aclint import (
    MSWI_SIZE_BYTES,
    MTIMER_SIZE_BYTES,
    SSWI_SIZE_BYTES,
    AclintMswi,
    AclintMtimer,
    AclintSswi,
)
from innkeeper.devices.bus import Bus, IrqLine
from innkeeper.devices.plic import Plic
from innkeeper.devices.rtc_goldfish import GoldfishRtc
from innkeeper.devices.test_finisher import Finish, TestFinisher
from innkeeper.devices.uart16550 import Uart16550
from innkeeper.devices.virtio.device import VirtioDevice
from innkeeper.devices.virtio.mmio import VirtioMmio
from innkeeper.engine.emulator import statistics
from innkeeper.engine.emulator.emulator import Emulator, EmulatorConfig, HostCalls
from innkeeper.firmware import virt_layout as at
from innkeeper.firmware.boot import BootPlan, Mode
from innkeeper.firmware.virt_tree import HartSpec, VirtBoard
from innkeeper.isa.riscv import profiles
from innkeeper.machines.clock import Clock, HostClock, VirtualClock
from innkeeper.machines.lock import MachineLock
from innkeeper.machines.outcome import End, Outcome
from innkeeper.machines.sbi import BoardSbi
from innkeeper.machines.threads import HartThreads
from innkeeper.machines.turns import Debugger, HartTurns
from innkeeper.memory.ram import GuestMemory, GuestRam

if TYPE_CHECKING:
    from collections.abc import Sequence


SSIP, MSIP, SEIP, MEIP = 1 << 1, 1 << 3, 1 << 9, 1 << 11


@record
class VirtConfig:
    """A `virt` machine: harts, RAM, and the devices beyond the board's own.

    `devices` make a virtio device each, given guest memory; the first eight sit on virtio-mmio,
    the rest on PCIe, or all of them with `pcie`. `rng_seed` goes to the guest through the device
    tree. With `icount` time is a function of the instructions executed, and harts take turns
    (docs/virt-board.md).
    """

    hart_count: int = 1
    ram_bytes: int = 512 << 20
    devices: Sequence[Callable[[GuestMemory], VirtioDevice]] = field(default_factory=tuple)
    rng_seed: bytes = b""
    pcie: bool = False
    icount: bool = False

    def board(self) -> VirtBoard:
        """Return the board for the boot plan and the device tree."""
        hart = HartSpec(
            extensions=profiles.EXTENSION_NAMES,
            mmu="sv57",
            cbom_block_bytes=64,
            cbop_block_bytes=64,
            cboz_block_bytes=64,
        )
        return VirtBoard(
            ram_bytes=self.ram_bytes, harts=(hart,) * self.hart_count, rng_seed=self.rng_seed
        )


class VirtMachine:
    """One `virt` machine. `run` belongs to one thread; others take `lock` to touch devices.

    Where harts take turns they stand still while another thread has the lock.
    """

    def __init__(self, config: VirtConfig) -> None:
        self.config = config
        self.ram = GuestRam(at.DRAM_BASE, config.ram_bytes, hugepages=True)
        self.memory = GuestMemory([self.ram])
        self.bus = Bus()
        self.emulator = Emulator(
            EmulatorConfig(
                hart_count=config.hart_count,
                ram_base=at.DRAM_BASE,
                ram_bytes=config.ram_bytes,
                ram_hva=self.ram.hva,
                icount=config.icount,
            ),
            HostCalls(self._read, self._write, self._sbi),
        )
        self.lock = MachineLock(self.emulator.request_exit)
        self.memory.on_dma_write = self.emulator.written
        self.outcome: Outcome | None = None
        self._debugger: Debugger | None = None
        self._threads: HartThreads | None = None
        self._plan: BootPlan | None = None
        self.harts = self.emulator.raw
        make_clock = VirtualClock if config.icount else HostClock
        self.clock: Clock = make_clock(self.emulator)
        self.alarm_ns: int | None = None
        self.virtio: list[VirtioDevice] = []
        self.sbi = BoardSbi(self)
        self._plug()

    # ---- wiring

    def _plug(self) -> None:
        """Put the board's devices on the bus (docs/virt-board.md)."""
        count, bus = self.config.hart_count, self.bus
        self.plic = Plic(
            source_count=at.PLIC_SOURCES,
            context_count=at.PLIC_CONTEXTS_PER_HART * count,
            set_eip=self._set_eip,
        )
        bus.map(at.PLIC.base, at.PLIC.size, self.plic, "plic")
        self.uart = Uart16550(self.plic.line(at.UART_IRQ))
        bus.map(at.UART.base, at.UART.size, self.uart, "uart")
        mswi = AclintMswi(count, set_msip=self._set_msip)
        bus.map(at.CLINT.base, MSWI_SIZE_BYTES, mswi, "aclint mswi")
        mtimer = AclintMtimer(count, clock=self.clock.ticks, set_mtimecmp=self._set_mtimecmp)
        bus.map(at.CLINT.base + MSWI_SIZE_BYTES, MTIMER_SIZE_BYTES, mtimer, "aclint mtimer")
        sswi = AclintSswi(count, set_ssip=self._set_ssip)
        bus.map(at.SSWI.base, SSWI_SIZE_BYTES, sswi, "aclint sswi")
        self.rtc = GoldfishRtc(
            self.plic.line(at.RTC_IRQ), clock_ns=self.clock.wall_ns, set_alarm=self._set_alarm
        )
        bus.map(at.RTC.base, at.RTC.size, self.rtc, "rtc")
        bus.map(at.TEST.base, at.TEST.size, TestFinisher(self._finish), "test finisher")
        self._plug_virtio()

    def _plug_virtio(self) -> None:
        from innkeeper.devices.pcie_ecam import PcieHost

        lines = [self.plic.line(at.PCIE_IRQ_FIRST + n) for n in range(at.PCIE_IRQS)]
        self.pcie = PcieHost(lines)
        self.bus.map(at.PCIE_ECAM.base, at.PCIE_ECAM.size, self.pcie, "pcie ecam")
        mmio64 = at.pcie_mmio64(self.config.ram_bytes)
        for name, region in (("mmio32", at.PCIE_MMIO32), ("mmio64", mmio64)):
            self.bus.map(region.base, region.size, self.pcie.window(region.base), f"pcie {name}")
        pio = self.pcie.window(0)
        self.bus.map(at.PCIE_PIO.base, at.PCIE_PIO.size, pio, "pcie pio")
        makers = list(self.config.devices)
        for slot in range(at.VIRTIO_SLOTS):
            device = None if self.config.pcie or not makers else makers.pop(0)(self.memory)
            line: IrqLine = self.plic.line(at.virtio_irq(slot))
            region = at.virtio_slot(slot)
            self.bus.map(region.base, region.size, VirtioMmio(device, line), f"virtio {slot}")
            if device is not None:
                self.virtio.append(device)
        for maker in makers:
            self._plug_pci(maker(self.memory))

    def _plug_pci(self, device: VirtioDevice) -> None:
        from innkeeper.devices.virtio.pci import VirtioPci

        self.pcie.plug(VirtioPci(device))
        self.virtio.append(device)

    # ---- interrupts and time

    def _drive(self, hart: int, bit: int, level: bool) -> None:
        self.emulator.signals.set_line(hart, bit, level=level)

    def _set_eip(self, context: int, level: bool) -> None:
        self._drive(context // 2, SEIP if context % 2 else MEIP, level)

    def _set_msip(self, hart: int, level: bool) -> None:
        self._drive(hart, MSIP, level)

    def _set_ssip(self, hart: int) -> None:
        self.emulator.signals.set_pending(hart, SSIP, on=True)

    def _set_mtimecmp(self, hart: int, value: int) -> None:
        self.emulator.signals.set_mtimecmp(hart, value, now=self.clock.ticks())

    def _set_alarm(self, time_ns: int | None) -> None:
        self.alarm_ns = time_ns
        self._look_again()

    def alarm_in_s(self) -> float | None:
        """Return when the real-time clock's alarm is due, in seconds from now."""
        if self.alarm_ns is None:
            return None
        return max(self.alarm_ns - self.clock.wall_ns(), 0) / 1e9

    def expire_alarm(self) -> None:
        """Let the alarm go off if it is due; the lock is held."""
        if self.alarm_ns is not None and self.clock.wall_ns() >= self.alarm_ns:
            self.rtc.expire()

    # ---- what the harts call

    # Where harts take turns, their thread holds the lock already.

    def _read(self, _hart: int, gpa: int, size: int) -> int:
        if self._threads is None:
            return self.bus.read(gpa, size)
        with self.lock:
            return self.bus.read(gpa, size)

    def _write(self, _hart: int, gpa: int, size: int, value: int) -> None:
        if self._threads is None:
            self.bus.write(gpa, size, value)
            return
        with self.lock:
            self.bus.write(gpa, size, value)

    def _sbi(self, hart: int) -> None:
        if self._threads is None:
            self.sbi.call(hart)
            return
        with self.lock:
            self.sbi.call(hart)

    def _finish(self, kind: Finish, code: int) -> None:
        ends = {Finish.PASS: End.POWER_OFF, Finish.FAIL: End.FAILURE, Finish.RESET: End.RESET}
        self.finish(Outcome(ends[kind], code))

    def finish(self, outcome: Outcome) -> None:
        """End the run; the first reason given counts. Safe from any thread."""
        if self.outcome is None:
            self.outcome = outcome
        for raw in self.harts:
            raw.stop = 1
        self.emulator.request_exit()
        self.lock.wake()
        self._look_again()

    def _look_again(self) -> None:
        """Tell the thread that watches the harts, where there is one."""
        threads = self._threads
        if threads is not None:
            threads.look_again()

    def stop(self) -> None:
        """End the run from outside."""
        self.finish(Outcome(End.STOPPED))

    def close(self) -> None:
        """Give back the host's side of every device; keep what was compiled."""
        self.emulator.regions.close()
        for device in self.virtio:
            backend = getattr(device, "backend", None)
            if backend is not None and hasattr(backend, "close"):
                backend.close()

    # ---- running

    def boot(self, plan: BootPlan, *, clear: bool = False) -> None:
        """Put a boot plan into memory and the harts at its entry points."""
        self._plan = plan
        plan.write(self.memory, clear=clear)
        for start in plan.harts:
            n = start.hart
            self.emulator.reset_hart(n)
            if plan.mode is Mode.SUPERVISOR:
                self.emulator.enter_supervisor(n)
            raw = self.harts[n]
            raw.pc, raw.stop = start.pc, 0 if start.running else 1
            raw.x[10], raw.x[11], raw.x[12] = start.a0, start.a1, start.a2
        self.emulator.stops.set_trap_stops(0, unhandled=self.debugger is None)

    def reset(self) -> None:
        """Return to the state after power-on: devices, memory, harts at the boot plan's start."""
        for device in self.virtio:
            device.reset()
        self.uart.reset()
        self.plic.reset()
        for n in range(len(self.harts)):
            self.emulator.reset_hart(n, stop=1)
        if self._plan is not None:
            self.boot(self._plan, clear=True)

    @property
    def debugger(self) -> Debugger | None:
        """Whoever may stop the machine; harts take turns as long as there is one.

        Setting it waits until they do: not for a thread that holds the lock.
        """
        return self._debugger

    @debugger.setter
    def debugger(self, debugger: Debugger | None) -> None:
        self._debugger = debugger
        threads = self._threads
        if threads is not None:
            threads.look_again()
            threads.await_end()

    def run(self) -> Outcome:
        """Run until the guest powers off, resets, or `stop` is called.

        The harts of a machine with more than one run at once, each on its own thread. With `icount`
        or a debugger they take turns on this one.
        """
        try:
            while self.outcome is None:
                together = self.config.hart_count > 1 and not self.config.icount
                if together and self.debugger is None:
                    self._run_at_once()
                else:
                    HartTurns(self).run()
        finally:
            if self.debugger is not None:
                with self.lock:
                    self.debugger.ended()
            if statistics.wanted():
                statistics.report(self.emulator)
        return self.outcome

    def _run_at_once(self) -> None:
        self._threads = HartThreads(self)
        try:
            self._threads.run()
        finally:
            self._threads = None
