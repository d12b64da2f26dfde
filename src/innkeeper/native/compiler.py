"""Kernel Python to LLVM IR text: one function's `ast` at a time, types checked, errors with lines.

`docs/kernel-python.md` is the language. A `Module` collects functions; calling one compiles every
function it reaches. What a function may do beyond the language (the emulator's `load`, `branch`,
a handler's way of ending) is added by subclassing `FunctionCompiler`.
"""

from __future__ import annotations

import ast
import inspect
import operator
import textwrap
import types as python_types
from collections.abc import Callable
from functools import cache
from typing import Any, ClassVar, NoReturn

from innkeeper.base.errors import CompileError
from innkeeper.native.types import (
    ArrayType,
    Const,
    ConstArray,
    FnType,
    Int,
    PtrType,
    annotated,
    is_float,
    is_int,
    is_struct,
    size_of,
    type_name,
    u64,
)

LITERAL = "literal"
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
            kind = _annotation(notes[name], scope)
            if kind is Const:
                self.const_values[name] = pending.pop(0)
            else:
                self.params.append((name, kind))
        if "return" not in notes:
            raise CompileError(f"{function.__qualname__}: the result has no type")
        self.result = _annotation(notes["return"], scope)
        self.name = _mangle(function, consts)
        self.may_raise = False


@cache
def const_positions(function: Any) -> list[bool]:
    """Tell for each parameter whether it is a `Const`."""
    code = function.__code__
    scope = vars(inspect.getmodule(function))
    names = code.co_varnames[: code.co_argcount]
    return [_annotation(function.__annotations__.get(n, "None"), scope) is Const for n in names]


def _annotation(note: Any, scope: dict[str, Any]) -> Any:
    kind = annotated(note, scope)
    if isinstance(kind, python_types.GenericAlias) and kind.__origin__ is tuple:
        return tuple(kind.__args__)
    return kind


def _mangle(function: Any, consts: tuple[Any, ...]) -> str:
    parts = [function.__module__.rpartition(".")[2], function.__qualname__]
    parts += [type_name(c) if isinstance(c, type) else str(c) for c in consts]
    return "".join(c if c.isalnum() or c in "_." else "_" for c in ".".join(parts))


class Module:
    """One LLVM module in the making: the text of its functions, constants and declarations."""

    def __init__(self, *, function_compiler: type[FunctionCompiler] | None = None) -> None:
        self.function_compiler = function_compiler or FunctionCompiler
        self.signatures: dict[tuple[Any, tuple[Any, ...]], Signature] = {}
        self.inline_signatures: dict[tuple[Any, tuple[Any, ...]], Signature] = {}
        self.queue: list[Signature] = []
        self.bodies: list[str] = []
        self.declarations: dict[str, str] = {}
        self.constants: dict[int, tuple[str, ConstArray, str]] = {}
        self.replacements: dict[Any, Any] = {}
        self.exported: set[str] = set()
        self._raises: dict[Any, bool] = {}

    def signature(self, function: Any, consts: tuple[Any, ...] = ()) -> Signature:
        """Return a function's signature; the first request queues it for compilation."""
        key = (function, consts)
        if key not in self.signatures:
            made = Signature(function, consts)
            made.may_raise = self.may_raise(function)
            self.signatures[key] = made
            self.queue.append(made)
        return self.signatures[key]

    def inline_signature(self, function: Any, consts: tuple[Any, ...] = ()) -> Signature:
        """Return the signature of a function that is expanded where it is called."""
        key = (function, consts)
        if key not in self.inline_signatures:
            self.inline_signatures[key] = Signature(function, consts)
        return self.inline_signatures[key]

    def export(self, function: Any, name: str | None = None, consts: tuple[Any, ...] = ()) -> str:
        """Compile a function under a visible symbol, and everything it calls."""
        made = self.signature(self.replacements.get(function, function), consts)
        if name is not None and name != made.name and made not in self.queue:
            raise CompileError(f"{function.__qualname__} was compiled as {made.name} already")
        made.name = name or made.name
        self.exported.add(made.name)
        self.drain()
        return made.name

    def drain(self) -> None:
        """Compile what has been asked for and not yet compiled."""
        while self.queue:
            self.bodies.append(self.function_compiler(self, self.queue.pop()).compile())

    def may_raise(self, function: Any) -> bool:
        """Tell whether a function can leave by `raise`, itself or through what it calls."""
        function = self.replacements.get(function, function)
        if function in self._raises:
            return self._raises[function]
        self._raises[function] = False
        tree, _, _ = parse_function(function)
        scope = vars(inspect.getmodule(function))
        found = False
        guarded = {
            id(inner)
            for outer in ast.walk(tree)
            if isinstance(outer, ast.Try)
            for statement in outer.body
            for inner in ast.walk(statement)
        }
        for node in ast.walk(tree):
            if id(node) in guarded:
                continue
            if isinstance(node, ast.Raise):
                found = True
            elif isinstance(node, ast.Call):
                callee = _static_callee(node.func, scope)
                if getattr(callee, "__intrinsic__", None) in self.function_compiler.RAISING:
                    found = True
                elif isinstance(callee, python_types.FunctionType) and not hasattr(
                    callee, "__intrinsic__"
                ):
                    found = found or self.may_raise(callee)
        self._raises[function] = found
        return found

    def constant(self, table: ConstArray) -> str:
        """Return the symbol of a constant table."""
        if id(table) not in self.constants:
            t = ir_type(table.element)
            items = ", ".join(f"{t} {int(v)}" for v in table.values)
            name = f"@table.{len(self.constants)}"
            text = f"{name} = internal constant [{len(table)} x {t}] [{items}], align 16"
            self.constants[id(table)] = (name, table, text)
        return self.constants[id(table)][0]

    def declare(self, name: str, text: str) -> None:
        """Declare an LLVM intrinsic once."""
        self.declarations[name] = text

    def text(self) -> str:
        """Return the whole module as LLVM IR."""
        self.drain()
        parts = [c[2] for c in self.constants.values()]
        return "\n".join([*parts, *self.declarations.values(), *self.bodies]) + "\n"


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


