"""Random valid instruction sequences, to compare one execution engine with another.

    program = generate(random.Random(7), count=200, base=0x8000_0000, scratch=0x8010_0000)

Whoever runs it loads `code` at `base`, gives the registers their initial values, zeroes or fills
the scratch window, and runs until the pc is `end`. No instruction of it traps or leaves the
window, every run ends, and the result depends on nothing but the initial state. What the
instructions look like comes from their descriptions.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from innkeeper.isa.riscv.codec import (
    InstructionSet,
    encode,
    has_field,
    immediate_range,
    pc_relative,
    slots,
)
from innkeeper.isa.riscv.csr_names import CSR_NUMBERS
from innkeeper.isa.riscv.random_values import random_float, random_integer
from innkeeper.isa.riscv.spec import Extension, Instruction, RegisterField

SCRATCH_BYTES = 8192
"""The size of the scratch window; the base registers point to its middle."""

BASE_REGISTERS = (2, 8)
"""Hold the middle of the scratch window (sp and s0: compressed forms reach both); never written."""

LOOP_REGISTER = 31
RESERVED_REGISTERS = frozenset({*BASE_REGISTERS, LOOP_REGISTER})

INTEGER_POOL = (0, 1, 5, 6, 9, 10, 10, 11, 11, 12, 12, 13, 14, 15, 15, 20, 27, 30)
"""Registers most often used: few, so that results flow on, and all kinds (x0, prime, others)."""

FLOAT_POOL = (0, 1, 8, 9, 10, 10, 11, 11, 12, 13, 15, 31)

LONGEST_JUMP = 6
"""Units that a branch skips at most."""

MAX_LOOPS = 5
MAX_COUNT = 100_000
ENCODE_ATTEMPTS = 64

_KINDS = {"plain": 50, "memory": 20, "branch": 9, "float": 20, "atomic": 5, "csr": 4, "jump": 3,
          "loop": 2}  # fmt: skip
"""Each kind of unit with its weight."""

_LEFT_OUT = frozenset({"ecall", "ebreak", "mret", "sret", "wfi", "sfence.vma"})
"""What traps or changes the privilege."""

VECTOR_EXTENSIONS = frozenset(["V", "Zvbb", "Zvbc", "Zvkg", "Zvkned", "Zvknh", "Zvksed", "Zvksh"])
DEFAULT_LEFT_OUT = frozenset({"Zicbom", "Zicboz", "Svinval"}) | VECTOR_EXTENSIONS
"""Extensions used only when they are asked for: user-mode peers may refuse them, and what a vector
instruction may name depends on vtype."""


@dataclass(frozen=True)
class RandomProgram:
    """A program and the state it starts from; `end` is the address after its last instruction."""

    code: bytes
    base: int
    scratch: int
    x: tuple[int, ...]
    f: tuple[int, ...]

    @property
    def end(self) -> int:
        """The pc at which the program is over."""
        return self.base + len(self.code)


@dataclass
class _Unit:
    """Instructions that stay together; a jump's distance is filled in when all are placed."""

    size: int
    write: Callable[[int], bytes]
    """From the distance to the target, the bytes."""
    skip: int = 0
    """How many of the units that follow are jumped over."""


def generate(
    rng: random.Random,
    *,
    count: int,
    base: int,
    scratch: int,
    extensions: Iterable[Extension] | None = None,
    without: Collection[str] = (),
) -> RandomProgram:
    """Return a program of `count` units (mostly single instructions) and its initial registers.

    `scratch` is where `SCRATCH_BYTES` of memory are for it to use, 8-byte aligned. Same seed, same
    program. `extensions` limits the instructions and must include I; by default they are all but
    the cache-block ones. `without` names single instructions to leave out, for a peer that is wrong
    about them (QEMU 7.2 executes `ctzw` as `ctz`).
    """
    if not 0 <= count <= MAX_COUNT:
        raise ValueError(f"count is 0 to {MAX_COUNT}, not {count}")
    if extensions is None:
        from innkeeper.isa.riscv.profiles import extensions as every

        extensions = [e for e in every() if e.name not in DEFAULT_LEFT_OUT]
    maker = _Maker(rng, InstructionSet(extensions), without)
    units = [maker.unit() for _ in range(count)]
    x = [random_integer(rng) for _ in range(32)]
    x[0] = 0
    for number in BASE_REGISTERS:
        x[number] = scratch + SCRATCH_BYTES // 2
    return RandomProgram(
        code=_join(units), base=base, scratch=scratch, x=tuple(x),
        f=tuple(random_float(rng) for _ in range(32)),
    )  # fmt: skip


