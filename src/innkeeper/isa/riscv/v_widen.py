"""Vector integer arithmetic that doubles or halves the width (Unprivileged 20240411, 30.11.2,
30.11.7, 30.11.12, 30.11.14)."""

from __future__ import annotations

from innkeeper.isa.riscv.v_encoding import OPI, OPM, UNSIGNED, chosen, forms
from innkeeper.isa.riscv.v_forms import BINARY, BINARY_WIDE, TERNARY
from innkeeper.isa.riscv.v_integer import add, macc, mul, sra, srl, sub
from innkeeper.isa.riscv.v_state import SINGLE, WIDE, S, U

_VV_VX = chosen(BINARY, "vv vx")
_WV_WX = chosen(BINARY_WIDE, "wv wx")

# name, funct6, element function, types of vs2 and of the other operand
for _name, _code, _op, _a, _b in (
    ("vwaddu", "110000", add, U, U),
    ("vwadd", "110001", add, S, S),
    ("vwsubu", "110010", sub, U, U),
    ("vwsub", "110011", sub, S, S),
    ("vwmulu", "111000", mul, U, U),
    ("vwmulsu", "111010", mul, S, U),
    ("vwmul", "111011", mul, S, S),
):
    forms(_name, _code, _VV_VX, OPM, op=_op, a=_a, b=_b, k2=SINGLE, k1=SINGLE, kd=WIDE)

for _name, _code, _op, _b in (
    ("vwaddu", "110100", add, U),
    ("vwadd", "110101", add, S),
    ("vwsubu", "110110", sub, U),
    ("vwsub", "110111", sub, S),
):
    forms(_name, _code, _WV_WX, OPM, op=_op, a=U, b=_b, k2=WIDE, k1=SINGLE, kd=WIDE)

for _name, _code, _forms, _a, _b in (
    ("vwmaccu", "111100", "vv vx", U, U),
    ("vwmacc", "111101", "vv vx", S, S),
    ("vwmaccus", "111110", "vx", S, U),
    ("vwmaccsu", "111111", "vv vx", U, S),
):
    forms(_name, _code, chosen(TERNARY, _forms), OPM, reverse=True, op=macc, a=_a, b=_b, kd=WIDE)

# The shift amount is the low lg2(2*SEW) bits: `srl` and `sra` take them from the width of vs2.
for _name, _code, _op, _a in (("vnsrl", "101100", srl, U), ("vnsra", "101101", sra, S)):
    forms(
        _name, _code, BINARY_WIDE, OPI, immediate=UNSIGNED,
        op=_op, a=_a, b=U, k2=WIDE, k1=SINGLE, kd=SINGLE,
    )  # fmt: skip
