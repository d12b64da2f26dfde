"""How a machine's run ended."""

from __future__ import annotations

from enum import Enum

from innkeeper.base.record import record


class End(Enum):
    """What made the machine stop."""

    POWER_OFF = "power-off"
    FAILURE = "failure"
    RESET = "reset"
    STOPPED = "stopped from outside"
    STUCK = "nothing left that could wake a hart"


@record
class Outcome:
    """The end of a run; `code` is what the guest gave to the test finisher for a failure."""

    end: End
    code: int = 0
