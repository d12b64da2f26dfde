"""Litmus programs: outcomes that RVWMO forbids never appear (Unprivileged 20240411, chapter 17, A).

Each runs a few thousand times over fresh locations x and y, a cache line each, the harts set off
together with delays that differ from turn to turn. Registers: a2 and a3 point to x and y, a4 is 1,
a0 and a1 hold what was observed. How often harts
really meet depends on the host; that is for how many bugs are found, not for what passes.
"""

from __future__ import annotations

import pytest

from tests.engine.at_once import AtOnce

TURNS = 4000
BLOCK_BYTES, RESULT_BYTES = 512, 16

FRAME = """
_start:
    csrr s0, mhartid
    li s1, 0                # the turn
    li s2, {turns}
    la s3, blocks
    la s4, results
    li t0, {turns} * 16
    mul t0, t0, s0
    add s4, s4, t0
turn:
    mv a2, s3
    addi a3, s3, 128
    addi a5, s3, 256        # a cold line of the hart's own: a store there delays the next ones
    slli t0, s0, 6
    add a5, a5, t0
    li a4, 1
    li a0, 0
    li a1, 0
    jal gp, barrier
    slli t0, s0, 1          # a delay of its own in each turn
    addi t0, t0, 5
    mul t0, t0, s1
    andi t0, t0, 127
1:  beqz t0, 2f
    addi t0, t0, -1
    j 1b
2:  la t0, bodies
    slli t1, s0, 3
    add t0, t0, t1
    ld t0, 0(t0)
    jalr t0
    sd a0, 0(s4)
    sd a1, 8(s4)
    addi s4, s4, 16
    addi s3, s3, {block}
    addi s1, s1, 1
    bne s1, s2, turn
    j finish
.align 3
bodies: {table}
{bodies}
.align 12
blocks: .zero {turns} * {block}
results: .zero {turns} * 16 * HARTS
"""

STORE_BUFFERING = "sd a4, 0(a5)\nsd a4, 0({})\n{}\nld a0, 0({})"

# name: the harts' programs, and the outcome that must not be, as each hart's (a0, a1)
TESTS: dict[str, tuple[tuple[str, ...], tuple[tuple[int, int], ...]]] = {
    "SB+fences": (
        (STORE_BUFFERING.format("a2", "fence rw, rw", "a3"),
         STORE_BUFFERING.format("a3", "fence w, r", "a2")),
        ((0, 0), (0, 0)),
    ),
    "SB+lr.aqrl": (
        ("sd a4, 0(a5)\nsd a4, 0(a2)\nlr.d.aqrl a0, (a3)",
         "sd a4, 0(a5)\nsd a4, 0(a3)\nlr.d.aqrl a0, (a2)"),
        ((0, 0), (0, 0)),
    ),
    "SB+amoswap.aqrl": (
        ("amoswap.d.aqrl x0, a4, (a2)\nld a0, 0(a3)", "amoswap.d.aqrl x0, a4, (a3)\nld a0, 0(a2)"),
        ((0, 0), (0, 0)),
    ),
    "MP+fences": (
        ("sd a4, 0(a2)\nfence w, w\nsd a4, 0(a3)", "ld a0, 0(a3)\nfence r, r\nld a1, 0(a2)"),
        ((0, 0), (1, 0)),
    ),
    "MP+rl+aq": (
        ("sd a4, 0(a2)\namoswap.w.rl x0, a4, (a3)", "lr.w.aq a0, (a3)\nld a1, 0(a2)"),
        ((0, 0), (1, 0)),
    ),
    "LB+fences": (
        ("ld a0, 0(a2)\nfence r, w\nsd a4, 0(a3)", "ld a0, 0(a3)\nfence r, w\nsd a4, 0(a2)"),
        ((1, 0), (1, 0)),
    ),
    "LB+datas": (
        ("ld a0, 0(a2)\nxor t0, a0, a0\nor t0, t0, a4\nsd t0, 0(a3)",
         "ld a0, 0(a3)\nxor t0, a0, a0\nor t0, t0, a4\nsd t0, 0(a2)"),
        ((1, 0), (1, 0)),
    ),
    "CoRR": (("sd a4, 0(a2)", "ld a0, 0(a2)\nld a1, 0(a2)"), ((0, 0), (1, 0))),
    "IRIW+fences": (
        ("sd a4, 0(a2)", "sd a4, 0(a3)",
         "ld a0, 0(a2)\nfence rw, rw\nld a1, 0(a3)", "ld a0, 0(a3)\nfence rw, rw\nld a1, 0(a2)"),
        ((0, 0), (0, 0), (1, 0), (1, 0)),
    ),
    "WRC+fences": (
        ("sd a4, 0(a2)", "ld a0, 0(a2)\nfence rw, rw\nsd a4, 0(a3)",
         "ld a0, 0(a3)\nfence rw, rw\nld a1, 0(a2)"),
        ((0, 0), (1, 0), (1, 0)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TESTS)
def test_the_forbidden_outcome_never_appears(name: str) -> None:
    bodies, forbidden = TESTS[name]
    machine = AtOnce(len(bodies), ram_bytes=4 << 20)
    made = machine.assemble(
        FRAME.format(
            turns=TURNS,
            block=BLOCK_BYTES,
            table="".join(f"\n.dword body{n}" for n in range(len(bodies))),
            bodies="".join(f"\nbody{n}:\n{text}\nret" for n, text in enumerate(bodies)),
        )
    )
    machine.load(made)
    machine.run()
    results, seen = made.symbols["results"], set()
    for turn in range(TURNS):
        at = [results + (n * TURNS + turn) * RESULT_BYTES for n in range(len(bodies))]
        seen.add(tuple((machine.u64(gpa), machine.u64(gpa + 8)) for gpa in at))
    assert forbidden not in seen
    assert all(value in (0, 1) for outcome in seen for pair in outcome for value in pair)
    assert len(seen) > 0


def test_a_lock_of_loads_stores_and_fences_keeps_harts_apart() -> None:
    """Peterson's lock stands on a fence between a store and a load; a plain counter tells."""
    each = 20000
    machine = AtOnce(2)
    made = machine.assemble(
        f"""
_start:
    csrr s0, mhartid
    la s1, wants            # two words a cache line each, then whose turn it is, the counter
    slli t0, s0, 7
    add s2, s1, t0          # mine
    xori t0, t0, 128
    add s3, s1, t0          # the other's
    xori s4, s0, 1
    li s5, {each}
    li a4, 1
    jal gp, barrier
lock:
    sd a4, 0(s2)
    sd s4, 256(s1)
    fence rw, rw
    li s6, 300
1:  ld t0, 0(s3)
    beqz t0, 2f
    ld t0, 256(s1)
    bne t0, s4, 2f
    addi s6, s6, -1
    bgtz s6, 1b
    lr.d t0, (s3)           # the other may not be running: let it
    wrs.nto
    j 1b
2:  fence r, rw
    ld t0, 384(s1)
    addi t0, t0, 1
    sd t0, 384(s1)
    fence rw, w
    sd x0, 0(s2)
    addi s5, s5, -1
    bnez s5, lock
    j finish
.align 12
wants: .zero 512
"""
    )
    machine.load(made)
    machine.run()
    assert machine.u64(made.symbols["wants"] + 384) == 2 * each
