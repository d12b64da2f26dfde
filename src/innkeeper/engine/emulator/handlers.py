"""Compiling instructions into tier 0's handlers.

A handler is an LLVM function `(hart, cell, budget, bank)` with the `preserve_nonecc`
convention that ends in a `musttail` call through the next cell, so that the hot state never leaves
the machine's registers. An instruction that touches memory has two handlers: the quick one answers
from the TLB or hands over, untouched, to the long one, which may call, fault and reach devices.
"""

from __future__ import annotations

import ast
from typing import Any

from innkeeper.engine.emulator import fill
from innkeeper.engine.emulator.floats import FloatLowering
from innkeeper.engine.emulator.hart import (
    CELL_BYTES,
    DATA_ENTRIES,
    PARAMS,
    DataEntry,
    EmuHart,
)
from innkeeper.engine.emulator.hostcrypto import CryptoLowering
from innkeeper.engine.emulator.hostvector import ShortForms, VectorLowering
from innkeeper.engine.emulator.regions import ways
from innkeeper.isa.riscv import access
from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.spec import Instruction
from innkeeper.native.compiler import FunctionCompiler, Module
from innkeeper.native.signature import Signature
from innkeeper.native.types import PtrType, size_of, u32, u64
from innkeeper.native.values import Place, Value, ir_type, zero_of

EXECUTE = "execute.cells"
QUICK_ONLY = ("F", "D", "Zfa")


