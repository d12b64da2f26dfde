"""Integer-only IEEE 754 arithmetic for RISC-V: the definition, and the native engine's fallback.

Every operation is generic over the format: compile-time `e` exponent bits and `m` fraction bits
(see `softfloat_core`). Values are raw bits in the low end of a u64. Exceptions accrue in
`h.fflags`; `rm` is an instruction's rounding-mode field, where 7 (`DYN`) means `h.frm`. All five
modes, tininess after rounding, canonical NaNs. An engine may replace the entry points below with
host floating point where it gives the same bits and flags.
"""

from __future__ import annotations

from innkeeper.isa.riscv.softfloat_arith import f_add, f_div, f_fma, f_mul, f_sqrt, f_sub
from innkeeper.isa.riscv.softfloat_compare import (
    f_class,
    f_eq,
    f_le,
    f_le_quiet,
    f_lt,
    f_lt_quiet,
    f_max,
    f_max_nan,
    f_min,
    f_min_nan,
)
from innkeeper.isa.riscv.softfloat_convert import (
    f_convert,
    f_from_int,
    f_round,
    f_to_int,
    f_to_word_modular,
)
from innkeeper.isa.riscv.softfloat_core import DYN, DZ, NV, NX, OF, RDN, RMM, RNE, RTZ, RUP, UF

__all__ = [
    "DYN", "DZ", "NV", "NX", "OF", "RDN", "RMM", "RNE", "RTZ", "RUP", "UF",
    "f_add", "f_class", "f_convert", "f_div", "f_eq", "f_fma", "f_from_int", "f_le", "f_le_quiet",
    "f_lt", "f_lt_quiet", "f_max", "f_max_nan", "f_min", "f_min_nan", "f_mul", "f_round", "f_sqrt",
    "f_sub", "f_to_int", "f_to_word_modular",
]  # fmt: skip
