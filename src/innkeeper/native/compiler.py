"""Kernel Python to LLVM IR text: one function's `ast` at a time, types checked, errors with lines.

`docs/kernel-python.md` is the language. A `Module` collects functions; calling one compiles every
function it reaches. What a function may do beyond the language (the emulator's `load`, `branch`,
a handler's way of ending) is added by subclassing `FunctionCompiler`.
"""

from __future__ import annotations

import ast
import inspect
import types as python_types
from typing import Any, NoReturn

from innkeeper.base.errors import CompileError
from innkeeper.native.calls import Calls
from innkeeper.native.expressions import Expressions
from innkeeper.native.lowering import Lowering
from innkeeper.native.signature import (
    Signature,
    assigned_names,
    parse_function,
    static_callee,
)
from innkeeper.native.statements import Statements
from innkeeper.native.static import Static
from innkeeper.native.types import (
    ConstArray,
)
from innkeeper.native.values import (
    Place,
    Value,
    ir_type,
    zero_of,
)


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
        self.shows_slow_paths = False
        """Functions marked `noinline` keep symbol and signature, to be called from outside."""
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
                callee = static_callee(node.func, scope)
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


class FunctionCompiler(Static, Expressions, Calls, Statements, Lowering):
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
            visible = visible or self.module.shows_slow_paths
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
