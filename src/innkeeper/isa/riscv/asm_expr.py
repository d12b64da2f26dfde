"""Expressions of the assembler, with GNU as's operators and their precedence.

An expression is parsed once and evaluated in every pass, when labels have their current
addresses. Values are Python integers; whoever stores one says how many bits it may have.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from innkeeper.isa.riscv.asm_source import escaped

MAX_DEPTH = 100
"""Deepest nesting of parentheses and prefix operators."""

MAX_OPERATORS = 256
"""Most operators in one expression."""

MAX_BITS = 128
"""Widest value, and widest shift: an expression cannot be made to fill memory."""

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>0[xX][0-9A-Fa-f]+|0[bB][01]+(?![\w])|0[oO][0-7]+)
    | (?P<local>\d+[fb](?![\w]))
    | (?P<decimal>\d+(?![\w]))
    | '(?P<char>\\x[0-9A-Fa-f]{1,2}|\\[0-7]{1,3}|\\.|[^'\\])'?
    | (?P<modifier>%[a-z_]+(?=\s*\())
    | (?P<name>[A-Za-z_.$][\w.$]*)
    | (?P<operator><<|>>|<=|>=|==|!=|<>|&&|\|\||[-+*/%&|^~!<>()])
    )""",
    re.VERBOSE | re.ASCII,
)

MODIFIERS = ("%hi", "%lo", "%pcrel_hi", "%pcrel_lo")

_PRECEDENCE = {
    "||": 1, "&&": 2,
    "==": 3, "!=": 3, "<>": 3, "<": 3, ">": 3, "<=": 3, ">=": 3,
    "+": 4, "-": 4,
    "|": 5, "&": 5, "^": 5,
    "*": 6, "/": 6, "%": 6, "<<": 6, ">>": 6,
}  # fmt: skip


class ExpressionError(ValueError):
    """An expression that cannot be read or has no value."""


class Scope(Protocol):
    """Where an expression's names get their values."""

    here: int
    """The address of the statement."""

    def symbol(self, name: str) -> int:
        """Return the value of a symbol."""

    def note_pcrel(self, offset: int) -> int:
        """Remember that the `%pcrel_hi` here leads `offset` bytes away; return the offset."""

    def pcrel(self, address: int) -> int:
        """Return the offset that was noted at an address."""


Evaluate = Callable[[Scope], int]


@dataclass(frozen=True)
class Expression:
    """A parsed expression; `names` are the symbols it refers to."""

    text: str
    evaluate: Evaluate
    names: frozenset[str]

    @property
    def constant(self) -> bool:
        """Tell whether the value is the same wherever and whenever it is evaluated."""
        return not self.names


def parse(text: str, local: Callable[[str], str]) -> Expression:
    """Parse an expression; `local` names the label that `1b` or `1f` means here."""
    parser = _Parser(text, local)
    evaluate = parser.binary(0)
    if parser.kind is not None:
        raise ExpressionError(f"unexpected '{parser.value}' in '{text}'")
    return Expression(text, evaluate, frozenset(parser.names))


