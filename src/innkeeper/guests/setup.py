"""The second stage of an image's installation, run in a guest of its own."""

from __future__ import annotations

import os
import sys

from innkeeper.backends.block_file import FileDisk
from innkeeper.devices.virtio.block import Block
from innkeeper.devices.virtio.entropy import Entropy
from innkeeper.firmware.boot import plan_boot
from innkeeper.guests.machine_thread import ConsoleLog, MachineThread
from innkeeper.images.secondstage import SetupJob
from innkeeper.machines.virt import VirtConfig, VirtMachine


def run_setup(job: SetupJob) -> str:
    """Boot the job's guest, wait for its power-off, and return what its console said."""

    def echo(data: bytes) -> None:
        sys.stderr.buffer.write(data)
        sys.stderr.flush()

    disk = FileDisk(job.disk)
    try:
        config = VirtConfig(
            ram_bytes=job.memory_bytes,
            devices=(lambda memory: Block(memory, disk), Entropy),
            rng_seed=os.urandom(64),
        )
        machine = VirtMachine(config)
        log = ConsoleLog(echo if "console" in os.environ.get("INN_DEBUG", "") else None)
        machine.uart.sink = log
        plan = plan_boot(config.board(), kernel=job.kernel, initrd=job.initrd, cmdline=job.cmdline)
        machine.boot(plan)
        _run(machine)
        return log.text
    finally:
        disk.close()


def _run(machine: VirtMachine) -> None:
    """Run a machine to its end, in another thread, so that a signal ends it.

    Python's signal handlers run in the main thread, wherever that is. In a callback of native
    code, as every access to a device is, ctypes would drop what a handler raises.
    """
    thread = MachineThread(machine, lambda outcome, error: None)
    thread.start()
    try:
        thread.join(None)
    finally:
        thread.stop()
