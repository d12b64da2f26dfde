"""Statements, loops, raising and catching."""

from __future__ import annotations

import ast
from typing import Any

from innkeeper.native.types import (
    is_struct,
    u64,
)
from innkeeper.native.values import (
    LITERAL,
    NOT_STATIC,
    Place,
    Value,
    ir_type,
)


class Statements:
    """The part of the function compiler that compiles statements."""

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
