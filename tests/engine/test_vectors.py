"""The vector extension: tier 0 against the reference, traps and the state that they find."""

from __future__ import annotations

import random
from typing import Any

import pytest

from innkeeper.isa.riscv.codec import standard_set
from innkeeper.isa.riscv.disasm import disassemble
from innkeeper.isa.riscv.vector import VECTOR
from tests.engine.harness import RAM_BASE, check, tier0
from tests.engine.vector_program import DIRTY, WINDOW_BYTES, VectorProgram, generate, names_of

WINDOW = RAM_BASE + 0x1_0000
STATE = ("vl", "vtype", "vstart", "vxsat", "vxrm", "v_sew", "v_lmul", "mstatus", "fflags", "frm")
COUNT, FEW = 50, 12
"""Instructions in a program: few where the reference takes long for each."""


def start(program: VectorProgram, frm: int) -> Any:
    def setup(raw: Any) -> None:
        raw.mstatus, raw.fp_ready, raw.frm = DIRTY, int(frm <= 3), frm
        raw.vxrm = program.vxrm
        for n in range(32):
            raw.x[n], raw.f[n] = program.x[n], program.f[n]
        for n in range(64):
            raw.v[n] = int.from_bytes(program.v[n * 8 : n * 8 + 8], "little")

    return setup


def differences(program: VectorProgram) -> list[str]:
    """List where tier 0's hart and memory differ from what the reference left."""
    got, want = tier0().hart, program.end.raw
    found = [f"{n}: {getattr(got, n):#x}, {getattr(want, n):#x}" for n in STATE
             if getattr(got, n) != getattr(want, n)]  # fmt: skip
    found += [f"x{n}" for n in range(32) if got.x[n] != want.x[n]]
    found += [f"f{n}" for n in range(32) if got.f[n] != want.f[n]]
    for n in range(32):
        mine, theirs = (bytes(raw.v)[n * 16 : n * 16 + 16] for raw in (got, want))
        if mine != theirs:
            found.append(f"v{n}: {mine[::-1].hex()}, {theirs[::-1].hex()}")
    if tier0().ram.read(WINDOW, WINDOW_BYTES) != program.window_after:
        found.append("memory")
    return found


@pytest.mark.parametrize(
    ("extension", "seed"),
    [(e, seed) for e in VECTOR for seed in range(8 if e.name == "V" else 2)],
    ids=lambda value: getattr(value, "name", value),
)
def test_random_programs(extension: Any, seed: int) -> None:
    frm, count = seed % 5, COUNT if extension.name == "V" else FEW
    made = generate(seed, names_of(extension), count=count, base=RAM_BASE, window=WINDOW, frm=frm)
    code = b"".join(word.to_bytes(4, "little") for word in made.words)
    machine = tier0()
    machine.load(code, RAM_BASE, start(made, frm))
    machine.ram.write(WINDOW, made.window)
    machine.run(RAM_BASE + len(code))
    wrong = differences(made)
    assert not wrong, "\n".join([f"seed {seed}; tier 0, reference:", *wrong,
                                 *(disassemble(word) for word in made.words)])  # fmt: skip


HANDLER = """
    la t0, handler
    csrw mtvec, t0
    li s0, {window:#x}
    li s1, 24
    j code
.align 2
handler:
    csrw mscratch, t0
    csrr t0, mcause
    add s11, s11, t0
    csrr t0, mtval
    xor s10, s10, t0
    slli s10, s10, 1
    csrr t0, vstart
    add s11, s11, t0
    csrw vstart, zero
    csrr t0, mepc
    addi t0, t0, 4
    csrw mepc, t0
    csrr t0, mscratch
    mret
code:
    vsetvli a0, zero, e{sew}, {lmul}, tu, mu
    {words}
done:
"""


@pytest.mark.parametrize("seed", range(10))
def test_random_words_are_illegal_in_the_same_places(seed: int) -> None:
    rng = random.Random(seed)
    words = []
    for _ in range(60):
        one = rng.choice([i for e in VECTOR for i in e.instructions if "rs1" not in i.syntax])
        bits = (rng.getrandbits(32) & ~one.mask) | one.match
        if standard_set().find(bits) is not one or (one.writes_x and bits >> 7 & 31 in (5, 8, 9)):
            continue
        words.append(f".word {bits:#x}")
    sew, lmul = rng.choice(((8, "m1"), (16, "m2"), (32, "m4"), (64, "m1"), (32, "mf2")))
    source = HANDLER.format(window=WINDOW, sew=sew, lmul=lmul, words="\n    ".join(words))

    def setup(raw: Any) -> None:
        raw.mstatus, raw.fp_ready = DIRTY, 1
        for n in range(64):
            raw.v[n] = n * 0x0123456789ABCDEF & ((1 << 64) - 1)

    check(source, setup)


def test_vectors_that_are_off_are_illegal() -> None:
    end = check(
        """
        la t0, handler
        csrw mtvec, t0
        li t1, 0x600
        csrc mstatus, t1
        csrr a0, mstatus
        vsetivli a1, 4, e32, m1, ta, ma
        csrr a2, vl
    done:
    handler:
        addi s2, s2, 1
        csrr t2, mcause
        csrr t0, mepc
        addi t0, t0, 4
        csrw mepc, t0
        mret
    """.replace("done:\n    handler:", "j done\n    .align 2\n    handler:")
        + "\ndone:\n"
    )
    assert end.x(18) == 2 and end.x(7) == 2


def test_vector_state_becomes_dirty() -> None:
    end = check("""
        li t1, 0x200
        csrs mstatus, t1
        csrr a0, mstatus
        csrr a3, vl
        csrr a4, mstatus
        vsetivli a1, 4, e32, m1, ta, ma
        csrr a2, mstatus
    done:
    """)
    assert end.x(10) >> 9 & 3 == end.x(14) >> 9 & 3 == 1
    assert end.x(12) >> 9 & 3 == 3 and end.x(12) >> 63 == 1 and end.x(11) == 4
