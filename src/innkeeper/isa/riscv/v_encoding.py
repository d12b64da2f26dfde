"""The vector extension's table of instructions, and the forms that families of them come in.

A family is a function of elements with its encoding beside it:

    @elementwise("vadd", "000000", "vv vx vi")
    def add(a: u64, b: u64, bits: Const) -> u64:
        return a + b

Each form becomes one instruction, whose meaning is a function of the form with the element
function bound to it. Source: Unprivileged 20240411, 30.5, 30.10 and the table in 30.19.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from innkeeper.isa.riscv.spec import Extension

V = Extension("V")

OP_V = "1010111"
OPI = {"v": "000", "i": "011", "x": "100"}
OPM = {"v": "010", "x": "110"}
OPF = {"v": "001", "f": "101"}
"""funct3 of the integer, the multiply and mask, and the floating-point categories (30.10.1)."""

SIGNED, UNSIGNED = "imm[4:0]", "uimm[4:0]"
MASKABLE, UNMASKED, MASKED = "vm", "vm=1", "vm=0"
MASK_OPERAND = {MASKABLE: ["vm"], UNMASKED: [], MASKED: ["v0"]}

Meaning = Callable[..., Any]


def forms(
    stem: str,
    funct6: str,
    meanings: dict[str, Meaning],
    funct3: dict[str, str],
    *,
    vm: str = MASKABLE,
    immediate: str = SIGNED,
    reverse: bool = False,
    suffix: str = "",
    extension: Extension = V,
    **bound: Any,
) -> None:
    """Describe `stem.vv`, `stem.wx`...: each form of `meanings`, with `bound` bound to it.

    A form's last letter says what the second operand is. `reverse` writes vs2 last, as the
    multiply-adds have it; `suffix` ends the names of those that use v0 as an operand.
    """
    for form, meaning in meanings.items():
        kind = form[-1]
        source = {"v": "vs1", "x": "rs1", "f": "rs1", "i": immediate}[kind]
        shown = "imm" if kind == "i" else source
        operands = ["vd", shown, "vs2"] if reverse else ["vd", "vs2", shown]
        extension.insn(
            f"{stem}.{form}{suffix}",
            f"{funct6} {vm} vs2 {source} {funct3[kind]} vd {OP_V}",
            ", ".join([*operands, *MASK_OPERAND[vm]]),
            fp="rs1" if kind == "f" else "",
        )(partial(meaning, **bound))


def chosen(meanings: dict[str, Meaning], names: str) -> dict[str, Meaning]:
    """Return the forms that are named."""
    return {name: meanings[name] for name in names.split()}


def single(
    name: str,
    encoding: str,
    syntax: str,
    meaning: Meaning,
    *,
    fp: str = "",
    extension: Extension = V,
    **bound: Any,
) -> None:
    """Describe one instruction of OP-V by the rest of its encoding."""
    made = partial(meaning, **bound) if bound else meaning
    extension.insn(name, f"{encoding} {OP_V}", syntax, fp=fp)(made)