class _Parser:
    def __init__(self, text: str, local: Callable[[str], str]) -> None:
        self.text, self.local = text, local
        self.position, self.depth, self.operators = 0, 0, 0
        self.names: set[str] = set()
        self.kind: str | None = None
        self.value = ""
        self.advance()

    def advance(self) -> None:
        if not self.text[self.position :].strip():
            self.kind, self.value = None, ""
            return
        match = _TOKEN.match(self.text, self.position)
        if match is None or match.lastgroup is None:
            raise ExpressionError(f"cannot read '{self.text[self.position :].strip()}'")
        self.kind, self.value = match.lastgroup, match[match.lastgroup]
        self.position = match.end()

    def binary(self, lowest: int) -> Evaluate:
        left = self.unary()
        while self.kind == "operator" and _PRECEDENCE.get(self.value, 0) > lowest:
            operator = self.value
            self.operators += 1
            if self.operators > MAX_OPERATORS:
                raise ExpressionError(f"more than {MAX_OPERATORS} operators")
            self.advance()
            left = _binary(operator, left, self.binary(_PRECEDENCE[operator]))
        return left

    def unary(self) -> Evaluate:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise ExpressionError(f"more than {MAX_DEPTH} levels of nesting")
        try:
            return self._unary()
        finally:
            self.depth -= 1

    def _unary(self) -> Evaluate:
        kind, value = self.kind, self.value
        if kind is None:
            raise ExpressionError(
                "an expression is missing" + (f" in '{self.text}'" * bool(self.text))
            )
        self.advance()
        if kind in ("number", "decimal"):
            number = _number(value)
            return lambda _scope: number
        if kind == "char":
            code = escaped(value[1:])[0] if value[0] == "\\" else ord(value)
            return lambda _scope: code
        if kind == "modifier":
            return self._modifier(value)
        if kind in ("name", "local"):
            return self._name(value if kind == "name" else self.local(value))
        if value == "(":
            inner = self.binary(0)
            self._close()
            return inner
        if value in _UNARY:
            apply, operand = _UNARY[value], self.unary()
            return lambda scope: apply(operand(scope))
        raise ExpressionError(f"unexpected '{value}' in '{self.text}'")

    def _close(self) -> None:
        if self.value != ")":
            raise ExpressionError(f"a ')' is missing in '{self.text}'")
        self.advance()

    def _name(self, name: str) -> Evaluate:
        if name == ".":
            self.names.add(name)
            return lambda scope: scope.here
        self.names.add(name)
        return lambda scope: scope.symbol(name)

    def _modifier(self, name: str) -> Evaluate:
        if name not in MODIFIERS:
            known = ", ".join(MODIFIERS)
            raise ExpressionError(f"unknown modifier '{name}': there are {known}")
        self.advance()
        inner = self.binary(0)
        self._close()
        if name == "%hi":
            return lambda scope: high_part(inner(scope))
        if name == "%lo":
            return lambda scope: low_part(inner(scope))
        self.names.add(".")
        if name == "%pcrel_hi":
            return lambda scope: high_part(scope.note_pcrel(inner(scope) - scope.here))
        return lambda scope: low_part(scope.pcrel(inner(scope)))


def _number(text: str) -> int:
    octal = text[0] == "0" and text.isdigit()
    try:
        return int(text, 8 if octal else 0)
    except ValueError:
        why = "starts with 0 but is not octal" if octal else "is not a number that can be read"
        raise ExpressionError(f"'{text[:40]}' {why}") from None


_UNARY: dict[str, Callable[[int], int]] = {
    "-": lambda a: -a,
    "+": lambda a: a,
    "~": lambda a: ~a,
    "!": lambda a: int(a == 0),
}


def _binary(operator: str, left: Evaluate, right: Evaluate) -> Evaluate:
    apply = _BINARY[operator]

    def evaluate(scope: Scope) -> int:
        value = apply(left(scope), right(scope))
        if value.bit_length() > MAX_BITS:
            raise ExpressionError(f"a value of more than {MAX_BITS} bits")
        return value

    return evaluate


def _divide(a: int, b: int) -> int:
    if b == 0:
        raise ExpressionError("division by zero")
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


def _shift(a: int, count: int) -> int:
    if abs(count) > MAX_BITS:
        raise ExpressionError(f"a shift by {count}")
    return a << count if count >= 0 else a >> -count


def _truth(value: bool) -> int:
    """GNU as makes a comparison that holds -1."""
    return -1 if value else 0


_BINARY: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": _divide,
    "%": lambda a, b: a - b * _divide(a, b),
    "<<": _shift,
    ">>": lambda a, b: _shift(a, -b),
    "&": lambda a, b: a & b,
    "|": lambda a, b: a | b,
    "^": lambda a, b: a ^ b,
    "==": lambda a, b: _truth(a == b),
    "!=": lambda a, b: _truth(a != b),
    "<>": lambda a, b: _truth(a != b),
    "<": lambda a, b: _truth(a < b),
    ">": lambda a, b: _truth(a > b),
    "<=": lambda a, b: _truth(a <= b),
    ">=": lambda a, b: _truth(a >= b),
    "&&": lambda a, b: int(a != 0 and b != 0),
    "||": lambda a, b: int(a != 0 or b != 0),
}


def high_part(value: int) -> int:
    """Return the 20 bits for `lui` or `auipc` that `low_part` completes to a value."""
    if not -(1 << 31) - 0x800 <= value < (1 << 31) - 0x800:
        raise ExpressionError(f"{value:#x} is out of reach of a 32-bit signed address")
    return (value + 0x800) >> 12 & 0xFFFFF


def low_part(value: int) -> int:
    """Return the low 12 bits of a value as a signed number."""
    return ((value & 0xFFF) ^ 0x800) - 0x800
