"""A function's source, annotations and compile-time parameters."""

from __future__ import annotations

import ast
import inspect
import textwrap
import types as python_types
from functools import cache
from typing import Any

from innkeeper.base.errors import CompileError
from innkeeper.native.types import (
    Const,
    annotated,
    type_name,
)


class Signature:
    """A function's annotated parameters and result, with the values of its `Const` parameters."""

    def __init__(self, function: Any, consts: tuple[Any, ...]) -> None:
        self.function, self.consts = function, consts
        scope = vars(inspect.getmodule(function))
        notes = function.__annotations__
        self.params: list[tuple[str, Any]] = []
        self.const_values: dict[str, Any] = {}
        pending = list(consts)
        names = function.__code__.co_varnames[: function.__code__.co_argcount]
        for name in names:
            if name not in notes:
                raise CompileError(f"{function.__qualname__}: parameter {name!r} has no type")
            kind = annotation_of(notes[name], scope)
            if kind is Const:
                self.const_values[name] = pending.pop(0)
            else:
                self.params.append((name, kind))
        if "return" not in notes:
            raise CompileError(f"{function.__qualname__}: the result has no type")
        self.result = annotation_of(notes["return"], scope)
        self.name = _mangle(function, consts)
        self.may_raise = False


@cache
def const_positions(function: Any) -> list[bool]:
    """Tell for each parameter whether it is a `Const`."""
    code = function.__code__
    scope = vars(inspect.getmodule(function))
    names = code.co_varnames[: code.co_argcount]
    return [annotation_of(function.__annotations__.get(n, "None"), scope) is Const for n in names]


def annotation_of(note: Any, scope: dict[str, Any]) -> Any:
    """Return the type an annotation means; a tuple of types for `tuple[...]`."""
    kind = annotated(note, scope)
    if isinstance(kind, python_types.GenericAlias) and kind.__origin__ is tuple:
        return tuple(kind.__args__)
    return kind


def _mangle(function: Any, consts: tuple[Any, ...]) -> str:
    parts = [function.__module__.rpartition(".")[2], function.__qualname__]
    parts += [const_name(c) for c in consts]
    return "".join(c if c.isalnum() or c in "_." else "_" for c in ".".join(parts))


def const_name(value: Any) -> str:
    """Name the value of a `Const` parameter: a type, a function, a number, a tuple of them."""
    if isinstance(value, tuple):
        return "_".join(const_name(one) for one in value)
    if isinstance(value, python_types.FunctionType):
        return f"{value.__module__.rpartition('.')[2]}.{value.__name__}"
    return type_name(value) if isinstance(value, type) else str(value)


_PARSED: dict[Any, tuple[ast.FunctionDef, str, int]] = {}


def parse_function(function: Any) -> tuple[ast.FunctionDef, str, int]:
    """Return a function's syntax tree, file name and the line number before its first line."""
    if function not in _PARSED:
        try:
            lines, first = inspect.getsourcelines(function)
        except (OSError, TypeError) as error:
            raise CompileError(f"{function!r} has no source", why=str(error)) from None
        tree = ast.parse(textwrap.dedent("".join(lines))).body[0]
        if not isinstance(tree, ast.FunctionDef):
            raise CompileError(f"{function.__qualname__} is not a plain function")
        _PARSED[function] = (tree, inspect.getsourcefile(function) or "?", first - 1)
    return _PARSED[function]


@cache
def stored_names(function: Any) -> frozenset[str]:
    """Return the names a function assigns to."""
    nodes = ast.walk(parse_function(function)[0])
    return frozenset(
        n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)
    )


def assigned_names(signature: Signature) -> frozenset[str]:
    """Return the names of a function that are variables, not compile-time constants."""
    return stored_names(signature.function).union(name for name, _ in signature.params)


def static_callee(node: ast.expr, scope: dict[str, Any]) -> Any:
    """Return the function that a call names, None where that is not known from the source."""
    if isinstance(node, ast.Name):
        return scope.get(node.id)
    if isinstance(node, ast.Attribute):
        base = static_callee(node.value, scope)
        return getattr(base, node.attr, None) if isinstance(base, python_types.ModuleType) else None
    return None
