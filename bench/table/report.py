"""How the table is printed, and kept as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict

from bench.report import aligned, spread_cells
from bench.subject import OURS, PEER
from bench.table.figures import FIRST, TIER0, Line, verdicts

HEAD = (
    "program", "unit", "ours", "(min..max)", "QEMU", "(min..max)", "speed", "by CPU",
    "compiling", "first run", "speed", "compiling",
)  # fmt: skip
TIER0_HEAD = ("tier 0", "speed", "first by tier 0")
VERDICT_HEAD = ("row", "what", "speed", "by CPU", "first run", "issue 3 asks")


def text(lines: Sequence[Line]) -> str:
    """Return the programs' figures, and below them the rows of the issue's table."""
    with_tier0 = any(TIER0 in line.samples for line in lines)
    head = HEAD + (TIER0_HEAD if with_tier0 else ())
    rows = [_cells(line) + (_tier0_cells(line) if with_tier0 else []) for line in lines]
    judged = [
        [v.group, v.what, _times(v.speed), _times(v.cpu_speed), _times(v.first), v.text]
        for v in verdicts(lines)
    ]
    return aligned([list(head), *rows]) + "\n\n" + aligned([list(VERDICT_HEAD), *judged])


def document(lines: Sequence[Line], commands: Mapping[str, str]) -> dict[str, object]:
    """Return every sample and every verdict for JSON."""
    return {
        "commands": dict(commands),
        "programs": [
            {**asdict(line), "speed": line.speed(), "cpu_speed": line.cpu_speed()} for line in lines
        ],
        "rows": [{**asdict(v), "said": v.text} for v in verdicts(lines)],
    }


def _cells(line: Line) -> list[str]:
    name = line.name if line.judged else f"({line.name})"
    ours, peer, first = (line.spread(who) for who in (OURS, PEER, FIRST))
    return [
        name, line.unit, *spread_cells(ours), *spread_cells(peer), _times(line.speed()),
        _times(line.cpu_speed()), _times(line.compile_s(OURS)), spread_cells(first)[0],
        _times(line.speed(FIRST)), _times(line.compile_s(FIRST)),
    ]  # fmt: skip


def _tier0_cells(line: Line) -> list[str]:
    return [
        spread_cells(line.spread(TIER0))[0],
        _times(line.speed(TIER0)),
        _times(line.speed(FIRST, TIER0)),
    ]


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
