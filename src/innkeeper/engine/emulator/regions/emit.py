"""A region as LLVM IR: blocks of filled-in templates, registers in slots that become SSA values.

A region is a handler: `(hart, cell, budget, bank)`, preserve_none, left by tail calls only. It
has several entries; each is a little function that puts its number into the low bits of the address
of the page's first cell. Every way out is a cold block that puts back the registers that may have
changed, so that traps are precise. The budget is looked at where the region is entered and where
its loops come round: if a whole turn does not fit any more, tier 0 finishes the slice, so that a
slice ends at the same instruction whether regions run or not.
"""

from __future__ import annotations

from collections.abc import Set

from innkeeper.engine.emulator.hart import (
    CALL_CELL,
    CALL_JUMP,
    CALL_LINK,
    CALL_RESUME_AT,
    CALL_TRAP_AT,
    CELL_BYTES,
    CODE_ENTRIES,
    PARAMS,
    Bank,
    CodeEntry,
    EmuHart,
)
from innkeeper.engine.emulator.regions.checks import Checks
from innkeeper.engine.emulator.regions.flow import PAGE, Block, Flow, Insn
from innkeeper.engine.emulator.regions.layout import Region
from innkeeper.engine.emulator.regions.reach import Planner
from innkeeper.engine.emulator.regions.registers import Register, RegisterUse, writes
from innkeeper.engine.emulator.regions.shapes import Shapes
from innkeeper.engine.emulator.regions.templates import HOST
from innkeeper.isa.riscv.hart import SINK
from innkeeper.native.types import size_of

LIKELY_METADATA = """!1 = !{!11}
!2 = !{!12}
!11 = distinct !{!11, !13, !"guest"}
!12 = distinct !{!12, !13, !"host"}
!13 = distinct !{!13, !"memory"}
"""


def _offset(name: str) -> int:
    return int(EmuHart.FIELDS[name][1])


