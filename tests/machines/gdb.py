"""The real GDB on a `virt` machine that runs in a thread of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from innkeeper.debug.gdb_server import GdbServer
from innkeeper.debug.machine_target import MachineDebugTarget
from innkeeper.firmware.boot import plan_boot
from innkeeper.isa.riscv.asm import Program, assemble, elf_image
from innkeeper.machines.outcome import Outcome
from innkeeper.machines.virt import VirtConfig, VirtMachine

GDB = shutil.which("gdb-multiarch")
needs_gdb = pytest.mark.skipif(GDB is None, reason="gdb-multiarch is not installed")
WAIT_S = 120.0
RAM_BYTES = 16 << 20


class Target(MachineDebugTarget):
    """Tells when the debugger has let the harts go."""

    resumed: threading.Event

    def resume(self, *, step_hart: int | None, harts: Collection[int] | None) -> None:
        super().resume(step_hart=step_hart, harts=harts)
        self.resumed.set()


class Debugged:
    """A machine that runs `source` as its firmware, all harts in M-mode, under a server."""

    def __init__(self, source: str, folder: Path, *, hart_count: int = 1) -> None:
        self.program: Program = assemble(source)
        self.elf = folder / "guest.elf"
        self.elf.write_bytes(elf_image(self.program))
        self.machine = VirtMachine(VirtConfig(hart_count=hart_count, ram_bytes=RAM_BYTES))
        self.machine.boot(plan_boot(self.machine.config.board(), bios=self.elf))
        self.target = Target(self.machine)
        self.target.resumed = threading.Event()
        self.server = GdbServer(self.target, "127.0.0.1:0")
        self.outcome: Outcome | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        self.outcome = self.machine.run()

    def __enter__(self) -> Self:
        self._thread.start()
        self.server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.machine.stop()
        self.server.close()
        self.join()

    def join(self) -> None:
        """Wait for the end of the machine."""
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive(), "the machine does not end"

    def start(self, *commands: str) -> subprocess.Popen[str]:
        """Start GDB on these commands."""
        setup = (
            "set architecture riscv:rv64", "set remotetimeout 60", "set width 0",
            "set confirm off", f"file {self.elf}", f"target remote {self.server.address}",
        )  # fmt: skip
        arguments = [str(GDB), "-nx", "-batch"]
        for command in (*setup, *commands):
            arguments += ["-ex", command]
        return subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, env={**os.environ, "LC_ALL": "C", "HOME": "/nonexistent"},
        )  # fmt: skip

    def gdb(self, *commands: str) -> str:
        """Run GDB on these commands; return what it wrote."""
        return finish(self.start(*commands))


def finish(process: subprocess.Popen[str]) -> str:
    """Return what GDB wrote until its end."""
    try:
        text, _ = process.communicate(timeout=WAIT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        text, _ = process.communicate()
        pytest.fail(f"GDB did not end:\n{text}")
    return text
