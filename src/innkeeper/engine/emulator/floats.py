"""Compiling `hostfp`'s intrinsics: the guest's floating point on the host's unit (x86-64)."""

from __future__ import annotations

import ast
from typing import Any

from innkeeper.engine.emulator import hostfp
from innkeeper.engine.emulator.hart import EmuHart
from innkeeper.native.compiler import FunctionCompiler
from innkeeper.native.types import u32, u64
from innkeeper.native.values import Place, Value, ir_type

STRICT = 'metadata !"round.dynamic", metadata !"fpexcept.strict"'


class FloatLowering(FunctionCompiler):
    """Gives the intrinsics of `hostfp` their native half."""

    @property
    def has_host_fp(self) -> bool:
        """Tell whether the guest's floating point may use the host's."""
        return bool(getattr(self.module, "host_fp", False))

    def hart_scratch(self, nodes: list[ast.expr]) -> Place:
        kind, offset = EmuHart.FIELDS["mxcsr"]
        h = self.expr(nodes[0])
        return Place(kind, self.assign(f"getelementptr i8, ptr {h.ir}, i64 {offset}"))

    def lower_mxcsr_read(self, nodes: list[ast.expr]) -> Value:
        if not self.has_host_fp:
            return Value(u32, "0")
        place = self.hart_scratch(nodes)
        name = "@llvm.x86.sse.stmxcsr"
        self.module.declare(name, f"declare void {name}(ptr)")
        self.emit(f"call void {name}(ptr {place.ir})")
        return self.load(place)

    def lower_mxcsr_write(self, nodes: list[ast.expr]) -> None:
        if not self.has_host_fp:
            return
        place = self.hart_scratch(nodes)
        self.store(place, self.expr(nodes[1]))
        name = "@llvm.x86.sse.ldmxcsr"
        self.module.declare(name, f"declare void {name}(ptr)")
        self.emit(f"call void {name}(ptr {place.ir})")

    def lower_host_fp_flags(self, nodes: list[ast.expr]) -> Value:
        me = ast.Name("h", ast.Load())
        value = self.lower_mxcsr_read([me])
        callee = self.module.signature(hostfp.riscv_flags)
        result = self.emit_call(f"call i32 @{callee.name}(i32 {value.ir})", u32)
        assert result is not None
        return result

    def lower_host_fp_set(self, nodes: list[ast.expr]) -> None:
        frm = self.convert(self.expr(nodes[0]), u32)
        callee = self.module.signature(hostfp.mxcsr_for)
        value = self.emit_call(f"call i32 @{callee.name}(i32 {frm.ir})", u32)
        assert value is not None
        if self.has_host_fp:
            place = self.hart_scratch([ast.Name("h", ast.Load())])
            self.store(place, value)
            name = "@llvm.x86.sse.ldmxcsr"
            self.module.declare(name, f"declare void {name}(ptr)")
            self.emit(f"call void {name}(ptr {place.ir})")

    def as_float(self, exponent_bits: int, value: Value) -> tuple[str, str]:
        """Turn raw bits into a float operand; return its type and name."""
        if exponent_bits == 11:
            return "double", self.assign(f"bitcast i64 {value.ir} to double")
        low = self.assign(f"trunc i64 {value.ir} to i32")
        return "float", self.assign(f"bitcast i32 {low} to float")

    def from_float(self, kind: str, name: str) -> Value:
        """Turn a float operand into raw bits."""
        if kind == "double":
            return Value(u64, self.assign(f"bitcast double {name} to i64"))
        low = self.assign(f"bitcast float {name} to i32")
        return Value(u64, self.assign(f"zext i32 {low} to i64"))

    def constrained(self, op: str, kind: str, operands: list[str], tail: str = STRICT) -> Value:
        """Call a constrained intrinsic whose operands and result are of one float type."""
        self.attributes.add("strictfp")
        suffix = "f64" if kind == "double" else "f32"
        name = f"@llvm.experimental.constrained.{op}.{suffix}"
        types = ", ".join([kind] * len(operands) + ["metadata"] * 2)
        self.module.declare(name, f"declare {kind} {name}({types})")
        args = ", ".join(f"{kind} {o}" for o in operands)
        return self.quiet(kind, self.assign(f"call {kind} {name}({args}, {tail}) strictfp"))

    def float_args(self, e: Any, nodes: list[ast.expr]) -> tuple[str, list[str]]:
        pairs = [self.as_float(e, self.coerce(self.expr(n), u64)) for n in nodes]
        return pairs[0][0], [p[1] for p in pairs]

    def quiet(self, kind: str, name: str) -> Value:
        """Turn a result into raw bits, any NaN into the canonical one (Unprivileged 20.3)."""
        nan = self.compare_floats("fcmp", "uno", kind, name, name, "ignore")
        odd, on, plain = self.fresh("nan"), self.fresh("quiet"), self.block
        self.branch_on(Value(bool, nan), odd, on, self.unlikely())
        self.start(odd)
        self.jump_to(on)
        self.start(on)
        canonical = "0x7FF8000000000000"  # LLVM writes a float's constants as doubles too
        chosen = self.assign(f"phi {kind} [{name}, %{plain}], [{canonical}, %{odd}]")
        return self.from_float(kind, chosen)

    def compare_floats(
        self, op: str, code: str, kind: str, a: str, b: str, exceptions: str = "strict"
    ) -> str:
        """Compare: `fcmp` is quiet, `fcmps` has any NaN raise an invalid operation."""
        self.attributes.add("strictfp")
        suffix = "f64" if kind == "double" else "f32"
        name = f"@llvm.experimental.constrained.{op}.{suffix}"
        self.module.declare(name, f"declare i1 {name}({kind}, {kind}, metadata, metadata)")
        tail = f'metadata !"{code}", metadata !"fpexcept.{exceptions}"'
        return self.assign(f"call i1 {name}({kind} {a}, {kind} {b}, {tail}) strictfp")

    def lower_host_compare(self, nodes: list[ast.expr]) -> Value:
        kind, (a, b) = self.float_args(self.static(nodes[1]), nodes[2:])
        op, code = {"eq": ("fcmp", "oeq"), "lt": ("fcmps", "olt"), "le": ("fcmps", "ole")}[
            self.static(nodes[0])
        ]
        return Value(bool, self.compare_floats(op, code, kind, a, b))

    def lower_host_is_nan(self, nodes: list[ast.expr]) -> Value:
        kind, (a,) = self.float_args(self.static(nodes[0]), nodes[1:])
        return Value(bool, self.compare_floats("fcmp", "uno", kind, a, a, "ignore"))

    def lower_host_truncate(self, nodes: list[ast.expr]) -> Value:
        """Convert toward zero; for what does not fit the host has an answer of its own."""
        self.attributes.add("strictfp")
        kind = self.static(nodes[1])
        source, (a,) = self.float_args(self.static(nodes[0]), nodes[2:])
        t, suffix = ir_type(kind), "f64" if source == "double" else "f32"
        name = f"@llvm.experimental.constrained.fptosi.{t}.{suffix}"
        self.module.declare(name, f"declare {t} {name}({source}, metadata)")
        call = f'call {t} {name}({source} {a}, metadata !"fpexcept.strict") strictfp'
        return Value(kind, self.assign(call))

    def lower_host_binary(self, nodes: list[ast.expr]) -> Value:
        kind, args = self.float_args(self.static(nodes[1]), nodes[2:])
        return self.constrained(self.static(nodes[0]), kind, args)

    def lower_host_sqrt(self, nodes: list[ast.expr]) -> Value:
        kind, args = self.float_args(self.static(nodes[0]), nodes[1:])
        return self.constrained("sqrt", kind, args)

    def lower_host_fma(self, nodes: list[ast.expr]) -> Value:
        kind, args = self.float_args(self.static(nodes[0]), nodes[1:])
        return self.constrained("fma", kind, args)

    def lower_host_convert(self, nodes: list[ast.expr]) -> Value:
        self.attributes.add("strictfp")
        source, arg = self.as_float(self.static(nodes[0]), self.coerce(self.expr(nodes[2]), u64))
        if source == "float":
            name, text = "fpext.f64.f32", f'float {arg}, metadata !"fpexcept.strict"'
            signature, target = "declare double {}(float, metadata)", "double"
        else:
            name, text = "fptrunc.f32.f64", f"double {arg}, {STRICT}"
            signature, target = "declare float {}(double, metadata, metadata)", "float"
        full = f"@llvm.experimental.constrained.{name}"
        self.module.declare(full, signature.format(full))
        return self.quiet(target, self.assign(f"call {target} {full}({text}) strictfp"))

    def lower_host_from_int(self, nodes: list[ast.expr]) -> Value:
        self.attributes.add("strictfp")
        kind = "double" if self.static(nodes[0]) == 11 else "float"
        value = self.coerce(self.expr(nodes[1]), u64)
        suffix = "f64" if kind == "double" else "f32"
        full = f"@llvm.experimental.constrained.sitofp.{suffix}.i64"
        self.module.declare(full, f"declare {kind} {full}(i64, metadata, metadata)")
        return self.from_float(
            kind, self.assign(f"call {kind} {full}(i64 {value.ir}, {STRICT}) strictfp")
        )