def _static_callee(node: ast.expr, scope: dict[str, Any]) -> Any:
    if isinstance(node, ast.Name):
        return scope.get(node.id)
    if isinstance(node, ast.Attribute):
        base = _static_callee(node.value, scope)
        return getattr(base, node.attr, None) if isinstance(base, python_types.ModuleType) else None
    return None


class FunctionCompiler:
    """Compiles one function; a subclass changes how it begins, ends, raises and what it may call.

    A method named `lower_<intrinsic>` gives the meaning of an intrinsic: it gets the argument
    nodes and returns a `Value` or None.
    """

    RAISING: frozenset[str] = frozenset()
    """Intrinsics that may raise."""
    CALLING_CONVENTION = ""

    def __init__(self, module: Module, signature: Signature) -> None:
        self.module, self.signature = module, signature
        self.tree, self.file, self.first_line = parse_function(signature.function)
        self.scope = vars(inspect.getmodule(signature.function))
        self.lines: list[str] = []
        self.allocas: list[str] = []
        self.locals: dict[str, Place] = {}
        self.counter = 0
        self.block = "entry"
        self.terminated = False
        self.targets: set[str] = set()
        self.loops: list[tuple[str, str]] = []
        self.inlined: list[tuple[Place | None, str]] = []
        self.attributes = {"nounwind", '"no-builtins"'}
        self.raise_label: str | None = None
        self.assigned = assigned_names(signature)
        self.node: ast.AST = self.tree

    # ---- the frame of the function

    def compile(self) -> str:
        """Return the function's IR."""
        self.prologue()
        self.body(self.tree.body)
        if not self.terminated:
            self.fall_off()
        self.epilogue()
        inner = "\n".join(["entry:", *self.allocas, *self.lines])
        return f"{self.header()} {{\n{inner}\n}}\n"

    def header(self) -> str:
        """Return the `define` line."""
        params = ", ".join(f"{ir_type(k)} %arg.{n}" for n, k in self.signature.params)
        visible = self.signature.name in self.module.exported
        if getattr(self.signature.function, "__inline__", True) is False:
            self.attributes.add("noinline")
        linkage = "hidden" if visible else "internal"
        return (
            f"define {linkage} {self.CALLING_CONVENTION} {ir_type(self.signature.result)} "
            f"@{self.signature.name}({params}) {' '.join(sorted(self.attributes))}"
        )

    def prologue(self) -> None:
        """Give every parameter a slot, so that it may be assigned to."""
        for name, kind in self.signature.params:
            place = self.local(name, kind)
            self.emit(f"store {ir_type(kind)} %arg.{name}, ptr {place.ir}")

    def epilogue(self) -> None:
        """Add the common exit for raising, where something used it."""
        if self.raise_label is not None:
            self.lines.append(f"{self.raise_label}:")
            self.lines.append(f"  {self.raise_exit()}")

    def raise_exit(self) -> str:
        """Return the instruction that leaves with a trap pending."""
        result = self.signature.result
        return "ret void" if result is None else f"ret {ir_type(result)} {zero_of(result)}"

    def fall_off(self) -> None:
        """End the function where control reaches its last line."""
        if self.signature.result is not None:
            self.fail("control can reach the end without a return")
        self.emit("ret void")

    def emit_return(self, value: Value | None) -> None:
        """Compile a `return`."""
        if self.leave_inlined(value):
            return
        result = self.signature.result
        if value is None:
            if result is not None:
                self.fail("return needs a value")
            self.emit("ret void")
        else:
            value = self.coerce(value, result)
            self.emit(f"ret {ir_type(result)} {value.ir}")
        self.terminated = True

    # ---- emitting

    def fail(self, message: str) -> NoReturn:
        """Stop with an error that points at the source line."""
        line = getattr(self.node, "lineno", 1)
        source = ast.get_source_segment(inspect.getsource(self.signature.function), self.node)
        raise CompileError(
            f"{self.file}:{self.first_line + line}: {message}",
            why=(source or "").split("\n")[0].strip(),
        )

    def emit(self, text: str) -> None:
        """Append an instruction to the current block; code after a terminator is dropped."""
        if not self.terminated:
            self.lines.append(f"  {text}")

    def fresh(self, hint: str = "v") -> str:
        """Return a new name."""
        self.counter += 1
        return f"{hint}.{self.counter}"

    def assign(self, text: str, hint: str = "v") -> str:
        """Append `%new = text` and return `%new`."""
        name = f"%{self.fresh(hint)}"
        self.emit(f"{name} = {text}")
        return name

    def start(self, label: str) -> None:
        """Begin a block."""
        self.lines.append(f"{label}:")
        self.block, self.terminated = label, False

    def jump_to(self, label: str) -> None:
        """End the block with a jump."""
        if not self.terminated:
            self.targets.add(label)
        self.emit(f"br label %{label}")
        self.terminated = True

    def branch_on(self, condition: Value, then: str, other: str, weights: str = "") -> None:
        """End the block with a conditional jump."""
        if not self.terminated:
            self.targets |= {then, other}
        self.emit(f"br i1 {condition.ir}, label %{then}, label %{other}{weights}")
        self.terminated = True

    def local(self, name: str, kind: Any) -> Place:
        """Make a local variable's slot."""
        slot = f"%{self.fresh(name)}"
        self.allocas.append(f"  {slot} = alloca {ir_type(kind)}")
        self.locals[name] = Place(kind, slot)
        return self.locals[name]

    # ---- compile-time values

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

    # ---- expressions

    def expr(self, node: ast.expr) -> Value:
        """Compile an expression."""
        before, self.node = self.node, node
        known = NOT_STATIC if isinstance(node, ast.Tuple) else self.static(node)
        if known is not NOT_STATIC:
            value = self.constant(known)
        else:
            method = getattr(self, f"expr_{type(node).__name__}", None)
            if method is None:
                self.fail(f"{type(node).__name__} is not kernel Python")
            value = method(node)
        self.node = before
        return value

    def constant(self, known: Any) -> Value:
        """Turn a compile-time value into an operand."""
        if isinstance(known, bool):
            return Value(bool, "true" if known else "false")
        if isinstance(known, Int):
            return Value(type(known), str(int(known)))
        if isinstance(known, int):
            return Value(LITERAL, int(known))
        if isinstance(known, float):
            self.fail("write a float literal as bits_f64(...) or convert an integer")
        self.fail(f"{known!r} is not a value")

    def typed(self, node: ast.expr) -> Value:
        """Compile an expression that must not be a bare literal."""
        value = self.expr(node)
        if value.kind is LITERAL:
            self.node = node
            self.fail(f"give the literal {value.ir} a type")
        return value

    def coerce(self, value: Value, kind: Any) -> Value:
        """Check that a value is of `kind`; a literal becomes it."""
        if value.kind is LITERAL:
            if is_int(kind):
                return Value(kind, str(int(kind(value.ir))))
            self.fail(f"a literal where {type_name(kind)} is wanted")
        if isinstance(value.kind, PtrType) and isinstance(kind, PtrType):
            if value.kind is kind:
                return value
        elif value.kind == kind or (is_struct(value.kind) and is_struct(kind)):
            return value
        self.fail(f"{self.show(value.kind)} where {self.show(kind)} is wanted: convert it")

    @staticmethod
    def show(kind: Any) -> str:
        """Name a kind for an error message."""
        return str(kind) if isinstance(kind, (str, tuple)) else type_name(kind)

    def condition(self, node: ast.expr) -> Value:
        """Compile an expression that must be a bool."""
        value = self.expr(node)
        if value.kind is not bool:
            self.node = node
            self.fail("a condition must be a bool: compare it (x != 0)")
        return value

    def pair(self, left: Value, right: Value) -> tuple[Value, Value]:
        """Bring two operands to one type."""
        if left.kind is LITERAL and right.kind is LITERAL:
            self.fail("two literals without a type")
        if left.kind is LITERAL:
            return self.coerce(left, right.kind), right
        return left, self.coerce(right, left.kind)

    def expr_Name(self, node: ast.Name) -> Value:
        if node.id not in self.locals:
            self.fail(f"{node.id!r} is not defined here")
        place = self.locals[node.id]
        return Value(place.kind, self.assign(f"load {ir_type(place.kind)}, ptr {place.ir}"))

    def expr_Attribute(self, node: ast.Attribute) -> Value:
        return self.load(self.place(node))

    def expr_Subscript(self, node: ast.Subscript) -> Value:
        return self.load(self.place(node))

    INT_OPS: ClassVar[dict[type[ast.AST], str]] = {
        ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.BitAnd: "and", ast.BitOr: "or",
        ast.BitXor: "xor", ast.FloorDiv: "udiv", ast.Mod: "urem",
    }  # fmt: skip
    FLOAT_OPS: ClassVar[dict[type[ast.AST], str]] = {
        ast.Add: "fadd", ast.Sub: "fsub", ast.Mult: "fmul", ast.Div: "fdiv",
    }  # fmt: skip

    def expr_BinOp(self, node: ast.BinOp) -> Value:
        return self.binary(node.op, self.expr(node.left), self.expr(node.right))

    def binary(self, op: ast.operator, left: Value, right: Value) -> Value:
        """Compile a binary operator."""
        if isinstance(op, (ast.LShift, ast.RShift)):
            return self.shift(op, left, right)
        if isinstance(left.kind, PtrType) and isinstance(op, ast.Add):
            return Value(left.kind, self.element(left.ir, left.kind.element, right))
        left, right = self.pair(left, right)
        kind = left.kind
        table = self.FLOAT_OPS if is_float(kind) else self.INT_OPS
        if type(op) not in table or kind is bool or ir_type(kind) == "ptr":
            self.fail(f"{type(op).__name__} is not defined on {self.show(kind)}")
        if isinstance(op, (ast.FloorDiv, ast.Mod)) and kind.SIGNED:
            self.fail("// and % are for unsigned integers: use sdiv or srem")
        return Value(kind, self.assign(f"{table[type(op)]} {ir_type(kind)} {left.ir}, {right.ir}"))

    def shift(self, op: ast.operator, left: Value, right: Value) -> Value:
        """Compile a shift; the count is taken modulo the width."""
        kind = left.kind
        if not is_int(kind):
            self.fail("the left side of a shift needs an integer type")
        if right.kind is LITERAL:
            count = str(right.ir & (kind.BITS - 1))
        else:
            wide = self.convert(right, kind).ir
            count = self.assign(f"and {ir_type(kind)} {wide}, {kind.BITS - 1}")
        name = "shl" if isinstance(op, ast.LShift) else "ashr" if kind.SIGNED else "lshr"
        return Value(kind, self.assign(f"{name} {ir_type(kind)} {left.ir}, {count}"))

    def expr_UnaryOp(self, node: ast.UnaryOp) -> Value:
        if isinstance(node.op, ast.Not):
            return Value(bool, self.assign(f"xor i1 {self.condition(node.operand).ir}, true"))
        value = self.typed(node.operand)
        t = ir_type(value.kind)
        if isinstance(node.op, ast.USub):
            text = f"fneg {t} {value.ir}" if is_float(value.kind) else f"sub {t} 0, {value.ir}"
        elif isinstance(node.op, ast.Invert) and is_int(value.kind):
            text = f"xor {t} {value.ir}, -1"
        else:
            self.fail(f"{type(node.op).__name__} is not kernel Python")
        return Value(value.kind, self.assign(text))

    COMPARE: ClassVar[dict[type[ast.AST], str]] = {
        ast.Eq: "eq", ast.NotEq: "ne", ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge",
    }  # fmt: skip

    def expr_Compare(self, node: ast.Compare) -> Value:
        left, result = self.expr(node.left), ""
        for op, right_node in zip(node.ops, node.comparators, strict=True):
            if isinstance(op, (ast.In, ast.NotIn)):
                one = self.membership(left, right_node, negate=isinstance(op, ast.NotIn))
            else:
                right = self.expr(right_node)
                one = self.compare(op, left, right)
                left = right
            result = one if not result else self.assign(f"and i1 {result}, {one}")
        return Value(bool, result)

    def membership(self, left: Value, right_node: ast.expr, *, negate: bool) -> str:
        """Compile `x in (1, 2, 3)` for a compile-time tuple."""
        items = self.static(right_node)
        if not isinstance(items, tuple):
            self.fail("`in` needs a constant tuple")
        found = "false"
        for item in items:
            one = self.compare(ast.Eq(), left, self.constant(item))
            found = self.assign(f"or i1 {found}, {one}")
        return self.assign(f"xor i1 {found}, true") if negate else found

    def compare(self, op: ast.cmpop, left: Value, right: Value) -> str:
        """Compile one comparison."""
        if type(op) not in self.COMPARE:
            self.fail(f"{type(op).__name__} is not kernel Python")
        left, right = self.pair(left, right)
        code, t = self.COMPARE[type(op)], ir_type(left.kind)
        if is_float(left.kind):
            ordered = "u" if code == "ne" else "o"
            return self.assign(f"fcmp {ordered}{code} {t} {left.ir}, {right.ir}")
        if code not in ("eq", "ne"):
            if not is_int(left.kind):
                self.fail(f"{self.show(left.kind)} has no order")
            code = ("s" if left.kind.SIGNED else "u") + code
        return self.assign(f"icmp {code} {t} {left.ir}, {right.ir}")

    def expr_BoolOp(self, node: ast.BoolOp) -> Value:
        name = "or" if isinstance(node.op, ast.Or) else "and"
        done = self.fresh(f"{name}.done")
        slot = f"%{self.fresh(name)}"
        self.allocas.append(f"  {slot} = alloca i1")
        for operand in node.values[:-1]:
            value = self.condition(operand)
            self.emit(f"store i1 {value.ir}, ptr {slot}")
            more = self.fresh(name)
            self.branch_on(value, *((done, more) if name == "or" else (more, done)))
            self.start(more)
        self.emit(f"store i1 {self.condition(node.values[-1]).ir}, ptr {slot}")
        self.jump_to(done)
        self.start(done)
        return Value(bool, self.assign(f"load i1, ptr {slot}"))

    def expr_IfExp(self, node: ast.IfExp) -> Value:
        known = self.static(node.test)
        if known is not NOT_STATIC:
            return self.expr(node.body if known else node.orelse)
        then, other, done = self.fresh("then"), self.fresh("else"), self.fresh("done")
        self.branch_on(self.condition(node.test), then, other)
        self.start(then)
        first = self.expr(node.body)
        first_end, mark = self.block, len(self.lines)
        self.start(other)
        second = self.expr(node.orelse)
        first, second = self.pair(first, second)
        kind = first.kind
        second_end = self.block
        self.jump_to(done)
        self.lines.insert(mark, f"  br label %{done}")
        self.start(done)
        phi = f"phi {ir_type(kind)} [{first.ir}, %{first_end}], [{second.ir}, %{second_end}]"
        return Value(kind, self.assign(phi))

    def expr_Tuple(self, node: ast.Tuple) -> Value:
        values = [self.expr(e) for e in node.elts]
        kinds = self.signature.result if isinstance(self.signature.result, tuple) else ()
        if len(kinds) != len(values):
            self.fail("a tuple is only for returning what the annotation says")
        values = [self.coerce(v, k) for v, k in zip(values, kinds, strict=True)]
        whole, t = "poison", ir_type(kinds)
        for n, v in enumerate(values):
            whole = self.assign(f"insertvalue {t} {whole}, {ir_type(v.kind)} {v.ir}, {n}")
        return Value(kinds, whole)

    # ---- memory

    def place(self, node: ast.expr) -> Place:
        """Compile an expression to an address."""
        self.node = node
        if isinstance(node, ast.Attribute):
            base = self.base_value(node.value)
            if not is_struct(base.kind):
                self.fail(f"{self.show(base.kind)} has no fields")
            if node.attr not in base.kind.FIELDS:
                self.fail(f"{base.kind.__name__} has no field {node.attr!r}")
            kind, offset = base.kind.FIELDS[node.attr]
            return Place(kind, self.assign(f"getelementptr i8, ptr {base.ir}, i64 {offset}"))
        if isinstance(node, ast.Subscript):
            return self.indexed(node)
        self.fail("this has no address")

    def base_value(self, node: ast.expr) -> Value:
        """Compile what stands before a dot: a struct reference."""
        if isinstance(node, (ast.Attribute, ast.Subscript)) and self.static(node) is NOT_STATIC:
            place = self.place(node)
            in_place = is_struct(place.kind) or isinstance(place.kind, ArrayType)
            return Value(place.kind, place.ir) if in_place else self.load(place)
        return self.expr(node)

    def indexed(self, node: ast.Subscript) -> Place:
        """Compile `base[index]` to an address."""
        table = self.static(node.value)
        index = self.expr(node.slice)
        if isinstance(table, ConstArray):
            name = self.module.constant(table)
            return Place(table.element, self.element(name, table.element, index))
        if isinstance(node.value, (ast.Attribute, ast.Subscript)):
            place = self.place(node.value)
            if isinstance(place.kind, ArrayType):
                return Place(place.kind.element, self.element(place.ir, place.kind.element, index))
            base = self.load(place)
        else:
            base = self.expr(node.value)
        if not isinstance(base.kind, PtrType):
            self.fail(f"{self.show(base.kind)} cannot be indexed")
        return Place(base.kind.element, self.element(base.ir, base.kind.element, index))

    def element(self, base: str, kind: Any, index: Value) -> str:
        """Return the address of the element `index` of `kind` after `base`."""
        if index.kind is not LITERAL and not is_int(index.kind):
            self.fail("an index must be an integer")
        wide = str(index.ir) if index.kind is LITERAL else self.convert(index, u64).ir
        if is_struct(kind) or isinstance(kind, ArrayType):
            t = f"[{size_of(kind)} x i8]"
        else:
            t = "i8" if kind is bool else ir_type(kind)
        return self.assign(f"getelementptr {t}, ptr {base}, i64 {wide}")

    def load(self, place: Place) -> Value:
        """Read a place; a struct stays a reference."""
        if is_struct(place.kind):
            return Value(place.kind, place.ir)
        if isinstance(place.kind, ArrayType):
            self.fail("an array is used by its elements")
        if place.kind is bool:
            byte = self.assign(f"load i8, ptr {place.ir}")
            return Value(bool, self.assign(f"icmp ne i8 {byte}, 0"))
        return Value(place.kind, self.assign(f"load {ir_type(place.kind)}, ptr {place.ir}"))

    def store(self, place: Place, value: Value) -> None:
        """Write a place."""
        value = self.coerce(value, place.kind)
        if place.kind is bool:
            value = Value(bool, self.assign(f"zext i1 {value.ir} to i8"))
            self.emit(f"store i8 {value.ir}, ptr {place.ir}")
        else:
            self.emit(f"store {ir_type(place.kind)} {value.ir}, ptr {place.ir}")

    # ---- calls

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
        inline = getattr(function, "__inline__", False)
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
            self.emit(f"store {ir_type(kind)} {arg.ir}, ptr {self.local(name, kind).ir}")
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

    # ---- statements

    def body(self, statements: list[ast.stmt]) -> None:
        """Compile statements up to the first that ends the block."""
        for statement in statements:
            if self.terminated:
                return
            self.node = statement
            method = getattr(self, f"stmt_{type(statement).__name__}", None)
            if method is None:
                self.fail(f"{type(statement).__name__} is not kernel Python")
            method(statement)

    def stmt_Pass(self, node: ast.Pass) -> None:
        pass

    def stmt_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return
        if not isinstance(node.value, ast.Call):
            self.fail("an expression without effect")
        self.call(node.value)

    def stmt_Assign(self, node: ast.Assign) -> None:
        if len(node.targets) != 1:
            self.fail("one target, please")
        target = node.targets[0]
        if isinstance(target, ast.Tuple):
            self.unpack(target, node.value)
            return
        self.set(target, self.expr(node.value))

    def unpack(self, target: ast.Tuple, source: ast.expr) -> None:
        """Compile `a, b = f(...)` or `a, b = x, y`."""
        if isinstance(source, ast.Tuple):
            parts = [self.expr(e) for e in source.elts]
        else:
            whole = self.expr(source)
            if not isinstance(whole.kind, tuple):
                self.fail("this is not a tuple")
            t = ir_type(whole.kind)
            parts = [
                Value(k, self.assign(f"extractvalue {t} {whole.ir}, {n}"))
                for n, k in enumerate(whole.kind)
            ]
        for one, value in zip(target.elts, parts, strict=True):
            self.set(one, value)

    def set(self, target: ast.expr, value: Value) -> None:
        """Assign to a name, a field or an element."""
        if isinstance(target, ast.Name):
            if target.id not in self.locals:
                if value.kind is LITERAL:
                    self.fail(f"give {target.id!r} a type: {target.id}: u64 = ...")
                self.local(target.id, value.kind)
            place = self.locals[target.id]
            value = self.coerce(value, place.kind)
            self.emit(f"store {ir_type(place.kind)} {value.ir}, ptr {place.ir}")
        else:
            self.store(self.place(target), value)

    def stmt_AnnAssign(self, node: ast.AnnAssign) -> None:
        if not isinstance(node.target, ast.Name) or node.value is None:
            self.fail("annotate a local variable with a value")
        kind = self.static(node.annotation)
        if node.target.id not in self.locals:
            self.local(node.target.id, kind)
        self.set(node.target, self.expr(node.value))

    def stmt_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            current = self.expr_Name(node.target)
            value = self.binary(node.op, current, self.expr(node.value))
            self.set(node.target, value)
            return
        place = self.place(node.target)
        self.store(place, self.binary(node.op, self.load(place), self.expr(node.value)))

    def stmt_Return(self, node: ast.Return) -> None:
        self.emit_return(None if node.value is None else self.expr(node.value))

    def stmt_If(self, node: ast.If) -> None:
        known = self.static(node.test)
        if known is not NOT_STATIC:
            self.body(node.body if known else node.orelse)
            return
        then, other, done = self.fresh("then"), self.fresh("else"), self.fresh("fi")
        self.branch_on(self.condition(node.test), then, other if node.orelse else done)
        self.start(then)
        self.body(node.body)
        open_then = not self.terminated
        if open_then:
            self.jump_to(done)
        open_else = True
        if node.orelse:
            self.start(other)
            self.body(node.orelse)
            open_else = not self.terminated
            if open_else:
                self.jump_to(done)
        if open_then or open_else:
            self.start(done)

    def stmt_While(self, node: ast.While) -> None:
        if node.orelse:
            self.fail("while-else is not kernel Python")
        head, inner, done = self.fresh("while"), self.fresh("do"), self.fresh("od")
        self.jump_to(head)
        self.start(head)
        forever = self.static(node.test) is True
        if forever:
            self.jump_to(inner)
        else:
            self.branch_on(self.condition(node.test), inner, done)
        self.loop(inner, head, done, node.body)
        if forever and done not in self.targets:
            return
        self.start(done)

    def loop(self, inner: str, again: str, done: str, statements: list[ast.stmt]) -> None:
        """Compile a loop's body; `continue` goes to `again`, `break` to `done`."""
        self.loops.append((again, done))
        self.start(inner)
        self.body(statements)
        if not self.terminated:
            self.jump_to(again)
        self.loops.pop()

    def stmt_For(self, node: ast.For) -> None:
        items = self.static(node.iter)
        if isinstance(items, tuple) and isinstance(node.target, ast.Name):
            self.unrolled(node, items)
            return
        call = node.iter
        if not (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Name)
            and call.func.id == "range"
            and isinstance(node.target, ast.Name)
            and not node.orelse
        ):
            self.fail("for is over range(...) only")
        bounds = [self.expr(a) for a in call.args]
        kind = next((b.kind for b in bounds if b.kind is not LITERAL), u64)
        bounds = [self.coerce(b, kind) for b in bounds]
        first, stop = (Value(kind, "0"), bounds[0]) if len(bounds) == 1 else bounds[:2]
        step = bounds[2] if len(bounds) == 3 else Value(kind, "1")
        if step.ir.startswith("-") or step.ir == "0" or int(self.static_step(call)) <= 0:
            self.fail("range must count upwards, by a constant")
        hidden = self.local(f"{node.target.id}.next", kind)
        self.emit(f"store {ir_type(kind)} {first.ir}, ptr {hidden.ir}")
        head, inner, done = self.fresh("for"), self.fresh("do"), self.fresh("od")
        self.jump_to(head)
        self.start(head)
        current = Value(kind, self.assign(f"load {ir_type(kind)}, ptr {hidden.ir}"))
        self.branch_on(Value(bool, self.compare(ast.Lt(), current, stop)), inner, done)
        self.start(inner)
        self.set(node.target, current)
        bumped = self.assign(f"add {ir_type(kind)} {current.ir}, {step.ir}")
        self.emit(f"store {ir_type(kind)} {bumped}, ptr {hidden.ir}")
        body = self.fresh("body")
        self.jump_to(body)
        self.loop(body, head, done, node.body)
        self.start(done)

    def static_step(self, call: ast.Call) -> Any:
        """Return the step of a range, 0 where it is not a constant."""
        if len(call.args) < 3:
            return 1
        known = self.static(call.args[2])
        return 0 if known is NOT_STATIC else known

    def unrolled(self, node: ast.For, items: tuple[Any, ...]) -> None:
        """Compile a loop over a compile-time tuple: the target is a constant in each turn."""
        if node.orelse or not isinstance(node.target, ast.Name):
            self.fail("for-else is not kernel Python")
        done = self.fresh("od")
        for item in items:
            self.signature.const_values[node.target.id] = item
            again = self.fresh("next")
            body = self.fresh("do")
            self.jump_to(body)
            self.loop(body, again, done, node.body)
            self.start(again)
        del self.signature.const_values[node.target.id]
        self.jump_to(done)
        self.start(done)

    def stmt_Break(self, node: ast.Break) -> None:
        self.jump_to(self.loops[-1][1])

    def stmt_Continue(self, node: ast.Continue) -> None:
        self.jump_to(self.loops[-1][0])

    # ---- raising

    def stmt_Raise(self, node: ast.Raise) -> None:
        call = node.exc
        if not isinstance(call, ast.Call) or len(call.args) != 2:
            self.fail("only `raise Trap(cause, tval)`")
        cause, tval = (self.coerce(self.expr(a), u64) for a in call.args)
        for name, value in (("trap_cause", cause), ("trap_tval", tval)):
            self.store(self.hart_field(name), value)
        pending = self.hart_field("trap_pending")
        self.store(pending, Value(LITERAL, 1))
        self.jump_to(self.raising())

    def stmt_Try(self, node: ast.Try) -> None:
        """Compile `try: ... except Trap: ...`; the cause is in `h.trap_cause` and `h.trap_tval`."""
        if len(node.handlers) != 1 or node.orelse or node.finalbody or node.handlers[0].name:
            self.fail("only `try: ... except Trap: ...`")
        outer, caught, done = self.raise_label, self.fresh("caught"), self.fresh("tried")
        self.raise_label = caught
        self.body(node.body)
        self.raise_label = outer
        if not self.terminated:
            self.jump_to(done)
        self.start(caught)
        self.store(self.hart_field("trap_pending"), Value(LITERAL, 0))
        self.body(node.handlers[0].body)
        if not self.terminated:
            self.jump_to(done)
        if done in self.targets:
            self.start(done)

    def raising(self) -> str:
        """Return the label of the common exit for raising."""
        if self.raise_label is None:
            self.raise_label = self.fresh("raise")
        return self.raise_label

    def propagate(self) -> None:
        """Leave if the call just made left a trap pending."""
        pending = self.load(self.hart_field("trap_pending"))
        bad = self.compare(ast.NotEq(), pending, Value(LITERAL, 0))
        on = self.fresh("ok")
        weights = self.unlikely()
        self.branch_on(Value(bool, bad), self.raising(), on, weights)
        self.start(on)

    def unlikely(self) -> str:
        """Return the metadata that says the first target is rarely taken."""
        self.module.declare("!unlikely", '!90 = !{!"branch_weights", i32 1, i32 2000}')
        return ", !prof !90"

    def hart_field(self, name: str) -> Place:
        """Return a field of the first parameter `h`."""
        if "h" not in self.locals or not is_struct(self.locals["h"].kind):
            self.fail("a function that may raise has the hart as its first parameter, `h`")
        h = self.expr_Name(ast.Name("h", ast.Load()))
        kind, offset = h.kind.FIELDS[name]
        return Place(kind, self.assign(f"getelementptr i8, ptr {h.ir}, i64 {offset}"))

    # ---- the intrinsics of the language itself

    def two(self, nodes: list[ast.expr]) -> tuple[Value, Value]:
        """Compile two arguments of one type."""
        return self.pair(self.expr(nodes[0]), self.expr(nodes[1]))

    def lower_sdiv(self, nodes: list[ast.expr]) -> Value:
        a, b = self.two(nodes)
        return Value(a.kind, self.assign(f"sdiv {ir_type(a.kind)} {a.ir}, {b.ir}"))

    def lower_srem(self, nodes: list[ast.expr]) -> Value:
        a, b = self.two(nodes)
        return Value(a.kind, self.assign(f"srem {ir_type(a.kind)} {a.ir}, {b.ir}"))

    def llvm(self, name: str, value: Value, extra: str = "", extra_types: str = "") -> Value:
        """Call an overloaded LLVM intrinsic whose result is of its first argument's type."""
        t = ir_type(value.kind)
        full = f"@llvm.{name}.{t}"
        self.module.declare(full, f"declare {t} {full}({t}{extra_types})")
        return Value(value.kind, self.assign(f"call {t} {full}({t} {value.ir}{extra})"))

    def lower_clz(self, nodes: list[ast.expr]) -> Value:
        return self.llvm("ctlz", self.typed(nodes[0]), ", i1 false", ", i1")

    def lower_ctz(self, nodes: list[ast.expr]) -> Value:
        return self.llvm("cttz", self.typed(nodes[0]), ", i1 false", ", i1")

    def lower_popcount(self, nodes: list[ast.expr]) -> Value:
        return self.llvm("ctpop", self.typed(nodes[0]))

    def lower_bswap(self, nodes: list[ast.expr]) -> Value:
        return self.llvm("bswap", self.typed(nodes[0]))

    def lower_bitreverse(self, nodes: list[ast.expr]) -> Value:
        return self.llvm("bitreverse", self.typed(nodes[0]))

    def rotate(self, name: str, nodes: list[ast.expr]) -> Value:
        """Compile a rotation as a funnel shift of a value with itself."""
        a = self.typed(nodes[0])
        count = self.convert(self.expr(nodes[1]), a.kind)
        t = ir_type(a.kind)
        return self.llvm(name, a, f", {t} {a.ir}, {t} {count.ir}", f", {t}, {t}")

    def lower_rotl(self, nodes: list[ast.expr]) -> Value:
        return self.rotate("fshl", nodes)

    def lower_rotr(self, nodes: list[ast.expr]) -> Value:
        return self.rotate("fshr", nodes)

    def lower_wide_mul(self, nodes: list[ast.expr]) -> Value:
        from innkeeper.native.types import u128

        a, b = (self.coerce(self.expr(n), u64) for n in nodes)
        wide = [self.assign(f"zext i64 {v.ir} to i128") for v in (a, b)]
        return Value(u128, self.assign(f"mul i128 {wide[0]}, {wide[1]}"))

    def bitcast(self, nodes: list[ast.expr], kind: Any) -> Value:
        """Compile a change of type that keeps the bits."""
        a = self.typed(nodes[0])
        text = f"bitcast {ir_type(a.kind)} {a.ir} to {ir_type(kind)}"
        return Value(kind, self.assign(text))

    def lower_f64_bits(self, nodes: list[ast.expr]) -> Value:
        return self.bitcast(nodes, u64)

    def lower_bits_f64(self, nodes: list[ast.expr]) -> Value:
        from innkeeper.native.types import f64

        return self.bitcast(nodes, f64)

    def lower_f32_bits(self, nodes: list[ast.expr]) -> Value:
        from innkeeper.native.types import u32

        return self.bitcast(nodes, u32)

    def lower_bits_f32(self, nodes: list[ast.expr]) -> Value:
        from innkeeper.native.types import f32

        return self.bitcast(nodes, f32)

    def lower_is_null(self, nodes: list[ast.expr]) -> Value:
        return Value(bool, self.assign(f"icmp eq ptr {self.expr(nodes[0]).ir}, null"))

    def lower_addr(self, nodes: list[ast.expr]) -> Value:
        return Value(u64, self.assign(f"ptrtoint ptr {self.base_value(nodes[0]).ir} to i64"))

    def lower_ptr_cast(self, nodes: list[ast.expr]) -> Value:
        kind, value = self.static(nodes[0]), self.base_value(nodes[1])
        if value.kind is u64:
            value = Value(kind, self.assign(f"inttoptr i64 {value.ir} to ptr"))
        return Value(kind, value.ir)

    def lower_ptr_offset(self, nodes: list[ast.expr]) -> Value:
        base, kind = self.base_value(nodes[0]), self.static(nodes[1])
        offset = self.coerce(self.expr(nodes[2]), u64)
        result = self.assign(f"getelementptr i8, ptr {base.ir}, i64 {offset.ir}")
        return Value(PtrType.make(kind), result)

    def lower_ref(self, nodes: list[ast.expr]) -> Value:
        base, field = self.base_value(nodes[0]), self.static(nodes[1])
        kind, offset = base.kind.FIELDS[field]
        element = kind.element if isinstance(kind, ArrayType) else kind
        result = self.assign(f"getelementptr i8, ptr {base.ir}, i64 {offset}")
        return Value(PtrType.make(element), result)

    def lower_atomic_rmw(self, nodes: list[ast.expr]) -> Value:
        op, pointer = self.static(nodes[0]), self.typed(nodes[1])
        kind = pointer.kind.element
        value = self.coerce(self.expr(nodes[2]), kind)
        text = f"atomicrmw {op} ptr {pointer.ir}, {ir_type(kind)} {value.ir} seq_cst"
        return Value(kind, self.assign(text))

    def lower_cmpxchg(self, nodes: list[ast.expr]) -> Value:
        pointer = self.typed(nodes[0])
        kind = pointer.kind.element
        old, new = (self.coerce(self.expr(n), kind) for n in nodes[1:])
        t = ir_type(kind)
        text = f"cmpxchg ptr {pointer.ir}, {t} {old.ir}, {t} {new.ir} seq_cst seq_cst"
        pair = self.assign(text)
        return Value(bool, self.assign(f"extractvalue {{{t}, i1}} {pair}, 1"))

    def lower_fence(self, nodes: list[ast.expr]) -> None:
        self.emit("fence seq_cst")


Lowering = Callable[[FunctionCompiler, list[ast.expr]], Value | None]
