"""From an instruction's description to bits and back, and the table that finds a description.

Operands are plain numbers by field name: `rd rs1 rs2 rs3` are register numbers and `imm` is the
immediate as the meaning sees it. The assembler, the disassembler and the random-program
generator are built on these few functions; the native decoder has its own, from the same data.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

from innkeeper.isa.riscv.spec import Extension, Instruction

REGISTERS = 32
_SYNTAX_PART = re.compile(r"[A-Za-z_][\w.']*|\d+|[()]")


class OperandRange(ValueError):
    """An operand that the encoding has no room for."""


def immediate(instruction: Instruction, bits: int) -> int:
    """Gather the immediate from an instruction's bits."""
    value = instruction.fixed_imm
    for shift, width, low in instruction.pieces:
        value |= (bits >> shift & ((1 << width) - 1)) << low
    signed = instruction.signed_bits
    return value - (1 << signed) if signed and value >> (signed - 1) & 1 else value


def operands(instruction: Instruction, bits: int) -> dict[str, int]:
    """Return every operand of an encoded instruction by its field's name."""
    values = {
        name: f.base + (bits >> f.shift & ((1 << f.bits) - 1))
        for name, f in instruction.registers.items()
    }
    if instruction.pieces or instruction.fixed_imm:
        values["imm"] = immediate(instruction, bits)
    return values


def encode(instruction: Instruction, values: Mapping[str, int]) -> int:
    """Return the bits of an instruction with these operands; fields not given are 0.

    Raises `OperandRange` when a register or the immediate does not fit.
    """
    bits = instruction.match
    for name, f in instruction.registers.items():
        number = values.get(name, f.base)
        if not 0 <= number - f.base < 1 << f.bits:
            raise OperandRange(_register_reason(instruction, name))
        bits |= (number - f.base) << f.shift
    value = values.get("imm", instruction.fixed_imm)
    for shift, width, low in instruction.pieces:
        bits |= (value >> low & ((1 << width) - 1)) << shift
    if (instruction.pieces or instruction.fixed_imm) and immediate(instruction, bits) != value:
        raise OperandRange(_immediate_reason(instruction, value))
    return bits


def immediate_range(instruction: Instruction) -> tuple[int, int, int]:
    """Return the lowest and highest immediate that can be encoded, and the step between."""
    low = min((low for _, _, low in instruction.pieces), default=0)
    top = max((low + width for _, width, low in instruction.pieces), default=0)
    step = 1 << low
    if instruction.signed_bits:
        return -(1 << (top - 1)), (1 << (top - 1)) - step, step
    return 0, (1 << top) - step, step


def _register_reason(instruction: Instruction, name: str) -> str:
    f = instruction.registers[name]
    if f.bits == 0:
        return f"{name} of {instruction.name} is always x{f.base}"
    letter = "f" if name in instruction.float_registers else "x"
    if name in instruction.vector_registers:
        letter = "v"
    last = f.base + (1 << f.bits) - 1
    return f"{name} of {instruction.name} is one of {letter}{f.base} to {letter}{last}"


def _immediate_reason(instruction: Instruction, value: int) -> str:
    if instruction.fixed_imm:
        return f"the immediate of {instruction.name} is always {instruction.fixed_imm}"
    low, high, step = immediate_range(instruction)
    multiple = f", a multiple of {step}" if step > 1 else ""
    return f"{value} does not fit {instruction.name}: {low} to {high}{multiple}"


@dataclass(frozen=True)
class Slot:
    """One operand of the assembly syntax: its parts, in order (`imm`, `(`, `rs1`, `)`)."""

    parts: tuple[str, ...]

    @property
    def memory(self) -> bool:
        """Tell whether this is an address: `imm(rs1)` or `(rs1)`."""
        return "(" in self.parts


@lru_cache(maxsize=4096)
def slots(syntax: str) -> tuple[Slot, ...]:
    """Split an assembly syntax into its operands."""
    if not syntax.strip():
        return ()
    return tuple(
        Slot(tuple(p.rstrip("'") for p in _SYNTAX_PART.findall(part))) for part in syntax.split(",")
    )


def has_field(instruction: Instruction, name: str) -> bool:
    """Tell whether the encoding names a field: `csr`, `rm`, `aq`..."""
    return name in instruction.encoding.split()


def pc_relative(instruction: Instruction) -> bool:
    """Tell whether the immediate is a code offset: signed, and counted in 2 bytes.

    No other RISC-V immediate starts at bit 1 (Unprivileged 2.3, 27.4: types B, J, CB and CJ).
    """
    low = min((low for _, _, low in instruction.pieces), default=0)
    return low == 1 and instruction.signed_bits > 0


def upper(instruction: Instruction) -> bool:
    """Tell whether the immediate is written as its upper bits: `lui` and its kin (type U)."""
    return bool(instruction.pieces) and min(low for _, _, low in instruction.pieces) >= 12


class InstructionSet:
    """The instructions of some extensions, found by name or by bits."""

    def __init__(self, extensions: Iterable[Extension]) -> None:
        self.instructions = tuple(i for e in extensions for i in e.instructions)
        self.by_name: dict[str, list[Instruction]] = {}
        for instruction in self.instructions:
            self.by_name.setdefault(instruction.name, []).append(instruction)

    @cached_property
    def _by_opcode(self) -> dict[int, list[Instruction]]:
        """Instructions by their lowest bits, the most specific pattern first."""
        table: dict[int, list[Instruction]] = {}
        for instruction in sorted(self.instructions, key=lambda i: -i.mask.bit_count()):
            table.setdefault(_opcode(instruction.match), []).append(instruction)
        return table

    @cached_property
    def _compressed(self) -> dict[str, list[Instruction]]:
        table: dict[str, list[Instruction]] = {}
        for instruction in self.instructions:
            if instruction.length == 2:
                table.setdefault(instruction.base_name, []).append(instruction)
        return table

    def find(self, bits: int) -> Instruction | None:
        """Return the description these bits match, or `None`."""
        for candidate in self._by_opcode.get(_opcode(bits), ()):
            if bits & candidate.mask == candidate.match and not any(
                bits & mask == match for mask, match in candidate.reserved
            ):
                return candidate
        return None

    def decode(self, bits: int) -> tuple[Instruction, dict[str, int]] | None:
        """Return the description and operands of an instruction, or `None` when illegal."""
        bits &= 0xFFFFFFFF if bits & 3 == 3 else 0xFFFF
        found = self.find(bits)
        return None if found is None else (found, operands(found, bits))

    def compress(self, instruction: Instruction, values: Mapping[str, int]) -> int | None:
        """Return the 16-bit form of an instruction with these operands, if there is one."""
        for short in self._compressed.get(instruction.name, ()):
            try:
                bits = encode(short, values)
            except OperandRange:
                continue
            expanded = operands(short, bits)
            names = (*instruction.registers, "imm")
            same = all(expanded.get(name, 0) == values.get(name, 0) for name in names)
            if same and self.find(bits) is short:
                return bits
        return None


def _opcode(bits: int) -> int:
    """Return the bits every encoding fixes: 2 of a 16-bit instruction, 7 of a longer one."""
    return bits & 0x7F if bits & 3 == 3 else bits & 3


@lru_cache(maxsize=1)
def standard_set() -> InstructionSet:
    """Return the set of every extension Innkeeper knows."""
    from innkeeper.isa.riscv.profiles import extensions

    return InstructionSet(extensions())
