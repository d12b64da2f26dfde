"""What shape vector registers have at a region's instructions: a guess, which they make sure of.

Code at one place has nearly always the same SEW and LMUL, and fills its registers. So the shape
that the hart had where it was sampled, and what each vset makes of it, become constants: of an
instruction's forms one is left, without a loop for one register. Where the guess is wrong tier 0
does the instruction; where there is none, it is written for all shapes.
"""

from __future__ import annotations

from collections import deque

from innkeeper.engine.emulator.hart import EmuHart
from innkeeper.engine.emulator.regions.flow import Block, Flow, Insn, successors
from innkeeper.engine.emulator.regions.templates import HOST
from innkeeper.isa.riscv.hart import VLEN
from innkeeper.isa.riscv.v_state import MAX_LMUL_LOG2, MAX_SEW_LOG2

UNKNOWN = 0
COUNT_SHIFT = 32
"""A shape is `Hart.v_whole` and above it `v_count`, as one load has them; 0 is none."""
VTYPE_LIMIT = 1 << 8


def shape_after(one: Insn, shape: int) -> int:
    """Return what an instruction makes of a shape, if whoever sets vl asks for all there is."""
    assert one.template is not None
    base = one.template.base
    if base == "vsetvl":
        return UNKNOWN
    if base not in ("vsetvli", "vsetivli"):
        return shape
    sew, lmul = one.imm >> 3 & 7, one.imm & 7
    if one.imm >= VTYPE_LIMIT or sew > MAX_SEW_LOG2 or lmul > MAX_LMUL_LOG2:
        return UNKNOWN
    if base == "vsetivli" and one.rs1 < (VLEN // 8 << lmul) >> sew:
        return UNKNOWN
    return (sew + 1) | 1 << lmul << COUNT_SHIFT


def shapes_of(flow: Flow, start: int, sampled: int) -> dict[int, int]:
    """Return the shape at the start of each block; where ways disagree there is none."""
    found = {start: sampled}
    work = deque([start])
    while work:
        block = flow.blocks[work.popleft()]
        shape = found[block.at]
        for one in block.insns:
            shape = shape_after(one, shape)
        for at in successors(flow, block):
            before = found.get(at)
            now = shape if before in (None, shape) else UNKNOWN
            if now != before:
                found[at] = now
                work.append(at)
    return {at: found.get(at, sampled) for at in flow.blocks}


class Shapes:
    """The part of a region's emitter that knows about vector registers."""

    shapes: dict[int, int]
    shape = made_sure = UNKNOWN

    def begin_shapes(self, block: Block) -> None:
        """Begin a block: of nothing has been made sure."""
        self.shape, self.made_sure = self.shapes[block.at], UNKNOWN

    def end_shape(self, one: Insn) -> None:
        """Follow what an instruction does to the shape."""
        assert one.template is not None
        self.shape = shape_after(one, self.shape)
        if one.template.calls_out or one.template.base.startswith("vset"):
            self.made_sure = UNKNOWN

    def fill_shape(self, tag: str, punt: str) -> dict[str, str]:
        """Return what the holes of a template are filled with that asks for the shape."""
        whole, count = (int(EmuHart.FIELDS[name][1]) for name in ("v_whole", "v_count"))
        assert count == whole + 4
        onward = f"  br label %shape.{tag}"
        if self.shape == UNKNOWN:
            lines = [
                f"  %vwp.{tag} = getelementptr i8, ptr %hart, i64 {whole}",
                f"  %vw.{tag} = load i32, ptr %vwp.{tag}{HOST}",
                f"  %vcp.{tag} = getelementptr i8, ptr %hart, i64 {count}",
                f"  %vc.{tag} = load i32, ptr %vcp.{tag}{HOST}",
                onward,
            ]
            return {"shape": "\n".join(lines), "width": f"%vw.{tag}", "count": f"%vc.{tag}"}
        lines = [onward]
        if self.made_sure != self.shape:
            lines = [
                f"  %vwp.{tag} = getelementptr i8, ptr %hart, i64 {whole}",
                f"  %vw.{tag} = load i64, ptr %vwp.{tag}, align 4{HOST}",
                f"  %vx.{tag} = icmp ne i64 %vw.{tag}, {self.shape}",
                f"  br i1 %vx.{tag}, label %{punt}, label %shape.{tag}, !prof !90",
            ]
        self.made_sure = self.shape
        width, registers = self.shape & (1 << COUNT_SHIFT) - 1, self.shape >> COUNT_SHIFT
        return {"shape": "\n".join(lines), "width": str(width), "count": str(registers)}
