"""Functions of kernel Python that become one LLVM instruction or intrinsic.

Each has two halves that must agree: the CPython body here, and the lowering of the same name in
`native.lowering`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, TypeVar

from innkeeper.native.types import PtrType, PtrValue, address_of, f32, f64, read_at, u32, u64, u128

F = TypeVar("F", bound=Callable[..., Any])


def intrinsic(function: F) -> F:
    """Mark a function that the compiler lowers itself instead of compiling its body."""
    function.__intrinsic__ = function.__name__  # type: ignore[attr-defined]
    return function


def inline(function: F) -> F:
    """Ask for a function to be inlined into its callers."""
    function.__inline__ = True  # type: ignore[attr-defined]
    return function


def noinline(function: F) -> F:
    """Ask for a function to stay out of line: it is a slow path."""
    function.__inline__ = False  # type: ignore[attr-defined]
    return function


def leaf(function: F) -> F:
    """Ask for a function that stays out of line though it is no slow path.

    It touches only what its arguments point to, and cannot raise: its caller need not have put
    anything back into the hart.
    """
    function.__inline__ = False  # type: ignore[attr-defined]
    function.__leaf__ = True  # type: ignore[attr-defined]
    return function


@intrinsic
def sdiv(a: Any, b: Any) -> Any:
    """Divide signed integers, rounding toward zero; `b` is not 0, and not -1 for the minimum."""
    q = abs(int(a)) // abs(int(b))
    return type(a)(q if (a < 0) == (b < 0) else -q)


@intrinsic
def srem(a: Any, b: Any) -> Any:
    """Return the remainder of `sdiv`, with the sign of `a`; same conditions."""
    r = abs(int(a)) % abs(int(b))
    return type(a)(-r if a < 0 else r)


@intrinsic
def clz(a: Any) -> Any:
    """Count leading zero bits; the width when `a` is 0."""
    return type(a)(a.BITS - (int(a) & a.MASK).bit_length())


@intrinsic
def ctz(a: Any) -> Any:
    """Count trailing zero bits; the width when `a` is 0."""
    v = int(a) & a.MASK
    return type(a)((v & -v).bit_length() - 1 if v else a.BITS)


@intrinsic
def popcount(a: Any) -> Any:
    """Count the bits that are set."""
    return type(a)((int(a) & a.MASK).bit_count())


@intrinsic
def bswap(a: Any) -> Any:
    """Reverse the order of the bytes."""
    return type(a)(int.from_bytes((int(a) & a.MASK).to_bytes(a.BITS // 8, "little"), "big"))


@intrinsic
def bitreverse(a: Any) -> Any:
    """Reverse the order of the bits."""
    return type(a)(int(f"{int(a) & a.MASK:0{a.BITS}b}"[::-1], 2))


@intrinsic
def rotl(a: Any, count: Any) -> Any:
    """Rotate left; the count is taken modulo the width."""
    n, v = int(count) % a.BITS, int(a) & a.MASK
    return type(a)(v << n | v >> (a.BITS - n))


@intrinsic
def rotr(a: Any, count: Any) -> Any:
    """Rotate right; the count is taken modulo the width."""
    return rotl(a, -int(count) % a.BITS)


@intrinsic
def wide_mul(a: Any, b: Any) -> Any:
    """Multiply two u64 into a u128."""
    return u128(int(u64(a)) * int(u64(b)))


@intrinsic
def f64_bits(a: Any) -> Any:
    """Return the bits of an f64 as u64."""
    return u64(int.from_bytes(struct.pack("<d", float(a)), "little"))


@intrinsic
def bits_f64(a: Any) -> Any:
    """Return the f64 with these u64 bits."""
    return f64(struct.unpack("<d", (int(a)).to_bytes(8, "little"))[0])


@intrinsic
def f32_bits(a: Any) -> Any:
    """Return the bits of an f32 as u32 (CPython quiets signalling NaNs here)."""
    return u32(int.from_bytes(struct.pack("<f", float(a)), "little"))


@intrinsic
def bits_f32(a: Any) -> Any:
    """Return the f32 with these u32 bits (CPython quiets signalling NaNs here)."""
    return f32(struct.unpack("<f", (int(a)).to_bytes(4, "little"))[0])


@intrinsic
def is_null(p: Any) -> bool:
    """Tell whether a pointer or a function's address is null."""
    return p is None or address_of(p) == 0


@intrinsic
def addr(p: Any) -> Any:
    """Return the host address in a pointer or of a struct as u64."""
    return u64(address_of(p))


@intrinsic
def ptr_cast(kind: Any, p: Any) -> Any:
    """View a pointer or struct as a pointer of type `kind` (`Ptr[T]`), or as a struct class."""
    if isinstance(kind, PtrType):
        return PtrValue(kind.element, address_of(p))
    return read_at(kind, address_of(p))


@intrinsic
def ptr_offset(p: Any, kind: Any, offset: Any) -> Any:
    """Return the `Ptr[kind]` that lies `offset` bytes (u64, wrapping) after `p`."""
    return PtrValue(kind, (address_of(p) + int(offset)) & u64.MASK)


@intrinsic
def ref(p: Any, field: str) -> Any:
    """Return a pointer to a scalar field of a struct."""
    kind, offset = type(p).FIELDS[field]
    return PtrValue(kind, p.address + offset)


@intrinsic
def atomic_rmw(op: str, p: Any, value: Any) -> Any:
    """Apply `op` (add and or xor xchg min max umin umax) to `p[0]` atomically; return the old."""
    old = p[0]
    p[0] = ATOMIC_OPS[op](old, value)
    return old


def _pick(better: Callable[[int, int], bool], *, signed: bool) -> Callable[[Any, Any], Any]:
    def view(a: Any) -> int:
        v = int(a) & a.MASK
        return v - (1 << a.BITS) if signed and v >> (a.BITS - 1) else v

    return lambda a, b: a if better(view(a), view(b)) else b


ATOMIC_OPS: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda a, b: a + b,
    "and": lambda a, b: a & b,
    "or": lambda a, b: a | b,
    "xor": lambda a, b: a ^ b,
    "xchg": lambda a, b: b,
    "min": _pick(lambda a, b: a < b, signed=True),
    "max": _pick(lambda a, b: a > b, signed=True),
    "umin": _pick(lambda a, b: a < b, signed=False),
    "umax": _pick(lambda a, b: a > b, signed=False),
}


@intrinsic
def cmpxchg(p: Any, expected: Any, value: Any) -> bool:
    """Store `value` in `p[0]` if it holds `expected`, atomically; tell whether it did."""
    if p[0] != expected:
        return False
    p[0] = value
    return True


@intrinsic
def atomic_load(p: Any) -> Any:
    """Return `p[0]`, read anew at each call, before anything that follows (acquire)."""
    return p[0]


@intrinsic
def atomic_store(p: Any, value: Any) -> None:
    """Set `p[0]` after everything that precedes (release)."""
    p[0] = value


@intrinsic
def fence(order: str) -> None:
    """Order the memory accesses before against those after.

    `order` is LLVM's: `acq_rel` for all but a store before a load, `seq_cst` for that too. The
    first costs nothing on a host with total store order.
    """


@intrinsic
def pause() -> None:
    """Tell the host's CPU that this thread spins."""
