r"""The host's half of the guest protocol, without I/O: what the control port says and is told.

    BOOTING --ready--> RUNNING --exit N--> EXITED --(output drained) bye--> DONE
       \------------------- fail WHY, nonsense, machine ended -----------> FAILED

Bytes go in by `receive`, come out by `take_output`; nothing here blocks, reads a clock or knows a
device. Every word from the guest is bounded: it may lie, it may not exhaust the host.
"""

from __future__ import annotations

import enum

from innkeeper.base.errors import GuestTimeout, InnError, MachineError
from innkeeper.guests.config import TerminalSize

MAX_LINE_BYTES = 4096
MAX_OUTPUT_BYTES = 64 << 10  # commands a stuck guest has not read yet
FORWARDED_SIGNALS = ("HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "WINCH", "CONT", "PIPE", "KILL")
_SHOWN_LINES = 12


class Phase(enum.Enum):
    """Where a run stands."""

    BOOTING = "booting"
    RUNNING = "running"
    EXITED = "exited"
    DONE = "done"
    FAILED = "failed"


class RunSession:
    """One command in one guest, from boot to exit status."""

    def __init__(self, *, tty: bool = False) -> None:
        self.phase = Phase.BOOTING
        self.exit_status: int | None = None
        self.error: InnError | None = None
        self._tty = tty
        self._line = bytearray()
        self._output = bytearray()
        self._held: list[bytes] = []

    @property
    def over(self) -> bool:
        """True when nothing more will come: the exit status or the error is final."""
        return self.phase in (Phase.DONE, Phase.FAILED)

    @property
    def started(self) -> bool:
        """True once the guest has its file systems and streams, and stdin may be sent."""
        return self.phase is not Phase.BOOTING

    def receive(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes that the guest wrote to the control port."""
        for byte in bytes(data):
            if self.over:
                return
            if byte == 0x0A:
                self._handle(self._line.decode("utf-8", "replace"))
                self._line.clear()
            elif len(self._line) == MAX_LINE_BYTES:
                self._fail("the guest broke the control protocol", "a line is too long")
            else:
                self._line.append(byte)

    def send_signal(self, name: str) -> None:
        """Ask for signal `name` (`TERM`, without SIG) in the command's process group.

        Before the command runs it is held back; after the command ended it is dropped.
        """
        if name not in FORWARDED_SIGNALS:
            raise ValueError(f"signal {name!r} is not forwarded")
        self._tell(f"signal {name}\n".encode())

    def resize(self, size: TerminalSize) -> None:
        """Tell a guest with a terminal its new window size; SIGWINCH follows inside."""
        if self._tty:
            self._tell(f"winsize {size.rows} {size.columns}\n".encode())

    def output_drained(self) -> None:
        """Let the guest power off: all it wrote has left for the host's streams."""
        if self.phase is Phase.EXITED:
            self._output += b"bye\n"
            self.phase = Phase.DONE

    def machine_ended(self, *, why: str = "", console: str = "") -> None:
        """Note that the machine stopped; an error unless the exit status is already here."""
        if self.phase is Phase.EXITED:
            self.phase = Phase.DONE
        elif not self.over:
            running = self.phase is Phase.RUNNING
            what = "the guest ended before its command" if running else "the guest did not start"
            self._fail(what, why or last_lines(console) or "the machine powered off")

    def expire(self, timeout_s: float) -> None:
        """End the run because its time is over."""
        if not self.over:
            self.error = timed_out(timeout_s)
            self.phase = Phase.FAILED

    def abandon(self, exit_status: int) -> None:
        """End the run now with `exit_status`, whatever the guest does."""
        if not self.over:
            self.exit_status = exit_status
            self.phase = Phase.DONE

    @property
    def has_output(self) -> bool:
        """Tell whether there are bytes for the control port."""
        return bool(self._output)

    def take_output(self) -> bytes:
        """Return the bytes to write to the control port now, and forget them."""
        data, self._output = bytes(self._output), bytearray()
        return data

    def result(self) -> int:
        """Return the command's exit status, or raise the error that ended the run."""
        if self.error is not None:
            raise self.error
        if self.exit_status is None:
            raise MachineError("the guest has not finished")
        return self.exit_status

    def _tell(self, line: bytes) -> None:
        if self.phase is Phase.BOOTING:
            self._held.append(line)
            del self._held[:-64]
        elif self.phase is Phase.RUNNING and len(self._output) < MAX_OUTPUT_BYTES:
            self._output += line

    def _handle(self, line: str) -> None:
        verb, _, rest = line.partition(" ")
        if verb == "ready" and self.phase is Phase.BOOTING:
            self.phase = Phase.RUNNING
            self._output += b"".join(self._held)
            self._held.clear()
        elif verb == "exit" and self.phase is Phase.RUNNING and _is_status(rest):
            self.exit_status = int(rest)
            self.phase = Phase.EXITED
        elif verb == "fail" and self.phase is Phase.BOOTING:
            self._fail("the guest could not start the command", printable(rest))
        else:
            why = f"it said {printable(line)!r} while {self.phase.value}"
            self._fail("the guest broke the control protocol", why)

    def _fail(self, what: str, why: str) -> None:
        self.error = MachineError(what, why=why)
        self.phase = Phase.FAILED


def timed_out(timeout_s: float) -> GuestTimeout:
    """Return the error of a guest whose time is over."""
    return GuestTimeout(
        f"the guest did not finish in {timeout_s:g} s", fix="give a longer --timeout"
    )


def printable(text: str) -> str:
    """Replace what would reach a terminal as anything but text (escape sequences, controls)."""
    return "".join(char if char.isprintable() else "?" for char in text)


def last_lines(console: str) -> str:
    """Return the last lines of a serial console as one printable text, newest last."""
    lines = [printable(line.rstrip()) for line in console.splitlines() if line.strip()]
    return "\n".join(lines[-_SHOWN_LINES:])


def _is_status(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 3 and int(text) <= 255
