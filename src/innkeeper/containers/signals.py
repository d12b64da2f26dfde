"""Signals by name and number: signal(7)."""

from __future__ import annotations

from innkeeper.base.errors import ContainerError

MAX_SIGNAL = 64


def signal_number(text: str) -> int:
    """Return the number of `TERM`, `SIGTERM`, `15` or `RTMIN+1`."""
    if text.isdigit():
        if int(text) <= MAX_SIGNAL:
            return int(text)
        raise ContainerError(f'unknown signal "{text}"')
    import _signal

    name = text.upper()
    name = name if name.startswith("SIG") else f"SIG{name}"
    base, plus, more = name.partition("+")
    number = getattr(_signal, base, None) if base[3:4].isalpha() and "_" not in base else None
    if type(number) is not int or (plus and not (base == "SIGRTMIN" and more.isdigit())):
        raise ContainerError(f'unknown signal "{text}"')
    number += int(more) if plus else 0
    if number > MAX_SIGNAL:
        raise ContainerError(f'unknown signal "{text}"')
    return number
