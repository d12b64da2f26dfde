"""Expressions whose value is known while compiling."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from typing import Any

from innkeeper.native.types import (
    Int,
)
from innkeeper.native.values import (
    NOT_STATIC,
)

STATIC_OPS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow,
    ast.LShift: operator.lshift, ast.RShift: operator.rshift, ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_, ast.BitXor: operator.xor, ast.USub: operator.neg,
    ast.Invert: operator.invert, ast.Not: operator.not_, ast.Eq: operator.eq,
    ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.Is: operator.is_, ast.IsNot: operator.is_not,
    ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b,
}  # fmt: skip
"""What operators on compile-time values mean: what they mean in Python."""


class Static:
    """The part of the function compiler that evaluates constants."""

    def static(self, node: ast.AST) -> Any:
        """Return the compile-time value of an expression, or `NOT_STATIC`."""
        method = getattr(self, f"_static_{type(node).__name__}", None)
        return NOT_STATIC if method is None else method(node)

    def _static_Constant(self, node: ast.Constant) -> Any:
        return node.value

    def _static_Name(self, node: ast.Name) -> Any:
        if node.id in self.signature.const_values:
            return self.signature.const_values[node.id]
        if node.id in self.assigned:
            return NOT_STATIC
        if node.id in self.scope:
            return self.scope[node.id]
        return {"bool": bool, "True": True, "False": False, "len": len}.get(node.id, NOT_STATIC)

    def _static_Attribute(self, node: ast.Attribute) -> Any:
        base = self.static(node.value)
        if base is NOT_STATIC:
            return NOT_STATIC
        if not hasattr(base, node.attr):
            self.node = node
            self.fail(f"{base!r} has no {node.attr!r}")
        return getattr(base, node.attr)

    def _static_Subscript(self, node: ast.Subscript) -> Any:
        base, index = self.static(node.value), self.static(node.slice)
        if base is NOT_STATIC or index is NOT_STATIC:
            return NOT_STATIC
        return base[index]

    def _static_Tuple(self, node: ast.Tuple) -> Any:
        items = [self.static(e) for e in node.elts]
        return NOT_STATIC if any(i is NOT_STATIC for i in items) else tuple(items)

    def _static_BinOp(self, node: ast.BinOp) -> Any:
        return self._static_operator(node, [node.left, node.right])

    def _static_UnaryOp(self, node: ast.UnaryOp) -> Any:
        return self._static_operator(node, [node.operand])

    def _static_Compare(self, node: ast.Compare) -> Any:
        return self._static_operator(node, [node.left, *node.comparators])

    def _static_Call(self, node: ast.Call) -> Any:
        callee = self.static(node.func)
        if callee is len or (isinstance(callee, type) and issubclass(callee, Int)):
            args = [self.static(a) for a in node.args]
            if all(a is not NOT_STATIC for a in args):
                return callee(*args)
        return NOT_STATIC

    def _static_BoolOp(self, node: ast.BoolOp) -> Any:
        stop = isinstance(node.op, ast.Or)
        for operand in node.values:
            value = self.static(operand)
            if value is NOT_STATIC:
                return NOT_STATIC
            if bool(value) is stop:
                return stop
        return not stop

    def _static_operator(self, node: Any, operands: list[ast.expr]) -> Any:
        values = [self.static(o) for o in operands]
        if any(v is NOT_STATIC for v in values):
            return NOT_STATIC
        if isinstance(node, ast.Compare):
            pairs = zip(values, node.ops, values[1:], strict=False)
            return all(STATIC_OPS[type(op)](left, right) for left, op, right in pairs)
        return STATIC_OPS[type(node.op)](*values)
