"""The handlers that are not instructions, and the way into them, as LLVM IR."""

from __future__ import annotations

from innkeeper.engine.emulator.handlers import EXECUTE
from innkeeper.engine.emulator.hart import CODE_ENTRIES, PARAMS, Bank, CodeEntry, EmuHart
from innkeeper.native.types import size_of


def field_offset(name: str) -> int:
    """Return the offset of a field of the emulator's hart in bytes."""
    return int(EmuHart.FIELDS[name][1])


def find_cell(miss: str) -> str:
    """Return what finds the cell of %pc in the fetch TLB, as %next, or goes to a label."""
    shift = size_of(CodeEntry).bit_length() - 1
    cells_at, bias_at = CodeEntry.FIELDS["cells"][1], CodeEntry.FIELDS["bias"][1]
    return f"""  %scaled = lshr i64 %pc, {12 - shift}
  %index = and i64 %scaled, {(CODE_ENTRIES - 1) << shift}
  %base = getelementptr i8, ptr %bank, i64 {Bank.FIELDS["code"][1]}
  %entry = getelementptr i8, ptr %base, i64 %index
  %tag = load i64, ptr %entry
  %page = and i64 %pc, -4096
  %miss = icmp ne i64 %tag, %page
  br i1 %miss, label %{miss}, label %hit, !prof !90
hit:
  %cells.p = getelementptr i8, ptr %entry, i64 {cells_at}
  %cells = load ptr, ptr %cells.p
  %bias.e = getelementptr i8, ptr %entry, i64 {bias_at}
  %bias = load i64, ptr %bias.e
  %bias.p = getelementptr i8, ptr %hart, i64 {field_offset("bias")}
  store i64 %bias, ptr %bias.p
  %in = and i64 %pc, 4094
  %in8 = shl i64 %in, 3
  %next = getelementptr i8, ptr %cells, i64 %in8"""


def common_handlers() -> str:
    """Return the handlers that are not instructions, as IR.

    `jump` finds the cells of a target, which comes in the place of the cell; `resume` starts anew
    at `h.pc`; `spent` ends a slice; `trap` enters the trap that is pending.
    """
    bias, pc, budget, bank = (field_offset(n) for n in ("bias", "pc", "budget", "bank"))
    cell_pc = f"""
  %raw = ptrtoint ptr %cell to i64
  %eighth = lshr i64 %raw, 3
  %bias.p = getelementptr i8, ptr %hart, i64 {bias}
  %bias = load i64, ptr %bias.p
  %pc = add i64 %eighth, %bias"""
    keep_budget = f"""
  %budget.p = getelementptr i8, ptr %hart, i64 {budget}
  store i64 %budget, ptr %budget.p"""
    keep_pc = f"""
  %pc.p = getelementptr i8, ptr %hart, i64 {pc}
  store i64 %pc, ptr %pc.p"""
    resume = f"""
  musttail call preserve_nonecc void @resume({PARAMS})
  ret void"""
    go = """
  %fn = load ptr, ptr %next
  musttail call preserve_nonecc void %fn(ptr %hart, ptr %next, i64 %budget, ptr %bank)
  ret void"""
    begin = f"define hidden preserve_nonecc void @{{}}({PARAMS}) nounwind {{{{"
    return f"""
define hidden preserve_nonecc void @jump({PARAMS}) nounwind {{
  %pc = ptrtoint ptr %cell to i64
  %over = icmp slt i64 %budget, 0
  br i1 %over, label %spent, label %look, !prof !90
spent:
  musttail call preserve_nonecc void @jump.spent({PARAMS})
  ret void
look:
{find_cell("slow")}{go}
slow:
  musttail call preserve_nonecc void @jump.slow({PARAMS})
  ret void
}}

define hidden preserve_nonecc void @jump.slow({PARAMS}) nounwind noinline {{{keep_budget}
  %pc = ptrtoint ptr %cell to i64
  %next = call ptr @loop.jump_cell(ptr %hart, i64 %pc)
  %none = icmp eq ptr %next, null
  br i1 %none, label %fault, label %on
fault:{resume}
on:{go}
}}

define hidden preserve_nonecc void @jump.spent({PARAMS}) nounwind noinline {{{keep_budget}
  %pc = ptrtoint ptr %cell to i64{keep_pc}
  ret void
}}

{begin.format("trap")}{cell_pc}{keep_budget}
  call void @loop.take_trap(ptr %hart, i64 %pc){resume}
}}

{begin.format("spent")}{cell_pc}{keep_budget}{keep_pc}
  ret void
}}

{begin.format("resume")}
  br label %again
again:
  %next = call ptr @loop.resume_cell(ptr %hart)
  %none = icmp eq ptr %next, null
  br i1 %none, label %out, label %on
out:
  ret void
on:
  %budget.q = getelementptr i8, ptr %hart, i64 {budget}
  %left = load i64, ptr %budget.q
  %bank.p = getelementptr i8, ptr %hart, i64 {bank}
  %bank.now = load ptr, ptr %bank.p
  %fn = load ptr, ptr %next
  musttail call preserve_nonecc void %fn(ptr %hart, ptr %next, i64 %left, ptr %bank.now)
  ret void
}}

{begin.format("op.decode")}
  call void @cells.decode_cell(ptr %hart, ptr %cell)
  %fn = load ptr, ptr %cell
  musttail call preserve_nonecc void %fn({PARAMS})
  ret void
}}

{begin.format("op.page_end")}{cell_pc}
  %target = inttoptr i64 %pc to ptr
  musttail call preserve_nonecc void @jump(ptr %hart, ptr %target, i64 %budget, ptr %bank)
  ret void
}}

{begin.format("op.onward")}{cell_pc}{keep_budget}
  %next = call ptr @loop.jump_cell(ptr %hart, i64 %pc)
  %none = icmp eq ptr %next, null
  br i1 %none, label %fault, label %on
fault:{resume}
on:{go}
}}

{begin.format("op.cross")}{cell_pc}{keep_budget}
  %next = call ptr @loop.cross_cell(ptr %hart, i64 %pc)
  %none = icmp eq ptr %next, null
  br i1 %none, label %fault, label %on
fault:{resume}
on:{go}
}}

{begin.format("op.illegal")}{cell_pc}{keep_budget}
  %cause.p = getelementptr i8, ptr %hart, i64 {field_offset("trap_cause")}
  store i64 2, ptr %cause.p
  %tval.p = getelementptr i8, ptr %hart, i64 {field_offset("trap_tval")}
  store i64 0, ptr %tval.p
  call void @loop.take_trap(ptr %hart, i64 %pc){resume}
}}

{begin.format("op.break")}{cell_pc}{keep_budget}
  call void @loop.stop_at(ptr %hart, i64 %pc, i32 3)
  ret void
}}

{begin.format("op.step_end")}{cell_pc}{keep_budget}
  call void @loop.stop_at(ptr %hart, i64 %pc, i32 4)
  ret void
}}

define hidden void @{EXECUTE}(ptr %hart) nounwind noinline {{
  call preserve_nonecc void @resume(ptr %hart, ptr null, i64 0, ptr null)
  ret void
}}
"""
