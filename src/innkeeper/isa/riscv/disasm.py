"""The disassembler: bits to assembly text, from the instructions' own descriptions.

`disassemble` writes what the assembler reads back to the same meaning; with `aliases=False` to the
same bits. Without a pc, code targets are written relative to the instruction (`. + 16`).
"""

from __future__ import annotations

from collections.abc import Iterator

from innkeeper.isa.riscv.aliases import WRITING
from innkeeper.isa.riscv.codec import (
    InstructionSet,
    Slot,
    has_field,
    pc_relative,
    slots,
    standard_set,
    upper,
)
from innkeeper.isa.riscv.csr_names import csr_name
from innkeeper.isa.riscv.names import (
    F_NAMES,
    FLI_NAMES,
    MASKED,
    ROUNDING_NAMES,
    X_NAMES,
    fence_name,
    vtype_text,
)
from innkeeper.isa.riscv.spec import VECTOR_FIELDS, Instruction

ADDRESS_MASK = (1 << 64) - 1
ORDERINGS = ("", ".rl", ".aq", ".aqrl")
"""The suffix for each value of an atomic's aq and rl bits."""

_FENCE_PLAIN = 0x100
"""From here on a fence's immediate has its `fm` field set."""


def decode(bits: int) -> tuple[Instruction, dict[str, int]] | None:
    """Return the description and operands of an instruction, or `None` when it is illegal."""
    return standard_set().decode(bits)


def length(first_half: int) -> int:
    """Return an instruction's length in bytes from its first 16 bits (Unprivileged 1.5)."""
    return 4 if first_half & 3 == 3 else 2


def disassemble(
    bits: int,
    pc: int | None = None,
    *,
    aliases: bool = True,
    instructions: InstructionSet | None = None,
) -> str:
    """Write one instruction as assembly; bits that are none become a `.half` or `.word`."""
    table = instructions or standard_set()
    found = table.decode(bits)
    if found is None:
        if bits & 3 == 3:
            return f".word {bits & 0xFFFFFFFF:#x}"
        return f".half {bits & 0xFFFF:#x}" if bits & 0xFFFF else "c.unimp"
    instruction, values = found
    if not aliases:
        name, written = _write(instruction, values, pc)
        return _join(name, _fence_sets(name, written))
    if instruction.length == 2:
        instruction = _expansion(table, instruction)
    return _join(*_shorten(*_write(instruction, values, pc)))


def disassemble_all(
    code: bytes, pc: int = 0, *, aliases: bool = True
) -> Iterator[tuple[int, int, int, str]]:
    """Yield (address, bits, length in bytes, text) for the instructions of a stretch of code.

    A truncated last instruction is written as the `.half` or `.byte` that is left of it.
    """
    offset = 0
    while offset < len(code):
        half = int.from_bytes(code[offset : offset + 2], "little")
        size = length(half)
        chunk = code[offset : offset + size]
        bits = int.from_bytes(chunk, "little")
        if len(chunk) == size:
            text = disassemble(bits, pc + offset, aliases=aliases)
        else:
            size = 2 if len(chunk) >= 2 else 1
            bits &= (1 << size * 8) - 1
            text = f"{'.half' if size == 2 else '.byte'} {bits:#x}"
        yield pc + offset, bits, size, text
        offset += size


def _expansion(table: InstructionSet, short: Instruction) -> Instruction:
    """Return the 32-bit instruction a compressed one stands for, where the set has it."""
    return next((i for i in table.by_name.get(short.base_name, ()) if i.length == 4), short)


def _join(name: str, written: list[str]) -> str:
    return f"{name} {', '.join(written)}" if written else name


def _write(
    instruction: Instruction, values: dict[str, int], pc: int | None
) -> tuple[str, list[str]]:
    name = instruction.name
    if has_field(instruction, "aq"):
        name += ORDERINGS[values.get("imm", 0) & 3]
    shown = list(slots(instruction.syntax))
    if shown and shown[-1].parts == ("vm",):
        unmasked = values["rs3"] != 0
        written = [_slot(instruction, s, values, pc) for s in shown[:-1]]
        return name, written if unmasked else [*written, MASKED]
    return name, [_slot(instruction, s, values, pc) for s in shown]


def _slot(instruction: Instruction, slot: Slot, values: dict[str, int], pc: int | None) -> str:
    return "".join(_part(instruction, part, values, pc) for part in slot.parts)


def _part(instruction: Instruction, part: str, values: dict[str, int], pc: int | None) -> str:
    imm = values.get("imm", 0)
    if part in VECTOR_FIELDS:
        return f"v{values[VECTOR_FIELDS[part]]}"
    if part == "vtypei":
        return vtype_text(imm)
    if part in instruction.registers:
        names = F_NAMES if part in instruction.float_registers else X_NAMES
        return names[values[part]]
    if part == "csr":
        return csr_name(imm)
    if part == "rm":
        return ROUNDING_NAMES.get(imm, str(imm))
    if part == "zimm":
        return str(values["rs1"])  # the CSR instructions keep a number where rs1 goes
    if part == "fli":
        return FLI_NAMES[values["rs1"]]
    if part in ("imm", "target"):
        return _immediate(instruction, imm, pc)
    return part


def _immediate(instruction: Instruction, imm: int, pc: int | None) -> str:
    if pc_relative(instruction):
        if pc is not None:
            return f"{(pc + imm) & ADDRESS_MASK:#x}"
        return f". + {imm}" if imm >= 0 else f". - {-imm}"
    return f"{imm >> 12 & 0xFFFFF:#x}" if upper(instruction) else str(imm)


def _shorten(name: str, written: list[str]) -> tuple[str, list[str]]:
    """Take the first alias that fits; leave out what the assembler supplies by itself."""
    for alias in WRITING.get(name, ()):
        shorter = alias.match(written)
        if shorter is not None:
            return alias.name, shorter
    # Where an alias leaves out another mode, leaving out dyn would change the meaning.
    if written and written[-1] == "dyn" and not any(a.name == name for a in WRITING.get(name, ())):
        return name, written[:-1]
    return name, _fence_sets(name, written)


def _fence_sets(name: str, written: list[str]) -> list[str]:
    """Spell the immediate of an ordinary fence as its two sets."""
    if name != "fence" or int(written[0]) >= _FENCE_PLAIN:
        return written
    number = int(written[0])
    return [fence_name(number >> 4), fence_name(number & 15)]
