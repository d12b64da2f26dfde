"""SBI remote fences reach another hart's TLB: by range, by address space, or all (SBI 2.0 8)."""

from __future__ import annotations

from typing import Any

import pytest

from innkeeper.engine.emulator import statistics
from innkeeper.engine.emulator.tlb import FENCE_PAGES
from tests.engine.harness import State, Tier0, tier0
from tests.engine.paging import AD, PAGE, R, W
from tests.engine.spaces import DATA, ONES, REGION, TWOS, VA, Two, at, leaf

FLAG = VA + 9 * REGION
RFENCE = 0x52464E43
SFENCE_VMA, SFENCE_VMA_ASID = 1, 2
FAR = VA + (FENCE_PAGES + 6) * PAGE
EVERYTHING = (1 << 64) - 1
ONE, BASED, ALL = (0b10, 0), (1, 1), (0, EVERYTHING)
"""Hart masks and their bases: hart 1, hart 1, every hart."""


def fence(
    function: int, start: int, size: int, asid: int = 0, *, harts: tuple[int, int] = ONE
) -> str:
    """Return the call, which must succeed."""
    return f"""
    li a0, {harts[0]}
    li a1, {harts[1]}
    li a2, {start}
    li a3, {size}
    li a4, {asid}
    li a6, {function}
    li a7, {RFENCE}
    ecall
    or s9, s9, a0
    """


def change(va: int, space: int = 0) -> str:
    """Return the store that lets a page show TWOS."""
    return f"li t1, {leaf(DATA + PAGE, R | AD)}\nli t2, {at(va, space)}\nsd t1, 0(t2)\n"


def meeting(look: str, again: str, act: str) -> State:
    """Run hart 1 through `look`, hart 0 through `act`, hart 1 through `again`; return hart 1."""
    body = f"""
    li s11, {FLAG}
    li s6, {FAR}
    beqz a0, sender
    {look}
    li t0, 1
    sd t0, 0(s11)
1:  ld t0, 0(s11)
    li t1, 2
    bne t0, t1, 1b
    {again}
    li t0, 3
    sd t0, 0(s11)
2:  j 2b
sender:
    ld t0, 0(s11)
    beqz t0, sender
    {act}
    bnez s9, sender
    li t0, 2
    sd t0, 0(s11)
3:  ld t0, 0(s11)
    li t1, 3
    bne t0, t1, 3b
    j done
    """
    two = Two(body)
    for n, tables in enumerate(two.both):
        tables.map(FLAG, DATA + 16 * PAGE, R | W | AD)
        for va in (VA, VA + PAGE, FAR):
            tables.map(va, DATA + n * 2 * PAGE, R | AD)
    two.show_tables()
    two.space.put(DATA + 16 * PAGE, bytes(PAGE))

    def setup(raw: Any) -> None:
        for name, value in two.space.fields.items():
            setattr(raw, name, value)
        raw.priv, raw.sbi_enabled, raw.medeleg = 1, 1, 0xB1FF
        raw.pc, raw.x[8], raw.x[10] = two.space.made.symbols["body"], VA, raw.hart_id
        raw.stvec = two.space.made.symbols["done"]

    machine = tier0(2)
    machine.load(bytes(two.space.image), 0, setup)
    machine.run(two.space.made.symbols["done"])
    assert machine.state(0).u64(DATA + 16 * PAGE) == 3
    return machine.state(1)


LOOK = "ld a1, 0(s0)\nlui t0, 1\nadd t0, s0, t0\nld a2, 0(t0)\nld a3, 0(s6)\n"


@pytest.mark.parametrize("harts", [ONE, BASED, ALL])
@pytest.mark.parametrize(
    ("changed", "function", "start", "size", "asid"),
    [
        ((VA,), SFENCE_VMA, VA, PAGE, 0), ((VA,), SFENCE_VMA_ASID, VA, PAGE, 1),
        ((VA,), SFENCE_VMA_ASID, VA, PAGE, 1 << 16 | 1),
        ((VA, VA + PAGE), SFENCE_VMA, VA + 0xFF0, 0x20, 0),
        ((VA, VA + PAGE), SFENCE_VMA_ASID, VA + 0xFFF, 2, 1),
        ((VA, VA + PAGE, FAR), SFENCE_VMA, VA, FAR + PAGE - VA, 0),
        ((VA, VA + PAGE, FAR), SFENCE_VMA_ASID, VA, FAR + PAGE - VA, 1),
        ((VA, VA + PAGE, FAR), SFENCE_VMA, 0, 0, 0),
        ((VA, VA + PAGE, FAR), SFENCE_VMA, 0, EVERYTHING, 0),
        ((VA, VA + PAGE, FAR), SFENCE_VMA_ASID, 0, 0, 1),
    ],
)  # fmt: skip
def test_what_another_hart_has_changed_is_seen(
    changed: tuple[int, ...],
    function: int,
    start: int,
    size: int,
    asid: int,
    harts: tuple[int, int],
) -> None:
    act = "".join(map(change, changed)) + fence(function, start, size, asid, harts=harts)
    seen = meeting(LOOK, LOOK, act)
    assert [seen.x(n) for n in (11, 12, 13)] == [
        TWOS if va in changed else ONES for va in (VA, VA + PAGE, FAR)
    ]


def test_a_fence_that_comes_while_one_is_waiting() -> None:
    """The second is not lost, whatever becomes of its range."""
    act = change(VA) + fence(1, VA, PAGE) + change(FAR) + fence(1, FAR, PAGE)
    seen = meeting(LOOK, LOOK, act)
    assert [seen.x(n) for n in (11, 12, 13)] == [TWOS, ONES, TWOS]


def test_an_address_space_that_the_other_hart_is_not_in() -> None:
    look = f"csrw satp, s2\n{LOOK}csrw satp, s1\n{LOOK}"
    act = change(VA, 1) + change(FAR, 1) + fence(SFENCE_VMA_ASID, VA, PAGE, 2)
    act += fence(SFENCE_VMA_ASID, FAR, PAGE, 2)
    seen = meeting(look, f"{LOOK}mv a4, a1\ncsrw satp, s2\n{LOOK}", act)
    assert [seen.x(n) for n in (14, 11, 12, 13)] == [ONES, TWOS, ONES * 3, TWOS]


def counts(machine: Tier0) -> dict[str, int]:
    return machine.emulator.statistics()


def test_a_small_range_leaves_the_rest_alone() -> None:
    before = counts(tier0(2))
    meeting(LOOK, LOOK, change(VA) + fence(SFENCE_VMA, VA, 3 * PAGE))
    after = counts(tier0(2))
    assert after["page_flushes"] - before["page_flushes"] == 3
    assert after["flushes"] - before["flushes"] == 2  # each hart, once, when it was reset


def test_the_counters_are_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INN_DEBUG", "perf,stats")
    assert statistics.wanted()
    monkeypatch.setenv("INN_DEBUG", "perf")
    assert not statistics.wanted()
    machine = tier0(2)
    meeting(LOOK, LOOK, change(VA) + fence(SFENCE_VMA, VA, PAGE))
    statistics.report(machine.emulator)
    said = dict(line.split()[:2] for line in capsys.readouterr().err.splitlines()[1:])
    assert said.items() >= {name: str(n) for name, n in counts(machine).items()}.items()
    assert int(said["instructions"]) == sum(raw.ticks for raw in machine.emulator.raw) > 0
    assert int(said["walks"]) > 0