def _join(units: list[_Unit]) -> bytes:
    out, sizes = bytearray(), [u.size for u in units]
    for index, unit in enumerate(units):
        out += unit.write(sum(sizes[index : index + 1 + unit.skip]))
    return bytes(out)


class _Maker:
    """Makes units of the kinds that an instruction set allows."""

    def __init__(
        self, rng: random.Random, instructions: InstructionSet, without: Collection[str]
    ) -> None:
        self.rng, self.set = rng, instructions
        self.by_kind: dict[str, list[Instruction]] = {}
        for instruction in instructions.instructions:
            kind = _kind(instruction)
            if kind and instruction.name not in without and not _writes_reserved(instruction):
                self.by_kind.setdefault(kind, []).append(instruction)
        if "addi" not in instructions.by_name:
            raise ValueError("a random program needs the base instruction set (I)")
        self.by_kind["loop"] = instructions.by_name["bne"]
        self.kinds = [k for k in _KINDS if k in self.by_kind]
        self.weights = [_KINDS[k] for k in self.kinds]

    def unit(self) -> _Unit:
        """Return the next unit."""
        kind = self.rng.choices(self.kinds, self.weights)[0]
        if kind == "loop":
            return self._loop()
        instruction = self.rng.choice(self.by_kind[kind])
        if kind == "branch":
            return self._branch(instruction)
        if kind == "jump":
            return self._jump(instruction)
        return _fixed(self._straight(kind, instruction))

    def _straight(self, kind: str, instruction: Instruction) -> bytes:
        if kind == "memory":
            return self._memory(instruction)
        if kind == "atomic":
            return self._atomic(instruction)
        return self._csr(instruction) if kind == "csr" else self._random(instruction)

    def _random(self, instruction: Instruction, **given: int) -> bytes:
        """Encode with random operands, but for those given."""
        for _ in range(ENCODE_ATTEMPTS):
            bits = encode(instruction, {**self._operands(instruction), **given})
            if self.set.find(bits) is instruction:
                return bits.to_bytes(instruction.length, "little")
        return self._plain("addi", rd=0, rs1=0, imm=0)

    def _plain(self, name: str, **values: int) -> bytes:
        return encode(self.set.by_name[name][0], values).to_bytes(4, "little")

    def _operands(self, instruction: Instruction) -> dict[str, int]:
        shown = {part for slot in slots(instruction.syntax) for part in slot.parts}
        if "fli" in shown:
            shown.add("rs1")  # where the number of the constant goes
        values = {
            name: self._register(instruction, name, f)
            for name, f in instruction.registers.items()
            if name in shown and f.bits
        }
        if has_field(instruction, "rm"):
            values["imm"] = self.rng.choice((0, 1, 2, 3, 4, 7, 7, 7))
        elif instruction.pieces and not has_field(instruction, "csr"):
            values["imm"] = self._immediate(instruction)
        if instruction.name == "fence":
            values["imm"] &= 0xFF  # the fm field is reserved
        return values

    def _immediate(self, instruction: Instruction) -> int:
        low, high, step = immediate_range(instruction)
        if self.rng.randrange(4):
            return self.rng.randrange(low, high + 1, step)
        return self.rng.choice((low, high, min(step, high), max(-step, low), 0))

    def _register(self, instruction: Instruction, name: str, f: RegisterField) -> int:
        is_float = name in instruction.float_registers
        pool = FLOAT_POOL if is_float else INTEGER_POOL
        last = f.base + (1 << f.bits) - 1
        while True:
            wide = self.rng.randrange(3) == 0
            number = self.rng.randint(f.base, last) if wide else self.rng.choice(pool)
            written = name == "rd" and not is_float
            if f.base <= number <= last and not (written and number in RESERVED_REGISTERS):
                return number

    def _memory(self, instruction: Instruction) -> bytes:
        values = self._operands(instruction)
        if instruction.registers["rs1"].bits:
            low = instruction.registers["rs1"].base
            values["rs1"] = self.rng.choice([r for r in BASE_REGISTERS if r >= low])
        if instruction.length == 4 and instruction.pieces and self.rng.randrange(3):
            values["imm"] &= -8
        bits = encode(instruction, values)
        ok = self.set.find(bits) is instruction
        return bits.to_bytes(instruction.length, "little") if ok else self._memory(instruction)

    def _atomic(self, instruction: Instruction) -> bytes:
        """An AMO on the window, or a load-reserved with its store-conditional."""
        name = instruction.name
        where = self.rng.choice([r for r in INTEGER_POOL if r not in (0, *RESERVED_REGISTERS)])
        offset = self.rng.randrange(-256, 256) * 8
        code = self._plain("addi", rd=where, rs1=self.rng.choice(BASE_REGISTERS), imm=offset)
        if not name.startswith(("lr.", "sc.")):
            return code + self._random(instruction, rs1=where)
        width = name[2:]
        load, put = self.set.by_name["lr" + width][0], self.set.by_name["sc" + width][0]
        others = [r for r in INTEGER_POOL if r != where and r not in RESERVED_REGISTERS]
        code += self._random(load, rs1=where, rd=self.rng.choice(others))
        return code + self._random(put, rs1=where)

    def _csr(self, instruction: Instruction) -> bytes:
        """Access the floating-point CSRs, without a rounding mode that is reserved."""
        if "zimm" not in instruction.syntax:
            name = self.rng.choice(("fflags", "fflags", "frm", "fcsr"))
            given = {} if name == "fflags" else {"rs1": 0}
            return self._random(instruction, imm=CSR_NUMBERS[name], **given)
        name = self.rng.choice(("fflags", "frm"))
        most = 31 if name == "fflags" else 4 if instruction.name == "csrrwi" else 0
        value = self.rng.randint(0, most)
        return self._random(instruction, imm=CSR_NUMBERS[name], rs1=value)

    def _branch(self, instruction: Instruction) -> _Unit:
        """A branch or `jal` forward over some units."""
        values = self._operands(instruction)

        def write(distance: int) -> bytes:
            return encode(instruction, {**values, "imm": distance}).to_bytes(
                instruction.length, "little"
            )

        return _Unit(instruction.length, write, self.rng.randint(0, LONGEST_JUMP))

    def _jump(self, instruction: Instruction) -> _Unit:
        """An indirect jump forward, through a register that `auipc` and `addi` set."""
        through = self.rng.choice([r for r in INTEGER_POOL if r not in (0, *RESERVED_REGISTERS)])
        values = {**self._operands(instruction), "rs1": through}
        if instruction.pieces:
            values["imm"] = self.rng.randrange(-64, 64)

        def write(distance: int) -> bytes:
            rest = distance - values.get("imm", 0)
            return (
                self._plain("auipc", rd=through)
                + self._plain("addi", rd=through, rs1=through, imm=rest)
                + encode(instruction, values).to_bytes(instruction.length, "little")
            )

        return _Unit(8 + instruction.length, write, self.rng.randint(0, LONGEST_JUMP))

    def _loop(self) -> _Unit:
        """A counted loop around a few straight units."""
        kinds = [k for k in self.kinds if k in ("plain", "memory", "float")]
        body = b"".join(
            self._straight(kind, self.rng.choice(self.by_kind[kind]))
            for kind in self.rng.choices(kinds, k=self.rng.randint(1, 5))
        )
        times = self.rng.randint(1, MAX_LOOPS)
        return _fixed(
            self._plain("addi", rd=LOOP_REGISTER, rs1=0, imm=times)
            + body
            + self._plain("addi", rd=LOOP_REGISTER, rs1=LOOP_REGISTER, imm=-1)
            + self._plain("bne", rs1=LOOP_REGISTER, rs2=0, imm=-len(body) - 4)
        )


def _fixed(code: bytes) -> _Unit:
    return _Unit(len(code), lambda _distance: code)


def _kind(instruction: Instruction) -> str:
    """Sort an instruction by what its description shows; empty for those left out."""
    base = instruction.base_name or instruction.name
    if base in _LEFT_OUT:
        return ""
    if has_field(instruction, "csr"):
        return "csr"
    if base == "jalr":
        return "jump"
    if pc_relative(instruction):
        return "branch"
    if has_field(instruction, "aq"):
        return "atomic"
    if any(slot.memory for slot in slots(instruction.syntax)):
        return "plain" if base.startswith("prefetch.") else "memory"
    return "float" if instruction.float_registers else "plain"


def _writes_reserved(instruction: Instruction) -> bool:
    """Tell whether an encoding always writes a register that must keep its value."""
    rd = instruction.registers.get("rd")
    is_float = "rd" in instruction.float_registers
    return rd is not None and rd.bits == 0 and not is_float and rd.base in RESERVED_REGISTERS
