"""The names assembly uses for registers, rounding modes and fence sets (RISC-V psABI, chapter
1)."""

from __future__ import annotations

_INTEGER = (
    "zero ra sp gp tp t0 t1 t2 s0 s1 a0 a1 a2 a3 a4 a5 a6 a7 "
    "s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 t3 t4 t5 t6"
)
X_NAMES = tuple(_INTEGER.split())
"""The ABI name of each integer register."""

_FLOAT = (
    "ft0 ft1 ft2 ft3 ft4 ft5 ft6 ft7 fs0 fs1 fa0 fa1 fa2 fa3 fa4 fa5 fa6 fa7 "
    "fs2 fs3 fs4 fs5 fs6 fs7 fs8 fs9 fs10 fs11 ft8 ft9 ft10 ft11"
)
F_NAMES = tuple(_FLOAT.split())
"""The ABI name of each floating-point register."""

X_NUMBERS = {name: n for n, name in enumerate(X_NAMES)} | {f"x{n}": n for n in range(32)}
X_NUMBERS["fp"] = X_NUMBERS["s0"]
"""Every spelling of an integer register."""

F_NUMBERS = {name: n for n, name in enumerate(F_NAMES)} | {f"f{n}": n for n in range(32)}
"""Every spelling of a floating-point register."""

ROUNDING_MODES = {"rne": 0, "rtz": 1, "rdn": 2, "rup": 3, "rmm": 4, "dyn": 7}
"""The rounding-mode field (Unprivileged 21.2)."""

ROUNDING_NAMES = {number: name for name, number in ROUNDING_MODES.items()}

FENCE_LETTERS = "iorw"
"""Device input and output, memory reads and writes: bits 3 to 0 of a fence set (2.7)."""


def fence_set(text: str) -> int | None:
    """Return the number of a fence set such as `rw`, or `None` if it is not one."""
    if text == "0":
        return 0
    wanted = [letter for letter in FENCE_LETTERS if letter in text]
    if not text or "".join(wanted) != text:
        return None
    return sum(8 >> FENCE_LETTERS.index(letter) for letter in wanted)


def fence_name(number: int) -> str:
    """Spell a fence set; the empty one is `0`."""
    letters = "".join(c for k, c in enumerate(FENCE_LETTERS) if number & 8 >> k)
    return letters or "0"
