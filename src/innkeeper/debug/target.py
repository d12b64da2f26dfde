"""What a debugger asks of a machine, and what it hears back."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

SIGINT, SIGILL, SIGTRAP, SIGSEGV = 2, 4, 5, 11  # GDB's own numbers, the same as Linux's


class BreakpointKind(IntEnum):
    """Where to stop; the numbers are those of the Z packets."""

    SOFTWARE = 0
    HARDWARE = 1
    WATCH_WRITE = 2
    WATCH_READ = 3
    WATCH_ACCESS = 4

    @property
    def is_watch(self) -> bool:
        """Whether it watches data, not the program counter."""
        return self >= BreakpointKind.WATCH_WRITE


@dataclass(frozen=True, slots=True, kw_only=True)
class StopReply:
    """Why the machine stands still, and on which hart that came up.

    `cause` is the kind of breakpoint that was hit, if one was; `watch_va` the data address then,
    for a watchpoint. `exit_code` is set once the guest has powered off: nothing runs after that.
    """

    hart: int = 0
    signal: int = SIGTRAP
    cause: BreakpointKind | None = None
    watch_va: int | None = None
    exit_code: int | None = None


class DebugTarget(Protocol):
    """A machine under a debugger. All calls come from one thread, the server's.

    Harts are numbered from 0. Registers have GDB's numbers: 0 to 31 the integer registers, 32 the
    pc, 33 to 64 the floating-point registers, 65 + n the CSR of number n, 4161 the privilege level.
    Addresses are virtual, through the translation that the hart uses now. Only `interrupt` and
    `wait_stop` are called while harts run.
    """

    def harts(self) -> Sequence[int]:
        """Return the numbers of the harts; never empty, always the same."""
        ...

    def describe_hart(self, hart: int) -> str:
        """Say in a line what a hart is doing (`S-mode, running`, `stopped by SBI HSM`)."""
        ...

    def describe(self) -> str:
        """Describe the machine in a few lines, for `monitor info`."""
        ...

    def read_registers(self, hart: int) -> bytes:
        """Return x0 to x31 and the pc: 33 numbers of 8 bytes, little-endian."""
        ...

    def read_register(self, hart: int, number: int) -> int | None:
        """Return any one register, `None` if the hart has no such one."""
        ...

    def write_register(self, hart: int, number: int, value: int) -> bool:
        """Set a register; False if it cannot be."""
        ...

    def read_memory(self, hart: int, va: int, size_bytes: int) -> bytes | None:
        """Return memory, or as much of its beginning as is mapped; `None` if nothing is."""
        ...

    def write_memory(self, hart: int, va: int, data: bytes) -> bool:
        """Set memory, code included; False, and no change, if not all of it is mapped."""
        ...

    def add_breakpoint(self, kind: BreakpointKind, va: int, length: int) -> bool:
        """Stop at an instruction (`length` 2 or 4), or at an access to any of `length` bytes.

        Either way the stop comes before the instruction has done anything, the pc on it: GDB takes
        watchpoints of RISC-V to be like that, and steps over the access itself. The program never
        sees a breakpoint. False for one too many.
        """
        ...

    def remove_breakpoint(self, kind: BreakpointKind, va: int, length: int) -> bool:
        """Take one back; False if it was not there."""
        ...

    def resume(self, *, step_hart: int | None, harts: Collection[int] | None) -> None:
        """Let harts run: all (`None`) or these; `step_hart` stops all again after one instruction.

        Nothing is skipped: a breakpoint where a hart stands stops it at once. Debuggers take it
        away, step, and put it back.
        """
        ...

    def interrupt(self) -> None:
        """Ask all harts to stop (signal SIGINT); nothing happens if they stand still already."""
        ...

    def wait_stop(self, timeout_s: float) -> StopReply | None:
        """Wait until all harts stand still and say why, at once if they do; `None` if too late."""
        ...

    def reset(self) -> None:
        """Return to the state after power-on, stopped; breakpoints stay."""
        ...

    def detach(self) -> None:
        """Let the machine run on without a debugger; the server has removed its breakpoints."""
        ...

    def kill(self) -> None:
        """End the machine."""
        ...
