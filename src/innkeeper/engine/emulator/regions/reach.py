"""Which loads and stores of a region share one look at the TLB.

Addresses are followed as a *root*, the unknown value that a register had at some place, plus a
constant. Accesses off one root, near each other, form a `Reach`: the first of them checks once
that all of it lies in one page that may be read, or written if any of them stores; the rest need
no check. Where it fails the region leaves before that access, and tier 0 does them one by one.

Where a region may be entered the access there is checked alone, and where it begins all accesses
off the same root are, but for the stack's: a place that a region was left for again and again,
because all of a reach was never in one page, gets a region that begins with it.

A reach in a small loop, or one whose root changes by constants, remembers its last page, and looks
at the TLB only where it comes to another.

A reach spans a block, and the blocks that only control from there can enter. Stores of those
blocks may never happen, so they join only what is written anyway.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable

from innkeeper.base.record import field, record
from innkeeper.engine.emulator.regions.flow import Block, Flow, Insn, successors
from innkeeper.engine.emulator.regions.loops import innermost_loops, is_small, moves_evenly

MAX_REACH_BYTES = 256
"""The wider a reach, the likelier it crosses a page."""

STACK_POINTER = 2
"""x2, by convention (Unprivileged 2.1)."""

Symbol = tuple[Hashable, int]
"""A root and what is added to it."""


@record(frozen=False)
class Reach:
    """Bytes `low` to `high` off a root, checked at once."""

    number: int
    block: int
    low: int
    high: int
    writes: bool
    kept: bool
    """It is likely to stay in one page while a loop turns: that page is remembered."""

    def takes(self, low: int, high: int) -> bool:
        """Tell whether some more bytes leave it small enough."""
        return max(self.high, high) - min(self.low, low) <= MAX_REACH_BYTES

    def widen(self, low: int, high: int) -> None:
        """Take in some more bytes."""
        self.low, self.high = min(self.low, low), max(self.high, high)


@record
class Site:
    """One access: bytes `offset` and on off the root; `first` if it does the checking."""

    reach: Reach
    offset: int
    first: bool


@record(frozen=False)
class Known:
    """What is known at a place: the registers that are not roots themselves, and open reaches."""

    symbols: dict[int, Symbol] = field(default_factory=dict)
    open: dict[Hashable, list[Reach]] = field(default_factory=dict)
    apart: Hashable = None
    """The root whose accesses are all checked alone."""

    def copy(self) -> Known:
        """Return a copy for another way on."""
        copied = {root: list(some) for root, some in self.open.items()}
        return Known(dict(self.symbols), copied, self.apart)


class Planner:
    """Finds the reaches of a flow."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.sites: dict[int, Site] = {}
        self.count = 0
        self.loops = innermost_loops(flow)

    def plan(self) -> dict[int, Site]:
        """Return the site of every load and store, by address."""
        arrivals: Counter[int] = Counter(self.flow.entries)
        for block in self.flow.blocks.values():
            arrivals.update(successors(self.flow, block))
        starts = [at for at in self.flow.blocks if arrivals[at] != 1 or at in self.flow.entries]
        work = [(at, Known()) for at in sorted(starts)]
        seen = set(starts)
        while work:
            at, known = work.pop()
            block = self.flow.blocks[at]
            self.follow(block, known)
            for following in successors(self.flow, block):
                if following not in seen:
                    seen.add(following)
                    work.append((following, known.copy()))
        for at in self.flow.blocks.keys() - seen:  # a loop that no entry reaches
            self.follow(self.flow.blocks[at], Known())
        return self.sites

    def follow(self, block: Block, known: Known) -> None:
        """Go through a block."""
        for one in block.insns:
            assert one.template is not None
            if one.template.access is not None:
                self.meet(block, one, known)
            if one.template.calls_out:
                known.symbols = {n: ((one.at, n), 0) for n in range(1, 32)}
                known.open = {}
            for number in one.written():
                known.symbols[number] = self.result(one, known)

    def meet(self, block: Block, one: Insn, known: Known) -> None:
        """Give an access a reach."""
        assert one.template is not None and one.template.access is not None
        size, writes = one.template.access
        root, base = self.symbol(one.rs1, known)
        low = base + one.imm
        some = known.open.setdefault(root, [])
        if one.at == self.flow.entries[0] and root != STACK_POINTER:
            known.apart = root
        if one.at in self.flow.entries or known.apart == root:
            some = []
        for reach in some:
            here = reach.block == block.at
            if reach.takes(low, low + size) and (here or reach.writes or not writes):
                reach.widen(low, low + size)
                reach.writes |= writes
                self.sites[one.at] = Site(reach, low, False)
                return
        self.count += 1
        kept = self.stays(block, root)
        reach = Reach(self.count, block.at, low, low + size, writes, kept)
        some.append(reach)
        self.sites[one.at] = Site(reach, low, True)

    def stays(self, block: Block, root: Hashable) -> bool:
        """Tell whether to remember the page: in a small loop, and where the root moves evenly.

        In small loops a list that is followed comes faster so, too: what is loaded next need not
        wait for the TLB. If it is scattered, the branch that finds so is predicted as well.
        """
        body = self.loops.get(block.at)
        if body is None:
            return False
        if is_small(self.flow, body):
            return True
        if isinstance(root, int):
            return moves_evenly(self.flow, body, root)
        return root in ("page", "zero")

    @staticmethod
    def symbol(register: int, known: Known) -> Symbol:
        """Return what a register holds."""
        return known.symbols.get(register, (register, 0)) if register else ("zero", 0)

    def result(self, one: Insn, known: Known) -> Symbol:
        """Return what an instruction leaves in its register."""
        assert one.template is not None
        name = one.template.base
        if one.is_addi:
            root, base = self.symbol(one.rs1, known)
            return root, base + one.imm
        if name == "add" and 0 in (one.rs1, one.rs2):
            return self.symbol(one.rs1 or one.rs2, known)
        if name == "auipc":
            return "page", one.at + one.imm
        if name == "lui":
            return "zero", one.imm
        return (one.at, one.rd), 0
