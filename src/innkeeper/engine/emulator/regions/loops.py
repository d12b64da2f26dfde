"""The loops of a region, and what of them stays as it is from turn to turn."""

from __future__ import annotations

from innkeeper.engine.emulator.regions.flow import Flow, predecessors, successors

MAX_SMALL_LOOP = 64
"""How many instructions a loop may have that is hot as a whole, if it is hot at all."""


def innermost_loops(flow: Flow) -> dict[int, frozenset[int]]:
    """Return, for each block in a loop, the blocks of the smallest that it is part of.

    The loop of an edge back to a header is what reaches that edge without passing the header.
    """
    before = predecessors(flow)
    found: dict[int, frozenset[int]] = {}
    headers = [at for at, block in flow.blocks.items() if block.header]
    for body in sorted((b for h in headers for b in _bodies(flow, before, h)), key=len):
        for at in body:
            found.setdefault(at, body)
    return found


def _bodies(flow: Flow, before: dict[int, list[int]], header: int) -> list[frozenset[int]]:
    """Return the loop of each edge back to a header."""
    reached, work = {header}, [header]
    while work:
        for following in successors(flow, flow.blocks[work.pop()]):
            if following not in reached:
                reached.add(following)
                work.append(following)
    return [_body(before, header, at) for at in before[header] if at in reached]


def _body(before: dict[int, list[int]], header: int, last: int) -> frozenset[int]:
    body, work = {header, last}, [last] if last != header else []
    while work:
        for earlier in before[work.pop()]:
            if earlier not in body:
                body.add(earlier)
                work.append(earlier)
    return frozenset(body)


def is_small(flow: Flow, body: frozenset[int]) -> bool:
    """Tell whether a loop is small."""
    return sum(len(flow.blocks[at].insns) for at in body) <= MAX_SMALL_LOOP


def moves_evenly(flow: Flow, body: frozenset[int], register: int) -> bool:
    """Tell whether a loop changes an integer register by constants at most."""
    for at in body:
        for one in flow.blocks[at].insns:
            if register in one.written() and not (one.is_addi and one.rs1 == register):
                return False
    return True
