"""How long work tells its caller how far it is; the drawing belongs to the command line."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A place to report to. Each piece of work is one token between `start` and `finish`."""

    def start(self, label: str, total: int | None = None) -> int:
        """Begin a piece of work of `total` bytes (None: not known) and return its token."""
        ...

    def advance(self, token: int, amount: int) -> None:
        """Report `amount` more bytes; negative when a download has to start again."""
        ...

    def finish(self, token: int) -> None:
        """End the piece of work, done or failed."""
        ...


class Silent:
    """A `Progress` that shows nothing."""

    def start(self, label: str, total: int | None = None) -> int:
        """See `Progress.start`."""
        return 0

    def advance(self, token: int, amount: int) -> None:
        """See `Progress.advance`."""

    def finish(self, token: int) -> None:
        """See `Progress.finish`."""


SILENT = Silent()
