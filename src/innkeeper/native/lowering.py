"""The intrinsics of the language, each one LLVM instruction or intrinsic."""

from __future__ import annotations

import ast
import os
from typing import Any

from innkeeper.native.types import (
    ArrayType,
    PtrType,
    f32,
    f64,
    size_of,
    u32,
    u64,
    u128,
)
from innkeeper.native.values import (
    Value,
    ir_type,
)


class Lowering:
    """The part of the function compiler that gives `native.intrinsics` their native half."""

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
        return self.bitcast(nodes, f64)

    def lower_f32_bits(self, nodes: list[ast.expr]) -> Value:
        return self.bitcast(nodes, u32)

    def lower_bits_f32(self, nodes: list[ast.expr]) -> Value:
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

    def lower_atomic_load(self, nodes: list[ast.expr]) -> Value:
        pointer = self.typed(nodes[0])
        kind = pointer.kind.element
        text = f"load atomic {ir_type(kind)}, ptr {pointer.ir} acquire, align {size_of(kind)}"
        return Value(kind, self.assign(text))

    def lower_atomic_store(self, nodes: list[ast.expr]) -> None:
        pointer = self.typed(nodes[0])
        kind = pointer.kind.element
        value = self.coerce(self.expr(nodes[1]), kind)
        where = f"ptr {pointer.ir} release, align {size_of(kind)}"
        self.emit(f"store atomic {ir_type(kind)} {value.ir}, {where}")

    def lower_fence(self, nodes: list[ast.expr]) -> None:
        self.emit(f"fence {self.static(nodes[0])}")

    def lower_pause(self, nodes: list[ast.expr]) -> None:
        machine = os.uname().machine
        if machine == "x86_64":
            name = "@llvm.x86.sse2.pause"
            self.module.declare(name, f"declare void {name}()")
            self.emit(f"call void {name}()")
        elif machine == "aarch64":
            name = "@llvm.aarch64.hint"
            self.module.declare(name, f"declare void {name}(i32)")
            self.emit(f"call void {name}(i32 1)")
