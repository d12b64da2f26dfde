"""A machine's harts in a thread of their own, so that the main thread hears signals and does
I/O."""

from __future__ import annotations

import threading
from collections.abc import Callable

from innkeeper.devices.char import BytesLike
from innkeeper.machines.outcome import End, Outcome
from innkeeper.machines.virt import VirtMachine

CONSOLE_LIMIT_BYTES = 64 << 10


class ConsoleLog:
    """Keeps the end of what the guest's serial console said (`CharSink`)."""

    def __init__(self, echo: Callable[[bytes], None] | None = None) -> None:
        self._text = bytearray()
        self._echo = echo

    def write(self, data: BytesLike) -> int:
        self._text += data
        del self._text[:-CONSOLE_LIMIT_BYTES]
        if self._echo is not None:
            self._echo(bytes(data))
        return len(data)

    def guest_open(self, is_open: bool) -> None:
        """Nothing depends on it."""

    @property
    def text(self) -> str:
        """What is kept, as text."""
        return self._text.decode("utf-8", "replace")


class MachineThread:
    """Runs a machine; `on_end` is called in its thread with the outcome or the error."""

    def __init__(
        self, machine: VirtMachine, on_end: Callable[[Outcome | None, BaseException | None], None]
    ) -> None:
        self.machine = machine
        self.outcome: Outcome | None = None
        self.error: BaseException | None = None
        self._on_end = on_end
        self._thread = threading.Thread(target=self._run, name="harts", daemon=True)

    def start(self) -> None:
        """Start the harts."""
        self._thread.start()

    def _run(self) -> None:
        try:
            self.outcome = self.machine.run()
        except BaseException as error:
            self.error = error
        self._on_end(self.outcome, self.error)

    def join(self, timeout_s: float | None) -> bool:
        """Wait for the harts' end; tell whether it came."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def stop(self) -> Outcome:
        """Stop the harts if they still run, wait for them, and return how they ended."""
        self.machine.stop()
        self._thread.join()
        if self.error is not None:
            raise self.error
        return self.outcome or Outcome(End.STOPPED)
