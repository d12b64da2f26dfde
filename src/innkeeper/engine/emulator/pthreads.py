"""The host's threads library as native code uses it: harts that wait sleep on a condition."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence
from typing import Any

from innkeeper.engine.emulator.hart import Code, EmuHart

CONDITION_ATTRIBUTE_BYTES = 64
"""More than any host's pthread_condattr_t."""

CALLS = {
    "sched_yield": "sched_yield",
    "mutex_lock": "pthread_mutex_lock",
    "mutex_unlock": "pthread_mutex_unlock",
    "condition_wait": "pthread_cond_wait",
    "condition_timedwait": "pthread_cond_timedwait",
    "condition_signal": "pthread_cond_signal",
}
"""Fields of `Code` and the functions they point to."""


def wire_threads(code: Code, harts: Sequence[EmuHart]) -> None:
    """Give native code the functions it sleeps and wakes by, and every hart what it sleeps on."""
    libc = ctypes.CDLL(None)
    for field, name in CALLS.items():
        setattr(code.raw, field, _address(getattr(libc, name)))
    attribute = ctypes.create_string_buffer(CONDITION_ATTRIBUTE_BYTES)
    libc.pthread_condattr_init(attribute)
    libc.pthread_condattr_setclock(attribute, time.CLOCK_MONOTONIC)
    for hart in harts:
        for field, init, how in (
            ("mutex", libc.pthread_mutex_init, None),
            ("condition", libc.pthread_cond_init, attribute),
        ):
            init(ctypes.c_void_p(hart.address + EmuHart.FIELDS[field][1]), how)


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0
