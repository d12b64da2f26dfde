"""What the assembler lays out: sections, the items in them, and the passes that place them.

An item gives its bytes anew in every pass, at its current address and with the symbols' current
values, until nothing moves any more. Errors count only then: before, a label may still be far off.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from innkeeper.isa.riscv.asm_encode import Encoder, Form, OperandError, branch_inverse
from innkeeper.isa.riscv.asm_expr import Expression, ExpressionError
from innkeeper.isa.riscv.asm_pseudo import load_immediate
from innkeeper.isa.riscv.asm_source import AssemblyError
from innkeeper.isa.riscv.codec import encode
from innkeeper.isa.riscv.names import X_NUMBERS

MAX_IMAGE_BYTES = 64 << 20
"""Most bytes that one section may take."""

MAX_PASSES = 64
"""Passes after which a layout that still moves never settles."""

MAX_ERRORS = 20
"""Errors listed before the rest is left out."""

DATA_ALIGNMENT = 4096
"""Writable sections start on a page of their own: stores never hit a page of code."""

DEFAULT_ALIGNMENT = 16


@dataclass
class Section:
    """A section of the program; `kind` orders it in the image."""

    name: str
    flags: str
    nobits: bool = False
    alignment: int = DEFAULT_ALIGNMENT
    address: int = 0
    size: int = 0
    data: bytearray = field(default_factory=bytearray)

    @property
    def executable(self) -> bool:
        """Tell whether the section holds code."""
        return "x" in self.flags

    @property
    def rank(self) -> int:
        """Order in the image: code, constants, data, and last what takes no bytes."""
        if self.nobits:
            return 3
        return 0 if self.executable else 2 if "w" in self.flags else 1


class Layout:
    """The symbols and the position of the pass that runs; the scope of expressions."""

    def __init__(self, defined: set[str]) -> None:
        self.here = 0
        self.symbols: dict[str, int] = {}
        self.defined = defined
        self.guessed = False
        self._pcrel: dict[int, int] = {}

    def symbol(self, name: str) -> int:
        """Return a symbol's value; one that no pass has reached yet counts as being here."""
        if name in self.symbols:
            return self.symbols[name]
        if name not in self.defined:
            shown = name.partition("\x02")[0]
            raise ExpressionError(f"'{shown}' is not defined")
        self.guessed = True
        return self.here

    def note_pcrel(self, offset: int) -> int:
        """Remember where the `%pcrel_hi` here leads."""
        self._pcrel[self.here] = offset
        return offset

    def pcrel(self, address: int) -> int:
        """Return where the `%pcrel_hi` at an address leads."""
        if address not in self._pcrel:
            raise ExpressionError("%pcrel_lo wants the label of an instruction with %pcrel_hi")
        return self._pcrel[address]


Produce = Callable[[Layout], bytes]


@dataclass
class Item:
    """Something at a place in a section: code, data, padding or (without bytes) a definition."""

    line: int
    section: Section
    produce: Produce
    code: bool = False
    size: int = 0


ParsedForm = tuple[Form, list[Expression | None]]
"""A form, and for each operand the expression in it."""


class Code:
    """One instruction; a branch takes the shortest form that reaches, and never a shorter again.

    Of several forms the first is taken, unless another has a 16-bit encoding.
    """

    def __init__(self, encoder: Encoder, forms: list[ParsedForm], *, compress: bool) -> None:
        self.encoder = encoder
        self.form, self.exprs = forms[0]
        # Other operands that refer to labels would make the size depend on where it puts them.
        self.short_forms = [
            (form, exprs)
            for form, exprs in (forms if compress else ())
            if form.target is not None or all(e is None or e.constant for e in exprs)
        ]
        self.far = False

    def __call__(self, layout: Layout) -> bytes:
        for form, exprs in self.short_forms:
            values = self.encoder.values(form, exprs, layout)
            short = self.encoder.instructions.compress(form.instruction, values)
            if short is not None:
                return short.to_bytes(2, "little")
        self.short_forms = []
        values = self.encoder.values(self.form, self.exprs, layout)
        if not self.far:
            try:
                return self._plain(values)
            except OperandError:
                if self.form.target is None or not self._widen():
                    raise
        return self._far(values)

    def _plain(self, values: dict[str, int]) -> bytes:
        bits = self.encoder.bits(self.form, values)
        return bits.to_bytes(self.form.instruction.length, "little")

    def _widen(self) -> bool:
        instruction = self.form.instruction
        conditional = instruction.length == 4 and "rd" not in instruction.registers
        self.far = conditional
        return conditional

    def _far(self, values: dict[str, int]) -> bytes:
        """Branch on the opposite condition over a jump."""
        instructions = self.encoder.instructions
        inverse = branch_inverse(instructions, self.form.instruction)
        if inverse is None or "jal" not in instructions.by_name:
            raise OperandError("the target is out of reach")
        jump = instructions.by_name["jal"][0]
        over = self.encoder.bits(Form(inverse, ()), {**values, "imm": 8})
        reach = self.encoder.bits(Form(jump, ()), {"rd": 0, "imm": values["imm"] - 4})
        return over.to_bytes(4, "little") + reach.to_bytes(4, "little")


