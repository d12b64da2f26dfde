"""How a machine's run ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class End(Enum):
    """What made the machine stop."""

    POWER_OFF = "power-off"
    FAILURE = "failure"
    RESET = "reset"
    STOPPED = "stopped from outside"
    STUCK = "nothing left that could wake a hart"


@dataclass(frozen=True)
class Outcome:
    """The end of a run; `code` is what the guest gave to the test finisher for a failure."""

    end: End
    code: int = 0
