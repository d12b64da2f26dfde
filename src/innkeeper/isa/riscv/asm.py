"""The assembler: RISC-V assembly source to a program in memory, or to an ELF file.

    program = assemble("_start: li a0, 42\\n ret\\n", base=0x8000_0000)
    program.image, program.entry, program.symbols["_start"]

The language is GNU as's as far as `docs/assembler.md` lists it. There is no linker: addresses are
final, so `la`, branches and `%pcrel_lo` need no relocation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from innkeeper.isa.riscv import asm_directives, asm_pseudo
from innkeeper.isa.riscv.aliases import READING
from innkeeper.isa.riscv.asm_elf import elf_image
from innkeeper.isa.riscv.asm_encode import Encoder, Form, expression_texts, suggestions
from innkeeper.isa.riscv.asm_expr import Expression, ExpressionError, parse
from innkeeper.isa.riscv.asm_items import (
    Code,
    Item,
    Layout,
    LoadImmediate,
    ParsedForm,
    Produce,
    Section,
    lay_out,
)
from innkeeper.isa.riscv.asm_source import AssemblyError, Statement, statements
from innkeeper.isa.riscv.codec import InstructionSet, standard_set
from innkeeper.isa.riscv.names import X_NUMBERS
from innkeeper.isa.riscv.spec import Extension

__all__ = ["AssemblyError", "Program", "ProgramSection", "assemble", "elf_image"]

DEFAULT_BASE = 0x8000_0000
"""Where RAM starts on the `virt` board."""

ENTRY_SYMBOL = "_start"


@dataclass(frozen=True)
class ProgramSection:
    """Where a section landed; `flags` of `r`, `w` and `x`; `nobits` has no bytes in the image."""

    name: str
    address: int
    size: int
    flags: str
    nobits: bool = False


@dataclass(frozen=True)
class Program:
    """An assembled program.

    `image` is to be loaded at `base`; the program needs `memory_size` bytes there, which are more
    than the image has when there is a `.bss`. `lines` gives the source line of each instruction.
    """

    image: bytes
    base: int
    entry: int
    memory_size: int
    symbols: dict[str, int]
    labels: frozenset[str]
    global_symbols: frozenset[str]
    sections: tuple[ProgramSection, ...]
    lines: dict[int, int]


def assemble(
    source: str,
    *,
    base: int = DEFAULT_BASE,
    extensions: Iterable[Extension] | None = None,
    name: str = "<source>",
    rvc: bool = False,
) -> Program:
    """Assemble source for a base address; raises `AssemblyError` with the line and the reason.

    `extensions` limits the instructions (default: all there are); `rvc` is what `.option rvc` sets.
    """
    table = standard_set() if extensions is None else InstructionSet(extensions)
    assembler = Assembler(table, name=name, rvc=rvc)
    for statement in statements(source, name):
        assembler.take(statement)
    return assembler.finish(base)


class Assembler:
    """The state of one run: sections, items and symbols as the statements bring them."""

    def __init__(self, instructions: InstructionSet, *, name: str, rvc: bool) -> None:
        self.encoder = Encoder(instructions)
        self.name, self.rvc = name, rvc
        self.options: list[bool] = []
        self.sections: dict[str, Section] = {}
        self.section = self.previous = asm_directives.open_section(self.sections, ".text")
        self.section_stack: list[tuple[Section, Section]] = []
        self.items: list[Item] = []
        self.labels: set[str] = set()
        self.assigned: set[str] = set()
        self.globals: set[str] = set()
        self.local_counts: dict[str, int] = {}
        self.line = 0

    def take(self, statement: Statement) -> None:
        """Take one statement of the source."""
        self.line = statement.line
        for label in statement.labels:
            self.label(label)
        if not statement.name:
            return
        try:
            if statement.name[0] == ".":
                asm_directives.run(self, statement)
            else:
                self._instruction(statement.name, statement.operands)
        except ExpressionError as error:
            raise self.error(str(error)) from None

    def error(self, what: str, *, why: str = "", fix: str = "") -> AssemblyError:
        """Return an error at the current line."""
        return AssemblyError(what, line=self.line, name=self.name, why=why, fix=fix)

    def add(self, produce: Produce, *, code: bool = False) -> None:
        """Add an item to the current section."""
        self.items.append(Item(self.line, self.section, produce, code))

    def expression(self, text: str) -> Expression:
        """Parse an expression at this point of the source."""
        return parse(text, self._local)

    def _local(self, text: str) -> str:
        """Name the label that `1b` or `1f` means here; as written it cannot clash with others."""
        number, direction = text[:-1].lstrip("0") or "0", text[-1]
        count = self.local_counts.get(number, 0)
        if direction == "b" and count == 0:
            raise ExpressionError(f"there is no label '{number}:' before '{text}'")
        return f"{text}\x02{number}\x02{count + (direction == 'f')}"

    def label(self, label: str) -> None:
        """Define a label at this point."""
        if label[0].isdigit():
            number = label.lstrip("0") or "0"
            count = self.local_counts[number] = self.local_counts.get(number, 0) + 1
            for direction in "bf":
                self._define(f"{number}{direction}\x02{number}\x02{count}")
            return
        if label in self.labels or label in self.assigned:
            raise self.error(f"'{label}' is defined twice")
        self._define(label)

    def _define(self, label: str) -> None:
        self.labels.add(label)

        def place(layout: Layout) -> bytes:
            layout.symbols[label] = layout.here
            return b""

        self.add(place)

    def _instruction(self, name: str, given: tuple[str, ...]) -> None:
        forms = list(self.encoder.forms(name, given))
        if forms:
            self.add(Code(self.encoder, self._parsed(forms), compress=self.rvc), code=True)
        elif name == "li" and len(given) == 2 and given[0] in X_NUMBERS:
            self._load_immediate(given[0], self.expression(given[1]))
        elif name == "c.unimp" and not given:
            self.add(lambda _layout: bytes(2), code=True)
        elif (expanded := asm_pseudo.expand(self.encoder, name, given)) is not None:
            for line, operands in expanded:
                self._instruction(line, operands)
        else:
            raise self._refusal(name, given)

    def _parsed(self, forms: list[Form]) -> list[ParsedForm]:
        return [
            (form, [None if t is None else self.expression(t) for t in expression_texts(form)])
            for form in forms
        ]

    def _load_immediate(self, register: str, value: Expression) -> None:
        self.add(LoadImmediate(self.encoder, register, value, compress=self.rvc), code=True)

    def _refusal(self, name: str, given: tuple[str, ...]) -> AssemblyError:
        if self.encoder.named(name) or name in READING or name in asm_pseudo.NAMES:
            why = self.encoder.explain(name, given)
            return self.error(f"these operands do not go with '{name}'", why=why)
        fix = suggestions(name, self.encoder.instructions)
        return self.error(f"there is no instruction '{name}'", fix=fix)

    def finish(self, base: int) -> Program:
        """Lay out what was taken and return the program."""
        order = sorted(self.sections.values(), key=lambda s: s.rank)
        layout = Layout(self.labels | self.assigned)
        if self.items:
            lay_out(self.items, order, layout, base=base, name=self.name)
        image = bytearray()
        for section in order:
            if not section.nobits and section.size:
                image += bytes(section.address - base - len(image)) + section.data
        end = max((s.address + s.size for s in order if s.size), default=base)
        symbols = {n: v for n, v in layout.symbols.items() if "\x02" not in n}
        code = next((s.address for s in order if s.executable and s.size), base)
        return Program(
            image=bytes(image),
            base=base,
            entry=symbols.get(ENTRY_SYMBOL, code),
            memory_size=end - base,
            symbols=symbols,
            labels=frozenset(self.labels & symbols.keys()),
            global_symbols=frozenset(self.globals & symbols.keys()),
            sections=tuple(_describe(s) for s in order if s.size),
            lines=_line_map(self.items, order),
        )


def _describe(section: Section) -> ProgramSection:
    flags = "r" + "w" * ("w" in section.flags) + "x" * section.executable
    return ProgramSection(section.name, section.address, section.size, flags, section.nobits)


def _line_map(items: list[Item], order: list[Section]) -> dict[int, int]:
    at = {id(s): s.address for s in order}
    lines: dict[int, int] = {}
    for item in items:
        address = at[id(item.section)]
        if item.code and item.size:
            lines[address] = item.line
        at[id(item.section)] = address + item.size
    return lines
