"""What regions go to or call outside themselves, as LLVM IR; `EmuHart.calls` has the addresses."""

from __future__ import annotations

from innkeeper.engine.emulator.common import field_offset, find_cell
from innkeeper.engine.emulator.hart import MET_SLOTS, PARAMS
from innkeeper.engine.emulator.regions.pool import POOL_BYTES


def ways_on() -> str:
    """Return how a region goes on at an address (`jump` with a difference), or at a known cell.

    Both count where code is met that is in no region: short ways between regions become hot by
    that, for slices hardly ever end there.
    """
    return f"""
define hidden preserve_nonecc void @region.jump({PARAMS}) nounwind {{
  %pc = ptrtoint ptr %cell to i64
  %over = icmp slt i64 %budget, 0
  br i1 %over, label %plain, label %look, !prof !90
plain:
  musttail call preserve_nonecc void @jump({PARAMS})
  ret void
look:
{find_cell("plain")}
  musttail call preserve_nonecc void @region.cell({PARAMS.replace("%cell", "%next")})
  ret void
}}

define hidden preserve_nonecc void @region.cell({PARAMS}) nounwind alwaysinline {{
  %fn = load ptr, ptr %cell
  %fn.i = ptrtoint ptr %fn to i64
  %first.p = getelementptr i8, ptr %hart, i64 {field_offset("regions_first")}
  %first = load i64, ptr %first.p
  %from = sub i64 %fn.i, %first
  %known = icmp ult i64 %from, {POOL_BYTES}
  br i1 %known, label %on, label %count
on:
  musttail call preserve_nonecc void %fn({PARAMS})
  ret void
count:
  %cell.i = ptrtoint ptr %cell to i64
  %n = lshr i64 %cell.i, 4
  %slot = and i64 %n, {MET_SLOTS - 1}
  %met.o = add i64 %slot, {field_offset("met")}
  %met.p = getelementptr i8, ptr %hart, i64 %met.o
  %met = load i8, ptr %met.p
  %more = add i8 %met, 1
  store i8 %more, ptr %met.p
  %round = icmp eq i8 %more, 0
  br i1 %round, label %note, label %on, !prof !90
note:
  musttail call preserve_nonecc void @region.note({PARAMS})
  ret void
}}

define hidden preserve_nonecc void @region.note({PARAMS}) nounwind noinline {{
  call void @sampling.note(ptr %hart, ptr %cell)
  %fn = load ptr, ptr %cell
  musttail call preserve_nonecc void %fn({PARAMS})
  ret void
}}
"""


def region_entry_points() -> str:
    """Return the functions of `hart.CALLED` that are not common handlers.

    Those that come back keep every register for the region (`preserve_allcc`): it pays for the long
    way only when it takes it.
    """
    budget = f"""
  %pc = ptrtoint ptr %cell to i64
  %budget.p = getelementptr i8, ptr %hart, i64 {field_offset("budget")}
  store i64 %budget, ptr %budget.p"""
    resume = f"""
  musttail call preserve_nonecc void @resume({PARAMS})
  ret void"""
    handler = f"define hidden preserve_nonecc void @{{}}({PARAMS}) nounwind noinline {{{{"
    called = "define hidden preserve_allcc {} @{}({}) nounwind noinline {{"
    return f"""
{ways_on()}
{handler.format("region.trap_at")}{budget}
  %leaves = call i1 @slow.leaves(ptr %hart)
  br i1 %leaves, label %again, label %enter
again:
  musttail call preserve_nonecc void @region.step_at({PARAMS})
  ret void
enter:
  call void @loop.take_trap(ptr %hart, i64 %pc){resume}
}}

{handler.format("region.resume_at")}{budget}
  %pc.p = getelementptr i8, ptr %hart, i64 {field_offset("pc")}
  store i64 %pc, ptr %pc.p{resume}
}}

{handler.format("region.step_at")}{budget}
  %next = call ptr @loop.apart_cell(ptr %hart, i64 %pc)
  %none = icmp eq ptr %next, null
  br i1 %none, label %fault, label %on
fault:{resume}
on:
  %fn = load ptr, ptr %next
  musttail call preserve_nonecc void %fn(ptr %hart, ptr %next, i64 %budget, ptr %bank)
  ret void
}}

{called.format("i64", "region.load", "ptr %hart, i64 %va, i32 %size")}
  %value = call i64 @slow.region_load(ptr %hart, i64 %va, i32 %size)
  ret i64 %value
}}

{called.format("void", "region.store", "ptr %hart, i64 %va, i64 %value, i32 %size")}
  call void @slow.region_store(ptr %hart, i64 %va, i64 %value, i32 %size)
  ret void
}}

{called.format("ptr", "region.rw_pointer", "ptr %hart, i64 %va, i32 %size")}
  %where = call ptr @slow.region_rw_pointer(ptr %hart, i64 %va, i32 %size)
  ret ptr %where
}}

{called.format("ptr", "region.span_read", "ptr %hart, i64 %va, i32 %size")}
  %where = call ptr @slow.region_span_read(ptr %hart, i64 %va, i32 %size)
  ret ptr %where
}}

{called.format("ptr", "region.span_write", "ptr %hart, i64 %va, i32 %size")}
  %where = call ptr @slow.region_span_write(ptr %hart, i64 %va, i32 %size)
  ret ptr %where
}}

{called.format("ptr", "region.span_both", "ptr %hart, i64 %va, i32 %size")}
  %where = call ptr @slow.region_span_both(ptr %hart, i64 %va, i32 %size)
  ret ptr %where
}}

{called.format("i64", "region.link", "ptr %hart, ptr %record, i64 %va, i64 %page")}
  %record.i = ptrtoint ptr %record to i64
  %ok = call i64 @install.link(ptr %hart, i64 %record.i, i64 %va, i64 %page)
  ret i64 %ok
}}
"""
