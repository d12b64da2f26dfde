"""Vector instructions on whole registers, as LLVM vectors: what `isa.riscv.v_whole` asks for."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from innkeeper.isa.riscv.v_whole import at_once
from innkeeper.native.types import Ptr, u8, u32, u64, u128
from innkeeper.native.values import Value

PAGE = 4096
BLOCK_BYTES, BLOCK_BITS = 16, 128

PLAIN = frozenset({"add", "sub", "mul", "and", "or", "xor"})
SHIFTS = frozenset({"shl", "lshr", "ashr"})
ROTATIONS = {"rotl": "fshl", "rotr": "fshr"}
"""LLVM's instructions and intrinsics for the operations of `lanes`."""

if TYPE_CHECKING:
    from innkeeper.engine.emulator.handlers import HandlerCompiler as _Handler
    from innkeeper.native.compiler import FunctionCompiler as _Base
else:
    _Base = _Handler = object


class VectorLowering(_Base):
    """The part of the engine's compiler that knows blocks; ordinary functions are long forms."""

    def _static_Call(self, node: ast.Call) -> Any:
        callee = self.static(node.func)
        return self.is_short() if callee is at_once else super()._static_Call(node)

    def is_short(self) -> bool:
        """Tell whether a short form is being compiled."""
        return False

    # ---- elements

    @staticmethod
    def vector_of(kind: Any) -> str:
        """Return the LLVM type of a block of elements."""
        return f"<{BLOCK_BITS // kind.BITS} x i{kind.BITS}>"

    def as_vector(self, kind: Any, node: ast.expr) -> str:
        """Compile a u128 and view it as elements."""
        whole = self.coerce(self.expr(node), u128)
        return self.assign(f"bitcast i128 {whole.ir} to {self.vector_of(kind)}")

    def as_block(self, kind: Any, elements: str) -> Value:
        """View elements as a u128."""
        return Value(u128, self.assign(f"bitcast {self.vector_of(kind)} {elements} to i128"))

    def splat(self, kind: Any, element: str) -> str:
        """Return elements that are all the same."""
        t = self.vector_of(kind)
        one = self.assign(f"insertelement {t} poison, i{kind.BITS} {element}, i32 0")
        zeros = f"<{BLOCK_BITS // kind.BITS} x i32> zeroinitializer"
        return self.assign(f"shufflevector {t} {one}, {t} poison, {zeros}")

    def on_elements(self, name: str, kind: Any, *operands: str) -> str:
        """Call an LLVM intrinsic on blocks of elements."""
        t = self.vector_of(kind)
        full = f"@llvm.{name}.v{BLOCK_BITS // kind.BITS}i{kind.BITS}"
        self.module.declare(full, f"declare {t} {full}({', '.join([t] * len(operands))})")
        return self.assign(f"call {t} {full}({', '.join(f'{t} {o}' for o in operands)})")

    def lower_lanes(self, nodes: list[ast.expr]) -> Value:
        op, kind = self.static(nodes[0]), self.static(nodes[1])
        a, b = (self.as_vector(kind, n) for n in nodes[2:])
        return self.as_block(kind, self.elements(op, kind, a, b))

    def elements(self, op: str, kind: Any, a: str, b: str) -> str:
        """Apply an operation to blocks of elements."""
        t = self.vector_of(kind)
        if op in PLAIN:
            return self.assign(f"{op} {t} {a}, {b}")
        if op == "rsub":
            return self.assign(f"sub {t} {b}, {a}")
        if op == "andn":
            ones = self.splat(kind, "-1")
            return self.assign(f"and {t} {a}, {self.assign(f'xor {t} {b}, {ones}')}")
        if op in SHIFTS:
            most = self.splat(kind, str(kind.BITS - 1))
            return self.assign(f"{op} {t} {a}, {self.assign(f'and {t} {b}, {most}')}")
        if op in ROTATIONS:
            return self.on_elements(ROTATIONS[op], kind, a, a, b)
        if op == "bswap":
            return a if kind is u8 else self.on_elements("bswap", kind, a)
        if op == "brev8":
            bytes_ = self.assign(f"bitcast {t} {a} to {self.vector_of(u8)}")
            turned = self.on_elements("bitreverse", u8, bytes_)
            return self.assign(f"bitcast {self.vector_of(u8)} {turned} to {t}")
        return self.on_elements(op, kind, a, b)

    def lower_spread(self, nodes: list[ast.expr]) -> Value:
        value = self.coerce(self.expr(nodes[0]), u64)
        return self.as_block(u64, self.splat(u64, str(value.ir)))

    def lower_choose(self, nodes: list[ast.expr]) -> Value:
        kind = self.static(nodes[0])
        count, t = BLOCK_BITS // kind.BITS, self.vector_of(kind)
        mask = self.coerce(self.expr(nodes[1]), u64)
        a, b = (self.as_vector(kind, n) for n in nodes[2:])
        bits = self.assign(f"trunc i64 {mask.ir} to i{count}")
        which = self.assign(f"bitcast i{count} {bits} to <{count} x i1>")
        return self.as_block(kind, self.assign(f"select <{count} x i1> {which}, {t} {b}, {t} {a}"))

    # ---- memory

    def block_at(self, nodes: list[ast.expr]) -> str:
        """Compile a pointer and the number of a block after it to an address."""
        base = self.expr(nodes[0])
        number = self.coerce(self.expr(nodes[1]), u64)
        return self.assign(f"getelementptr [{BLOCK_BYTES} x i8], ptr {base.ir}, i64 {number.ir}")

    def lower_block(self, nodes: list[ast.expr]) -> Value:
        return Value(u128, self.assign(f"load i128, ptr {self.block_at(nodes)}, align 8"))

    def lower_set_block(self, nodes: list[ast.expr]) -> None:
        value = self.coerce(self.expr(nodes[2]), u128)
        self.emit(f"store i128 {value.ir}, ptr {self.block_at(nodes)}, align 8")

    GUEST = ""

    def lower_guest_block(self, nodes: list[ast.expr]) -> Value:
        where = self.block_at(nodes)
        return Value(u128, self.assign(f"load i128, ptr {where}, align 1{self.GUEST}"))

    def lower_set_guest_block(self, nodes: list[ast.expr]) -> None:
        value = self.coerce(self.expr(nodes[2]), u128)
        self.emit(f"store i128 {value.ir}, ptr {self.block_at(nodes)}, align 1{self.GUEST}")

    def lower_room(self, nodes: list[ast.expr]) -> Value:
        return Value(Ptr[u8], "null")  # long forms never come here


