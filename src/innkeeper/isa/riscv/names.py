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

V_NUMBERS = {f"v{n}": n for n in range(32)}
"""Every spelling of a vector register."""

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


MASKED = "v0.t"
"""The mask operand of a vector instruction that has one (Unprivileged 30.5.3)."""

_SEW_NAMES = ("e8", "e16", "e32", "e64")
_LMUL_NAMES = {5: "mf8", 6: "mf4", 7: "mf2", 0: "m1", 1: "m2", 2: "m4", 3: "m8"}


def vtype_text(number: int) -> str:
    """Write a vtype as `e32, m1, ta, ma` (Unprivileged 30.6.1), or as a number where reserved."""
    lmul = _LMUL_NAMES.get(number & 7)
    if number >> 8 or number >> 5 & 1 or lmul is None:
        return str(number)
    tail, mask = "ta" if number & 64 else "tu", "ma" if number & 128 else "mu"
    return f"{_SEW_NAMES[number >> 3 & 3]}, {lmul}, {tail}, {mask}"


def vtype_number(text: str) -> int | None:
    """Return the number of a vtype such as `e32, m1, ta, ma`, or `None` if it is not one."""
    parts = [part.strip().lower() for part in text.split(",")]
    lmuls = {name: number for number, name in _LMUL_NAMES.items()}
    if len(parts) != 4 or parts[0] not in _SEW_NAMES or parts[1] not in lmuls:
        return None
    if parts[2] not in ("ta", "tu") or parts[3] not in ("ma", "mu"):
        return None
    number = _SEW_NAMES.index(parts[0]) << 3 | lmuls[parts[1]]
    return number | 64 * (parts[2] == "ta") | 128 * (parts[3] == "ma")


FLI_VALUES: tuple[float | None, ...] = (
    -1.0, None, 2.0**-16, 2.0**-15, 2.0**-8, 2.0**-7, 0.0625, 0.125, 0.25, 0.3125, 0.375, 0.4375,
    0.5, 0.625, 0.75, 0.875, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 8.0, 16.0, 128.0, 256.0,
    2.0**15, 2.0**16, float("inf"), float("nan"),
)  # fmt: skip
"""FLI's constants (Zfa); `None` is the smallest normal number of the format."""

FLI_NAMES = tuple("min" if value is None else str(value) for value in FLI_VALUES)


def fli_number(text: str) -> int | None:
    """Return the number of an FLI constant from its spelling, or `None` if there is no such one."""
    if text.lower() in FLI_NAMES:
        return FLI_NAMES.index(text.lower())
    try:
        return FLI_VALUES.index(float(text))
    except ValueError:
        return None
