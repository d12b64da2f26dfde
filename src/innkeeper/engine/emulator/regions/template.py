"""An instruction's meaning as a piece of LLVM IR with holes, from the same source as its handlers.

The kernel Python of each instruction is compiled once per process; a region then fills in register
numbers, immediates and labels as text. Holes are written `$name$`:

    id                      what makes names unique
    rd rs1 rs2 rs3 imm      the operands
    pc length               the address relative to the region's first page, and the size
    next                    where the instruction ends that neither branches nor jumps
    taken indirect          the target of `branch`; where `jump` goes on, its target in %target
    shape width count       what makes sure of, and is, `v_whole` and `v_count`
    spill reload            all registers to the hart, and back, around a call of a slow path
    where                   the host address of a load or store, which the region has checked
    operands done           the decoded operands in memory; instructions retired in this block
    trap punt after         leave: with a trap pending; to do it again in tier 0; when it is done
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import Any

from innkeeper.base.errors import CompileError
from innkeeper.engine.emulator.handlers import QUICK_ONLY, HandlerCompiler
from innkeeper.engine.emulator.hart import CALL_LOAD, CALL_RW_POINTER, CALL_STORE, EmuHart
from innkeeper.engine.emulator.regions.templates import GUEST, HOST, Template
from innkeeper.isa.riscv.hart import Hart, Operands
from innkeeper.isa.riscv.spec import Instruction
from innkeeper.native.calls import Calls
from innkeeper.native.compiler import Module
from innkeeper.native.signature import Signature, const_positions, stored_names
from innkeeper.native.types import i32, is_int, u8, u32, u64
from innkeeper.native.values import LITERAL, Place, Value, ir_type

HOLE = re.compile(r"\$(\w+)\$")
FILES = {"x", "f"}
SHAPE = {"v_whole": "$width$", "v_count": "$count$"}
LOADS = frozenset(("lb", "lbu", "lh", "lhu", "lw", "lwu", "ld", "flh", "flw", "fld"))
STORES = frozenset(("sb", "sh", "sw", "sd", "fsh", "fsw", "fsd"))
"""What does nothing with memory but one access off `rs1` and `imm`."""
MAX_TEMPLATE_LINES = 400
"""A longer meaning stays in tier 0: inlining it gains nothing and costs compile time."""


class Unsupported(Exception):
    """This instruction cannot be part of a region: the region leaves before it."""


class TemplateCompiler(HandlerCompiler):
    """Compiles a meaning into a template."""

    def __init__(
        self,
        module: Module,
        instruction: Instruction,
        callable_: Callable[[str], int] | None,
        leaves: Callable[[str], int] | None,
        *,
        short: bool = True,
    ) -> None:
        """`callable_` numbers the functions that may be called; without it only `leaves` are.

        With `short` it is the short form, if there is one.
        """
        super().__init__(module, instruction, "template", quick=True, inside=True)
        self.callable, self.calls_out = callable_, False
        self.leaves, self.short = leaves, short
        self.reads: set[tuple[str, str]] = set()
        self.writes: set[tuple[str, str]] = set()
        self.cold: list[str] = []
        self.uses_float = self.shaped = False
        self.live, self.reached = True, set[str]()
        self.base = instruction.base_name or instruction.name
        self.access: tuple[int, bool] | None = None
        self.completes = self.effects = False

    def template(self) -> Template:
        """Compile; raises `Unsupported` for what only tier 0 can do."""
        if self.instruction.sync:
            raise Unsupported(self.instruction.name)
        self.prologue()
        self.body(self.tree.body)
        if not self.terminated:
            self.fall_off()
        if not self.completes:
            raise Unsupported(f"{self.instruction.name} always takes a slow path")
        text = "\n".join([*self.lines, *self.cold])
        if text.count("\n") > MAX_TEMPLATE_LINES:
            raise Unsupported(self.instruction.name)
        parts = tuple(HOLE.split(text))
        labels = frozenset(parts[1::2]) & {"next", "taken", "indirect", "trap", "punt", "after"}
        if self.shaped:
            labels |= {"punt"}
        return Template(
            parts, tuple("\n".join(self.allocas).split("\n")) if self.allocas else (),
            frozenset(self.reads), frozenset(self.writes), labels, self.uses_float,
            "strictfp" in self.attributes, self.calls_out, self.base, self.access, self.shaped,
        )  # fmt: skip

    # ---- names and holes

    def fresh(self, hint: str = "v") -> str:
        self.counter += 1
        return f"{hint}.{self.counter}.$id$"

    def emit(self, text: str) -> None:
        """Append an instruction; what is not guest memory is said to be apart from it."""
        if "!alias.scope" not in text and (text.startswith("store ") or " = load " in text):
            text += HOST
        super().emit(text)

    # ---- whether it can get through without a slow path

    def start(self, label: str) -> None:
        super().start(label)
        self.live = label in self.reached

    def jump_to(self, label: str) -> None:
        if self.live:
            self.reached.add(label)
        super().jump_to(label)

    def branch_on(self, condition: Value, then: str, other: str, weights: str = "") -> None:
        if self.live:
            self.reached |= {then, other}
        super().branch_on(condition, then, other, weights)

    def prologue(self) -> None:
        names = [n for n, _ in self.signature.params]
        hart, operands = names
        self.locals[hart] = Value(Hart, "%hart")
        self.locals[operands] = Value(Operands, "$operands$")

    def expr_Name(self, node: ast.Name) -> Value:
        known = self.locals.get(node.id)
        return known if isinstance(known, Value) else super().expr_Name(node)

    def expr_Attribute(self, node: ast.Attribute) -> Value:
        base = self.locals.get(node.value.id) if isinstance(node.value, ast.Name) else None
        if isinstance(base, Value) and base.kind is Operands:
            return Value(i32 if node.attr == "imm" else u8, f"${node.attr}$")
        if isinstance(base, Value) and base.kind is Hart and node.attr == "fp_ready":
            self.uses_float = True
            return Value(Hart.FIELDS["fp_ready"][0], "1")  # the region's entries have checked it
        if isinstance(base, Value) and base.kind is Hart and node.attr in SHAPE and self.short:
            self.need_shape()
            return Value(u32, SHAPE[node.attr])
        return super().expr_Attribute(node)

    def is_short(self) -> bool:
        return self.short

    def need_shape(self) -> None:
        """Have the region make sure of the vector registers' shape, once, before it is used."""
        if self.shaped:
            return
        if self.effects:
            raise Unsupported(f"{self.instruction.name} cannot be done again")
        self.shaped = True
        self.lines.append("$shape$")
        label = "shape.$id$"
        self.lines.append(f"{label}:")
        self.block = label
        self.reached.add(label)

    def indexed(self, node: ast.Subscript) -> Place:
        """Turn an element of a register file into its slot."""
        base = node.value
        if isinstance(base, ast.Attribute) and base.attr in FILES:
            owner = self.locals.get(base.value.id) if isinstance(base.value, ast.Name) else None
            if isinstance(owner, Value) and owner.kind is Hart:
                return Place(u64, f"%{base.attr}.{self.register(node.slice)}")
        return super().indexed(node)

    def register(self, node: ast.expr) -> str:
        """Return a register's number: an operand's hole or a constant."""
        value = self.expr(node)
        text = str(value.ir)
        if value.kind is not LITERAL and not HOLE.fullmatch(text) and not text.isdecimal():
            raise Unsupported("a register whose number is computed")
        return text

    def note(self, place: Place, into: set[tuple[str, str]]) -> None:
        """Remember an access to a register."""
        name = str(place.ir)
        if name[:3] in ("%x.", "%f."):
            into.add((name[1], name[3:].strip("$")))

    def load(self, place: Place) -> Value:
        self.note(place, self.reads)
        return super().load(place)

    def store(self, place: Place, value: Value) -> None:
        self.note(place, self.writes)
        self.effects = True
        super().store(place, value)

    def convert(self, value: Value, kind: Any) -> Value:
        if value.ir == "$imm$" and kind is u64:
            return Value(u64, "$imm$")  # the hole is filled with a signed number
        if str(value.ir).startswith("$rs") and is_int(kind):
            return Value(kind, value.ir)
        return super().convert(value, kind)

    def expand(self, callee: Signature, args: list[Value]) -> Value | None:
        """Compile an inlined function; parameters that it never assigns to stay operands."""
        changed = stored_names(callee.function)
        fixed = {
            name: arg
            for (name, _), arg in zip(callee.params, args, strict=True)
            if name not in changed
        }
        self.fixed_locals = fixed
        return super().expand(callee, args)

    def bind(self, name: str, kind: Any, arg: Value) -> None:
        if name in self.fixed_locals:
            self.locals[name] = Value(kind, arg.ir)
        else:
            super().bind(name, kind, arg)

    # ---- how it ends

    def leave_by(self, label: str) -> None:
        """End by a jump to one of the labels that the region fills in."""
        self.emit(f"br label %${label}$")
        self.terminated = True
        self.completes |= self.live

    def fall_off(self) -> None:
        self.leave_by("next")

    def raising(self) -> str:
        return self.raise_label or "$trap$"

    def lower_pc_of(self, nodes: list[ast.expr]) -> Value:
        return Value(u64, self.assign("add i64 %page, $pc$"))

    def lower_next_pc(self, nodes: list[ast.expr]) -> Value:
        here = self.lower_pc_of(nodes)
        return Value(u64, self.assign(f"add i64 {here.ir}, {self.instruction.length}"))

    def lower_branch(self, nodes: list[ast.expr]) -> None:
        self.leave_by("taken")

    def lower_jump(self, nodes: list[ast.expr]) -> None:
        target = self.coerce(self.expr(nodes[2]), u64)
        self.emit(f"store i64 {target.ir}, ptr %target")
        self.leave_by("indirect")

    def refuse(self, nodes: list[ast.expr]) -> None:
        raise Unsupported(self.instruction.name)

    def lower_resync(self, nodes: list[ast.expr]) -> None:
        self.leave_by("after")

    def lower_publish(self, nodes: list[ast.expr]) -> None:
        left = self.assign("load i64, ptr %left")
        self.emit(
            f"store i64 {self.assign(f'sub i64 {left}, $done$')}, ptr {self.field('budget').ir}"
        )

    lower_resync_to = lower_execute = refuse  # type: ignore[assignment]
    lower_mxcsr_read = lower_mxcsr_write = refuse  # type: ignore[assignment]
    lower_host_fp_flags = lower_host_fp_set = refuse  # type: ignore[assignment]

    def call_function(self, function: Any, nodes: list[ast.expr]) -> Value | None:
        """Inline what may be; a slow path that may be done again from the start goes to tier 0.

        It may be where nothing has been changed yet; floating point changes only what doing it
        again changes in the same way.
        """
        target = self.module.replacements.get(function, function)
        if target is self.signature.function:
            target = function
        if self.is_inlined(target):
            return Calls.call_function(self, function, nodes)
        if getattr(target, "__leaf__", False):
            return self.call_numbered(target, nodes, self.leaves)
        if self.callable is not None:
            return self.call_out(target, nodes)
        if self.effects and self.instruction.extension not in (*QUICK_ONLY, "Zfh", "C"):
            raise Unsupported(f"{self.instruction.name} calls {target.__qualname__}")
        return self.give_up("$punt$", target, nodes)

    def call_out(self, target: Any, nodes: list[ast.expr]) -> Value | None:
        """Call a slow path, the registers in the hart."""
        self.calls_out = True
        return self.call_numbered(target, nodes, self.callable)

    def call_numbered(
        self, target: Any, nodes: list[ast.expr], numbers: Callable[[str], int] | None
    ) -> Value | None:
        """Call a function by its number in `EmuHart.callable`; a leaf leaves registers alone."""
        consts = self.const_arguments(target, nodes)
        callee = self.module.signature(target, consts)
        if numbers is None:
            raise Unsupported(self.instruction.name)
        number = numbers(callee.name)
        leaf = getattr(target, "__leaf__", False)
        flags = const_positions(target)
        rest = [n for n, is_const in zip(nodes, flags, strict=True) if not is_const]
        args = ", ".join(
            f"{ir_type(kind)} {self.coerce(self.expr(n), kind).ir}"
            for (_, kind), n in zip(callee.params, rest, strict=True)
        )
        self.effects = True
        table = self.load(self.field("callable"))
        slot = self.assign(f"getelementptr i8, ptr {table.ir}, i64 {8 * number}")
        function = self.assign(f"load ptr, ptr {slot}")
        if not leaf:
            self.lines.append("$spill$")
        text = f"call {ir_type(callee.result)} {function}({args})"
        result = self.emit_call(text, callee.result)
        if not leaf:
            self.lines.append("$reload$")
        if callee.may_raise:
            self.propagate()
        return result

    def is_inlined(self, function: Any) -> bool:
        return getattr(function, "__inline__", True) is not False

    def long_form(self) -> str:
        if self.effects:
            raise Unsupported(f"{self.instruction.name} cannot be done again")
        return "$punt$"

    # ---- memory

    GUEST = GUEST

    def out_of_line_access(self, which: int, args: str, result: str) -> str:
        """Call the long way through the hart, registers kept by the callee; may go to `trap`."""
        offset = EmuHart.FIELDS["calls"][1] + 8 * which
        slot = self.assign(f"getelementptr i8, ptr %hart, i64 {offset}")
        function = self.assign(f"load ptr, ptr {slot}")
        call = f"call preserve_allcc {result} {function}(ptr %hart, {args})"
        value = self.assign(call) if result != "void" else self.emit(call)
        self.propagate()
        return str(value)

    def probe(self, va: Value, size: int, tag: str) -> tuple[str, str]:
        """Branch on the TLB's answer; return the label of the miss and the address of the hit."""
        miss, entry = self.tlb_probe(va, size, tag)
        slow, on = self.fresh("miss"), self.fresh("hit")
        self.branch_on(Value(bool, miss), slow, on, self.unlikely())
        self.start(on)
        return slow, self.tlb_address(entry, va)

    def in_the_cold(self, label: str) -> tuple[list[str], str, bool]:
        """Start a block that comes after everything else; return what to give `back_from`."""
        kept = self.lines, self.block, self.live
        self.lines = []
        self.start(label)
        return kept

    def back_from(self, kept: tuple[list[str], str, bool], join: str) -> str:
        """End the cold code, by a jump to `join` if it is open; return the block it came from."""
        self.jump_to(join)
        last = self.block
        self.cold += self.lines
        self.lines, self.block, self.live = kept
        self.terminated = False
        return last

    def load_at(self, kind: Any, va: Value) -> Value:
        if self.base in LOADS:
            self.access = (kind.BITS // 8, False)
            loaded = self.assign(f"load {ir_type(kind)}, ptr $where$, align 1{GUEST}")
            return Value(kind, loaded)
        slow, where = self.probe(va, kind.BITS // 8, "read_tag")
        t, join = ir_type(kind), self.fresh("got")
        quick = self.assign(f"load {t}, ptr {where}{GUEST}")
        hit = self.block
        kept = self.in_the_cold(slow)
        wide = self.out_of_line_access(CALL_LOAD, f"i64 {va.ir}, i32 {kind.BITS // 8}", "i64")
        value = self.convert(Value(u64, wide), kind)
        miss = self.back_from(kept, join)
        self.jump_to(join)
        self.start(join)
        return Value(kind, self.assign(f"phi {t} [{quick}, %{hit}], [{value.ir}, %{miss}]"))

    def store_at(self, kind: Any, va: Value, value: Value) -> None:
        self.effects = True
        if self.base in STORES:
            self.access = (kind.BITS // 8, True)
            self.emit(f"store {ir_type(kind)} {value.ir}, ptr $where$, align 1{GUEST}")
            return
        slow, where = self.probe(va, kind.BITS // 8, "write_tag")
        join = self.fresh("put")
        self.emit(f"store {ir_type(kind)} {value.ir}, ptr {where}{GUEST}")
        kept = self.in_the_cold(slow)
        wide = self.convert(value, u64)
        args = f"i64 {va.ir}, i64 {wide.ir}, i32 {kind.BITS // 8}"
        self.out_of_line_access(CALL_STORE, args, "void")
        leave = self.load(self.field("leave_region"))
        changed = self.assign(f"icmp ne i32 {leave.ir}, 0")
        self.branch_on(Value(bool, changed), "$after$", join, self.unlikely())
        self.back_from(kept, join)
        self.jump_to(join)
        self.start(join)

    def rw_at(self, kind: Any, va: Value) -> str:
        self.effects = True
        slow, quick = self.probe(va, kind.BITS // 8, "write_tag")
        join = self.fresh("found")
        hit = self.block
        kept = self.in_the_cold(slow)
        args = f"i64 {va.ir}, i32 {kind.BITS // 8}"
        far = self.out_of_line_access(CALL_RW_POINTER, args, "ptr")
        miss = self.back_from(kept, join)
        self.jump_to(join)
        self.start(join)
        return self.assign(f"phi ptr [{quick}, %{hit}], [{far}, %{miss}]")


def make_template(
    module: Module,
    instruction: Instruction,
    callable_: Callable[[str], int] | None = None,
    *,
    short: bool = True,
) -> Template | None:
    """Return an instruction's template, `None` where regions must leave before it.

    Slow paths are left to tier 0 where there is a quick one beside them, else they are called.
    Without `short` what has a short form is done the long way, called.
    """
    for calls in (None, callable_) if short else (callable_,):
        try:
            made = TemplateCompiler(module, instruction, calls, callable_, short=short)
            return made.template()
        except (Unsupported, CompileError, KeyError):
            continue
    return None
