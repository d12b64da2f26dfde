"""The table's figures: samples of a program on each emulator, their ratios, and the aims."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.process import Spread
from bench.subject import OURS, PEER
from bench.table.plan import BOOT_AIM, FIRST_RUN_AIM, GROUPS, PARALLEL_AIM, Program

FIRST, TIER0 = "first run", "tier 0"


@dataclass(frozen=True)
class Timed:
    """One run of a guest program.

    `seconds` are the guest's own, `figure` the same or the rate it printed; `wall_s` is the
    host's time between the guest's two lines, `cpu_s` what the emulator's threads used in it but
    for the thread that compiles regions, which used `compile_s`.
    """

    figure: float
    seconds: float
    wall_s: float
    cpu_s: float
    output: str
    compile_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Line:
    """A program's samples, by emulator: `OURS`, `PEER`, `FIRST` and `TIER0` where they were run."""

    name: str
    samples: Mapping[str, Sequence[Timed]]
    unit: str = "s"
    is_rate: bool = False
    judged: bool = True

    @staticmethod
    def of(name: str, program: Program, samples: Mapping[str, Sequence[Timed]]) -> Line:
        """Make the line of a program."""
        return Line(
            name=name, samples=samples, unit=program.unit, is_rate=bool(program.rate),
            judged=program.judged,
        )  # fmt: skip

    @property
    def group(self) -> str:
        return self.name.partition(":")[0]

    def spread(self, who: str) -> Spread | None:
        """Return the figures of one emulator."""
        found = self.samples.get(who)
        return Spread(tuple(t.figure for t in found)) if found else None

    def speed(self, who: str = OURS, other: str = PEER) -> float | None:
        """Return how many times as fast `who` is as `other`, median by median."""
        return _ratio(self._cost(who), self._cost(other))

    def cpu_speed(self, who: str = OURS, other: str = PEER) -> float | None:
        """Return the same by the emulators' least CPU seconds for the same work."""
        return _ratio(self._cpu_cost(who), self._cpu_cost(other))

    def compile_s(self, who: str) -> float | None:
        """Return the CPU seconds of compiling, the median."""
        found = self.samples.get(who)
        return statistics.median(t.compile_s for t in found) if found else None

    def _cost(self, who: str) -> float | None:
        spread = self.spread(who)
        if spread is None:
            return None
        return 1 / spread.median if self.is_rate else spread.median

    def _cpu_cost(self, who: str) -> float | None:
        found = self.samples.get(who)
        if not found:
            return None
        if self.is_rate:
            return min(t.cpu_s / (t.figure * t.seconds) for t in found)
        return min(t.cpu_s for t in found)


@dataclass(frozen=True)
class Verdict:
    """A judged figure of a group: its value by time, CPU and first run, and what was asked."""

    group: str
    what: str
    speed: float | None
    cpu_speed: float | None = None
    first: float | None = None
    least: float | None = None

    @property
    def text(self) -> str:
        """Say the aim, and how the speed stands to it."""
        if self.least is None:
            return ""
        said = f"at least {self.least:.3g}"
        if self.speed is None:
            return said
        return f"{said}: {'met' if self.speed >= self.least else 'missed'}"


def verdicts(lines: Sequence[Line]) -> list[Verdict]:
    """Judge every group that has lines, in their order; one not wholly measured has no aim."""
    found: list[Verdict] = []
    for group in dict.fromkeys(line.group for line in lines):
        some = [line for line in lines if line.group == group and line.judged]
        if group == "smp":
            found += _parallel(some)
        elif group == "boot":
            found.append(_mean(group, some, 1 / BOOT_AIM))
        elif some:
            wanted = GROUPS[group]
            whole = len(some) == sum(program.judged for program in wanted.programs)
            found.append(_mean(group, some, wanted.mean if whole else None))
            found += _least(group, some, wanted.least if whole else None)
    return found + _first_runs([line for line in lines if line.judged])


def _mean(group: str, lines: Sequence[Line], aim: float | None) -> Verdict:
    def mean(of: Callable[[Line], float | None]) -> float | None:
        values = [value for line in lines if (value := of(line)) is not None]
        return statistics.geometric_mean(values) if len(values) == len(lines) else None

    what = f"geometric mean of {len(lines)}" if len(lines) > 1 else "speed"
    speed, by_cpu = mean(Line.speed), mean(Line.cpu_speed)
    return Verdict(group, what, speed, by_cpu, mean(lambda line: line.speed(FIRST)), aim)


def _least(group: str, lines: Sequence[Line], aim: float | None) -> list[Verdict]:
    known = [(speed, line) for line in lines if (speed := line.speed()) is not None]
    if aim is None or not known:
        return []
    speed, line = min(known, key=lambda pair: pair[0])
    what = f"lowest: {line.name.partition(':')[2]}"
    return [Verdict(group, what, speed, line.cpu_speed(), line.speed(FIRST), aim)]


def _parallel(lines: Sequence[Line]) -> list[Verdict]:
    """Judge what a second hart brings, on each emulator."""
    one, two = lines
    found = []
    for who, aim in ((OURS, PARALLEL_AIM), (PEER, None)):
        times = one.spread(who), two.spread(who)
        if times[0] is not None and times[1] is not None:
            ratio = times[0].median / times[1].median
            found.append(Verdict("smp", f"{who}, two harts by one", ratio, least=aim))
    return found


def _first_runs(lines: Sequence[Line]) -> list[Verdict]:
    """Judge first runs against ours without regions: compiling may not cost more than it gains."""
    known = [(r, line.name) for line in lines if (r := line.speed(FIRST, TIER0)) is not None]
    if not known:
        return []
    slowest, name = min(known)
    mean = statistics.geometric_mean(ratio for ratio, _ in known)
    what = f"by tier 0, geometric mean of {len(known)}"
    return [
        Verdict(FIRST, what, mean, least=FIRST_RUN_AIM),
        Verdict(FIRST, f"by tier 0, lowest: {name}", slowest),
    ]


def _ratio(ours: float | None, peer: float | None) -> float | None:
    return peer / ours if ours and peer else None