class LoadImmediate:
    """`li`: as many instructions as the value needs, never fewer than in an earlier pass."""

    def __init__(
        self, encoder: Encoder, register: str, value: Expression, *, compress: bool
    ) -> None:
        self.encoder, self.value = encoder, value
        self.register = X_NUMBERS[register]
        self.compress = compress and value.constant
        self.size = 0

    def __call__(self, layout: Layout) -> bytes:
        value = self.value.evaluate(layout)
        if not -(1 << 63) <= value < 1 << 64:
            raise ExpressionError(f"{value:#x} does not fit 64 bits")
        code, source = b"", 0
        for name, imm in load_immediate(value):
            code += self._encode(name, source, imm)
            source = self.register
        while len(code) < self.size:
            code += self._encode("addi", 0, 0, rd=0)
        self.size = len(code)
        return code

    def _encode(self, name: str, source: int, imm: int, *, rd: int | None = None) -> bytes:
        instruction = self.encoder.instructions.by_name[name][0]
        number = ((imm ^ 0x80000) - 0x80000) << 12 if name == "lui" else imm
        values = {"rd": self.register if rd is None else rd, "rs1": source, "imm": number}
        values = {k: v for k, v in values.items() if k == "imm" or k in instruction.registers}
        if self.compress:
            short = self.encoder.instructions.compress(instruction, values)
            if short is not None:
                return short.to_bytes(2, "little")
        return encode(instruction, values).to_bytes(4, "little")


def lay_out(
    items: list[Item], sections: list[Section], layout: Layout, *, base: int, name: str
) -> None:
    """Run passes until nothing moves; then the sections hold their addresses and bytes."""
    for _ in range(MAX_PASSES):
        before, placed = dict(layout.symbols), [(s.address, s.size) for s in sections]
        layout.guessed = False
        _place(sections, base)
        errors = _run_pass(items, sections, layout, name)
        after = [(s.address, s.size) for s in sections]
        if not layout.guessed and layout.symbols == before and placed == after:
            break
    else:
        raise AssemblyError(
            "the layout never settles: a size depends on itself", line=items[-1].line, name=name
        )
    if errors:
        _raise(errors)


def _place(sections: list[Section], base: int) -> None:
    address, writable = base, False
    for section in sections:
        if "w" in section.flags and section.size and not writable:
            address += -address % DATA_ALIGNMENT
            writable = True
        address += -address % section.alignment
        section.address = address
        section.data.clear()
        address += section.size


def _run_pass(
    items: list[Item], sections: list[Section], layout: Layout, name: str
) -> list[AssemblyError]:
    errors: list[AssemblyError] = []
    for item in items:
        section = item.section
        layout.here = section.address + len(section.data)
        try:
            data = item.produce(layout)
            if len(section.data) + len(data) > MAX_IMAGE_BYTES:
                raise AssemblyError(
                    f"section {section.name} grows beyond {MAX_IMAGE_BYTES} bytes",
                    line=item.line, name=name,
                )  # fmt: skip
            if section.nobits and any(data):
                raise OperandError(f"section {section.name} holds only zeros")
            item.size = len(data)
        except (OperandError, ExpressionError) as error:
            errors.append(AssemblyError(str(error), line=item.line, name=name))
            data = bytes(max(item.size, 4 if item.code else 0))
        section.data += data
    for section in sections:
        section.size = len(section.data)
    return errors


def _raise(errors: list[AssemblyError]) -> None:
    first = errors[0]
    more = [f"line {e.line}: {e.reason}" for e in errors[1:MAX_ERRORS]]
    if len(errors) > MAX_ERRORS:
        more.append(f"and {len(errors) - MAX_ERRORS} more")
    why = "; ".join(more)
    raise AssemblyError(first.reason, line=first.line, name=first.name, why=why, fix=first.fix)
