"""SiFive test finisher: the register by which a guest powers off or reboots the machine.

Source: SiFive "test finisher" as the device tree bindings `sifive,test0` and `sifive,test1`
describe it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

SIZE_BYTES = 0x1000
FAIL, PASS, RESET = 0x3333, 0x5555, 0x7777


class Finish(enum.Enum):
    """What the guest asked for."""

    PASS = "pass"
    FAIL = "fail"
    RESET = "reset"


_KINDS = {PASS: Finish.PASS, FAIL: Finish.FAIL, RESET: Finish.RESET}


class TestFinisher:
    """Call `on_finish(kind, code)` when the guest writes one of the known values.

    `code` is the upper half of the value: the exit code of a failure, 0 otherwise.
    """

    __test__ = False  # the device's name, not a pytest class

    def __init__(self, on_finish: Callable[[Finish, int], None]) -> None:
        self._on_finish = on_finish

    def read(self, offset: int, size: int) -> int:
        """Load zero."""
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        """Take a finish request at offset 0, of 2 or more bytes; ignore anything else."""
        kind = _KINDS.get(value & 0xFFFF)
        if offset == 0 and size >= 2 and kind is not None:
            self._on_finish(kind, (value >> 16) & 0xFFFF if kind is Finish.FAIL else 0)