class ShortForms(_Handler):
    """The part of a handler's compiler that makes short forms."""

    hands_over = False
    """Whatever would be called is left to the long form."""

    def is_short(self) -> bool:
        self.hands_over |= self.quick
        return self.quick

    def long_form(self) -> str:
        """Return the label that goes to the long form."""
        self.uses_memory = True
        if self.slow_label is None:
            self.slow_label = self.fresh("long")
        return self.slow_label

    def lower_room(self, nodes: list[ast.expr]) -> Value:
        if not self.is_short():
            return super().lower_room(nodes)
        va = self.coerce(self.expr(nodes[1]), u64)
        count = self.convert(self.coerce(self.expr(nodes[2]), u32), u64)
        size, access = 1 << self.static(nodes[3]), self.static(nodes[4])
        miss, entry = self.tlb_probe(va, size, access)
        within = self.assign(f"and i64 {va.ir}, {PAGE - 1}")
        size_ = self.assign(f"shl i64 {count.ir}, {BLOCK_BYTES.bit_length() - 1}")
        end = self.assign(f"add i64 {within}, {size_}")
        beyond = self.assign(f"icmp ugt i64 {end}, {PAGE}")
        either = self.assign(f"or i1 {miss}, {beyond}")
        on = self.fresh("room")
        self.branch_on(Value(bool, either), self.long_form(), on, self.unlikely())
        self.start(on)
        return Value(Ptr[u8], self.tlb_address(entry, va))
