"""Random programs leave the same state in tier 0 as in the reference, floating point included."""

from __future__ import annotations

import random
from typing import Any

import pytest

from innkeeper.isa.riscv.random_program import RandomProgram, generate
from tests.engine import trap_program
from tests.engine.harness import FS_DIRTY, RAM_BASE, both

SCRATCH = RAM_BASE + 0x10_0000


def start(program: RandomProgram, frm: int) -> Any:
    def setup(raw: Any) -> None:
        raw.mstatus, raw.fp_ready, raw.frm = FS_DIRTY, int(frm <= 3), frm
        for n in range(32):
            raw.x[n], raw.f[n] = program.x[n], program.f[n]

    return setup


@pytest.mark.parametrize("seed", range(24))
def test_random_programs(seed: int) -> None:
    rng = random.Random(seed)
    made = generate(rng, count=150, base=RAM_BASE, scratch=SCRATCH)
    both(made.code, made.base, (made.end,), start(made, rng.choice((0, 0, 0, 1, 2, 3, 4))))


@pytest.mark.parametrize("seed", range(10))
def test_programs_that_trap(seed: int) -> None:
    made = trap_program.generate(seed)
    both(made.image, made.entry, made.ends, made.setup)
