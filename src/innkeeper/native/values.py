"""What the compiler passes around: typed operands, and places in memory."""

from __future__ import annotations

from typing import Any

from innkeeper.native.types import (
    FnType,
    PtrType,
    is_float,
    is_int,
    is_struct,
)

LITERAL = "literal"
NOT_STATIC = object()


class Value:
    """A typed IR operand; for a literal `kind` is `LITERAL` and `ir` the Python int."""

    __slots__ = ("ir", "kind")

    def __init__(self, kind: Any, ir: Any) -> None:
        self.kind, self.ir = kind, ir


class Place:
    """Something in memory: its type and the IR operand of its address."""

    __slots__ = ("ir", "kind")

    def __init__(self, kind: Any, ir: str) -> None:
        self.kind, self.ir = kind, ir


def ir_type(kind: Any) -> str:
    """Return the LLVM type of a value of this kind in a register."""
    if is_int(kind):
        return f"i{kind.BITS}"
    if kind is bool:
        return "i1"
    if kind is None:
        return "void"
    if is_float(kind):
        return "double" if kind.BITS == 64 else "float"
    if isinstance(kind, tuple):
        return "{" + ", ".join(ir_type(k) for k in kind) + "}"
    if isinstance(kind, (PtrType, FnType)) or is_struct(kind):
        return "ptr"
    raise TypeError(f"{kind!r} has no register form")


def zero_of(kind: Any) -> str:
    """Return the IR operand for a zero of this kind."""
    if isinstance(kind, tuple):
        return "zeroinitializer"
    if is_float(kind):
        return "0.0"
    return "null" if ir_type(kind) == "ptr" else "false" if kind is bool else "0"
