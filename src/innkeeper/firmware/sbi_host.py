"""What the built-in SBI asks of the machine it serves."""

from __future__ import annotations

from enum import Enum
from typing import Any, Protocol

from innkeeper.firmware.sbi_ids import HartState


class Fence(Enum):
    """What a remote fence orders."""

    FENCE_I = "fence.i"
    SFENCE_VMA = "sfence.vma"
    SFENCE_VMA_ASID = "sfence.vma of one address space"


class SbiMemory(Protocol):
    """Guest-physical RAM; `view` raises an `InnError` for what is not RAM."""

    def view(self, gpa: int, size_bytes: int, /) -> memoryview:
        """Return the memory itself."""

    def write(self, gpa: int, data: Any, /) -> None:
        """Copy bytes to `gpa`, telling whoever watches for writes."""


class SbiHost(Protocol):
    """What the firmware needs of the machine, whose harts are numbered from 0."""

    @property
    def hart_count(self) -> int:
        """How many harts there are."""

    @property
    def memory(self) -> SbiMemory:
        """Guest RAM."""

    def hart_state(self, hart: int) -> HartState:
        """Return the HSM state of `hart`."""

    def start_hart(self, hart: int, address: int, opaque: int) -> bool:
        """Start a stopped `hart` in S-mode: pc=address, a0=hart, a1=opaque, satp=0, SIE=0; False
        when not stopped.

        Checks the state and claims the hart in one step, as two harts may start the same one.
        """

    def stop_hart(self, hart: int) -> None:
        """Stop `hart`, the caller's own, when its call ends."""

    def suspend_hart(self, hart: int, resume: tuple[int, int] | None) -> None:
        """Suspend `hart`, the caller's own, until an interrupt is pending, as WFI does.

        With `resume` (address, opaque) it wakes as a started hart does; without, it goes on after
        the call.
        """

    def set_timer(self, hart: int, value: int) -> None:
        """Clear the supervisor timer interrupt of `hart`; raise it when `time` reaches `value`."""

    def send_ipi(self, hart: int) -> None:
        """Set the supervisor software interrupt of `hart` pending."""

    def clear_ipi(self, hart: int) -> bool:
        """Clear the supervisor software interrupt of `hart`; say whether it was pending."""

    def remote_fence(
        self, kind: Fence, harts: list[int], start: int, size: int, asid: int | None
    ) -> None:
        """Fence `harts`, done before the caller goes on. `size` of 2**64-1 means every address."""

    def read_virtual(self, hart: int, gva: int, size: int) -> bytes | None:
        """Read as `hart` would; None when that trapped, with the trap delivered to the guest."""

    def console_write(self, data: bytes) -> int:
        """Write without waiting and return how many bytes went; `OSError` if it is broken."""

    def console_write_byte(self, byte: int) -> None:
        """Write one byte to the console, waiting for room; `OSError` when it is broken."""

    def console_read(self, count: int) -> bytes:
        """Return up to `count` bytes typed at the console, maybe none."""

    def shutdown(self, reason: int) -> None:
        """Power the machine off when the call ends; `reason` is a `ResetReason`."""

    def reboot(self, reason: int) -> None:
        """Reset the machine when the call ends; `reason` is a `ResetReason`."""
