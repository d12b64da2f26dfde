"""How far work is, on stderr: bars on a terminal, one line for each piece of work elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from innkeeper.base.units import GIB, KIB, MIB

if TYPE_CHECKING:
    import rich.progress

    from innkeeper.images.progress import Progress


def in_words(size: float) -> str:
    """Write a number of bytes for people: `12.3 MiB`."""
    for unit, name in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size:.0f} bytes"


class PlainProgress:
    """A line when a piece of work begins; nothing that a log file would not want."""

    def __init__(self) -> None:
        self._next = 0

    def start(self, label: str, total: int | None = None) -> int:
        """See `Progress.start`."""
        size = "" if total is None else f" ({in_words(total)})"
        print(f"{label}{size}", file=sys.stderr, flush=True)
        self._next += 1
        return self._next

    def advance(self, token: int, amount: int) -> None:
        """See `Progress.advance`."""

    def finish(self, token: int) -> None:
        """See `Progress.finish`."""


class BarProgress:
    """Bars by rich, imported when the first piece of work begins."""

    def __init__(self) -> None:
        self._bars: rich.progress.Progress | None = None

    def start(self, label: str, total: int | None = None) -> int:
        """See `Progress.start`."""
        return int(self._shown().add_task(label, total=total))

    def advance(self, token: int, amount: int) -> None:
        """See `Progress.advance`."""
        from rich.progress import TaskID

        self._shown().advance(TaskID(token), amount)

    def finish(self, token: int) -> None:
        """See `Progress.finish`; the last one takes the bars away."""
        from rich.progress import TaskID

        bars = self._shown()
        bars.remove_task(TaskID(token))
        if not bars.task_ids:
            self.close()

    def close(self) -> None:
        """Take the bars off the screen."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def _shown(self) -> rich.progress.Progress:
        if self._bars is None:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                DownloadColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
            )

            columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
            self._bars = Progress(
                *columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True
            )
            self._bars.start()
        return self._bars


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """Report progress on stderr inside the block."""
    if not sys.stderr.isatty():
        yield PlainProgress()
        return
    bars = BarProgress()
    try:
        yield bars
    finally:
        bars.close()
