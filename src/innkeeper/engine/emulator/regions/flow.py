"""The control-flow graph around a hot instruction: which instructions a region is made of.

Addresses are relative to the first byte of the page that holds the sampled instruction, so they
may be negative or lie beyond it where neighbouring pages belong to the region too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from innkeeper.base.record import field, record
from innkeeper.engine.emulator.regions.layout import LARGE, SMALL
from innkeeper.engine.emulator.regions.templates import Template
from innkeeper.isa.riscv.hart import SINK

PAGE = 4096
LINK_REGISTERS = (1, 5)
"""x1 and x5: what calls leave the return address in (Unprivileged 2.5.1)."""
MAX_INSTRUCTIONS = {SMALL: 100, LARGE: 400}
"""By level."""
MAX_ENTRIES = 15
MAX_EXPECTED_RETURNS = 6


@record
class Insn:
    """One decoded instruction; `template` is None where the region must leave before it."""

    at: int
    length: int
    template: Template | None
    rd: int
    rs1: int
    rs2: int
    rs3: int
    imm: int
    known: int | None = None
    """Where a computed jump goes, if the AUIPC before it tells."""

    @property
    def after(self) -> int:
        """The address of the next instruction."""
        return self.at + self.length

    @property
    def target(self) -> int | None:
        """Where `branch` goes, if it may branch, or a jump that is known."""
        if self.known is not None:
            return self.known
        if self.template is None or "taken" not in self.template.labels:
            return None
        return self.at + self.imm

    @property
    def falls(self) -> bool:
        """Tell whether control may go on at the next instruction."""
        return self.template is None or "next" in self.template.labels

    @property
    def jumps(self) -> bool:
        """Tell whether it goes to a computed address that is not known."""
        indirect = self.template is not None and "indirect" in self.template.labels
        return indirect and self.known is None

    def told(self, before: Insn | None) -> Insn:
        """Return this instruction knowing where it jumps to, if that before it tells (JALR)."""
        known = None
        if before is not None and before.template is not None and before.template.base == "auipc":
            indirect = self.template is not None and "indirect" in self.template.labels
            if indirect and before.rd == self.rs1 and before.after == self.at:
                known = (before.at + before.imm + self.imm) & ~1
        if known == self.known:
            return self
        return Insn(
            self.at, self.length, self.template, self.rd, self.rs1, self.rs2, self.rs3, self.imm,
            known,
        )  # fmt: skip

    @property
    def leaves(self) -> bool:
        """Tell whether it may have everything looked up anew before the next instruction."""
        return (
            self.template is not None
            and self.template.calls_out
            and "after" in self.template.labels
        )

    @property
    def is_addi(self) -> bool:
        """Tell whether it adds a constant."""
        return self.template is not None and self.template.base == "addi"

    def written(self) -> list[int]:
        """Return the integer registers that it writes."""
        assert self.template is not None
        names = [name for file, name in self.template.writes if file == "x"]
        numbers = [int(n) if n.isdecimal() else getattr(self, n) for n in names]
        return [n for n in numbers if n not in (0, SINK)]

    @property
    def calls(self) -> bool:
        """Tell whether it leaves a return address and goes away for certain."""
        return not self.falls and self.rd in LINK_REGISTERS

    @property
    def returns(self) -> bool:
        """Tell whether it is a return by convention."""
        return self.jumps and self.rd == SINK and self.rs1 in LINK_REGISTERS


@record(frozen=False)
class Block:
    """Instructions that run one after the other; control enters at the first only."""

    at: int
    insns: list[Insn] = field(default_factory=list)
    header: bool = False
    """A loop may come back here: the budget is looked at."""

    @property
    def last(self) -> Insn:
        """The instruction that decides how it goes on."""
        return self.insns[-1]


@record(frozen=False)
class Flow:
    """A region's blocks by address, and where it may be entered."""

    blocks: dict[int, Block]
    entries: list[int]
    instruction_count: int
    expected: dict[int, tuple[int, ...]]
    """Where a computed jump goes within the region if it does: returns to what calls left, others
    to where they have gone so far."""
    partial: bool = False
    """Code around it was left out, because there is so much or is another region."""


Fetch = Callable[[int], Insn | None]
"""Decodes the instruction at an address; None where there is none to be had."""
Guess = Callable[[int], list[int]]
"""Returns where the computed jump at an address has gone so far, the likeliest first."""
Begins = Callable[[int], bool]
"""Tells whether another region, which is to be left alone, begins at an address."""


