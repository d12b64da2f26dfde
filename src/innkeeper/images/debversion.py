"""Debian package versions and their order (Debian Policy 5.6.12, deb-version(7))."""

from __future__ import annotations

import re
from functools import total_ordering
from itertools import zip_longest

from innkeeper.base.errors import ImageError

MAX_VERSION_CHARS = 4096
_PARTS = re.compile(r"(\D*)(\d*)", re.ASCII)
_Pair = tuple[list[int], int]
_END: _Pair = ([0], 0)  # what an exhausted part compares as
_UPSTREAM = re.compile(r"[A-Za-z0-9.+~:-]+", re.ASCII)


def _order(char: str) -> int:
    """Sort `~` before the end of the string, then letters, then everything else."""
    if char == "~":
        return -1
    return ord(char) if char.isalpha() else ord(char) + 256


def _key(text: str) -> list[_Pair]:
    """Turn a version part into pairs (non-digits, number) that compare as the policy says."""
    pairs: list[_Pair] = []
    for letters, digits in _PARTS.findall(text):
        # The 0 stands for the end of the non-digits: above `~`, below any other character.
        pairs.append(([*map(_order, letters), 0], int(digits or "0")))
    while pairs and pairs[-1] == _END:
        pairs.pop()
    return pairs


def _less(one: list[_Pair], other: list[_Pair]) -> bool | None:
    """Compare two keys, the shorter one filled up; None when they are equal."""
    for left, right in zip_longest(one, other, fillvalue=_END):
        if left != right:
            return left < right
    return None


@total_ordering
class Version:
    """A version `[epoch:]upstream[-revision]` that compares as dpkg compares."""

    __slots__ = ("_sort", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        epoch, rest = "0", text
        if ":" in text:
            epoch, rest = text.split(":", 1)
        upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "")
        digits = epoch.isascii() and epoch.isdigit() and len(epoch) < 10
        if len(text) > MAX_VERSION_CHARS or not digits or not _UPSTREAM.fullmatch(rest):
            raise ImageError("a package version is malformed", why=repr(text[:80]))
        self._sort = (int(epoch), _key(upstream), _key(revision))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Version) and self._sort == other._sort

    def __lt__(self, other: Version) -> bool:
        if self._sort[0] != other._sort[0]:
            return self._sort[0] < other._sort[0]
        upstream = _less(self._sort[1], other._sort[1])
        return bool(_less(self._sort[2], other._sort[2])) if upstream is None else upstream

    def __hash__(self) -> int:
        return hash(repr(self._sort))

    def __repr__(self) -> str:
        return f"Version({self.text!r})"


def satisfies(version: str, operator: str, wanted: str) -> bool:
    """Tell whether `version` stands in relation `operator` to `wanted` (Debian Policy 7.1)."""
    have, want = Version(version), Version(wanted)
    match operator:
        case "<<":
            return have < want
        case "<=" | "<":
            return have <= want
        case "=":
            return have == want
        case ">=" | ">":
            return have >= want
        case ">>":
            return have > want
    raise ImageError("a version relation is malformed", why=repr(operator))
