"""`loop`: guest MIPS of an integer workload under Sv39 in S-mode; `parts`: each part by itself.

CPU seconds of the whole process with a tiny round count are subtracted from those with the full
one, so start-up is not in the figure. The instruction counts are exact: our hart's `minstret`,
which the guest prints; a guest without interrupts executes the same ones everywhere, and equal
checksums show that it did.
"""

from __future__ import annotations

from bench import programs
from bench.process import BenchError, Command, Spread, check, cpu, interleave, run
from bench.report import Aim, Result, Row
from bench.subject import OURS, PEER, Subject

ROUNDS, PART_ROUNDS, TINY_ROUNDS = 24_000, 20_000, 1
CHECKED_ROUNDS = 50
AIM = Aim(sense=">=", bound=0.33)


def loop(subject: Subject) -> Result:
    """Time the whole mix."""
    row, commands = _measure(subject, "loop", "mix", programs.LOOP_PARTS, ROUNDS, AIM)
    return Result([row], commands)


def parts(subject: Subject) -> Result:
    """Time each part of the mix alone: the mix hides what one of them does badly."""
    rows, commands = [], []
    for part in programs.LOOP_PARTS:
        row, used = _measure(subject, "parts", part, (part,), PART_ROUNDS, AIM)
        rows.append(row)
        commands += used
    return Result(rows, commands)


def _measure(
    subject: Subject, benchmark: str, name: str, wanted: tuple[str, ...], rounds: int, aim: Aim
) -> tuple[Row, list[str]]:
    def boot(rounds: int) -> dict[str, Command]:
        path = subject.folder / f"loop-{name}-{rounds}.elf"
        return subject.pair(bios=programs.loop_program(path, rounds=rounds, parts=wanted))

    each = _retired(boot(CHECKED_ROUNDS)) - _retired(boot(TINY_ROUNDS))
    full, tiny = boot(rounds), boot(TINY_ROUNDS)
    commands = {f"{who}{size}": c for size, m in enumerate((tiny, full)) for who, c in m.items()}
    samples = interleave(commands, subject.runs, run)
    count = each * (rounds - TINY_ROUNDS) / (CHECKED_ROUNDS - TINY_ROUNDS)

    def mips(who: str) -> Spread:
        base_s = cpu(samples[f"{who}0"]).median
        return Spread(tuple(count / (s.cpu_s - base_s) / 1e6 for s in samples[f"{who}1"]))

    row = Row(
        benchmark=benchmark, figure=f"{name}, {count / 1e9:.2f} G instructions", unit="MIPS",
        ours=mips(OURS), peer=mips(PEER) if PEER in full else None, aim=aim,
    )  # fmt: skip
    return row, [str(c) for c in commands.values()]


def _retired(commands: dict[str, Command]) -> int:
    """Return how many instructions the guest retires; all who run it must compute the same."""
    said = {who: check(command).split() for who, command in commands.items()}
    if len({words[0] for words in said.values()}) != 1:
        raise BenchError(f"the guest's checksums differ: {said}")
    return int(said[OURS][1], 16)
