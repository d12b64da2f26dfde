"""The SBI calls a kernel makes thousands of times a second (SBI 2.0 chapters 6 to 8).

Set-timer, inter-processor interrupts and remote fences are answered here, in native code; every
other call goes to the host through `Hart.sbi_call`.
"""

from __future__ import annotations

from innkeeper.isa.riscv.hart import Hart
from innkeeper.native.intrinsics import addr, atomic_rmw, cmpxchg, noinline, ptr_cast, ref
from innkeeper.native.types import i64, u32, u64

EID_TIME = 0x54494D45
EID_IPI = 0x735049
EID_RFENCE = 0x52464E43
SBI_ERR_INVALID_PARAM = -3

FLUSH_CODE, FLUSH_TLB, FLUSH_RESERVATION, FLUSH_RANGE, FLUSH_NOTHING = 1, 2, 4, 8, 16
"""Bits of `Hart.flush_request`, obeyed before the hart's next instruction."""

FENCED_CODE = FLUSH_CODE
FENCED_TRANSLATIONS = FLUSH_TLB | FLUSH_RESERVATION
FENCED_RANGE = FLUSH_RANGE | FLUSH_RESERVATION
"""What another hart's fence asks for: a reservation is for a physical address, kept as virtual."""

SSIP = 2
A0, A1, A2, A3, A4, A6, A7 = 10, 11, 12, 13, 14, 16, 17
FENCE_I, SFENCE_VMA, SFENCE_VMA_ASID = 0, 1, 2

EVERY_ASID = 0xFFFFFFFFFFFFFFFF
"""`Hart.fence_asid` of a fence that names no address space."""


def sbi_result(h: Hart, error: i64, value: u64) -> None:
    """Put an SBI return pair into a0 and a1."""
    h.x[A0] = u64(error)
    h.x[A1] = value


def in_mask(h: Hart, number: u32) -> bool:
    """Tell whether a0 (mask) and a1 (base) name a hart; a base of -1 names all (SBI 3.2)."""
    base = h.x[A1]
    if base == ~u64(0):
        return True
    n = u64(number)
    return n >= base and n - base < 64 and ((h.x[A0] >> (n - base)) & 1) != 0


def mask_is_valid(h: Hart) -> bool:
    """Tell whether every hart that a0 and a1 name exists."""
    base = h.x[A1]
    if base == ~u64(0):
        return True
    count = u64(h.hart_count)
    if base >= count:
        return h.x[A0] == 0
    return count - base >= 64 or (h.x[A0] >> (count - base)) == 0


def wake(h: Hart) -> None:
    """Let a hart that waits look again; an engine whose harts run at once replaces this."""


def await_flush(h: Hart, other: Hart, flush: u32) -> None:
    """Return when `other` has obeyed a flush request, or will before its next instruction.

    Where harts take turns that is so at once; an engine whose harts run at once replaces this.
    """


def send_ipis(h: Hart) -> None:
    """Raise SSIP in every hart that the call names."""
    for n in range(h.hart_count):
        if in_mask(h, n):
            other = ptr_cast(Hart, h.harts[n])
            atomic_rmw("or", ref(other, "mip"), u64(SSIP))
            wake(other)


def ask_translations(h: Hart, other: Hart, by_asid: bool) -> None:
    """Ask a hart to forget the range in a2 and a3, or everything if it has one yet to obey."""
    flush = u32(FENCED_TRANSLATIONS)
    if cmpxchg(ref(other, "fence_taken"), u32(0), u32(1)):
        other.fence_start = h.x[A2]
        other.fence_size = h.x[A3]
        other.fence_asid = h.x[A4] if by_asid else u64(EVERY_ASID)
        flush = u32(FENCED_RANGE)
    atomic_rmw("or", ref(other, "flush_request"), flush)


def remote_fence(h: Hart, function: u64) -> None:
    """Have every hart that the call names forget translations or code (SBI 8.1 to 8.3)."""
    flush = u32(FENCED_CODE)
    if function != FENCE_I:
        flush = u32(FENCED_TRANSLATIONS | FENCED_RANGE)
    for n in range(h.hart_count):
        if in_mask(h, n):
            other = ptr_cast(Hart, h.harts[n])
            if function == FENCE_I:
                atomic_rmw("or", ref(other, "flush_request"), flush)
            else:
                ask_translations(h, other, function == SFENCE_VMA_ASID)
    for n in range(h.hart_count):
        if in_mask(h, n) and h.harts[n] != addr(h):
            await_flush(h, ptr_cast(Hart, h.harts[n]), flush)


def host_sbi_call(h: Hart) -> None:
    """Let the host answer; an engine wraps this to keep the host's own state its own."""
    h.sbi_call(addr(h))


@noinline
def sbi_ecall(h: Hart) -> None:
    """Answer an SBI call whose arguments are in a0 to a7."""
    extension, function = h.x[A7], h.x[A6]
    if extension == EID_TIME and function == 0:
        h.stimecmp = h.x[A0]
        h.timer_lines = h.timer_lines & ~u64(1 << 5)
        if h.icount != 0:
            h.yielding = u32(1)
        sbi_result(h, i64(0), u64(0))
    elif extension == EID_IPI and function == 0:
        if mask_is_valid(h):
            send_ipis(h)
            sbi_result(h, i64(0), u64(0))
        else:
            sbi_result(h, i64(SBI_ERR_INVALID_PARAM), u64(0))
    elif extension == EID_RFENCE and function <= SFENCE_VMA_ASID:
        if mask_is_valid(h):
            remote_fence(h, function)
            sbi_result(h, i64(0), u64(0))
        else:
            sbi_result(h, i64(SBI_ERR_INVALID_PARAM), u64(0))
    else:
        host_sbi_call(h)
