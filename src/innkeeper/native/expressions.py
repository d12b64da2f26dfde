"""Expressions and memory."""

from __future__ import annotations

import ast
from typing import Any, ClassVar

from innkeeper.native.types import (
    ArrayType,
    ConstArray,
    Int,
    PtrType,
    is_float,
    is_int,
    is_struct,
    size_of,
    type_name,
    u64,
)
from innkeeper.native.values import (
    LITERAL,
    NOT_STATIC,
    Place,
    Value,
    ir_type,
)


class Expressions:
    """The part of the function compiler that compiles expressions and addresses."""

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
        decides = name == "or"
        known = [self.static(operand) for operand in node.values]
        values = [operand for operand, value in zip(node.values, known, strict=True)
                  if value is NOT_STATIC or bool(value) is decides]  # fmt: skip
        if len(values) == 1:
            return self.condition(values[0])
        done = self.fresh(f"{name}.done")
        slot = f"%{self.fresh(name)}"
        self.allocas.append(f"  {slot} = alloca i1")
        for operand in values[:-1]:
            value = self.condition(operand)
            self.emit(f"store i1 {value.ir}, ptr {slot}")
            more = self.fresh(name)
            self.branch_on(value, *((done, more) if name == "or" else (more, done)))
            self.start(more)
        self.emit(f"store i1 {self.condition(values[-1]).ir}, ptr {slot}")
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
