"""One instruction of assembly source to bits: aliases, operand syntax, immediates, compression.

Everything about an instruction comes from its description; this file knows only the kinds of
operand that descriptions use.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from innkeeper.isa.riscv.aliases import MEMORY_OPERAND, READING
from innkeeper.isa.riscv.asm_expr import Expression, Scope
from innkeeper.isa.riscv.codec import (
    REGISTERS,
    InstructionSet,
    OperandRange,
    Slot,
    encode,
    has_field,
    immediate_range,
    pc_relative,
    slots,
    upper,
)
from innkeeper.isa.riscv.csr_names import CSR_COUNT, CSR_NUMBERS
from innkeeper.isa.riscv.disasm import ORDERINGS
from innkeeper.isa.riscv.names import (
    F_NUMBERS,
    MASKED,
    ROUNDING_MODES,
    V_NUMBERS,
    X_NUMBERS,
    fence_set,
    fli_number,
    vtype_number,
)
from innkeeper.isa.riscv.spec import VECTOR_FIELDS, Instruction

MAX_ALIAS_STEPS = 4
"""How often one spelling may lead to another (`csrw c, 5` to `csrrw` to `csrrwi`)."""


class OperandError(ValueError):
    """Operands that no form of the instruction takes; the message says why."""


@dataclass(frozen=True)
class Form:
    """A description chosen for an instruction of the source, with the text of each operand."""

    instruction: Instruction
    operands: tuple[str, ...]
    ordering: int = 0

    @property
    def target(self) -> str | None:
        """The text of the code target, if the instruction has one."""
        return self.operands[-1] if pc_relative(self.instruction) else None


class Encoder:
    """Chooses forms and encodes them, for one instruction set."""

    def __init__(self, instructions: InstructionSet) -> None:
        self.instructions = instructions

    def choose(self, name: str, given: Sequence[str], steps: int = MAX_ALIAS_STEPS) -> Form | None:
        """Return the form that takes these operands, through the aliases if need be, or `None`."""
        return next(self.forms(name, given, steps), None)

    def forms(
        self, name: str, given: Sequence[str], steps: int = MAX_ALIAS_STEPS
    ) -> Iterator[Form]:
        """Yield every form that takes these operands: all have the same effect."""
        aliases = READING.get(name, []) if steps else []
        for alias in aliases:
            if alias.base == name:  # an abbreviation: with its operands it is not the plain form
                expanded = alias.expand(given)
                yield from self._direct(name, expanded) if expanded is not None else ()
        yield from self._direct(name, given)
        for alias in aliases:
            expanded = alias.expand(given) if alias.base != name else None
            yield from self.forms(alias.base, expanded, steps - 1) if expanded is not None else ()

    def _direct(self, name: str, given: Sequence[str]) -> Iterator[Form]:
        for instruction, ordering in self._named(name):
            if fits(instruction, given):
                yield Form(instruction, _completed(instruction, given), ordering)
        if name == "fence" and len(given) == 2:
            sets = [fence_set(text.lower()) for text in given]
            if sets[0] is not None and sets[1] is not None:
                yield from self._direct(name, [str(sets[0] << 4 | sets[1])])

    def named(self, name: str) -> list[Instruction]:
        """Return the descriptions with a name, an atomic's ordering suffix taken off."""
        return [instruction for instruction, _ in self._named(name)]

    def _named(self, name: str) -> list[tuple[Instruction, int]]:
        found = self.instructions.by_name.get(name)
        if found:
            return [(i, 0) for i in found]
        stem, _, suffix = name.rpartition(".")
        if f".{suffix}" not in ORDERINGS:
            return []
        ordering = ORDERINGS.index(f".{suffix}")
        atomics = self.instructions.by_name.get(stem, ())
        return [(i, ordering) for i in atomics if has_field(i, "aq")]

    def explain(self, name: str, given: Sequence[str]) -> str:
        """Say what operands the instruction of a name wants instead."""
        forms = [i.syntax or "no operands" for i in self.named(name)]
        forms += [", ".join(a.left).replace("$", "") for a in READING.get(name, ())]
        got = ", ".join(given) or "nothing"
        return f"it takes: {'; or '.join(forms)}. It was given: {got}"

    def values(
        self, form: Form, exprs: Sequence[Expression | None], scope: Scope
    ) -> dict[str, int]:
        """Return the operands' numbers; raises `OperandError`."""
        values = {"imm": form.ordering} if form.instruction.pieces else {}
        wanted = slots(form.instruction.syntax)
        for slot, text, expr in zip(wanted, form.operands, exprs, strict=True):
            _read_slot(form.instruction, slot, text, expr, scope, values)
        return values

    def bits(self, form: Form, values: dict[str, int]) -> int:
        """Encode; raises `OperandError` when a value does not fit or the result is reserved."""
        try:
            bits = encode(form.instruction, values)
        except OperandRange as error:
            raise OperandError(str(error)) from None
        if any(bits & mask == match for mask, match in form.instruction.reserved):
            raise OperandError(f"{form.instruction.name} with these operands is reserved")
        return bits