def explore(start: int, fetch: Fetch, guess: Guess, begins: Begins, limit: int) -> Flow | None:
    """Collect what is reached from `start`, nearest first; None if nothing can be compiled."""
    insns: dict[int, Insn] = {}
    leaders, queue = {start}, deque([start])
    sites: list[int] = []
    resumed: list[int] = []
    guesses: dict[int, list[int]] = {}
    partial = False
    while queue:
        at, before = queue.popleft(), None
        while at not in insns:
            if len(insns) >= limit or (at != start and begins(at)):
                partial = True
                break
            one = fetch(at)
            if one is None:
                break
            one = one.told(before)
            if one.template is None:
                resumed.append(one.after)
                leaders.add(one.after)
                queue.append(one.after)
                break
            insns[at] = one
            if one.target is not None:
                leaders.add(one.target)
                queue.append(one.target)
            if one.jumps and not one.returns:
                guesses[at] = guess(at)
                leaders.update(guesses[at])
                queue.extend(guesses[at])
            if one.leaves:
                resumed.append(one.after)
                leaders.add(one.after)
                if not one.falls:
                    queue.append(one.after)
            if one.calls:
                sites.append(one.after)
                leaders.add(one.after)
                queue.append(one.after)
            if not one.falls:
                break
            if one.target is not None:
                leaders.add(one.after)
            at, before = one.after, one
    if start not in insns:
        return None
    flow = _finish(start, insns, leaders, sites, resumed, guesses)
    flow.partial = partial
    return flow


def _finish(
    start: int, insns: dict[int, Insn], leaders: set[int], sites: list[int], resumed: list[int],
    guesses: dict[int, list[int]],
) -> Flow:  # fmt: skip
    blocks: dict[int, Block] = {}
    for leader in leaders & insns.keys():
        block = blocks[leader] = Block(leader)
        at = leader
        before = None
        while at in insns:
            one = insns[at].told(before)
            block.insns.append(one)
            before = one
            at = one.after
            if not one.falls or one.target is not None or at in leaders:
                break
    inside = {at: tuple(to for to in some if to in blocks) for at, some in guesses.items()}
    flow = Flow(blocks, [start], sum(len(b.insns) for b in blocks.values()), inside)
    flow.expected |= _returns(flow)
    _find_headers(flow)
    entries = flow.entries
    headers = sorted(at for at, block in blocks.items() if block.header)
    for at in (*sites, *resumed, *headers):
        if at in blocks and 0 <= at < PAGE and at not in entries and len(entries) < MAX_ENTRIES:
            entries.append(at)
    _find_headers(flow)
    return flow


def successors(flow: Flow, block: Block) -> list[int]:
    """Return where control may go from a block within the region."""
    last = block.last
    found = [last.target] if last.target is not None else []
    if last.falls:
        found.append(last.after)
    return [at for at in found if at in flow.blocks] + list(flow.expected.get(last.at, ()))


def predecessors(flow: Flow) -> dict[int, list[int]]:
    """Return, for every block, those that control may come from within the region."""
    before: dict[int, list[int]] = {at: [] for at in flow.blocks}
    for at, block in flow.blocks.items():
        for following in successors(flow, block):
            before[following].append(at)
    return before


def _returns(flow: Flow) -> dict[int, tuple[int, ...]]:
    """Find, for each return, the calls of the region that it may come back from."""
    sites: dict[int, list[int]] = {}
    for at in sorted(flow.blocks):
        last = flow.blocks[at].last
        if last.calls and last.after in flow.blocks:
            for callee in called(flow, last):
                sites.setdefault(callee, []).append(last.after)
    found: dict[int, dict[int, None]] = {}
    for callee, some in sites.items():
        for at in _body_of(flow, callee):
            last = flow.blocks[at].last
            if last.returns:
                found.setdefault(last.at, {}).update(dict.fromkeys(some))
    return {at: tuple(some)[:MAX_EXPECTED_RETURNS] for at, some in found.items()}


def called(flow: Flow, call: Insn) -> list[int]:
    """Return what a call goes to within the region."""
    found = list(flow.expected.get(call.at, ()))
    if call.target is not None and call.target in flow.blocks:
        found.append(call.target)
    return found


def _body_of(flow: Flow, start: int) -> set[int]:
    """Return the blocks of a function: what it reaches without what it calls."""
    seen, work = {start}, [start]
    while work:
        block = flow.blocks[work.pop()]
        onward = [block.last.after] if block.last.calls else successors(flow, block)
        for at in onward:
            if at in flow.blocks and at not in seen:
                seen.add(at)
                work.append(at)
    return seen


def _find_headers(flow: Flow) -> None:
    """Mark where depth-first search finds an edge back: every loop passes one of these."""
    done: set[int] = set()
    active: set[int] = set()
    for entry in flow.entries:
        if entry in done:
            continue
        stack = [(entry, iter(successors(flow, flow.blocks[entry])))]
        active.add(entry)
        while stack:
            at, rest = stack[-1]
            for following in rest:
                if following in active:
                    flow.blocks[following].header = True
                elif following not in done:
                    active.add(following)
                    stack.append((following, iter(successors(flow, flow.blocks[following]))))
                    break
            else:
                stack.pop()
                active.discard(at)
                done.add(at)
