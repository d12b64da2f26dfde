"""`inn boot` with counters: at each of the guest's reports its machine's counts go to stdout too.

`python -m bench.counted KERNEL INITRD DISK APPEND`, for bench/profile.py. Every `stat_` field of
the first hart and of the regions is taken: a counter that the emulator gains shows up by itself.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.table.guest import RAM_MIB
from innkeeper.base.units import MIB
from innkeeper.devices.char import BytesLike
from innkeeper.guests.boot import prepare_boot
from innkeeper.guests.config import BootConfig, Disk
from innkeeper.machines.virt import VirtMachine

COUNTED = ("_read", "_write", "_sbi")
"""The machine's ways from native code into Python."""


class CountingMachine(VirtMachine):
    """A machine that counts how often native code calls Python, and for how long."""

    calls = 0
    python_s = 0.0


def _counting(name: str) -> Callable[..., Any]:
    called = getattr(VirtMachine, name)

    def count(self: CountingMachine, *arguments: Any) -> Any:
        started = time.perf_counter()
        try:
            return called(self, *arguments)
        finally:
            self.calls += 1
            self.python_s += time.perf_counter() - started

    return count


for _name in COUNTED:
    setattr(CountingMachine, _name, _counting(_name))


class ReportingSink:
    """Passes the console on, and after every line of the runner's the counts."""

    def __init__(self, machine: CountingMachine) -> None:
        self._machine = machine
        self._line = b""

    def write(self, data: BytesLike) -> int:
        sys.stdout.buffer.write(bytes(data))
        *lines, self._line = (self._line + bytes(data)).split(b"\n")
        for line in lines:
            if line.startswith((b"@bench start", b"@bench end")):
                print("@counts", json.dumps(self._counts()))
        sys.stdout.flush()
        return len(data)

    def guest_open(self, is_open: bool) -> None:
        """Nothing depends on it."""

    def _counts(self) -> dict[str, float]:
        hart, regions = self._machine.harts[0], self._machine.emulator.regions
        counts = {**_statistics(hart), **_statistics(regions.traffic.raw)}
        counts |= {"instructions": hart.ticks, "python calls": self._machine.calls}
        return counts | {"python s": self._machine.python_s}


def _statistics(raw: Any) -> dict[str, float]:
    """Return the `stat_` fields of a structure."""
    names = [name for name, *_ in type(raw)._fields_ if name.startswith("stat_")]
    return {name.removeprefix("stat_"): getattr(raw, name) for name in names}


def main() -> None:
    """Boot until the guest powers off."""
    kernel, initrd, disk, append = sys.argv[1:]
    config = BootConfig(
        kernel=Path(kernel), initrd=Path(initrd), append=append, memory_bytes=RAM_MIB * MIB,
        disks=(Disk(path=Path(disk), read_only=True),),
    )  # fmt: skip
    prepared = prepare_boot(config)
    machine = CountingMachine(prepared.machine)
    machine.boot(prepared.plan)
    machine.uart.sink = ReportingSink(machine)
    machine.run()
    machine.close()


if __name__ == "__main__":
    main()
