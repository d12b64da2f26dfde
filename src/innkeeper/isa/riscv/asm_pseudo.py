"""The pseudoinstructions that stand for more than one instruction.

Each gives lines of assembly, which are assembled like any others. `.-4` is the address of
the `auipc` before. Source: RISC-V Assembly Programmer's Manual, table of pseudoinstructions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from innkeeper.isa.riscv.aliases import MEMORY_OPERAND
from innkeeper.isa.riscv.asm_encode import Encoder
from innkeeper.isa.riscv.asm_expr import low_part
from innkeeper.isa.riscv.codec import pc_relative, slots
from innkeeper.isa.riscv.names import F_NUMBERS, X_NUMBERS

Line = tuple[str, tuple[str, ...]]
"""A mnemonic and the text of its operands."""


def load_immediate(value: int) -> list[tuple[str, int]]:
    """Return the shortest usual sequence for a 64-bit constant, as (mnemonic, immediate).

    The first instruction starts from x0 (`lui` from nothing), each other from the one before.
    """
    value = (value ^ 1 << 63) % (1 << 64) - (1 << 63)
    low = low_part(value)
    if low == value:
        return [("addi", value)]
    if -(1 << 31) <= value < 1 << 31:
        upper = (value + 0x800) >> 12 & 0xFFFFF
        return [("lui", upper), *([("addiw", low)] if low else [])]
    rest = (value - low) >> 12
    shift = 12 + (rest & -rest).bit_length() - 1
    steps = [*load_immediate((value - low) >> shift), ("slli", shift)]
    return [*steps, ("addi", low)] if low else steps


def expand(encoder: Encoder, name: str, given: Sequence[str]) -> list[Line] | None:
    """Return the lines a pseudoinstruction stands for, or `None` if it is not one."""
    if name in _PSEUDOS:
        return _PSEUDOS[name](given)
    return _global_access(encoder, name, given)


def _address(given: Sequence[str]) -> list[Line] | None:
    if len(given) != 2 or given[0] not in X_NUMBERS:
        return None
    d, symbol = given
    return [
        ("auipc", (d, f"%pcrel_hi({symbol})")),
        ("addi", (d, d, "%pcrel_lo(.-4)")),
    ]


def _far_jump(link: str, through: str, symbol: str) -> list[Line]:
    return [
        ("auipc", (through, f"%pcrel_hi({symbol})")),
        ("jalr", (link, f"%pcrel_lo(.-4)({through})")),
    ]


def _call(given: Sequence[str]) -> list[Line] | None:
    if len(given) == 1:
        return _far_jump("ra", "ra", given[0])
    if len(given) == 2 and given[0] in X_NUMBERS:
        return _far_jump(given[0], given[0], given[1])
    return None


def _tail(given: Sequence[str]) -> list[Line] | None:
    return _far_jump("zero", "t1", given[0]) if len(given) == 1 else None


def _jump(given: Sequence[str]) -> list[Line] | None:
    if len(given) == 2 and given[1] in X_NUMBERS:
        return _far_jump("zero", given[1], given[0])
    return None


def _extend(left: int, right: str) -> Callable[[Sequence[str]], list[Line] | None]:
    def lines(given: Sequence[str]) -> list[Line] | None:
        if len(given) != 2:
            return None
        d, s = given
        return [("slli", (d, s, str(left))), (right, (d, d, str(left)))]

    return lines


_PSEUDOS: dict[str, Callable[[Sequence[str]], list[Line] | None]] = {
    "la": _address,
    "lla": _address,
    "call": _call,
    "tail": _tail,
    "jump": _jump,
    # For sets without Zba or Zbb; with them the one instruction is found first.
    "sext.b": _extend(56, "srai"),
    "sext.h": _extend(48, "srai"),
    "zext.h": _extend(48, "srli"),
    "zext.w": _extend(32, "srli"),
}

NAMES = (*_PSEUDOS, "li", "c.unimp")
"""Every pseudoinstruction's name."""


def _global_access(encoder: Encoder, name: str, given: Sequence[str]) -> list[Line] | None:
    """Expand `lw a0, symbol`, and `sw a0, symbol, t0` and `flw fa0, symbol, t0` likewise."""
    if len(given) not in (2, 3) or any(MEMORY_OPERAND.fullmatch(text) for text in given):
        return None
    for instruction in encoder.named(name):
        syntax = slots(instruction.syntax)
        if len(syntax) != 2 or syntax[1].parts[:2] != ("imm", "(") or pc_relative(instruction):
            continue
        integer_load = syntax[0].parts == ("rd",) and not instruction.float_registers
        known = X_NUMBERS if not instruction.float_registers else F_NUMBERS
        through = given[0] if integer_load else given[-1]
        if given[0] in known and through in X_NUMBERS and len(given) == 3 - integer_load:
            return [
                ("auipc", (through, f"%pcrel_hi({given[1]})")),
                (name, (given[0], f"%pcrel_lo(.-4)({through})")),
            ]
    return None
