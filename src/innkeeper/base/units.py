"""Sizes and alignments."""

from __future__ import annotations

import re

from innkeeper.base.errors import UsageError

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30
PAGE_BYTES = 4096

_SIZE = re.compile(r"(\d+)\s*([kmgt]?)(i?b)?", re.IGNORECASE)
_SCALE = {"": 1, "k": KIB, "m": MIB, "g": GIB, "t": GIB << 10}


def parse_size(text: str) -> int:
    """Turn `512M`, `2GiB` or `4096` into bytes (powers of two); `UsageError` for anything else."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"size {text!r} is not a size", fix="write it as 512M, 2G or 4096")
    return int(match[1]) * _SCALE[match[2].lower()]


def align_down(value: int, alignment: int) -> int:
    """Round `value` down to a multiple of `alignment` (a power of two)."""
    return value & -alignment


def align_up(value: int, alignment: int) -> int:
    """Round `value` up to a multiple of `alignment` (a power of two)."""
    return (value + alignment - 1) & -alignment
