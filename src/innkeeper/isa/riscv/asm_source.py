"""The assembler's reading of source text: statements, labels and operands, with line numbers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from innkeeper.base.errors import UsageError

MAX_SOURCE_CHARS = 16 << 20
"""Longest source taken."""

_COMMENT_OR_STRING = re.compile(
    r"""(?P<text>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])'?)
      | (?P<block>/\*.*?\*/)
      | (?P<line>//[^\n]*|\#[^\n]*)
      | (?P<open>/\*|")""",
    re.VERBOSE | re.DOTALL,
)
_LABEL = re.compile(r"\s*([A-Za-z_.$][\w.$]*|\d+)\s*:(?!:)", re.ASCII)
_ASSIGNMENT = re.compile(r"([A-Za-z_.$][\w.$]*)\s*=(?!=)\s*(.*)", re.ASCII | re.DOTALL)
SYMBOL = re.compile(r"[A-Za-z_.$][\w.$]*", re.ASCII)
"""The name of a symbol."""

_QUOTED = re.compile(r""""(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])'?""")
_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{1,2}|[0-7]{1,3}|.)", re.DOTALL)
_ESCAPES = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "b": "\b",
    "f": "\f",
    "a": "\a",
    "v": "\v",
    "e": "\x1b",
}


class AssemblyError(UsageError):
    """Assembly source that cannot be assembled; `line` counts from 1."""

    def __init__(
        self, what: str, *, line: int, name: str = "<source>", why: str = "", fix: str = ""
    ) -> None:
        self.line, self.name, self.reason = line, name, what
        super().__init__(f"{name}:{line}: {what}", why=why, fix=fix)


@dataclass(frozen=True)
class Statement:
    """One statement: the labels before it, an instruction or directive, and its operands."""

    line: int
    labels: tuple[str, ...]
    name: str
    operands: tuple[str, ...]
    text: str


def statements(source: str, name: str = "<source>") -> Iterator[Statement]:
    """Split source into statements; `#`, `//` and `/* */` are comments, `;` separates."""
    if len(source) > MAX_SOURCE_CHARS:
        raise AssemblyError(
            f"the source is longer than {MAX_SOURCE_CHARS} bytes", line=1, name=name
        )
    for number, line in enumerate(_without_comments(source, name).split("\n"), 1):
        for part in _split_outside(line, ";"):
            if part.strip():
                yield _statement(part, number)


def _without_comments(source: str, name: str) -> str:
    def keep(match: re.Match[str]) -> str:
        if match["open"] is not None:
            what = "a string" if match["open"] == '"' else "a comment"
            line = source.count("\n", 0, match.start()) + 1
            raise AssemblyError(f"{what} is never closed", line=line, name=name)
        if match["text"] is not None:
            return match[0]
        return " " + "\n" * match[0].count("\n")

    return _COMMENT_OR_STRING.sub(keep, source)


def _statement(text: str, line: int) -> Statement:
    labels = []
    rest = text
    while label := _LABEL.match(rest):
        labels.append(label[1])
        rest = rest[label.end() :]
    rest = rest.strip()
    assignment = _ASSIGNMENT.match(rest)
    if assignment:
        return Statement(line, tuple(labels), ".set", assignment.groups(), rest)
    name, _, operands = rest.partition(" ") if " " in rest else rest.partition("\t")
    if "\t" in name:
        name, _, more = name.partition("\t")
        operands = more + " " + operands
    given = tuple(_split_outside(operands, ",")) if operands.strip() else ()
    return Statement(line, tuple(labels), name.lower(), tuple(o.strip() for o in given), rest)


def _split_outside(text: str, separator: str) -> list[str]:
    """Split at a character, but not inside strings or parentheses."""
    parts, depth, start, position = [], 0, 0, 0
    while position < len(text):
        quoted = _QUOTED.match(text, position)
        if quoted:
            position = quoted.end()
            continue
        char = text[position]
        depth += (char == "(") - (char == ")")
        if char == separator and depth <= 0:
            parts.append(text[start:position])
            start = position + 1
        position += 1
    return [*parts, text[start:]]


def unquote(text: str) -> bytes | None:
    """Return the bytes of a quoted string with its escapes taken, or `None` if it is not one."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return None
    out = bytearray()
    body, position = text[1:-1], 0
    for match in _ESCAPE.finditer(body):
        out += body[position : match.start()].encode()
        out += escaped(match[1])
        position = match.end()
    return bytes(out + body[position:].encode())


def escaped(code: str) -> bytes:
    """Return the byte a backslash and `code` stand for."""
    if code[0] == "x" and len(code) > 1:
        return bytes([int(code[1:], 16)])
    if code[0] in "01234567":
        return bytes([int(code, 8) & 0xFF])
    return _ESCAPES.get(code, code).encode()
