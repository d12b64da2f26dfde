"""Guests from Python: run a command and get its output, or boot a machine and talk to it."""

from __future__ import annotations

import os
import re
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from innkeeper.base.errors import GuestTimeout, MachineError
from innkeeper.base.record import replace
from innkeeper.devices.char import BytesLike
from innkeeper.guests.boot import prepare_boot
from innkeeper.guests.config import BootConfig, Disk, RunConfig, Volume
from innkeeper.guests.io import GuestIO
from innkeeper.guests.machine_thread import MachineThread
from innkeeper.guests.run import run
from innkeeper.machines.outcome import Outcome
from innkeeper.machines.virt import VirtMachine

KEPT_BYTES = 16 << 20
"""How much console output is kept before the oldest is dropped."""


@dataclass(frozen=True)
class Completed:
    """What a guest's command left: its exit status and what it wrote, byte for byte."""

    status: int
    stdout: bytes
    stderr: bytes


class Console:
    """A guest's serial console: `send` types, `expect` waits for output."""

    def __init__(self, machine: VirtMachine) -> None:
        self._machine = machine
        self._arrived = threading.Condition()
        self._seen = bytearray()
        self._at = 0
        self._ended = False
        self._typed = bytearray()
        machine.uart.sink = self
        machine.uart.on_writable = self._type

    def write(self, data: BytesLike) -> int:
        """Take what the guest wrote (`CharSink`)."""
        with self._arrived:
            self._seen += data
            excess = len(self._seen) - KEPT_BYTES
            if excess > 0:
                del self._seen[:excess]
                self._at = max(self._at - excess, 0)
            self._arrived.notify_all()
        return len(data)

    def guest_open(self, is_open: bool) -> None:
        """Nothing depends on it (`CharSink`)."""

    def end(self) -> None:
        """Note that nothing more will come."""
        with self._arrived:
            self._ended = True
            self._arrived.notify_all()

    @property
    def output(self) -> bytes:
        """All that is kept of what the guest wrote."""
        with self._arrived:
            return bytes(self._seen)

    def send(self, data: bytes | str) -> None:
        """Type at the console; what the guest has no room for yet waits its turn."""
        with self._machine.lock:
            self._typed += data.encode() if isinstance(data, str) else data
            self._type()

    def _type(self) -> None:
        while self._typed:
            taken = self._machine.uart.feed(bytes(self._typed))
            if not taken:
                return
            del self._typed[:taken]

    def expect(self, pattern: bytes | re.Pattern[bytes], *, timeout_s: float = 60.0) -> bytes:
        """Wait for `pattern` (bytes, or a compiled regular expression) in new output.

        Returns everything from the last match to the end of this one. `GuestTimeout` when it does
        not come, `MachineError` when the machine ends first.
        """
        wanted = re.compile(re.escape(pattern)) if isinstance(pattern, bytes) else pattern
        deadline = time.monotonic() + timeout_s
        with self._arrived:
            while True:
                match = wanted.search(self._seen, self._at)
                if match is not None:
                    text = bytes(self._seen[self._at : match.end()])
                    self._at = match.end()
                    return text
                tail = bytes(self._seen[-400:]).decode("utf-8", "replace")
                if self._ended:
                    raise MachineError(f"{wanted.pattern!r} did not appear", why=f"ended: {tail}")
                left = deadline - time.monotonic()
                if left <= 0:
                    raise GuestTimeout(f"{wanted.pattern!r} did not appear", why=f"seen: {tail}")
                self._arrived.wait(left)


class Guest:
    """A booted machine under the caller's control; a context manager that ends it."""

    def __init__(self, config: BootConfig) -> None:
        prepared = prepare_boot(config)
        self.config = config
        self.machine = VirtMachine(prepared.machine)
        self.machine.boot(prepared.plan)
        self.console = Console(self.machine)
        self._thread = MachineThread(self.machine, lambda outcome, error: self.console.end())

    @staticmethod
    def run(
        image: str,
        argv: Sequence[str | bytes] = (),
        *,
        stdin: bytes | None = None,
        volumes: Sequence[Volume | str] = (),
        config: RunConfig | None = None,
        **options: Any,
    ) -> Completed:
        """Run a command in a fresh guest; `options` are the fields of `RunConfig`.

        Raises `GuestTimeout` and `MachineError` like the command line; the exit status of the
        command is no error.
        """
        shares = tuple(Volume.parse(v) if isinstance(v, str) else v for v in volumes)
        base = config or RunConfig(image=image, **options)
        request = replace(base, image=image, argv=tuple(argv), volumes=shares or base.volumes,
                          stdin=stdin is not None)  # fmt: skip
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            source = None if stdin is None else _readable(stdin)
            io = GuestIO(stdin=source, stdout=out.fileno(), stderr=err.fileno())
            try:
                status = run(request, io)
            finally:
                io.events.close()
                if source is not None:
                    os.close(source)
            out.seek(0)
            err.seek(0)
            return Completed(status, out.read(), err.read())

    @classmethod
    def boot(
        cls,
        *,
        kernel: str | Path | None = None,
        disks: Sequence[Disk | str] = (),
        config: BootConfig | None = None,
        **options: Any,
    ) -> Guest:
        """Boot a machine and let it run; `options` are the fields of `BootConfig`."""
        made = tuple(Disk.parse(d) if isinstance(d, str) else d for d in disks)
        if config is None:
            path = None if kernel is None else Path(kernel)
            for name in ("file", "bios", "initrd"):
                if options.get(name) is not None:
                    options[name] = Path(options[name])
            config = BootConfig(kernel=path, disks=made, **options)
        guest = cls(config)
        guest.start()
        return guest

    def start(self) -> None:
        """Let the harts run."""
        self._thread.start()

    def wait(self, timeout_s: float | None = None) -> Outcome:
        """Wait for the machine's end and return it; `GuestTimeout` when it does not come."""
        if not self._thread.join(timeout_s):
            raise GuestTimeout(f"the guest did not end in {timeout_s} s")
        return self._thread.stop()

    def stop(self) -> Outcome:
        """End the machine now."""
        return self._thread.stop()

    def read_memory(self, gpa: int, size: int) -> bytes:
        """Read guest-physical RAM."""
        with self.machine.lock:
            return self.machine.memory.read(gpa, size)

    def write_memory(self, gpa: int, data: bytes) -> None:
        """Write guest-physical RAM; code in it is decoded anew."""
        with self.machine.lock:
            self.machine.memory.write(gpa, data)

    def registers(self, hart: int = 0) -> dict[str, int]:
        """Return a hart's integer registers and pc by ABI name, between two slices."""
        from innkeeper.isa.riscv.names import X_NAMES

        with self.machine.lock:
            raw = self.machine.harts[hart]
            named = {name: int(raw.x[n]) for n, name in enumerate(X_NAMES)}
            return {**named, "pc": int(raw.pc)}

    def __enter__(self) -> Guest:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self.machine.close()


def _readable(data: bytes) -> int:
    """Return a descriptor that reads `data`, then ends."""
    handle = os.memfd_create("stdin", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(handle), "wb") as f:
        f.write(data)
    os.lseek(handle, 0, os.SEEK_SET)
    return handle