_UNMASKED = ""
"""Stands for the mask operand where there is none."""


def _completed(instruction: Instruction, given: Sequence[str]) -> tuple[str, ...]:
    """Supply what may be left out (a rounding mode, a mask); join what makes up a vtype."""
    wanted = slots(instruction.syntax)
    last = wanted[-1].parts if wanted else ()
    if last == ("vtypei",) and len(given) > len(wanted):
        return (*given[: len(wanted) - 1], ", ".join(given[len(wanted) - 1 :]))
    if len(wanted) == len(given) + 1 and last in (("rm",), ("vm",)):
        return (*given, "dyn" if last == ("rm",) else _UNMASKED)
    return tuple(given)


def fits(instruction: Instruction, given: Sequence[str]) -> bool:
    """Tell whether operands have the forms that an instruction's syntax asks for."""
    wanted = slots(instruction.syntax)
    given = _completed(instruction, given)
    return len(wanted) == len(given) and all(
        _slot_fits(instruction, slot, text) for slot, text in zip(wanted, given, strict=True)
    )


def _slot_fits(instruction: Instruction, slot: Slot, text: str) -> bool:
    address = MEMORY_OPERAND.fullmatch(text)
    if slot.memory or address:
        return slot.memory and address is not None
    part = slot.parts[0]
    if part in VECTOR_FIELDS:
        return text in V_NUMBERS
    if part in V_NUMBERS:
        return text == part
    if part == "vm":
        return text in (_UNMASKED, MASKED)
    if part in instruction.registers and part != "zimm":
        names = F_NUMBERS if part in instruction.float_registers else X_NUMBERS
        return text in names
    if part == "rm":
        return text.lower() in ROUNDING_MODES
    if part == "fli":
        return fli_number(text) is not None
    if part == "csr":
        return bool(text)
    if part in X_NUMBERS:
        return X_NUMBERS.get(text) == X_NUMBERS[part]
    return text not in X_NUMBERS and text not in V_NUMBERS


def expression_texts(form: Form) -> list[str | None]:
    """Return for each operand the text of the expression in it, if there is one."""
    return [
        _expression_text(form.instruction, slot, text)
        for slot, text in zip(slots(form.instruction.syntax), form.operands, strict=True)
    ]


def _expression_text(instruction: Instruction, slot: Slot, text: str) -> str | None:
    if slot.memory:
        address = MEMORY_OPERAND.fullmatch(text)
        return (address[1].strip() or "0") if address else None
    part = slot.parts[0]
    if part in instruction.registers or part in ("rm", "fli") or part in X_NUMBERS:
        return None
    if part in VECTOR_FIELDS or part == "vm" or part in V_NUMBERS:
        return None
    if part == "vtypei":
        return None if vtype_number(text) is not None else text
    if part == "csr":
        return None if text.lower() in CSR_NUMBERS else text
    return text


