"""`inn boot`: a machine with any kernel, firmware or ELF file, its serial console on the
streams."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from innkeeper.base.errors import UsageError
from innkeeper.base.log import log
from innkeeper.base.record import record
from innkeeper.devices.virtio.device import VirtioDevice
from innkeeper.firmware.boot import BootPlan, plan_boot
from innkeeper.firmware.kernel_image import Kind
from innkeeper.firmware.loader import Raw
from innkeeper.firmware.virt_layout import DRAM_BASE, KERNEL_OFFSET
from innkeeper.guests.config import BootConfig, Disk
from innkeeper.guests.devices import MakeDevice, share_makers
from innkeeper.guests.io import GuestIO
from innkeeper.guests.loop import ConsoleLoop
from innkeeper.guests.machine_thread import MachineThread
from innkeeper.guests.randomness import Randomness
from innkeeper.machines.outcome import End, Outcome
from innkeeper.machines.virt import VirtConfig, VirtMachine
from innkeeper.memory.ram import GuestMemory

if TYPE_CHECKING:
    from collections.abc import Callable

FAILURE_STATUS = 1
MAX_STATUS = 255


@record
class PreparedBoot:
    """A machine and what its memory starts with."""

    machine: VirtConfig
    plan: BootPlan


def prepare_boot(config: BootConfig) -> PreparedBoot:
    """Work out the machine and the boot plan; nothing runs yet."""
    if config.arch != "riscv64":
        raise UsageError(f"no engine for {config.arch} guests yet", fix="use --arch riscv64")
    if config.engine != "emulate":
        raise UsageError(f"there is no engine {config.engine!r} yet", fix="use --engine emulate")
    kernel, bios = _roles(config)
    randomness = Randomness.of(repeated=config.icount)
    machine = VirtConfig(
        hart_count=config.cpus,
        ram_bytes=config.memory_bytes,
        devices=[randomness.entropy, *map(_disk, config.disks), *share_makers(config.volumes)],
        rng_seed=randomness.seed,
        icount=config.icount,
    )
    plan = plan_boot(
        machine.board(),
        kernel=kernel,
        initrd=config.initrd,
        cmdline=config.append,
        bios=bios,
        raw=Raw.ALWAYS if config.raw else Raw.NEVER,
    )
    return PreparedBoot(machine, plan)


def device_tree(config: BootConfig) -> bytes:
    """Return the device tree blob that the guest would be given."""
    plan = prepare_boot(config).plan
    blob = next(piece.data for piece in plan.pieces if piece.name == "device tree")
    assert isinstance(blob, bytes)
    return blob


def _roles(config: BootConfig) -> tuple[Path | None, Path | None]:
    """Tell which file is the kernel and which the firmware.

    A file given by itself that is bare machine code (`--raw`), or an ELF program whose entry is
    in the first 2 MiB of RAM, where firmware lives, runs in M-mode; any other is a kernel for the
    built-in SBI.
    """
    kernel, bios = config.kernel, config.bios
    if config.file is None:
        return kernel, bios
    if kernel is not None:
        raise UsageError(f"two kernels: {config.file} and {kernel}", fix="give one")
    from innkeeper.firmware.loader import identify

    info = identify(config.file, raw=Raw.ALWAYS if config.raw else Raw.NEVER)
    low = info.entry is not None and 0 <= info.entry - DRAM_BASE < KERNEL_OFFSET
    bare = bios is None and (info.kind is Kind.RAW or (info.kind is Kind.ELF and low))
    return (None, config.file) if bare else (config.file, bios)


def _disk(disk: Disk) -> MakeDevice:
    """Make a virtio block device over a disk image file."""

    def make(memory: GuestMemory) -> VirtioDevice:
        from innkeeper.backends.block_file import FileDisk
        from innkeeper.devices.virtio.block import Block

        return Block(memory, FileDisk(disk.path, read_only=disk.read_only))

    return make


def exit_status(outcome: Outcome) -> int:
    """Return what `inn boot` ends with: 0 after a power-off, else the guest's failure code."""
    if outcome.end is End.POWER_OFF:
        return 0
    return min(max(outcome.code, FAILURE_STATUS), MAX_STATUS)


def boot(config: BootConfig, io: GuestIO) -> int:
    """Boot and run until the guest powers off; a guest that resets is booted again."""
    while True:
        prepared = prepare_boot(config)
        machine = VirtMachine(prepared.machine)
        machine.boot(prepared.plan)
        outcome = _run_once(config, machine, io)
        if isinstance(outcome, int):
            return outcome
        if outcome.end is not End.RESET:
            return exit_status(outcome)


def _run_once(config: BootConfig, machine: VirtMachine, io: GuestIO) -> Outcome | int:
    """Run one power cycle; an int is the status with which the user ended it."""
    loop = ConsoleLoop(machine.uart, io=io, lock=machine.lock)

    def ended(outcome: Outcome | None, error: BaseException | None) -> None:
        loop.machine_ended()

    thread = MachineThread(machine, ended)
    close = _debugger(config, machine)
    try:
        thread.start()
        quit_status = loop.run(timeout_s=config.timeout_s)
    finally:
        outcome = thread.stop()
        close()
        machine.close()
    return outcome if quit_status is None else quit_status


def _debugger(config: BootConfig, machine: VirtMachine) -> Callable[[], None]:
    """Start the gdb server where one is asked for; return what ends it."""
    if config.gdb is None:
        return lambda: None
    from innkeeper.debug.gdb_server import GdbServer
    from innkeeper.debug.machine_target import MachineDebugTarget

    server = GdbServer(MachineDebugTarget(machine), config.gdb)
    server.start()
    log("gdb").warning("waiting for gdb: target remote %s", server.address)
    return server.close
