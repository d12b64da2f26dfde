"""System call numbers, a module per architecture: facts derived from the kernel's user headers.

Each module holds one TABLE text: lines of a number and the names that have it and its successors.
`tests/containers/derive_syscall_tables.py` writes them, and a test derives again what it can.
"""

from __future__ import annotations


def load(name: str) -> dict[str, int]:
    """Return name to number from one table."""
    return parse(__import__(f"{__name__}.{name}", fromlist=["TABLE"]).TABLE)


def parse(table: str) -> dict[str, int]:
    """Return name to number from lines of a number and the names that count on from it."""
    numbers: dict[str, int] = {}
    for line in table.split("\n"):
        if line:
            start, *names = line.split()
            numbers.update(zip(names, range(int(start), int(start) + len(names)), strict=True))
    return numbers
