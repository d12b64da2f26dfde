"""Debian control data: stanzas of `Field: value` (deb822(5), Debian Policy 5.1)."""

from __future__ import annotations

from collections.abc import Iterator

from innkeeper.base.errors import ImageError

Stanza = dict[str, str]
"""One paragraph; the keys are lower-case, since field names are not case-sensitive."""


def parse(text: str, *, source: str = "control data") -> Iterator[Stanza]:
    """Yield each stanza of `text`.

    Lines that start with `#` are comments; a continuation line keeps its text without the first
    blank, and a lone `.` in it stands for an empty line. `ImageError` names the line at fault.
    """
    stanza: Stanza = {}
    lines: list[str] = []
    key = ""
    for number, line in enumerate(text.split("\n"), start=1):
        line = line.rstrip("\r")
        if line.startswith("#"):
            continue
        if not line.strip():
            _keep(stanza, key, lines)
            if stanza:
                yield stanza
            stanza, key, lines = {}, "", []
        elif line[0] in " \t":
            if not key:
                raise ImageError(f"{source} is not Debian control data", why=_at(number, line))
            body = line[1:].rstrip()
            lines.append("" if body == "." else body)
        else:
            _keep(stanza, key, lines)
            name, colon, value = line.partition(":")
            key = name.strip().lower()
            if not colon or not key or key in stanza:
                raise ImageError(f"{source} is not Debian control data", why=_at(number, line))
            lines = [value.strip()]
    _keep(stanza, key, lines)
    if stanza:
        yield stanza


def parse_one(text: str, *, source: str = "control data") -> Stanza:
    """Return the only stanza of `text`; `ImageError` when there is none or more."""
    stanzas = list(parse(text, source=source))
    if len(stanzas) != 1:
        raise ImageError(f"{source} should hold one stanza", why=f"it holds {len(stanzas)}")
    return stanzas[0]


def _keep(stanza: Stanza, key: str, lines: list[str]) -> None:
    if key:
        stanza[key] = "\n".join(lines)


def _at(number: int, line: str) -> str:
    return f"line {number}: {line[:80]!r}"
