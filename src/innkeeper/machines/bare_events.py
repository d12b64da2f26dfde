"""What a bare CPU tells its user: why it stopped, traps, accesses, executed instructions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from innkeeper.isa.riscv import causes

CAUSE_NAMES = {
    number: name.lower().replace("_", " ")
    for name, number in vars(causes).items()
    if name.isupper() and not name.startswith(("IRQ", "INTERRUPT"))
}


class StopReason(Enum):
    """Why `run` came back."""

    UNTIL = "reached the address to stop at"
    COUNT = "executed as many instructions as wanted"
    TIMEOUT = "ran out of time"
    STEP = "executed one instruction"
    STOPPED = "was told to stop"
    IDLE = "waits for an interrupt that nothing will bring"
    TRAP = "raised a trap that nobody takes"
    EXIT = "exited"


@dataclass(frozen=True)
class Trap:
    """An exception (Privileged 3.1.15, 3.1.16): its cause, its tval, and the instruction's pc."""

    cause: int
    tval: int
    pc: int

    def __str__(self) -> str:
        name = CAUSE_NAMES.get(self.cause, f"cause {self.cause}")
        return f"{name}, tval {self.tval:#x}, at {self.pc:#x}"


@dataclass(frozen=True)
class Stop:
    """How a run ended. `trap` is set for TRAP, `exit_code` for EXIT."""

    reason: StopReason
    pc: int
    trap: Trap | None = None
    exit_code: int | None = None

    def __str__(self) -> str:
        if self.trap is not None:
            return f"it {self.reason.value}: {self.trap}"
        if self.exit_code is not None:
            return f"it exited with code {self.exit_code}"
        return f"it {self.reason.value}, at {self.pc:#x}"


@dataclass(frozen=True)
class Access:
    """A load or store that is about to be made; an atomic one reads and writes.

    `value` is what a store will store, `None` for a load or an atomic.
    """

    pc: int
    address: int
    size: int
    read: bool
    write: bool
    value: int | None


@dataclass(frozen=True)
class Executed:
    """One instruction of a trace and the registers it changed."""

    pc: int
    bits: int
    size: int
    text: str
    writes: dict[str, int]
