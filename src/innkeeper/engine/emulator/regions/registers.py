"""Which registers differ from what the hart holds, and which must be read from it.

In a small loop registers are put back where the region leaves (the block is *lazy*), for most
turns do not leave. Elsewhere they are put back in passing, before whatever may leave (*eager*):
ways out then have nothing to write, which halves the code and what LLVM has to do, and nothing is
kept alive for them.
"""

from __future__ import annotations

from functools import lru_cache

from innkeeper.engine.emulator.regions.flow import Block, Flow, Insn, predecessors, successors
from innkeeper.engine.emulator.regions.loops import is_small
from innkeeper.engine.emulator.regions.reach import Site
from innkeeper.isa.riscv.hart import SINK

Register = tuple[str, int]
MAX_REMEMBERED = 1 << 14
"""Of how many kinds of instruction and operands the registers are remembered."""
HORIZON = 8
"""How many blocks ahead a register may be used to be kept for that where ways meet."""


@lru_cache(maxsize=MAX_REMEMBERED)
def registers(names: frozenset[tuple[str, str]], *numbers: int) -> frozenset[Register]:
    """Turn a template's register names into registers; x0 and its sink are not among them.

    `numbers` are rd, rs1, rs2 and rs3.
    """
    operands = dict(zip(("rd", "rs1", "rs2", "rs3"), numbers, strict=True))
    found = set()
    for file, name in names:
        number = int(name) if name.isdecimal() else operands[name]
        if file != "x" or number not in (0, SINK):
            found.add((file, number))
    return frozenset(found)


def writes(one: Insn) -> frozenset[Register]:
    """Return the registers that an instruction writes."""
    assert one.template is not None
    return registers(one.template.writes, one.rd, one.rs1, one.rs2, one.rs3)


def reads(one: Insn) -> frozenset[Register]:
    """Return the registers that an instruction reads."""
    assert one.template is not None
    return registers(one.template.reads, one.rd, one.rs1, one.rs2, one.rs3)


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
        self.valid_in = self._valid()

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

    def wants(self, one: Insn) -> frozenset[Register]:
        """Return what must be in slots for an instruction: what it reads or may put back."""
        assert one.template is not None
        if one.template.calls_out:
            return reads(one) | _named(one) & self.touched
        return reads(one) | writes(one) if "after" in one.template.labels else reads(one)

    def _valid(self) -> dict[int, set[Register]]:
        """Find, for the start of every block, which slots hold their registers.

        Small loops are entered with all that they use. Other blocks take over what all that lead
        to them have, as far as it is used soon; the rest is read from the hart when it is used.
        """
        blocks = self._flow.blocks
        uses: dict[int, set[Register]] = {}
        sets: dict[int, set[Register]] = {}
        for at, block in blocks.items():
            written: set[Register] = set()
            uses[at] = set(self.dirty_in[at])
            for one in block.insns:
                uses[at] |= self.wants(one) - written
                if at in self.lazy and self.may_leave(one):
                    uses[at] |= block_writes(block) - written
                written |= writes(one)
            sets[at] = written
        before = predecessors(self._flow)
        inner = {at: [b for b in before[at] if b in self.lazy] for at in self.lazy}
        lazy = _live({at: uses[at] for at in self.lazy}, sets, inner, len(blocks))
        soon = _live(uses, sets, before, HORIZON)
        valid = {at: lazy[at] if at in lazy else soon[at] for at in blocks}
        work = [at for at in blocks if at not in lazy]
        while work:
            at = work.pop()
            arrive = [valid[b] | uses[b] | sets[b] for b in before[at]]
            kept = valid[at].intersection(*arrive) if arrive else set()
            if kept != valid[at]:
                valid[at] = kept
                work += [b for b in successors(self._flow, blocks[at]) if b not in lazy]
        return valid


def _live(
    uses: dict[int, set[Register]],
    sets: dict[int, set[Register]],
    before: dict[int, list[int]],
    horizon: int,
) -> dict[int, set[Register]]:
    """Carry what blocks use back to the blocks before them that do not set it, so many steps."""
    found = {at: set(used) for at, used in uses.items()}
    changed = dict(found)
    for _ in range(horizon):
        more: dict[int, set[Register]] = {}
        for at, some in changed.items():
            for earlier in before[at]:
                new = some - sets[earlier] - found[earlier]
                if new:
                    more.setdefault(earlier, set()).update(new)
        for at, new in more.items():
            found[at] |= new
        changed = more
        if not changed:
            break
    return found
