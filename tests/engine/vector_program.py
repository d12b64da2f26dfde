"""Random vector programs: straight-line code whose expected end state the reference has computed.

Each candidate is executed by the reference on a copy of the state. One that traps is left out, unless
a program of traps is what is wanted. What remains runs the same way anywhere.
"""

from __future__ import annotations

import ctypes
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from innkeeper.isa.riscv.codec import OperandRange, encode, immediate_range, slots, standard_set
from innkeeper.isa.riscv.hart import Hart
from innkeeper.isa.riscv.random_values import random_float, random_integer
from innkeeper.isa.riscv.reference import ReferenceHart
from innkeeper.isa.riscv.spec import Extension, Instruction

DIRTY = 3 << 13 | 3 << 9 | 1 << 63
"""mstatus with floating-point and vector state Dirty."""

WINDOW_BYTES = 1 << 17
"""Data that a program works on: a 16-bit index from its middle stays inside."""

BASE, STRIDE, SMALL = 8, 9, 18
"""x8 holds the middle of the window, x9 a stride, x18 a mask for indices."""

MAX_STRIDE = 200
KEPT = frozenset({0, BASE, STRIDE, SMALL})
MAX_TRIES = 40

SEW_CODES, LMUL_CODES = (0, 1, 2, 3), (5, 6, 7, 0, 1, 2, 3)


@dataclass(frozen=True)
class VectorProgram:
    """A program, what it starts from and what it leaves behind."""

    words: tuple[int, ...]
    frm: int
    vxrm: int
    x: tuple[int, ...]
    f: tuple[int, ...]
    v: bytes
    window: bytes
    end: Any
    """The reference's hart afterwards."""
    window_after: bytes


def names_of(extension: Extension) -> list[str]:
    """Return the instructions of an extension that a program may use anywhere."""
    return [i.name for i in extension.instructions if not i.name.startswith("vset")]