def _read_slot(
    instruction: Instruction,
    slot: Slot,
    text: str,
    expr: Expression | None,
    scope: Scope,
    values: dict[str, int],
) -> None:
    if slot.memory:
        _read_address(instruction, slot, text, expr, scope, values)
        return
    part = slot.parts[0]
    if part in VECTOR_FIELDS:
        values[VECTOR_FIELDS[part]] = V_NUMBERS[text]
    elif part == "vm":
        values["rs3"] = int(text == _UNMASKED)
    elif part == "vtypei" and expr is None:
        values["imm"] = vtype_number(text) or 0
    elif part in instruction.registers and part != "zimm":
        names = F_NUMBERS if part in instruction.float_registers else X_NUMBERS
        values[part] = names[text]
    elif part == "fli":
        values["rs1"] = fli_number(text) or 0
    elif part == "rm":
        values["imm"] = ROUNDING_MODES[text.lower()]
    elif part == "csr":
        values["imm"] = _csr(text, expr, scope)
    elif part == "zimm" and expr is not None:
        values["rs1"] = _small(instruction, expr.evaluate(scope))
    elif expr is not None:
        values["imm"] = _immediate(instruction, expr, scope)


def _read_address(
    instruction: Instruction,
    slot: Slot,
    text: str,
    expr: Expression | None,
    scope: Scope,
    values: dict[str, int],
) -> None:
    address = MEMORY_OPERAND.fullmatch(text)
    if address is None or expr is None:
        raise OperandError(f"'{text}' is not an address such as 8(a0)")
    offset, register = expr.evaluate(scope), X_NUMBERS[address[2]]
    base = slot.parts[slot.parts.index("(") + 1]
    if base in instruction.registers:
        values[base] = register
    elif X_NUMBERS.get(base) != register:
        raise OperandError(f"{instruction.name} addresses by {base} only")
    if slot.parts[0] != "(":
        values["imm"] = offset
    elif offset != 0:
        raise OperandError(f"{instruction.name} takes an address without an offset")


def _small(instruction: Instruction, value: int) -> int:
    if not 0 <= value < REGISTERS:
        raise OperandError(f"{value} does not fit {instruction.name}: 0 to {REGISTERS - 1}")
    return value


def _csr(text: str, expr: Expression | None, scope: Scope) -> int:
    if expr is None:
        return CSR_NUMBERS[text.lower()]
    number = expr.evaluate(scope)
    if not 0 <= number < CSR_COUNT:
        raise OperandError(f"CSR number {number:#x} is not below {CSR_COUNT:#x}")
    return number


def _immediate(instruction: Instruction, expr: Expression, scope: Scope) -> int:
    value = expr.evaluate(scope)
    if pc_relative(instruction):
        return value - scope.here
    if not upper(instruction):
        return value
    low, high, _ = immediate_range(instruction)
    if 0 <= value <= 0xFFFFF:
        signed = (value ^ 0x80000) - 0x80000
        if low >> 12 <= signed <= high >> 12:
            return signed << 12
    raise OperandError(
        f"{value:#x} does not fit {instruction.name}: it takes the 20 upper bits of a number"
    )


def branch_inverse(instructions: InstructionSet, branch: Instruction) -> Instruction | None:
    """Return the branch on the opposite condition: the one whose funct3 differs in its low bit."""
    for other in instructions.instructions:
        if other.mask == branch.mask and other.match == branch.match ^ 1 << 12:
            return other
    return None


def suggestions(name: str, instructions: InstructionSet) -> str:
    """Return the nearest names there are, for the message about an unknown one."""
    import difflib

    known = [*instructions.by_name, *READING]
    near = difflib.get_close_matches(name, known, n=3)
    return f"did you mean {' or '.join(near)}?" if near else ""
