"""The assembler's directives (GNU as 2.40, chapter 7 and 9.38 as far as listed here)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from innkeeper.isa.riscv.asm_expr import Expression, ExpressionError
from innkeeper.isa.riscv.asm_items import MAX_IMAGE_BYTES, Layout, Section
from innkeeper.isa.riscv.asm_source import SYMBOL, Statement, unquote

if TYPE_CHECKING:
    from innkeeper.isa.riscv.asm import Assembler

MAX_ALIGNMENT_POWER = 21
"""Largest `.align`: 2 MiB, a Sv39 megapage."""

NOP = bytes.fromhex("13000000")
SHORT_NOP = bytes.fromhex("0100")

_DATA_SIZES = {
    ".byte": 1, ".half": 2, ".short": 2, ".2byte": 2, ".hword": 2, ".word": 4, ".long": 4, ".int":
    4, ".4byte": 4, ".dword": 8, ".quad": 8, ".8byte": 8,
}  # fmt: skip

_NOTES = (
    ".file .loc .ident .type .size .attribute .weak .local .hidden .cfi_startproc .cfi_endproc "
    ".cfi_def_cfa_offset .cfi_offset .cfi_restore .cfi_sections"
)
_IGNORED = frozenset(_NOTES.split())
"""Notes for a linker or a debugger, without effect on the program."""

_KNOWN_FLAGS = {
    ".text": "ax", ".rodata": "a", ".srodata": "a", ".data": "aw", ".sdata": "aw", ".bss": "aw",
    ".sbss": "aw",
}  # fmt: skip


def open_section(sections: dict[str, Section], name: str, flags: str | None = None) -> Section:
    """Return a section by name, made with its usual flags when it is new."""
    if name not in sections:
        stem = "." + name.lstrip(".").partition(".")[0]
        flags = _KNOWN_FLAGS.get(stem, "a") if flags is None else flags
        section = Section(name, flags, nobits=stem in (".bss", ".sbss"))
        sections[name] = section
    return sections[name]


def run(asm: Assembler, statement: Statement) -> None:
    """Carry out a directive."""
    name, given = statement.name, statement.operands
    if name in _DATA_SIZES:
        _data(asm, given, _DATA_SIZES[name])
    elif name in _DIRECTIVES:
        least, most, directive = _DIRECTIVES[name]
        if not least <= len(given) <= most:
            wanted = str(least) if least == most else f"{least} to {most}"
            raise asm.error(f"{name} takes {wanted} operands, not {len(given)}")
        directive(asm, name, given)
    elif name not in _IGNORED:
        raise asm.error(f"there is no directive '{name}'")


def _data(asm: Assembler, given: tuple[str, ...], size: int) -> None:
    exprs = [asm.expression(text) for text in given]
    asm.add(lambda layout: b"".join(_number(e, size, layout) for e in exprs))


def _number(expr: Expression, size: int, layout: Layout) -> bytes:
    value = expr.evaluate(layout)
    bits = size * 8
    if not -(1 << (bits - 1)) <= value < 1 << bits:
        raise ExpressionError(f"{value:#x} does not fit {bits} bits")
    return (value & ((1 << bits) - 1)).to_bytes(size, "little")


def _strings(asm: Assembler, name: str, given: tuple[str, ...]) -> None:
    data = b""
    for text in given:
        string = unquote(text)
        if string is None:
            raise asm.error(f"{name} takes strings in double quotes, not {text}")
        data += string + (b"" if name == ".ascii" else b"\0")
    asm.add(lambda _layout: data)


def _count(expr: Expression, layout: Layout) -> int:
    value = expr.evaluate(layout)
    if not 0 <= value <= MAX_IMAGE_BYTES:
        raise ExpressionError(f"a size of {value} is not from 0 to {MAX_IMAGE_BYTES}")
    return value


def _space(asm: Assembler, _name: str, given: tuple[str, ...]) -> None:
    size, fill = asm.expression(given[0]), asm.expression(given[1] if len(given) > 1 else "0")
    asm.add(lambda layout: _number(fill, 1, layout) * _count(size, layout))


def _fill(asm: Assembler, _name: str, given: tuple[str, ...]) -> None:
    texts = (*given, *("1", "1", "0")[len(given) :])
    repeat, size, value = (asm.expression(text) for text in texts)

    def produce(layout: Layout) -> bytes:
        width = _count(size, layout)
        if width > 8:
            raise ExpressionError(f".fill repeats at most 8 bytes, not {width}")
        times = _count(repeat, layout)
        if times * width > MAX_IMAGE_BYTES:
            raise ExpressionError(f"a size of {times * width} is not up to {MAX_IMAGE_BYTES}")
        number = value.evaluate(layout) & ((1 << width * 8) - 1)
        return number.to_bytes(width, "little") * times

    asm.add(produce)


def _align(asm: Assembler, name: str, given: tuple[str, ...]) -> None:
    texts = (*given, "", "")
    amount = asm.expression(texts[0])
    if not amount.constant:
        raise asm.error(f"{name} takes a number")
    number = amount.evaluate(Layout(set()))
    if name == ".balign":
        if number & number - 1 or not 0 <= number <= 1 << MAX_ALIGNMENT_POWER:
            raise asm.error(f"{name} takes a power of two up to 2**{MAX_ALIGNMENT_POWER}")
        boundary = max(number, 1)
    else:
        if not 0 <= number <= MAX_ALIGNMENT_POWER:
            raise asm.error(f"{name} takes the power of two, 0 to {MAX_ALIGNMENT_POWER}")
        boundary = 1 << number
    fill = asm.expression(texts[1]) if texts[1] else None
    most = asm.expression(texts[2]) if texts[2] else None
    asm.section.alignment = max(asm.section.alignment, boundary)
    code = asm.section.executable and fill is None

    def produce(layout: Layout) -> bytes:
        size = -layout.here % boundary
        if most is not None and size > most.evaluate(layout):
            return b""
        if code:
            return b"\0" * (size & 1) + SHORT_NOP * (size >> 1 & 1) + NOP * (size >> 2)
        return (_number(fill, 1, layout) if fill else b"\0") * size

    asm.add(produce)


def _org(asm: Assembler, _name: str, given: tuple[str, ...]) -> None:
    offset = asm.expression(given[0])
    fill = asm.expression(given[1] if len(given) > 1 else "0")
    section = asm.section

    def produce(layout: Layout) -> bytes:
        target = offset.evaluate(layout)
        start = section.address if offset.constant else 0  # `. + n` is an address already
        size = start + target - layout.here
        if not 0 <= size <= MAX_IMAGE_BYTES:
            raise ExpressionError(f".org cannot move by {size} bytes")
        return _number(fill, 1, layout) * size

    asm.add(produce)


def _switch(asm: Assembler, section: Section) -> None:
    asm.previous, asm.section = asm.section, section


def _named_section(asm: Assembler, name: str, given: tuple[str, ...]) -> None:
    if name in (".section", ".pushsection"):
        if name == ".pushsection":
            asm.section_stack.append((asm.section, asm.previous))
        _switch(asm, _section_with_flags(asm, given))
    else:
        _switch(asm, open_section(asm.sections, name))


def _section_with_flags(asm: Assembler, given: tuple[str, ...]) -> Section:
    name = (unquote(given[0]) or given[0].encode()).decode("utf-8", "replace")
    flags = None
    if len(given) > 1:
        quoted = unquote(given[1])
        if quoted is None:
            raise asm.error(f"section flags stand in double quotes, not {given[1]}")
        flags = quoted.decode("utf-8", "replace")
    is_new = name not in asm.sections
    section = open_section(asm.sections, name, flags)
    if len(given) > 2 and is_new:
        section.nobits = given[2].lstrip("@%") == "nobits"
    return section


def _previous(asm: Assembler, name: str, given: tuple[str, ...]) -> None:
    if name == ".previous":
        _switch(asm, asm.previous)
    elif not asm.section_stack:
        raise asm.error(".popsection without .pushsection")
    else:
        asm.section, asm.previous = asm.section_stack.pop()


def _set(asm: Assembler, name: str, given: tuple[str, ...]) -> None:
    symbol, value = given[0], asm.expression(given[1])
    if SYMBOL.fullmatch(symbol) is None:
        raise asm.error(f"'{symbol}' cannot name a symbol")
    if symbol in asm.labels or (name == ".equiv" and symbol in asm.assigned):
        raise asm.error(f"'{symbol}' is defined twice")
    asm.assigned.add(symbol)

    def produce(layout: Layout) -> bytes:
        layout.symbols[symbol] = value.evaluate(layout)
        return b""

    asm.add(produce)


def _globals(asm: Assembler, _name: str, given: tuple[str, ...]) -> None:
    asm.globals.update(given)


def _option(asm: Assembler, _name: str, given: tuple[str, ...]) -> None:
    option = given[0].lower()
    if option in ("rvc", "norvc"):
        asm.rvc = option == "rvc"
    elif option == "push":
        asm.options.append(asm.rvc)
    elif option == "pop":
        if not asm.options:
            raise asm.error(".option pop without .option push")
        asm.rvc = asm.options.pop()
    elif option not in ("relax", "norelax", "pic", "nopic"):
        raise asm.error(f"there is no option '{option}'", fix="use rvc, norvc, push or pop")


def _common(asm: Assembler, _name: str, given: tuple[str, ...]) -> None:
    """Reserve zeroed memory under a name, in `.bss`."""
    before = asm.section, asm.previous
    asm.section = open_section(asm.sections, ".bss")
    _align(asm, ".balign", (given[2] if len(given) > 2 else "8",))
    asm.label(given[0])
    _space(asm, ".space", (given[1],))
    asm.section, asm.previous = before


_Directive = Callable[["Assembler", str, tuple[str, ...]], None]
_MANY = 1 << 20

_DIRECTIVES: dict[str, tuple[int, int, _Directive]] = {
    # name: fewest and most operands, what it does
    ".text": (0, 0, _named_section),
    ".data": (0, 0, _named_section),
    ".rodata": (0, 0, _named_section),
    ".bss": (0, 0, _named_section),
    ".section": (1, 5, _named_section),
    ".pushsection": (1, 5, _named_section),
    ".popsection": (0, 0, _previous),
    ".previous": (0, 0, _previous),
    ".align": (1, 3, _align),
    ".p2align": (1, 3, _align),
    ".balign": (1, 3, _align),
    ".ascii": (1, _MANY, _strings),
    ".asciz": (1, _MANY, _strings),
    ".string": (1, _MANY, _strings),
    ".space": (1, 2, _space),
    ".skip": (1, 2, _space),
    ".zero": (1, 1, _space),
    ".fill": (1, 3, _fill),
    ".org": (1, 2, _org),
    ".set": (2, 2, _set),
    ".equ": (2, 2, _set),
    ".equiv": (2, 2, _set),
    ".globl": (1, _MANY, _globals),
    ".global": (1, _MANY, _globals),
    ".option": (1, 1, _option),
    ".comm": (2, 3, _common),
}
