"""The report: rows of figures, and how they are printed or kept as JSON."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from bench.process import Spread

HEAD = ("benchmark", "figure", "unit", "ours", "(min..max)", "peer", "(min..max)", "ratio", "aim")
_TESTS = {">=": operator.ge, "<=": operator.le}


@dataclass(frozen=True, kw_only=True)
class Aim:
    """What issue 2 asks for: a bound on the ratio, or with `absolute` on our own figure."""

    sense: str
    bound: float
    absolute: bool = False

    def text(self, value: float | None) -> str:
        """Return the aim and how `value` stands to it."""
        said = f"{self.sense} {self.bound:g}"
        if value is None:
            return said
        return f"{said} {'met' if _TESTS[self.sense](value, self.bound) else 'missed'}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure of both; without a peer only ours."""

    benchmark: str
    figure: str
    unit: str
    ours: Spread
    peer: Spread | None = None
    aim: Aim | None = None

    @property
    def ratio(self) -> float | None:
        """Our median by the peer's."""
        if self.peer is None or self.peer.median == 0:
            return None
        return self.ours.median / self.peer.median

    def cells(self) -> list[str]:
        """Return the row's texts, in the order of `HEAD`."""
        ratio, aim = self.ratio, ""
        if self.aim is not None:
            aim = self.aim.text(self.ours.median if self.aim.absolute else ratio)
        shown = "" if ratio is None else f"{ratio:.2f}"
        first = [self.benchmark, self.figure, self.unit]
        return [*first, *spread_cells(self.ours), *spread_cells(self.peer), shown, aim]


@dataclass(frozen=True)
class Result:
    """What a benchmark hands over: its rows, the commands it timed, and remarks."""

    rows: Sequence[Row]
    commands: Sequence[str]
    notes: Sequence[str] = ()


def spread_cells(spread: Spread | None) -> tuple[str, str]:
    """Return a median, and the smallest and largest value."""
    if spread is None:
        return "", ""
    return _number(spread.median), f"({_number(spread.low)}..{_number(spread.high)})"


def _number(value: float) -> str:
    if abs(value) >= 1e6:
        return f"{value / 1e6:.3g} M"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(rows: Sequence[Row]) -> str:
    """Return the rows as aligned text."""
    return aligned([list(HEAD), *(row.cells() for row in rows)])


def aligned(texts: Sequence[Sequence[str]]) -> str:
    """Return lines of cells in columns, the first line being the head."""
    widths = [max(len(line[n]) for line in texts) for n in range(len(texts[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in texts
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def document(machine: Mapping[str, str], results: Mapping[str, Result]) -> dict[str, object]:
    """Return everything for JSON."""
    return {
        "machine": dict(machine),
        "results": {
            name: {
                "rows": [{**asdict(row), "ratio": row.ratio} for row in result.rows],
                "commands": list(result.commands),
                "notes": list(result.notes),
            }
            for name, result in results.items()
        },
    }
