"""Answers with rows: aligned columns for people, JSON for programs. No colours, no wrapping."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click


def show_rows(rows: Sequence[Mapping[str, Any]], *, columns: Sequence[str], output: str) -> None:
    """Print `rows`: every key as JSON, or `columns` as a table with a heading."""
    if output == "json":
        click.echo(json.dumps(list(rows), indent=2))
        return
    cells = [[column.upper() for column in columns]]
    cells += [[str(row[column]) for column in columns] for row in rows]
    widths = [max(len(line[n]) for line in cells) for n in range(len(columns))]
    for line in cells:
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo(text.rstrip())
