"""What an instruction may ask of whatever executes it.

The bodies here are the CPython reference. An engine gives its own lowering for each of them:
tier 0 turns `branch` into a jump to another cell and `load` into a TLB compare.
"""

from __future__ import annotations

from typing import Any

from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.native.intrinsics import intrinsic
from innkeeper.native.types import u32, u64


class Trap(Exception):
    """A synchronous exception: `raise Trap(cause, tval)` (RISC-V Privileged 3.1.15, 3.1.16).

    For an illegal instruction pass 0 as tval: the trap entry puts the instruction's bits there.
    """

    def __init__(self, cause: int, tval: int) -> None:
        self.cause, self.tval = int(cause), int(tval)
        super().__init__(f"cause {self.cause}, tval {self.tval:#x}")


@intrinsic
def load(h: Hart, kind: Any, va: Any) -> Any:
    """Load a value of type `kind` (u8..u64) from a guest virtual address; may raise `Trap`."""
    from innkeeper.isa.riscv.access import load_slow

    return kind(load_slow(h, va, u32(kind.BITS // 8)))


@intrinsic
def store(h: Hart, kind: Any, va: Any, value: Any) -> None:
    """Store a value of type `kind` (u8..u64) at a guest virtual address; may raise `Trap`."""
    from innkeeper.isa.riscv.access import store_slow

    store_slow(h, va, u64(value), u32(kind.BITS // 8))


@intrinsic
def branch(h: Hart, i: Operands) -> None:
    """Go to this instruction's pc plus its immediate, and return from the instruction."""
    h.npc = h.pc + u64(i.imm)


@intrinsic
def jump(h: Hart, i: Operands, target: Any) -> None:
    """Go to `target` (u64), and return from the instruction."""
    h.npc = target


@intrinsic
def pc_of(h: Hart, i: Operands) -> Any:
    """Return the address of this instruction."""
    return h.pc


@intrinsic
def next_pc(h: Hart, i: Operands) -> Any:
    """Return the address of the instruction that follows this one in memory."""
    return h.npc


@intrinsic
def resync(h: Hart, i: Operands) -> None:
    """Finish the instruction; what follows is looked up anew.

    For whatever changes translation, privilege, interrupts or code.
    """


@intrinsic
def resync_to(h: Hart, i: Operands, target: Any) -> None:
    """Like `resync`, going on at `target` (u64)."""
    h.npc = target


@intrinsic
def publish(h: Hart) -> None:
    """Make `h.budget` current, for what counts instructions (always current in the reference)."""


@intrinsic
def rw_pointer(h: Hart, kind: Any, va: Any) -> Any:
    """Return a host pointer to naturally aligned RAM that may be read and written, for atomics.

    Raises `Trap` like a store: misaligned, page fault, or access fault where it is not RAM.
    """
    from innkeeper.isa.riscv.access import rw_pointer_slow
    from innkeeper.native.types import PtrValue

    return PtrValue(kind, rw_pointer_slow(h, va, u32(kind.BITS // 8)).address)


@intrinsic
def host_fp_flags() -> Any:
    """Return the host's sticky exception flags in fflags' layout (always 0 in the reference)."""
    return u32(0)


@intrinsic
def host_fp_set(frm: Any) -> None:
    """Clear the host's sticky flags and set its rounding mode (`frm` 0 to 3)."""
