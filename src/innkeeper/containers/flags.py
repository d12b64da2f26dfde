"""Command line flags as Go programs have them: `-name value`, `--name=value`, before arguments.

runc's callers write both forms; `argparse` would cost 6 ms and take neither `-bundle` nor the rest
of an `exec` command line as it is.
"""

from __future__ import annotations

from innkeeper.base.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Table = dict[str, tuple[str, str, str]]  # name: (short name, kind, help)

BOOL, TEXT, NUMBER, MANY = "bool", "text", "number", "many"


class FlagError(UsageError):
    """A flag that is not known, or without its value (exit 1, as runc's)."""

    exit_code = 1


def parse_flags(table: Table, argv: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the values by name, and what follows the flags."""
    names = {short: name for name, (short, _, _) in table.items() if short}
    values: dict[str, Any] = {}
    index = 0
    while index < len(argv):
        given = argv[index]
        if len(given) < 2 or given[0] != "-":
            break
        index += 1
        if given == "--":
            break
        name, equals, value = given.lstrip("-").partition("=")
        name = names.get(name, name)
        if name not in table:
            raise FlagError(f"flag provided but not defined: -{name}")
        if table[name][1] != BOOL and not equals:
            if index == len(argv):
                raise FlagError(f"flag needs an argument: -{name}")
            value = argv[index]
            index += 1
        _keep(values, name, table[name][1], value if equals or table[name][1] != BOOL else "true")
    return values, argv[index:]


def _keep(values: dict[str, Any], name: str, kind: str, value: str) -> None:
    if kind == MANY:
        values.setdefault(name, []).append(value)
    elif kind == TEXT:
        values[name] = value
    elif kind == BOOL:
        words = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}
        if value.lower() not in words:
            raise FlagError(f'invalid boolean value "{value}" for -{name}')
        values[name] = words[value.lower()]
    else:
        try:
            values[name] = int(value)
        except ValueError:
            raise FlagError(f'invalid value "{value}" for flag -{name}') from None


def describe_flags(table: Table) -> str:
    """Return the help text of flags, a line each."""
    rows = []
    for name, (short, kind, text) in table.items():
        value = "" if kind == BOOL else " value"
        rows.append((f"--{name}{value}" + (f", -{short}{value}" if short else ""), text))
    width = max((len(row[0]) for row in rows), default=0)
    return "".join(f"   {names:{width}}  {text}\n" for names, text in rows)
