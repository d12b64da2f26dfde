"""All instructions' templates, made when the emulator is compiled and kept beside it on disk.

Making them means parsing every meaning again, 0.2 s and more of Python; reading them takes little.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from innkeeper.base.record import record
from innkeeper.native import cache as code_cache
from innkeeper.native.elf import Image

GUEST = ", !alias.scope !1, !noalias !2"
HOST = ", !alias.scope !2, !noalias !1"
"""What is said of an access to the guest's memory, and to all else: they are apart."""
GLOBAL = re.compile(r"@[\w.$]+")


@record
class Template:
    """What an instruction does, as text between holes, and how it may go on.

    `reads` and `writes` name registers: a file and an operand's name or a number.
    """

    parts: tuple[str, ...]
    allocas: tuple[str, ...]
    reads: frozenset[tuple[str, str]]
    writes: frozenset[tuple[str, str]]
    labels: frozenset[str]
    """Which of the labels it uses."""
    uses_float: bool
    strict: bool
    calls_out: bool
    """It calls slow paths, which may do anything a handler may."""
    base: str
    """Its name without what tells a compressed form apart."""
    access: tuple[int, bool] | None
    """Of a load or store off `rs1` and `imm`: its size in bytes, and whether it stores."""
    shaped: bool
    """It asks for the shape of vector registers."""

    @property
    def is_straight(self) -> bool:
        """Tell whether it only goes on at its end, so that what follows can be written there."""
        return self.parts[-2:] == ("next", "") and self.parts[1::2].count("next") == 1


@record
class Templates:
    """Templates by an instruction's number less one, and what their text refers to by name."""

    all: list[Template | None]
    masked: dict[int, Template | None]
    """Of those that have a short form: what they are where a mask forbids that, by number less one.
    """
    declared: dict[str, str]

    def of(self, number: int, vm: int) -> Template | None:
        """Return the template of an instruction by its number and the operand rs3."""
        known = self.masked if vm == 0 else {}
        return known[number - 1] if number - 1 in known else self.all[number - 1]

    def declarations(self, text: str) -> str:
        """Return the declarations and tables that IR needs."""
        named = sorted(set(GLOBAL.findall(text)) & self.declared.keys())
        return "\n".join(self.declared[name] for name in named)


def make_templates(callable_names: list[str]) -> Templates:
    """Make every template; the names are those that slow paths are numbered by."""
    from innkeeper.engine.emulator.module import engine_module
    from innkeeper.engine.emulator.regions.template import make_template
    from innkeeper.isa.riscv.profiles import instructions

    module = engine_module()
    number = {name: n for n, name in enumerate(callable_names)}
    made = [make_template(module, one, number.__getitem__) for one in instructions()]
    masked = {
        n: make_template(module, one, number.__getitem__, short=False)
        for n, (one, short) in enumerate(zip(instructions(), made, strict=True))
        if short is not None and short.shaped and one.registers["rs3"].bits == 1
    }
    declared = {name: text for name, _, text in module.constants.values()}
    for text in module.declarations.values():
        if found := GLOBAL.search(text):
            declared[found[0]] = text
    return Templates(made, masked, declared)


def templates(path: Path, callable_names: list[str]) -> Templates:
    """Return the templates that are kept at `path`; what is not there is made and kept."""
    entry = code_cache.read(path)
    if entry is not None:
        kept = entry.extra
        masked = {n: _from_plain(one) for n, one in kept["masked"]}
        return Templates([_from_plain(one) for one in kept["templates"]], masked, kept["declared"])
    made = make_templates(callable_names)
    plain = [_to_plain(one) for one in made.all]
    masked = [[n, _to_plain(one)] for n, one in made.masked.items()]
    extra = {"templates": plain, "masked": masked, "declared": made.declared}
    code_cache.write(path, code_cache.Entry(Image(b"", {}), extra))
    return made


def _to_plain(one: Template | None) -> list[Any] | None:
    """Turn a template into what JSON can say; sets are sorted so that it is always the same."""
    if one is None:
        return None
    values = [getattr(one, name) for name in Template.__record_fields__]
    return [sorted(v) if isinstance(v, frozenset) else v for v in values]


def _from_plain(plain: list[Any] | None) -> Template | None:
    if plain is None:
        return None
    parts, allocas, reads, writes, labels, *flags, base, access, shaped = plain
    return Template(
        tuple(parts), tuple(allocas), frozenset(map(tuple, reads)), frozenset(map(tuple, writes)),
        frozenset(labels), *flags, base,
        None if access is None else (access[0], access[1]), shaped,
    )  # fmt: skip