class Maker:
    """Chooses instructions one by one, in the state that those before have left."""

    def __init__(
        self,
        rng: random.Random,
        names: Sequence[str],
        *,
        base: int,
        window: int,
        frm: int,
        half: bool,
    ) -> None:
        self.rng, self.base, self.window, self.half = rng, base, window, half
        table = standard_set().by_name
        self.table = [table[name][0] for name in names]
        self.config = table["vsetvli"][0]
        self.vand = table["vand.vx"][0]
        ram_bytes = window - base + WINDOW_BYTES
        self.ram = bytearray(ram_bytes)
        self.reference = ReferenceHart(base, self.ram)
        self.offset = window - base
        self.words: list[int] = []
        self._fill(frm)

    def _fill(self, frm: int) -> None:
        rng, h = self.rng, self.reference.h.raw
        self.ram[self.offset :] = b"".join(
            rng.choice((random_integer, random_float))(rng).to_bytes(8, "little")
            for _ in range(256)
        ) * (WINDOW_BYTES // 2048)
        h.pmp_count = 0
        h.mstatus, h.fp_ready, h.frm = DIRTY, int(frm <= 3), frm
        h.vxrm = self.vxrm = rng.randrange(4)
        for n in range(1, 32):
            h.x[n] = random_integer(rng)
        for n in range(32):
            h.f[n] = random_float(rng)
        for n in range(64):
            h.v[n] = rng.choice((random_integer, random_float, lambda r: r.getrandbits(64)))(rng)
        h.x[BASE] = self.window + WINDOW_BYTES // 2
        h.x[STRIDE] = rng.randrange(-MAX_STRIDE, MAX_STRIDE) % (1 << 64)
        h.x[SMALL] = 0x3FF
        self.start = (tuple(h.x[:32]), tuple(h.f), bytes(h.v), bytes(self.ram[self.offset :]))

    def execute(self, word: int) -> bool:
        """Execute a word; tell whether it was done without a trap, else undo it."""
        h = self.reference.h
        before = ctypes.string_at(h.address, ctypes.sizeof(Hart.CTYPE))
        data = bytes(self.ram[self.offset :])
        self.ram[0:4] = word.to_bytes(4, "little")
        h.raw.pc = self.base
        self.reference.step()
        if h.raw.pc == self.base + 4:
            self.words.append(word)
            return True
        ctypes.memmove(h.address, before, len(before))
        self.ram[self.offset :] = data
        return False

    def configure(self, sew: int | None = None, lmul: int | None = None) -> None:
        """Choose a vtype and a vl."""
        rng = self.rng
        while True:
            vtype = (rng.choice(SEW_CODES) if sew is None else sew) << 3
            vtype |= rng.choice(LMUL_CODES) if lmul is None else lmul
            vtype |= rng.randrange(4) << 6
            rs1 = rng.choice((0, 0, 5, 6, 7))
            self.execute(encode(self.config, {"rd": 10, "rs1": rs1, "imm": vtype}))
            h = self.reference.h.raw
            if h.vtype >> 63 == 0 and (h.vl or rng.randrange(8) == 0):
                return

    def instruction(self) -> None:
        """Add one random instruction that does not trap, if one is found."""
        one = self.rng.choice(self.table)
        if not self.half and one.name.startswith(("vf", "vmf")) and self.reference.h.raw.v_sew < 2:
            return
        for _ in range(MAX_TRIES):
            word = self.random_word(one)
            if word is not None and self.execute(word):
                return

    def random_word(self, one: Instruction) -> int | None:
        """Return an instruction's bits with random operands."""
        rng = self.rng
        shown = {p for slot in slots(one.syntax) for p in slot.parts}
        lmul = max(self.reference.h.raw.v_lmul, 0)
        values: dict[str, int] = {}
        for name, field in one.registers.items():
            if not field.bits:
                continue
            if name in one.vector_registers:
                step = 1 << rng.choice((lmul, lmul, min(lmul + 1, 3), 0))
                values[name] = rng.randrange(0, 32, step)
            elif field.bits == 1:
                values[name] = rng.randrange(2)
            else:
                values[name] = rng.randrange(32)
        if "(" in shown:
            values["rs1"] = BASE
            if one.registers.get("rs2") and "rs2" not in one.vector_registers:
                values["rs2"] = STRIDE
        if values.get("rd") in KEPT and one.writes_x and "rd" in values:
            values["rd"] = 11
        if one.pieces:
            low, high, step = immediate_range(one)
            values["imm"] = rng.randrange(low, high + 1, step)
        if "ei32" in one.name or "ei64" in one.name:
            self._small_indices(one, values["rs2"])
        try:
            return encode(one, values)
        except OperandRange:
            return None

    def _small_indices(self, one: Instruction, register: int) -> None:
        """Make the elements of an index register small, at the width that will be used."""
        h = self.reference.h.raw
        vtype, avl = h.vtype, h.vl
        self.configure(2 if "ei32" in one.name else 3, 3)
        word = {"rd": register & 24, "rs2": register & 24, "rs1": SMALL, "rs3": 1}
        self.execute(encode(self.config, {"rd": 10, "rs1": 0, "imm": h.vtype & 0xFF}))
        self.execute(encode(self.vand, word))
        set_vl = standard_set().by_name["addi"][0]
        self.execute(encode(set_vl, {"rd": 5, "rs1": 0, "imm": avl}))
        self.execute(encode(self.config, {"rd": 10, "rs1": 5, "imm": vtype}))


def generate(
    seed: int,
    names: Sequence[str],
    *,
    count: int,
    base: int,
    window: int,
    frm: int = 0,
    half: bool = True,
) -> VectorProgram:
    """Return a program of about `count` instructions out of `names`, and its outcome.

    Without `half`, there is no floating point at SEW 8 and 16 (Zvfh). `base` is where the code and `window` where the data will be; `window` is page-aligned.
    """
    rng = random.Random(seed)
    maker = Maker(rng, names, base=base, window=window, frm=frm, half=half)
    maker.configure()
    while len(maker.words) < count:
        if rng.randrange(6) == 0:
            maker.configure()
        maker.instruction()
    x, f, v, window_bytes = maker.start
    return VectorProgram(
        tuple(maker.words), frm, maker.vxrm, x, f, v, window_bytes, maker.reference.h,
        bytes(maker.ram[maker.offset :]),
    )  # fmt: skip