class RegionEmitter(Checks, Shapes):
    """Writes one region."""

    def __init__(self, flow: Flow, pages: list[int], shapes: dict[int, int]) -> None:
        self.flow, self.shapes = flow, shapes
        self.page_number = {delta: n for n, delta in enumerate(pages)}
        self.lines: list[str] = []
        self.cold: list[str] = []
        self.allocas: list[str] = []
        self.inits: list[str] = []
        self.constants: list[str] = []
        self.count = 0
        self.leaving, self.leaves, self.steps_aside = "", False, False
        planner = Planner(flow)
        self.sites = planner.plan()
        self.use = RegisterUse(flow, planner.loops, self.sites)
        templates = [one.template for block in flow.blocks.values() for one in block.insns]
        self.uses_float = any(t is not None and t.uses_float for t in templates)
        self.strict = any(t is not None and t.strict for t in templates)
        self.lazy = False
        self.valid: set[Register] = set()

    # ---- small pieces

    def name(self, hint: str) -> str:
        self.count += 1
        return f"{hint}.{self.count}"

    def slot_order(self) -> list[Register]:
        return sorted(self.use.touched)

    @staticmethod
    def hart_slot(register: Register) -> int:
        file, number = register
        return _offset(file) + 8 * number

    def put_back(self, dirty: Set[Register], tag: str) -> list[str]:
        """Write registers to the hart."""
        lines = []
        for n, register in enumerate(sorted(dirty)):
            file, number = register
            lines += [
                f"  %pb{n}.{tag} = load i64, ptr %{file}.{number}",
                f"  %pp{n}.{tag} = getelementptr i8, ptr %hart, i64 {self.hart_slot(register)}",
                f"  store i64 %pb{n}.{tag}, ptr %pp{n}.{tag}{HOST}",
            ]
        return lines

    def call_out(self, which: int, tag: str) -> list[str]:
        """Load one of the addresses that the hart keeps for regions."""
        offset = _offset("calls") + 8 * which
        return [
            f"  %cp.{tag} = getelementptr i8, ptr %hart, i64 {offset}",
            f"  %fn.{tag} = load ptr, ptr %cp.{tag}{HOST}",
        ]

    def budget_after(self, done: int, tag: str) -> list[str]:
        return [
            f"  %b0.{tag} = load i64, ptr %left",
            f"  %b1.{tag} = sub i64 %b0.{tag}, {done}",
        ]

    @staticmethod
    def tail(cell: str, budget: str, function: str) -> list[str]:
        return [
            f"  musttail call preserve_nonecc void {function}"
            f"(ptr %hart, ptr {cell}, i64 {budget}, ptr %bank)",
            "  ret void",
        ]

    # ---- ways out

    def exit_at(self, label: str, which: int, pc: str, dirty: set[Register], done: int) -> None:
        """Leave for a common handler that takes an address (`pc` is an IR operand or lines)."""
        tag = self.name("e")
        self.cold += [
            f"{label}:",
            *self.put_back(dirty, tag),
            *self.budget_after(done, tag),
            f"  %pc.{tag} = inttoptr i64 {pc} to ptr",
            *self.call_out(which, tag),
            *self.tail(f"%pc.{tag}", f"%b1.{tag}", f"%fn.{tag}"),
        ]

    def leave_block(
        self, label: str, at: int, which: int, done: int, dirty: Set[Register] = frozenset()
    ) -> None:
        """Leave for a common handler at a fixed place, by the one way out that a block has.

        `dirty` are registers that this way puts back by itself, in an eager block.
        """
        offset = _offset("calls") + 8 * which
        self.cold += [
            f"{label}:",
            *self.put_back(set() if self.lazy else dirty, label),
            f"  store i64 {at}, ptr %out.at",
            f"  store i64 {done}, ptr %out.done",
            f"  store i64 {offset}, ptr %out.call",
            f"  br label %leave.{self.leaving}",
        ]
        self.leaves = True

    def step_aside(self, label: str, at: int, done: int) -> None:
        """Let tier 0 do an instruction of this block, and what follows.

        An entry's own cell would come back here: the handler that it had before is called. Other
        places are counted, so that one that is left for often gets a region of its own.
        """
        if not 0 <= at < PAGE:
            self.leave_block(label, at, CALL_JUMP, done)
            return
        place = at * CELL_BYTES // 2
        kept = Region.FIELDS["entry_kept"][1]
        base, offset = "%hart", _offset("calls") + 8 * CALL_CELL
        if at in self.flow.entries:
            base, offset = "@record", kept + 8 * self.flow.entries.index(at)
        self.cold += [
            f"{label}:",
            f"  %slot.{label} = getelementptr i8, ptr {base}, i64 {offset}",
            f"  store i64 {place}, ptr %out.at",
            f"  store i64 {done}, ptr %out.done",
            f"  store ptr %slot.{label}, ptr %out.slot",
            f"  br label %aside.{self.leaving}",
        ]
        self.steps_aside = True

    def way_out(self, dirty: set[Register]) -> None:
        """Write the ways out of the block that has just been written, if they are used."""
        tag = self.leaving
        if self.steps_aside:
            self.cold += [
                f"aside.{tag}:",
                *self.put_back(dirty, f"a.{tag}"),
                f"  %adone.{tag} = load i64, ptr %out.done",
                f"  %ab0.{tag} = load i64, ptr %left",
                f"  %ab1.{tag} = sub i64 %ab0.{tag}, %adone.{tag}",
                f"  %aat.{tag} = load i64, ptr %out.at",
                f"  %acell.{tag} = getelementptr i8, ptr %cells, i64 %aat.{tag}",
                f"  %aslot.{tag} = load ptr, ptr %out.slot",
                f"  %afn.{tag} = load ptr, ptr %aslot.{tag}",
                *self.tail(f"%acell.{tag}", f"%ab1.{tag}", f"%afn.{tag}"),
            ]
        self.steps_aside = False
        if self.leaves:
            self.cold += [
                f"leave.{tag}:",
                *self.put_back(dirty, tag),
                f"  %done.{tag} = load i64, ptr %out.done",
                f"  %b0.{tag} = load i64, ptr %left",
                f"  %b1.{tag} = sub i64 %b0.{tag}, %done.{tag}",
                f"  %at.{tag} = load i64, ptr %out.at",
                f"  %pc.{tag} = add i64 %page, %at.{tag}",
                f"  %pcp.{tag} = inttoptr i64 %pc.{tag} to ptr",
                f"  %call.{tag} = load i64, ptr %out.call",
                f"  %cp.{tag} = getelementptr i8, ptr %hart, i64 %call.{tag}",
                f"  %fn.{tag} = load ptr, ptr %cp.{tag}{HOST}",
                *self.tail(f"%pcp.{tag}", f"%b1.{tag}", f"%fn.{tag}"),
            ]
        self.leaves = False

    def exit_to_cell(self, label: str, at: int, dirty: set[Register], done: int) -> None:
        """Leave for a place in the first page: its cell is known."""
        tag = self.name("c")
        self.cold += [
            f"{label}:",
            *self.put_back(dirty, tag),
            *self.budget_after(done, tag),
            f"  %cell.{tag} = getelementptr i8, ptr %cells, i64 {at * CELL_BYTES // 2}",
            *self.call_out(CALL_CELL, tag),
            *self.tail(f"%cell.{tag}", f"%b1.{tag}", f"%fn.{tag}"),
        ]

    def leave_for(self, at: int, dirty: set[Register], done: int) -> str:
        """Return the label of a way out to a fixed address."""
        label = self.name("out")
        if 0 <= at < PAGE:
            self.exit_to_cell(label, at, dirty, done)
        else:
            self.leave_block(label, at, CALL_JUMP, done, dirty)
        return label

    # ---- going on within the region

    def edge(self, source: Insn, at: int, dirty: set[Register], done: int) -> str:
        """Return the label by which control goes from an instruction to an address."""
        if at not in self.flow.blocks:
            return self.leave_for(at, dirty, done)
        label = self.name("edge")
        flushed = set() if self.lazy and at in self.use.lazy else dirty
        dirty = dirty - flushed
        lines = [
            f"{label}:",
            *self.put_back(flushed, label),
            *self.fetch(sorted(self.use.valid_in[at] - self.valid), label),
            *self.budget_after(done, label),
            f"  store i64 %b1.{label}, ptr %left",
        ]
        here, there = source.at // PAGE, self.last_page(at)
        if here == there or there == 0:
            lines.append(f"  br label %b.{self.text(at)}")
        else:
            lines += self.check_page(there, at, dirty, label)
        self.lines += lines
        return label

    def last_page(self, at: int) -> int:
        """Return the page of a block's first instruction; one that straddles has its last."""
        return (self.flow.blocks[at].insns[0].after - 1) // PAGE

    def check_page(self, page: int, at: int, dirty: set[Register], tag: str) -> list[str]:
        """Go on in another page if it is still mapped where it was, and still holds this code."""
        number = self.page_number[page]
        miss, again = f"far.{tag}", f"b.{self.text(at)}"
        base = Bank.FIELDS["code"][1]
        shift = size_of(CodeEntry).bit_length() - 1
        cells = Region.FIELDS["cells"][1] + 8 * number
        self.cold += [
            f"{miss}:",
            f"  %va.{tag} = add i64 %page, {at}",
            *self.call_out(CALL_LINK, tag),
            f"  %ok.{tag} = call preserve_allcc i64 %fn.{tag}"
            f"(ptr %hart, ptr @record, i64 %pg.{tag}, i64 {number})",
            f"  %yes.{tag} = icmp ne i64 %ok.{tag}, 0",
            f"  br i1 %yes.{tag}, label %{again}, label %no.{tag}",
        ]
        self.exit_at(f"no.{tag}", CALL_JUMP, f"%va.{tag}", dirty, 0)
        return [
            f"  %pg.{tag} = add i64 %page, {page * PAGE}",
            f"  %n.{tag} = lshr i64 %pg.{tag}, {12 - shift}",
            f"  %i.{tag} = and i64 %n.{tag}, {(CODE_ENTRIES - 1) << shift}",
            f"  %o.{tag} = add i64 %i.{tag}, {base}",
            f"  %t.{tag} = getelementptr i8, ptr %bank, i64 %o.{tag}",
            f"  %tag.{tag} = load i64, ptr %t.{tag}{HOST}",
            f"  %c.{tag} = getelementptr i8, ptr %t.{tag}, i64 {CodeEntry.FIELDS['cells'][1]}",
            f"  %cells.{tag} = load i64, ptr %c.{tag}{HOST}",
            f"  %w.{tag} = getelementptr i8, ptr @record, i64 {cells}",
            f"  %want.{tag} = load i64, ptr %w.{tag}{HOST}",
            f"  %d0.{tag} = xor i64 %tag.{tag}, %pg.{tag}",
            f"  %d1.{tag} = xor i64 %cells.{tag}, %want.{tag}",
            f"  %d2.{tag} = or i64 %d0.{tag}, %d1.{tag}",
            f"  %same.{tag} = icmp eq i64 %d2.{tag}, 0",
            f"  br i1 %same.{tag}, label %{again}, label %{miss}, !prof !91",
        ]

    @staticmethod
    def text(at: int) -> str:
        return str(at) if at >= 0 else f"m{-at}"

    def indirect(self, one: Insn, dirty: set[Register], done: int) -> str:
        """Return the label where a computed jump goes on: where expected, or anywhere."""
        label = self.name("ind")
        lines = [f"{label}:", f"  %to.{label} = load i64, ptr %target"]
        for n, site in enumerate(self.flow.expected.get(one.at, ())):
            onward = self.edge(one, site, dirty, done)
            lines += [
                f"  %s{n}.{label} = add i64 %page, {site}",
                f"  %q{n}.{label} = icmp eq i64 %to.{label}, %s{n}.{label}",
                f"  br i1 %q{n}.{label}, label %{onward}, label %k{n}.{label}",
                f"k{n}.{label}:",
            ]
        out = self.name("far")
        lines.append(f"  br label %{out}")
        self.lines += lines
        self.exit_at(out, CALL_JUMP, f"%to.{label}", dirty, done)
        return label

    # ---- blocks

    def instruction(self, one: Insn, dirty: set[Register], done: int, *, ends: bool) -> None:
        """Fill in one instruction."""
        template = one.template
        assert template is not None
        identity = self.name("i")
        wanted = self.use.wants(one)
        self.body += self.fetch(sorted(wanted - self.valid), f"u.{identity}")
        self.valid |= wanted
        turns = one.target is not None or one.jumps
        if not self.lazy and (turns or self.use.may_leave(one)):
            self.body += self.put_back(dirty, f"f.{identity}")
            dirty.clear()
        after = dirty | writes(one)
        self.valid |= writes(one)
        labels = {"next": f"n.{identity}"}
        if "trap" in template.labels:
            labels["trap"] = f"trap.{identity}"
            self.leave_block(labels["trap"], one.at, CALL_TRAP_AT, done)
        if "punt" in template.labels:
            labels["punt"] = f"punt.{identity}"
            self.step_aside(labels["punt"], one.at, done)
        if "after" in template.labels:
            labels["after"] = f"after.{identity}"
            self.leave_block(labels["after"], one.after, CALL_RESUME_AT, done + 1, writes(one))
        if template.calls_out:
            self.beside(one, identity, dirty, labels, done)
        if template.access is not None:
            labels["where"] = self.where(one, identity, done)
        if one.target is not None:
            way = "taken" if one.known is None else "indirect"
            labels[way] = self.edge(one, one.target, after, done + 1)
        if one.jumps:
            labels["indirect"] = self.indirect(one, after, done + 1)
        if ends and one.falls:
            labels["next"] = self.edge(one, one.after, after, done + 1)
        onward = labels["next"]
        if template.calls_out and one.falls:
            labels["next"] = f"look.{identity}"
        holes = {
            "operands": f"@operands.{identity}", "done": done, "id": identity, "pc": one.at,
            "rd": one.rd, "rs1": one.rs1, "rs2": one.rs2, "rs3": one.rs3, "imm": one.imm, **labels,
        }  # fmt: skip
        if template.shaped:
            holes |= self.fill_shape(identity, labels["punt"])
        parts = [
            p if n % 2 == 0 else str(holes[p]).replace("$n$", str(n))
            for n, p in enumerate(template.parts)
        ]
        text = "".join(parts)
        if template.is_straight and not ends and not template.calls_out:
            self.body.append(text.removesuffix(f"br label %{onward}"))
        else:
            self.body.append(text)
            if template.calls_out and one.falls:
                self.body += self.look_around(identity, labels["after"], onward)
            if not ends:
                self.body.append(f"{onward}:")
        for line in template.allocas:
            self.allocas.append(line.replace("$id$", identity))
        dirty |= after
        self.end_shape(one)

    def beside(
        self, one: Insn, identity: str, dirty: set[Register], labels: dict[str, str], done: int
    ) -> None:
        """Prepare what an instruction needs that calls slow paths: registers go out and back."""
        assert one.template is not None
        out = dirty | writes(one)
        labels["spill"] = "\n".join(self.put_back(out, f"s.{identity}.$n$"))
        labels["reload"] = "\n".join(self.fetch(sorted(self.valid), f"r.{identity}.$n$"))
        if "after" not in labels:
            labels["after"] = f"after.{identity}"
            self.leave_block(labels["after"], one.after, CALL_RESUME_AT, done + 1, writes(one))
        self.constants.append(
            f"@operands.{identity} = internal constant <{{i64, i32, i8, i8, i8, i8}}> <{{i64 0, "
            f"i32 {one.imm}, i8 {one.rd}, i8 {one.rs1}, i8 {one.rs2}, i8 {one.rs3}}}>, align 16"
        )

    def look_around(self, identity: str, after: str, onward: str) -> list[str]:
        """Leave after an instruction whose slow path has changed what the region relies on."""
        names = ["stop", "flush_request", "leave_region"]
        lines, either = [f"look.{identity}:"], "0"
        for n, name in enumerate(names):
            lines += [
                f"  %lp{n}.{identity} = getelementptr i8, ptr %hart, i64 {_offset(name)}",
                f"  %lw{n}.{identity} = load i32, ptr %lp{n}.{identity}",
                f"  %lo{n}.{identity} = or i32 {either}, %lw{n}.{identity}",
            ]
            either = f"%lo{n}.{identity}"
        if self.uses_float:
            lines += [
                f"  %lpf.{identity} = getelementptr i8, ptr %hart, i64 {_offset('fp_ready')}",
                f"  %lwf.{identity} = load i32, ptr %lpf.{identity}",
                f"  %lnf.{identity} = xor i32 %lwf.{identity}, 1",
                f"  %lof.{identity} = or i32 {either}, %lnf.{identity}",
            ]
            either = f"%lof.{identity}"
        return [
            *lines,
            f"  %lc.{identity} = icmp ne i32 {either}, 0",
            f"  br i1 %lc.{identity}, label %{after}, label %{onward}, !prof !90",
        ]

    def fetch(self, registers: list[Register], tag: str) -> list[str]:
        """Read registers from the hart."""
        lines = []
        for n, register in enumerate(registers):
            file, number = register
            lines += [
                f"  %fp{n}.{tag} = getelementptr i8, ptr %hart, i64 {self.hart_slot(register)}",
                f"  %fv{n}.{tag} = load i64, ptr %fp{n}.{tag}{HOST}",
                f"  store i64 %fv{n}.{tag}, ptr %{file}.{number}",
            ]
        return lines

    def block(self, block: Block) -> None:
        """Write one block."""
        at = block.at
        self.body = [f"b.{self.text(at)}:"]
        self.lazy = at in self.use.lazy
        self.valid = set(self.use.valid_in[at])
        dirty = set(self.use.dirty_in[at])
        self.leaving = self.text(at)
        self.begin_shapes(block)
        if block.header:
            self.body += self.look_at_budget(at)
        for done, one in enumerate(block.insns):
            self.instruction(one, dirty, done, ends=one is block.last)
        self.lines += self.body
        self.way_out(dirty if self.lazy else set())

    def look_at_budget(self, at: int) -> list[str]:
        """Let tier 0 finish the slice if a whole turn may not fit into it."""
        tag = self.name("h")
        self.cold += [
            f"dry.{tag}:",
            f"  %u.{tag} = getelementptr i8, ptr %hart, i64 {_offset('punted')}",
            f"  store ptr @record, ptr %u.{tag}{HOST}",
            f"  br label %step.{tag}",
        ]
        self.step_aside(f"step.{tag}", at, 0)
        return [
            f"  %left.{tag} = load i64, ptr %left",
            f"  %low.{tag} = icmp slt i64 %left.{tag}, {self.flow.instruction_count}",
            f"  br i1 %low.{tag}, label %dry.{tag}, label %go.{tag}, !prof !90",
            f"go.{tag}:",
        ]

    # ---- the whole

    def entry(self) -> list[str]:
        """Write the way in: which entry, what registers hold, whether the budget suffices."""
        entries = self.flow.entries
        lines = [
            "entry:",
            "  %left = alloca i64",
            "  %target = alloca i64",
            "  %out.at = alloca i64",
            "  %out.done = alloca i64",
            "  %out.call = alloca i64",
            "  %out.slot = alloca ptr",
            "  %x.0 = alloca i64",
            f"  %x.{SINK} = alloca i64",
            *(f"  %{file}.{number} = alloca i64" for file, number in self.slot_order()),
            *self.allocas,
            *self.inits,
            "  store i64 0, ptr %x.0",
            f"  store i64 0, ptr %x.{SINK}",
            "  %cell.i = ptrtoint ptr %cell to i64",
            "  %which = and i64 %cell.i, 15",
            "  %cells.i = and i64 %cell.i, -16",
            "  %cells = inttoptr i64 %cells.i to ptr",
            f"  %bias.p = getelementptr i8, ptr %hart, i64 {_offset('bias')}",
            f"  %bias = load i64, ptr %bias.p{HOST}",
            "  %eighth = lshr i64 %cells.i, 3",
            "  %page = add i64 %eighth, %bias",
            "  store i64 %budget, ptr %left",
            f"  %low = icmp slt i64 %budget, {self.flow.instruction_count}",
            "  br i1 %low, label %refuse.low, label %enough, !prof !90",
            "enough:",
        ]
        if self.uses_float:
            lines += [
                f"  %fpr = getelementptr i8, ptr %hart, i64 {_offset('fp_ready')}",
                f"  %ready = load i32, ptr %fpr{HOST}",
                "  %unready = icmp eq i32 %ready, 0",
                "  br i1 %unready, label %refuse, label %choose, !prof !90",
                "choose:",
            ]
        cases = " ".join(f"i64 {n}, label %fill.{n}" for n in range(1, len(entries)))
        lines.append(f"  switch i64 %which, label %fill.0 [{cases}]")
        for n, at in enumerate(entries):
            lines += [
                f"fill.{n}:",
                *self.fetch(sorted(self.use.valid_in[at]), f"fill.{n}"),
                f"  br label %b.{self.text(at)}",
            ]
        return lines

    def refusals(self) -> list[str]:
        """Write what happens at an entry that cannot be taken now: one instruction in tier 0."""
        lines = [
            "refuse.low:",
            f"  %punted = getelementptr i8, ptr %hart, i64 {_offset('punted')}",
            f"  store ptr @record, ptr %punted{HOST}",
            "  br label %refuse",
            "refuse:",
        ]
        places = ", ".join(f"i64 {at * CELL_BYTES // 2}" for at in self.flow.entries)
        count = len(self.flow.entries)
        self.constants.append(f"@places = internal constant [{count} x i64] [{places}]")
        return [
            *lines,
            "  %place.p = getelementptr i64, ptr @places, i64 %which",
            "  %place = load i64, ptr %place.p",
            "  %again = getelementptr i8, ptr %cells, i64 %place",
            f"  %kept.p = getelementptr i8, ptr @record, i64 {Region.FIELDS['entry_kept'][1]}",
            "  %kept.q = getelementptr i64, ptr %kept.p, i64 %which",
            "  %fn.refuse = load ptr, ptr %kept.q",
            *self.tail("%again", "%budget", "%fn.refuse"),
        ]

    def module(self) -> str:
        """Return the region's LLVM module, which lacks what templates refer to."""
        for at in sorted(self.flow.blocks):
            self.block(self.flow.blocks[at])
        attributes = "nounwind " + ("strictfp " if self.strict else "") + '"no-builtins"'
        thunks = [
            f"define hidden preserve_nonecc void @entry.{n}({PARAMS}) nounwind {{\n"
            f"  %c = getelementptr i8, ptr %cell, i64 {n - at * CELL_BYTES // 2}\n"
            f"  musttail call preserve_nonecc void @region(ptr %hart, ptr %c, i64 %budget, "
            f"ptr %bank)\n  ret void\n}}"
            for n, at in enumerate(self.flow.entries)
        ]
        body = "\n".join([*self.entry(), *self.lines, *self.cold, *self.refusals()])
        return "\n".join(
            [
                f"@record = hidden global [{size_of(Region)} x i8] zeroinitializer, align 64",
                *self.constants,
                f"define hidden preserve_nonecc void @region({PARAMS}) {attributes} {{",
                body,
                "}",
                *thunks,
                LIKELY_METADATA,
                '!90 = !{!"branch_weights", i32 1, i32 2000}',
                '!91 = !{!"branch_weights", i32 2000, i32 1}\n',
            ]
        )
