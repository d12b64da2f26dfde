"""Calls: of kernel Python functions, inlined or not, through addresses, of intrinsics."""

from __future__ import annotations

import ast
import inspect
import types as python_types
from typing import Any

from innkeeper.native.signature import (
    Signature,
    assigned_names,
    const_positions,
    parse_function,
)
from innkeeper.native.types import (
    FnType,
    is_int,
)
from innkeeper.native.values import (
    LITERAL,
    NOT_STATIC,
    Value,
    ir_type,
)


class Calls:
    """The part of the function compiler that compiles calls."""

    def expr_Call(self, node: ast.Call) -> Value:
        value = self.call(node)
        if value is None:
            self.fail("this call has no value")
        return value

    def call(self, node: ast.Call) -> Value | None:
        """Compile a call; None where it has no value."""
        if node.keywords:
            self.fail("keyword arguments are not kernel Python")
        callee = self.static(node.func)
        if callee is NOT_STATIC:
            return self.call_address(node)
        if isinstance(callee, type) and (is_int(callee) or callee is bool):
            return self.convert(self.expr(node.args[0]), callee)
        name = getattr(callee, "__intrinsic__", None)
        if name is not None:
            method = getattr(self, f"lower_{name}", None)
            if method is None:
                self.fail(f"{name} is not available here")
            result: Value | None = method(node.args)
            return result
        if not isinstance(callee, python_types.FunctionType):
            self.fail(f"{callee!r} cannot be called")
        return self.call_function(callee, node.args)

    def call_function(self, function: Any, nodes: list[ast.expr]) -> Value | None:
        """Compile a call of another kernel Python function."""
        replacement = self.module.replacements.get(function, function)
        if replacement is not self.signature.function:
            function = replacement
        flags = const_positions(function)
        if len(flags) != len(nodes):
            self.fail(f"{function.__name__} takes {len(flags)} arguments, not {len(nodes)}")
        consts = self.const_arguments(function, nodes)
        inline = self.is_inlined(function)
        make = self.module.inline_signature if inline else self.module.signature
        callee = make(function, consts)
        rest = [n for n, is_const in zip(nodes, flags, strict=True) if not is_const]
        args = []
        for (_, kind), arg in zip(callee.params, rest, strict=True):
            value = self.expr(arg)
            self.node = arg
            args.append(self.coerce(value, kind))
        if inline:
            return self.expand(callee, args)
        value_list = ", ".join(f"{ir_type(a.kind)} {a.ir}" for a in args)
        text = f"call {ir_type(callee.result)} @{callee.name}({value_list})"
        result = self.emit_call(text, callee.result)
        if callee.may_raise:
            self.propagate()
        return result

    def const_arguments(self, function: Any, nodes: list[ast.expr]) -> tuple[Any, ...]:
        """Return the values of a call's `Const` arguments."""
        consts = []
        for is_const, arg in zip(const_positions(function), nodes, strict=True):
            if is_const:
                known = self.static(arg)
                if known is NOT_STATIC:
                    self.fail("this argument must be a compile-time constant")
                consts.append(known)
        return tuple(consts)

    def expand(self, callee: Signature, args: list[Value]) -> Value | None:
        """Compile an inlined function's body here; its raises leave as this function's do."""
        if len(self.inlined) > 30:
            self.fail("inlined functions call each other without end")
        names = ("signature", "tree", "file", "first_line", "scope", "locals", "assigned", "loops")
        outer = {name: getattr(self, name) for name in names}
        self.signature = callee
        self.tree, self.file, self.first_line = parse_function(callee.function)
        self.scope = vars(inspect.getmodule(callee.function))
        self.locals, self.loops = {}, []
        self.assigned = assigned_names(callee)
        for (name, kind), arg in zip(callee.params, args, strict=True):
            self.bind(name, kind, arg)
        done = self.fresh("inlined")
        place = None if callee.result is None else self.local(".result", callee.result)
        self.inlined.append((place, done))
        self.body(self.tree.body)
        if not self.terminated:
            if place is not None:
                self.fail("control can reach the end without a return")
            self.jump_to(done)
        self.inlined.pop()
        for name, value in outer.items():
            setattr(self, name, value)
        self.start(done)
        if place is None:
            return None
        return Value(place.kind, self.assign(f"load {ir_type(place.kind)}, ptr {place.ir}"))

    def is_inlined(self, function: Any) -> bool:
        """Tell whether a function is expanded where it is called."""
        return bool(getattr(function, "__inline__", False))

    def bind(self, name: str, kind: Any, arg: Value) -> None:
        """Give a parameter of an inlined function its value."""
        self.emit(f"store {ir_type(kind)} {arg.ir}, ptr {self.local(name, kind).ir}")

    def leave_inlined(self, value: Value | None) -> bool:
        """Compile the return of an inlined function; False where there is none around."""
        if not self.inlined:
            return False
        place, done = self.inlined[-1]
        if (value is None) != (place is None):
            self.fail("the result does not fit the annotation")
        if value is not None and place is not None:
            value = self.coerce(value, place.kind)
            self.emit(f"store {ir_type(place.kind)} {value.ir}, ptr {place.ir}")
        self.jump_to(done)
        return True

    def emit_call(self, text: str, result: Any) -> Value | None:
        """Append a call instruction."""
        if result is None:
            self.emit(text)
            return None
        return Value(result, self.assign(text))

    def call_address(self, node: ast.Call) -> Value | None:
        """Compile a call through a `Fn` field."""
        target = self.expr(node.func)
        if not isinstance(target.kind, FnType):
            self.fail("this cannot be called")
        kinds = target.kind.args
        if len(kinds) != len(node.args):
            self.fail(f"takes {len(kinds)} arguments")
        args = [self.coerce(self.expr(a), k) for a, k in zip(node.args, kinds, strict=True)]
        value_list = ", ".join(f"{ir_type(a.kind)} {a.ir}" for a in args)
        result = target.kind.result
        return self.emit_call(f"call {ir_type(result)} {target.ir}({value_list})", result)

    def convert(self, value: Value, kind: Any) -> Value:
        """Convert between integers: the mathematical value modulo the new width."""
        if value.kind is LITERAL:
            return Value(kind, str(int(kind(value.ir))))
        if value.kind is kind:
            return value
        if value.kind is bool and is_int(kind):
            return Value(kind, self.assign(f"zext i1 {value.ir} to {ir_type(kind)}"))
        if not is_int(value.kind) or not is_int(kind):
            self.fail(f"{self.show(value.kind)} does not convert to {self.show(kind)}")
        if value.kind.BITS == kind.BITS:
            return Value(kind, value.ir)
        name = "trunc" if value.kind.BITS > kind.BITS else "sext" if value.kind.SIGNED else "zext"
        text = f"{name} {ir_type(value.kind)} {value.ir} to {ir_type(kind)}"
        return Value(kind, self.assign(text))
