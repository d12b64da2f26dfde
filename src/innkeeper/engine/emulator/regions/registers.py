"""Which registers differ from what the hart holds, and which must be read from it.

In a small loop registers are put back where the region leaves (the block is *lazy*), for most
turns do not leave. Elsewhere they are put back in passing, before whatever may leave (*eager*):
ways out then have nothing to write, which halves the code and what LLVM has to do, and nothing is
kept alive for them.
"""

from __future__ import annotations

from collections.abc import Iterable

from innkeeper.engine.emulator.regions.flow import Block, Flow, Insn, successors
from innkeeper.engine.emulator.regions.loops import is_small
from innkeeper.engine.emulator.regions.reach import Site
from innkeeper.isa.riscv.hart import SINK

Register = tuple[str, int]


def registers(names: Iterable[tuple[str, str]], one: Insn) -> set[Register]:
    """Turn a template's register names into registers; x0 and its sink are not among them."""
    found = set()
    for file, name in names:
        number = int(name) if name.isdecimal() else getattr(one, name)
        if file != "x" or number not in (0, SINK):
            found.add((file, number))
    return found


def writes(one: Insn) -> set[Register]:
    """Return the registers that an instruction writes."""
    assert one.template is not None
    return registers(one.template.writes, one)


def reads(one: Insn) -> set[Register]:
    """Return the registers that an instruction reads."""
    assert one.template is not None
    return registers(one.template.reads, one)


def _named(one: Insn) -> set[Register]:
    """Return every register that an instruction's operands may name, of either file."""
    numbers = {one.rd, one.rs1, one.rs2, one.rs3} - {0, SINK}
    return {("x", n) for n in numbers} | {("f", n) for n in (numbers | {0}) if n < SINK}


def block_writes(block: Block) -> set[Register]:
    """Return the registers that a block writes."""
    return set().union(*(writes(one) for one in block.insns))


class RegisterUse:
    """What a flow does with registers.

    `lazy` are the blocks that put back late, `touched` all registers that have a slot, `dirty_in`
    what may not have been put back at the start of a block.
    """

    def __init__(
        self, flow: Flow, loops: dict[int, frozenset[int]], sites: dict[int, Site]
    ) -> None:
        self._flow, self._sites = flow, sites
        self.lazy = {at for at, body in loops.items() if is_small(flow, body)}
        self.touched: set[Register] = set()
        for block in flow.blocks.values():
            for one in block.insns:
                assert one.template is not None
                self.touched |= reads(one) | writes(one)
                if one.template.calls_out:
                    self.touched |= _named(one)
        self.dirty_in = self._dirty()

    def _dirty(self) -> dict[int, set[Register]]:
        """Follow what lazy blocks write into those that come behind them and are lazy too."""
        dirty: dict[int, set[Register]] = {at: set() for at in self._flow.blocks}
        work = sorted(self.lazy)
        while work:
            at = work.pop()
            block = self._flow.blocks[at]
            out = dirty[at] | block_writes(block)
            for following in successors(self._flow, block):
                if following in self.lazy and not out <= dirty[following]:
                    dirty[following] |= out
                    work.append(following)
        return dirty

    def may_leave(self, one: Insn) -> bool:
        """Tell whether an instruction may leave the region other than by where it goes next."""
        assert one.template is not None
        checks = one.at in self._sites and self._sites[one.at].first
        early = one.template.labels & {"trap", "punt", "after"}
        return bool(early) or checks or one.template.calls_out

    def needed(self) -> dict[int, set[Register]]:
        """Find, for the start of every block, what must have been read from the hart by then.

        That is what is read before it is written, and what may be put back unwritten.
        """
        uses: dict[int, set[Register]] = {}
        sets: dict[int, set[Register]] = {}
        for at, block in self._flow.blocks.items():
            written: set[Register] = set()
            uses[at] = set(self.dirty_in[at])
            for one in block.insns:
                assert one.template is not None
                uses[at] |= reads(one) - written
                if one.template.calls_out or (at in self.lazy and self.may_leave(one)):
                    uses[at] |= block_writes(block) - written
                elif "after" in one.template.labels:
                    uses[at] |= writes(one) - written
                written |= writes(one)
            sets[at] = written
        return _live(self._flow, uses, sets)


def _live(
    flow: Flow, uses: dict[int, set[Register]], sets: dict[int, set[Register]]
) -> dict[int, set[Register]]:
    """Carry what blocks use back to the blocks before them that do not set it."""
    found = {at: set(used) for at, used in uses.items()}
    work = list(found)
    before: dict[int, list[int]] = {at: [] for at in found}
    for at, block in flow.blocks.items():
        for following in successors(flow, block):
            before[following].append(at)
    while work:
        at = work.pop()
        for earlier in before[at]:
            more = found[at] - sets[earlier] - found[earlier]
            if more:
                found[earlier] |= more
                work.append(earlier)
    return found
