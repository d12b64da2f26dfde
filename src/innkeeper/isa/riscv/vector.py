"""The vector extensions, all of them: importing this fills their tables."""

from innkeeper.isa.riscv import (
    v_compare,
    v_config,
    v_fixed,
    v_float,
    v_float_compare,
    v_float_convert,
    v_float_fused,
    v_float_unary,
    v_integer,
    v_mask,
    v_memory_table,
    v_permute,
    v_reduce,
    v_widen,
)
from innkeeper.isa.riscv.v_encoding import V
from innkeeper.isa.riscv.zvbb import ZVBB, ZVBC
from innkeeper.isa.riscv.zvkned import ZVKNED
from innkeeper.isa.riscv.zvknh import ZVKG, ZVKNH

MODULES = (
    v_compare, v_config, v_fixed, v_float, v_float_compare, v_float_convert, v_float_fused,
    v_float_unary, v_integer, v_mask, v_memory_table, v_permute, v_reduce, v_widen,
)  # fmt: skip
"""Where the instructions are described."""

V.instructions.sort(key=lambda one: (one.match, one.mask))
# They are numbered, and some of those modules may have been imported before, in whatever order.

VECTOR = (
    V,
    ZVBB,
    ZVBC,
    ZVKNED,
    ZVKNH,
    ZVKG,
)
"""The extensions."""