def size_value(kind: Any) -> Value:
    """Return the size of an access in bytes as an operand."""
    return Value(u32, str(kind.BITS // 8))


class EngineCompiler(VectorLowering, CryptoLowering, FloatLowering, FunctionCompiler):
    """Compiles the engine's ordinary functions: memory goes the long way."""

    RAISING = frozenset({"load", "store", "rw_pointer"})

    def out_of_line(self, function: Any, args: list[Value]) -> Value | None:
        """Call a kernel Python function with operands already compiled."""
        callee = self.module.signature(self.module.replacements.get(function, function))
        text = ", ".join(
            f"{ir_type(k)} {self.coerce(a, k).ir}"
            for (_, k), a in zip(callee.params, args, strict=True)
        )
        call = f"call {ir_type(callee.result)} @{callee.name}({text})"
        result = self.emit_call(call, callee.result)
        if callee.may_raise:
            self.propagate()
        return result

    def hart(self) -> Value:
        """Return the hart as an operand."""
        return self.expr_Name(ast.Name("h", ast.Load()))

    def lower_load(self, nodes: list[ast.expr]) -> Value:
        return self.load_at(self.static(nodes[1]), self.coerce(self.expr(nodes[2]), u64))

    def load_at(self, kind: Any, va: Value) -> Value:
        """Load from a virtual address."""
        value = self.out_of_line(access.load_slow, [self.hart(), va, size_value(kind)])
        assert value is not None
        return self.convert(value, kind)

    def lower_store(self, nodes: list[ast.expr]) -> None:
        kind = self.static(nodes[1])
        va = self.coerce(self.expr(nodes[2]), u64)
        self.store_at(kind, va, self.coerce(self.expr(nodes[3]), kind))

    def store_at(self, kind: Any, va: Value, value: Value) -> None:
        """Store to a virtual address."""
        wide = self.convert(value, u64)
        self.out_of_line(access.store_slow, [self.hart(), va, wide, size_value(kind)])

    def lower_rw_pointer(self, nodes: list[ast.expr]) -> Value:
        kind = self.static(nodes[1])
        where = self.rw_at(kind, self.coerce(self.expr(nodes[2]), u64))
        return Value(PtrType.make(kind), where)

    def rw_at(self, kind: Any, va: Value) -> str:
        """Return the host address for an atomic access to a virtual address."""
        where = self.out_of_line(access.rw_pointer_slow, [self.hart(), va, size_value(kind)])
        assert where is not None
        return str(where.ir)

    def lower_publish(self, nodes: list[ast.expr]) -> None:
        """Nothing: a called function's caller has published already."""

    def lower_execute(self, nodes: list[ast.expr]) -> None:
        self.emit(f"call void @{EXECUTE}(ptr {self.expr(nodes[0]).ir})")


class HandlerCompiler(ShortForms, EngineCompiler):
    """Compiles one instruction's meaning into one handler."""

    def __init__(
        self, module: Module, instruction: Instruction, name: str, *, quick: bool, inside: bool
    ) -> None:
        signature = module.signature_of_meaning(instruction.meaning)  # type: ignore[attr-defined]
        super().__init__(module, signature)
        self.instruction, self.name = instruction, name
        self.quick, self.inside = quick, inside
        self.uses_memory = False
        self.may_branch = False
        self.slow_label: str | None = None

    def header(self) -> str:
        return (
            f"define hidden preserve_nonecc void @{self.name}({PARAMS}) "
            f"{' '.join(sorted(self.attributes))}"
        )

    def prologue(self) -> None:
        names = [n for n, _ in self.signature.params]
        for name, kind, operand in zip(names, (Hart, Operands), ("%hart", "%cell"), strict=True):
            place = self.local(name, kind)
            self.emit(f"store ptr {operand}, ptr {place.ir}")
        if not self.quick:
            self.lower_publish([])  # a device may ask for the time

    def epilogue(self) -> None:
        if self.raise_label is not None:
            self.lines.append(f"{self.raise_label}:")
            self.lines.append(f"  musttail call preserve_nonecc void @trap({PARAMS})")
            self.lines.append("  ret void")
        if self.slow_label is not None:
            self.lines.append(f"{self.slow_label}:")
            self.lines.append(f"  musttail call preserve_nonecc void @{self.name}.slow({PARAMS})")
            self.lines.append("  ret void")

    def fall_off(self) -> None:
        if not self.quick:
            self.leave_if_stopped()
        step = self.instruction.length // 2 * CELL_BYTES
        after = self.assign(f"getelementptr i8, ptr %cell, i64 {step}")
        self.dispatch(after, self.retire())

    def emit_return(self, value: Value | None) -> None:
        if not self.leave_inlined(value):
            self.fall_off()

    def call_function(self, function: Any, nodes: list[ast.expr]) -> Value | None:
        """Leave rare cases to the long handler: the quick one needs no frame then.

        Nothing has been changed by then that doing it again would change differently.
        """
        target = self.module.replacements.get(function, function)
        if target is self.signature.function:
            target = function
        rare = self.hands_over or (self.quick and self.instruction.extension in QUICK_ONLY)
        if not rare or getattr(target, "__inline__", True) is not False:
            return super().call_function(function, nodes)
        if getattr(target, "__leaf__", False):
            return super().call_function(function, nodes)
        return self.give_up(self.long_form(), target, nodes)

    def give_up(self, label: str, target: Any, nodes: list[ast.expr]) -> Value | None:
        """Go to `label` instead of calling `target`; what follows is never reached."""
        self.jump_to(label)
        self.start(self.fresh("never"))
        result = Signature(target, self.const_arguments(target, nodes)).result
        return None if result is None else Value(result, zero_of(result))

    def leave_if_stopped(self) -> None:
        """Look everything up anew after the long way where something wants that.

        A device may have been reached: a machine that was powered off ends here, and flushes that
        other harts have asked for meanwhile come before the next instruction.
        """
        wants = [self.load(self.field(name)).ir for name in ("stop", "flush_request")]
        either = self.assign(f"or i32 {wants[0]}, {wants[1]}")
        stopped = self.assign(f"icmp ne i32 {either}, 0")
        out, on = self.fresh("stopped"), self.fresh("on")
        self.branch_on(Value(bool, stopped), out, on, self.unlikely())
        self.start(out)
        self.lower_resync([])
        self.start(on)

    def retire(self) -> str:
        """Count the instruction; return the budget that is left."""
        return self.assign("sub i64 %budget, 1")

    def dispatch(self, cell: str, budget: str) -> None:
        """Go on with a cell."""
        handler = self.assign(f"load ptr, ptr {cell}")
        args = f"ptr %hart, ptr {cell}, i64 {budget}, ptr %bank"
        self.emit(f"musttail call preserve_nonecc void {handler}({args})")
        self.emit("ret void")
        self.terminated = True

    def leave(self, target: str, cell: str = "%cell") -> None:
        """End by a common handler, the instruction counted."""
        args = f"ptr %hart, ptr {cell}, i64 {self.retire()}, ptr %bank"
        self.emit(f"musttail call preserve_nonecc void @{target}({args})")
        self.emit("ret void")
        self.terminated = True

    def field(self, name: str) -> Place:
        """Return a field of the emulator's hart."""
        kind, offset = EmuHart.FIELDS[name]
        return Place(kind, self.assign(f"getelementptr i8, ptr %hart, i64 {offset}"))

    # ---- what an instruction may ask for

    def pc(self) -> str:
        """Return this instruction's address."""
        raw = self.assign("ptrtoint ptr %cell to i64")
        eighth = self.assign(f"lshr i64 {raw}, 3")
        return self.assign(f"add i64 {eighth}, {self.load(self.field('bias')).ir}")

    def lower_pc_of(self, nodes: list[ast.expr]) -> Value:
        return Value(u64, self.pc())

    def lower_next_pc(self, nodes: list[ast.expr]) -> Value:
        return Value(u64, self.assign(f"add i64 {self.pc()}, {self.instruction.length}"))

    def lower_branch(self, nodes: list[ast.expr]) -> None:
        self.may_branch = True
        imm = self.load(self.place(ast.Attribute(nodes[1], "imm", ast.Load())))
        wide = self.convert(imm, u64).ir
        if not self.inside:
            target = self.assign(f"add i64 {self.pc()}, {wide}")
            self.leave("jump", self.assign(f"inttoptr i64 {target} to ptr"))
            return
        scaled = self.assign(f"shl i64 {wide}, 3")
        cell = self.assign(f"getelementptr i8, ptr %cell, i64 {scaled}")
        left = self.retire()
        over = self.assign(f"icmp slt i64 {left}, 0")
        out, on = self.fresh("out"), self.fresh("on")
        self.branch_on(Value(bool, over), out, on, self.unlikely())
        self.start(out)
        args = f"ptr %hart, ptr {cell}, i64 {left}, ptr %bank"
        self.emit(f"musttail call preserve_nonecc void @spent({args})")
        self.emit("ret void")
        self.terminated = True
        self.start(on)
        self.dispatch(cell, left)

    def lower_jump(self, nodes: list[ast.expr]) -> None:
        target = self.coerce(self.expr(nodes[2]), u64)
        self.note_way(nodes[1], target)
        self.leave("jump", self.assign(f"inttoptr i64 {target.ir} to ptr"))

    def note_way(self, operands: ast.expr, target: Value) -> None:
        """Count where a computed jump goes, unless it is a return (through x1)."""
        through = self.load(self.place(ast.Attribute(operands, "rs1", ast.Load())))
        calls = self.assign(f"icmp ne i8 {through.ir}, 1")
        note, on = self.fresh("note"), self.fresh("on")
        self.branch_on(Value(bool, calls), note, on)
        self.start(note)
        callee = self.module.inline_signature(ways.note_way)
        self.expand(callee, [self.hart(), Value(u64, self.pc()), target])
        self.jump_to(on)
        self.start(on)

    def lower_resync(self, nodes: list[ast.expr]) -> None:
        target = self.lower_next_pc(nodes)
        self.store(self.field("pc"), target)
        self.restart()

    def lower_resync_to(self, nodes: list[ast.expr]) -> None:
        self.store(self.field("pc"), self.coerce(self.expr(nodes[2]), u64))
        self.restart()

    def restart(self) -> None:
        """End by looking everything up anew at `h.pc`."""
        self.emit(f"store i64 {self.retire()}, ptr {self.field('budget').ir}")
        self.leave("resume")

    def lower_publish(self, nodes: list[ast.expr]) -> None:
        self.emit(f"store i64 %budget, ptr {self.field('budget').ir}")

    # ---- memory

    def tlb_probe(self, va: Value, size: int, tag_field: str) -> tuple[str, str]:
        """Compare an access with the TLB; return whether it misses (i1) and the entry."""
        shift, mask = 12 - 5, (DATA_ENTRIES - 1) << 5
        assert size_of(DataEntry) == 32
        scaled = self.assign(f"lshr i64 {va.ir}, {shift}")
        index = self.assign(f"and i64 {scaled}, {mask}")
        entry = self.assign(f"getelementptr i8, ptr %bank, i64 {index}")
        wanted = self.assign(f"and i64 {va.ir}, {-4096 | (size - 1)}")
        slot = self.assign(f"getelementptr i8, ptr {entry}, i64 {DataEntry.FIELDS[tag_field][1]}")
        tag = self.assign(f"load i64, ptr {slot}")
        return self.assign(f"icmp ne i64 {tag}, {wanted}"), entry

    def tlb_address(self, entry: str, va: Value) -> str:
        """Return the host address of an access that hits."""
        slot = self.assign(f"getelementptr i8, ptr {entry}, i64 {DataEntry.FIELDS['addend'][1]}")
        addend = self.assign(f"load ptr, ptr {slot}")
        return self.assign(f"getelementptr i8, ptr {addend}, i64 {va.ir}")

    def quick_address(self, va: Value, size: int, tag_field: str) -> str:
        """Return the host address on a TLB hit, else leave for the long way."""
        self.uses_memory = True
        miss, entry = self.tlb_probe(va, size, tag_field)
        on = self.fresh("hit")
        if self.slow_label is None:
            self.slow_label = self.fresh("miss")
        self.branch_on(Value(bool, miss), self.slow_label, on, self.unlikely())
        self.start(on)
        return self.tlb_address(entry, va)

    def found(self, function: Any, kind: Any, va: Value) -> tuple[str, str, str]:
        """Ask the TLB's second level; go on where it has the address, with labels for the rest."""
        where = self.out_of_line(function, [self.hart(), va, size_value(kind)])
        assert where is not None
        null = self.assign(f"icmp eq ptr {where.ir}, null")
        far, on, done = self.fresh("far"), self.fresh("found"), self.fresh("done")
        self.branch_on(Value(bool, null), far, on, self.unlikely())
        self.start(on)
        return str(where.ir), far, done

    def load_at(self, kind: Any, va: Value) -> Value:
        if self.quick:
            where = self.quick_address(va, kind.BITS // 8, "read_tag")
            return Value(kind, self.assign(f"load {ir_type(kind)}, ptr {where}"))
        result = self.local(".loaded", kind)
        where, far, done = self.found(fill.find_load, kind, va)
        self.store(result, Value(kind, self.assign(f"load {ir_type(kind)}, ptr {where}, align 1")))
        self.jump_to(done)
        self.start(far)
        self.store(result, super().load_at(kind, va))
        self.jump_to(done)
        self.start(done)
        return self.load(result)

    def store_at(self, kind: Any, va: Value, value: Value) -> None:
        if self.quick:
            where = self.quick_address(va, kind.BITS // 8, "write_tag")
            self.emit(f"store {ir_type(kind)} {value.ir}, ptr {where}")
            return
        where, far, done = self.found(fill.find_store, kind, va)
        self.emit(f"store {ir_type(kind)} {value.ir}, ptr {where}, align 1")
        self.jump_to(done)
        self.start(far)
        super().store_at(kind, va, value)
        self.jump_to(done)
        self.start(done)

    def rw_at(self, kind: Any, va: Value) -> str:
        if self.quick:
            return self.quick_address(va, kind.BITS // 8, "write_tag")
        result = self.local(".where", PtrType.make(kind))
        where, far, done = self.found(fill.find_atomic, kind, va)
        self.emit(f"store ptr {where}, ptr {result.ir}")
        self.jump_to(done)
        self.start(far)
        self.emit(f"store ptr {super().rw_at(kind, va)}, ptr {result.ir}")
        self.jump_to(done)
        self.start(done)
        return self.assign(f"load ptr, ptr {result.ir}")
