"""How an instruction is written down: encoding, assembly syntax and meaning, side by side.

    @insn("addi", "imm[11:0] rs1 000 rd 0010011", "rd, rs1, imm")
    def addi(h: Hart, i: Operands) -> None:
        h.x[i.rd] = h.x[i.rs1] + u64(i.imm)

An encoding lists the fields from the most to the least significant bit: bit strings, the register
fields `rd rs1 rs2 rs3` (5 bits; `rd' rs1' rs2'` 3 bits, x8 to x15), immediates `imm[11:0]`
(sign-extended from the
highest bit named anywhere in the pattern) or `uimm[...]` (zero-extended) whose slices may be joined
with `|`, and `rm` (3 bits), `csr` (12), `aq`, `rl`: the last three kinds also land in `imm`.

Vector instructions have the fields `vd vs1 vs2 vs3` (5 bits; the operands `rd rs1 rs2 rd`), `vm`
(1 bit, the operand `rs3`), and two that are fixed bits and an operand nevertheless: `vm=1` and
`nf=010` (3 bits, the operand `imm`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from innkeeper.base.record import field, record

Reserved = tuple[tuple[int, int], ...]
REGISTER_FIELDS = {"rd", "rs1", "rs2", "rs3"}
VECTOR_FIELDS = {"vd": "rd", "vs1": "rs1", "vs2": "rs2", "vs3": "rd"}
"""Where a vector register's number goes among the operands."""
_IMM_FIELD = re.compile(r"(u?imm)\[([\d:|]+)\]")


@record
class RegisterField:
    """Where a register number comes from: `bits` at `shift`, plus `base` (bits 0: constant)."""

    shift: int
    bits: int
    base: int


@record
class Instruction:
    """One encoding: fixed bits, operand fields, syntax, and the function that is its meaning."""

    name: str
    encoding: str
    syntax: str
    length: int
    mask: int
    match: int
    registers: dict[str, RegisterField]
    pieces: tuple[tuple[int, int, int], ...]
    """Immediate pieces: (lowest bit in the instruction, width, lowest bit in the immediate)."""
    signed_bits: int
    """Width from which the immediate is sign-extended, 0 for zero extension."""
    extension: str
    meaning: Callable[..., Any]
    float_registers: frozenset[str] = frozenset()
    vector_registers: frozenset[str] = frozenset()
    sync: bool = False
    base_name: str = ""
    """For a compressed instruction the name of the one it expands to."""
    reserved: Reserved = ()
    """Patterns (mask, match) within this encoding that are reserved."""
    fixed_imm: int = 0
    """The immediate of an encoding that names none: what a compressed instruction implies."""

    @property
    def writes_x(self) -> bool:
        """Tell whether `rd` is an integer register, so that 0 means nothing is written."""
        return "rd" not in self.float_registers and "rd" not in self.vector_registers


@record(frozen=False)
class Extension:
    """A named set of instructions; `insn` is the decorator that fills it."""

    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def insn(
        self,
        name: str,
        encoding: str,
        syntax: str,
        *,
        fp: str = "",
        sync: bool = False,
        length: int = 4,
        reserved: Reserved = (),
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Describe an instruction; `fp` names the register fields that are floating-point ones.

        `sync` says that the instruction may change translation, privilege, interrupts or the
        code itself, so that whatever follows must be looked up again. `length` is in bytes.
        """

        def register(meaning: Callable[..., Any]) -> Callable[..., Any]:
            self.instructions.append(
                _make(
                    name, encoding, syntax, length, self.name, meaning, fp, sync, "", {}, reserved
                )
            )
            return meaning

        return register

    def compressed(
        self,
        name: str,
        encoding: str,
        syntax: str,
        base: Instruction,
        *,
        registers: dict[str, int | str],
        imm: int = 0,
        reserved: Reserved = (),
    ) -> None:
        """Describe a 16-bit instruction as the 32-bit one it expands to.

        `registers` gives the operands the encoding does not name under the base instruction's
        name: a constant register number or the field to copy. `imm` is the immediate where the
        encoding has none.
        """
        self.instructions.append(
            _make(
                name, encoding, syntax, 2, self.name, base.meaning, "", base.sync, base.name,
                registers, reserved, base.float_registers, imm,
            )
        )  # fmt: skip

    def __getitem__(self, name: str) -> Instruction:
        return next(i for i in self.instructions if i.name == name)


def meaning_parts(meaning: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    """Split a meaning into its function and the values of the function's `Const` parameters.

    Families of instructions share a function: their meaning is a `partial` of it.
    """
    if not isinstance(meaning, partial):
        return meaning, ()
    names = meaning.func.__code__.co_varnames[: meaning.func.__code__.co_argcount]
    return meaning.func, tuple(meaning.keywords[n] for n in names if n in meaning.keywords)


def _make(
    name: str,
    encoding: str,
    syntax: str,
    length: int,
    extension: str,
    meaning: Callable[..., Any],
    fp: str,
    sync: bool,
    base_name: str,
    extra: dict[str, int | str],
    reserved: Reserved,
    floats: frozenset[str] | None = None,
    fixed_imm: int = 0,
) -> Instruction:
    mask = match = signed_bits = 0
    position = length * 8
    registers: dict[str, RegisterField] = {}
    pieces: list[tuple[int, int, int]] = []
    vectors: set[str] = set()

    def take(bits: int) -> int:
        nonlocal position
        position -= bits
        return position

    for token in encoding.split():
        field_name, _, fixed = token.rpartition("=")
        if set(fixed) <= {"0", "1"}:
            shift = take(len(fixed))
            mask |= ((1 << len(fixed)) - 1) << shift
            match |= int(fixed, 2) << shift
            if field_name == "vm":
                registers["rs3"] = RegisterField(0, 0, int(fixed, 2))
            elif field_name == "nf":
                fixed_imm = int(fixed, 2)
        elif token in VECTOR_FIELDS:
            registers[VECTOR_FIELDS[token]] = RegisterField(take(5), 5, 0)
            vectors.add(VECTOR_FIELDS[token])
        elif token == "vm":
            registers["rs3"] = RegisterField(take(1), 1, 0)
        elif token.rstrip("'") in REGISTER_FIELDS:
            prime = token.endswith("'")
            bits = 3 if prime else 5
            registers[token.rstrip("'")] = RegisterField(take(bits), bits, 8 if prime else 0)
        elif found := _IMM_FIELD.fullmatch(token):
            for part in found[2].split("|"):
                high, _, low = part.partition(":")
                low = low or high
                width = int(high) - int(low) + 1
                pieces.append((take(width), width, int(low)))
                if found[1] == "imm":
                    signed_bits = max(signed_bits, int(high) + 1)
        else:
            width, low_bit = {"rm": (3, 0), "csr": (12, 0), "aq": (1, 1), "rl": (1, 0)}[token]
            pieces.append((take(width), width, low_bit))
    if position != 0:
        raise ValueError(f"{name}: the encoding is off by {position} bits")
    for operand, source in extra.items():
        registers[operand] = (
            registers[source] if isinstance(source, str) else RegisterField(0, 0, source)
        )
    return Instruction(
        name, encoding, syntax, length, mask, match, registers, tuple(pieces), signed_bits,
        extension, meaning, frozenset(fp.split()) if floats is None else floats,
        frozenset(vectors), sync, base_name, reserved, fixed_imm,
    )  # fmt: skip
