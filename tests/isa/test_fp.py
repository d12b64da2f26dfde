"""The F, D, Zfh and Zfa instructions: encodings, checks, NaN boxing, CSR state, and each one's meaning."""

from __future__ import annotations

import ctypes
import struct
from math import isnan
from typing import Any

import pytest

from innkeeper.isa.riscv.causes import ILLEGAL_INSTRUCTION
from innkeeper.isa.riscv.codec import InstructionSet, encode
from innkeeper.isa.riscv.fp import F, fp_read_flags, fp_update_ready, fp_write
from innkeeper.isa.riscv.fp_double import D
from innkeeper.isa.riscv.fp_half import ZFH
from innkeeper.isa.riscv.hart import SINK, Hart, Operands
from innkeeper.isa.riscv.names import FLI_NAMES
from innkeeper.isa.riscv.ops import Trap
from innkeeper.isa.riscv.spec import Instruction
from innkeeper.isa.riscv.zfa import ZFA
from innkeeper.native.types import Ptr, u32

INSTRUCTIONS = {i.name: i for e in (F, D, ZFH, ZFA) for i in e.instructions}
BOX = 0xFFFFFFFF << 32
H_BOX, NAN16 = (1 << 64) - (1 << 16), 0x7E00
NAN32, NAN64 = 0x7FC00000, 0x7FF8 << 48
NX, UF, OF, DZ, NV = 1, 2, 4, 8, 16
OFF, INITIAL, CLEAN, DIRTY = (n << 13 for n in range(4))
SD = 1 << 63
DYN = 7
RAM_BASE = 0x80000000

# rd 13, rs1 10, rs2 11, rs3 12, rm dyn, as GNU binutils reads them (Zfh and Zfa: LLVM).
WORDS = {
    "flw": 0x00052687, "fsw": 0x00B52027, "fmadd.s": 0x60B576C3, "fmsub.s": 0x60B576C7,
    "fnmsub.s": 0x60B576CB, "fnmadd.s": 0x60B576CF, "fadd.s": 0x00B576D3, "fsub.s": 0x08B576D3,
    "fmul.s": 0x10B576D3, "fdiv.s": 0x18B576D3, "fsqrt.s": 0x580576D3, "fsgnj.s": 0x20B506D3,
    "fsgnjn.s": 0x20B516D3, "fsgnjx.s": 0x20B526D3, "fmin.s": 0x28B506D3, "fmax.s": 0x28B516D3,
    "feq.s": 0xA0B526D3, "flt.s": 0xA0B516D3, "fle.s": 0xA0B506D3, "fclass.s": 0xE00516D3,
    "fcvt.w.s": 0xC00576D3, "fcvt.wu.s": 0xC01576D3, "fcvt.l.s": 0xC02576D3,
    "fcvt.lu.s": 0xC03576D3, "fcvt.s.w": 0xD00576D3, "fcvt.s.wu": 0xD01576D3,
    "fcvt.s.l": 0xD02576D3, "fcvt.s.lu": 0xD03576D3, "fmv.x.w": 0xE00506D3, "fmv.w.x": 0xF00506D3,
    "fld": 0x00053687, "fsd": 0x00B53027, "fmadd.d": 0x62B576C3, "fmsub.d": 0x62B576C7,
    "fnmsub.d": 0x62B576CB, "fnmadd.d": 0x62B576CF, "fadd.d": 0x02B576D3, "fsub.d": 0x0AB576D3,
    "fmul.d": 0x12B576D3, "fdiv.d": 0x1AB576D3, "fsqrt.d": 0x5A0576D3, "fsgnj.d": 0x22B506D3,
    "fsgnjn.d": 0x22B516D3, "fsgnjx.d": 0x22B526D3, "fmin.d": 0x2AB506D3, "fmax.d": 0x2AB516D3,
    "feq.d": 0xA2B526D3, "flt.d": 0xA2B516D3, "fle.d": 0xA2B506D3, "fclass.d": 0xE20516D3,
    "fcvt.w.d": 0xC20576D3, "fcvt.wu.d": 0xC21576D3, "fcvt.l.d": 0xC22576D3,
    "fcvt.lu.d": 0xC23576D3, "fcvt.d.w": 0xD20576D3, "fcvt.d.wu": 0xD21576D3,
    "fcvt.d.l": 0xD22576D3, "fcvt.d.lu": 0xD23576D3, "fcvt.s.d": 0x401576D3,
    "fcvt.d.s": 0x420576D3, "fmv.x.d": 0xE20506D3, "fmv.d.x": 0xF20506D3,
    "flh": 0x00051687, "fsh": 0x00B51027, "fmadd.h": 0x64B576C3, "fmsub.h": 0x64B576C7,
    "fnmsub.h": 0x64B576CB, "fnmadd.h": 0x64B576CF, "fadd.h": 0x04B576D3, "fsub.h": 0x0CB576D3,
    "fmul.h": 0x14B576D3, "fdiv.h": 0x1CB576D3, "fsqrt.h": 0x5C0576D3, "fsgnj.h": 0x24B506D3,
    "fsgnjn.h": 0x24B516D3, "fsgnjx.h": 0x24B526D3, "fmin.h": 0x2CB506D3, "fmax.h": 0x2CB516D3,
    "feq.h": 0xA4B526D3, "flt.h": 0xA4B516D3, "fle.h": 0xA4B506D3, "fclass.h": 0xE40516D3,
    "fcvt.w.h": 0xC40576D3, "fcvt.wu.h": 0xC41576D3, "fcvt.l.h": 0xC42576D3,
    "fcvt.lu.h": 0xC43576D3, "fcvt.h.w": 0xD40576D3, "fcvt.h.wu": 0xD41576D3,
    "fcvt.h.l": 0xD42576D3, "fcvt.h.lu": 0xD43576D3, "fcvt.h.s": 0x440576D3,
    "fcvt.s.h": 0x402576D3, "fcvt.h.d": 0x441576D3, "fcvt.d.h": 0x422576D3, "fmv.x.h": 0xE40506D3,
    "fmv.h.x": 0xF40506D3, "fli.s": 0xF01506D3, "fminm.s": 0x28B526D3, "fmaxm.s": 0x28B536D3,
    "fleq.s": 0xA0B546D3, "fltq.s": 0xA0B556D3, "fround.s": 0x404576D3, "froundnx.s": 0x405576D3,
    "fli.d": 0xF21506D3, "fminm.d": 0x2AB526D3, "fmaxm.d": 0x2AB536D3, "fleq.d": 0xA2B546D3,
    "fltq.d": 0xA2B556D3, "fround.d": 0x424576D3, "froundnx.d": 0x425576D3, "fli.h": 0xF41506D3,
    "fminm.h": 0x2CB526D3, "fmaxm.h": 0x2CB536D3, "fleq.h": 0xA4B546D3, "fltq.h": 0xA4B556D3,
    "fround.h": 0x444576D3, "froundnx.h": 0x445576D3, "fcvtmod.w.d": 0xC28516D3,
}  # fmt: skip

every = pytest.mark.parametrize("name", list(INSTRUCTIONS))
rounding = pytest.mark.parametrize(
    "name", [n for n, i in INSTRUCTIONS.items() if i.reserved and n != "fcvtmod.w.d"]
)


def s(x: float) -> int:
    """Return a single's register image."""
    return BOX | struct.unpack("<I", struct.pack("<f", x))[0]


def half(x: float) -> int:
    """Return a half's register image."""
    return H_BOX | struct.unpack("<H", struct.pack("<e", x))[0]


def d(x: float) -> int:
    """Return a double's register image."""
    return int(struct.unpack("<Q", struct.pack("<d", x))[0])


def operands(instruction: Instruction, *, rd: int = 13, imm: int = 0) -> Operands:
    return Operands(rd=rd, rs1=10, rs2=11, rs3=12, imm=imm)


class Machine:
    """A hart with floating point on, registers 10 to 12 set, and 64 bytes of RAM."""

    def __init__(self, *f: int, x: int = 0, fs: int = INITIAL, frm: int = 0) -> None:
        self.ram = ctypes.create_string_buffer(64)
        self.h = Hart(mstatus=fs, frm=frm, priv=3, ram_base=RAM_BASE, ram_size=64)
        self.h.ram = Ptr[u32](ctypes.addressof(self.ram))
        for number, value in enumerate(f, start=10):
            self.h.f[number] = value
        self.h.x[10] = x % 2**64

    def run(self, name: str, *, rd: int = 13, imm: int = 0) -> Machine:
        instruction = INSTRUCTIONS[name]
        instruction.meaning(self.h, operands(instruction, rd=rd, imm=imm))
        return self

    @property
    def f(self) -> int:
        return int(self.h.f[13])

    @property
    def x(self) -> int:
        return int(self.h.x[13])

    @property
    def flags(self) -> int:
        return int(fp_read_flags(self.h))


@every
def test_encodings(name: str) -> None:
    instruction = INSTRUCTIONS[name]
    numbers = {"rd": 13, "rs1": 10, "rs2": 11, "rs3": 12}
    values = {r: numbers[r] for r in instruction.registers}
    if "rm" in instruction.encoding.split():
        values["imm"] = 1 if name == "fcvtmod.w.d" else DYN
    assert encode(instruction, values) == WORDS[name]
    assert InstructionSet([F, D, ZFH, ZFA]).decode(WORDS[name]) == (
        instruction,
        {**values, "imm": values.get("imm", 0)} if instruction.pieces else values,
    )


def test_every_instruction_is_there() -> None:
    assert set(INSTRUCTIONS) == set(WORDS)
    assert sum(len(e.instructions) for e in (F, D, ZFH, ZFA)) == len(WORDS)


@rounding
def test_reserved_rounding_modes_are_illegal(name: str) -> None:
    decoder = InstructionSet([F, D, ZFH, ZFA])
    for rm in range(8):
        found = decoder.decode(WORDS[name] & ~(7 << 12) | rm << 12)
        assert (found is None) == (rm in (5, 6)), rm


@every
def test_off_is_illegal(name: str) -> None:
    machine = Machine(fs=OFF, x=RAM_BASE)
    with pytest.raises(Trap) as trap:
        machine.run(name)
    assert (trap.value.cause, trap.value.tval) == (ILLEGAL_INSTRUCTION, 0)
    assert machine.h.mstatus == OFF
    assert machine.h.fp_ready == 0


@every
@pytest.mark.parametrize("fs", [INITIAL, CLEAN, DIRTY])
def test_use_makes_the_state_dirty(name: str, fs: int) -> None:
    machine = Machine(fs=fs, x=RAM_BASE).run(name)
    assert machine.h.mstatus == DIRTY | SD
    assert machine.h.fp_ready == 1


@rounding
@pytest.mark.parametrize("frm", [5, 6, 7])
def test_an_invalid_dynamic_mode_is_illegal(name: str, frm: int) -> None:
    machine = Machine(frm=frm)
    with pytest.raises(Trap) as trap:
        machine.run(name, imm=DYN)
    assert trap.value.cause == ILLEGAL_INSTRUCTION
    machine.run(name, imm=1)
    assert machine.h.fp_ready == 0


@pytest.mark.parametrize("name", ["fmin.s", "fmax.d", "fsgnj.d", "feq.s", "fclass.d", "fmv.x.w"])
def test_what_does_not_round_needs_no_valid_mode(name: str) -> None:
    assert Machine(frm=5).run(name).h.fp_ready == 0


def test_a_mode_the_host_lacks_works_but_is_not_ready() -> None:
    machine = Machine(x=0x1000001, frm=4).run("fcvt.s.w", imm=DYN)
    assert machine.f == s(16777218.0)
    assert machine.flags == NX
    assert machine.h.fp_ready == 0
    assert Machine(x=0x1000001, frm=0).run("fcvt.s.w", imm=DYN).f == s(16777216.0)


ARITHMETIC = [
    ("fadd", (1.5, 2.25), 3.75), ("fsub", (1.5, 2.25), -0.75), ("fmul", (1.5, -2.5), -3.75),
    ("fdiv", (7.5, -2.0), -3.75), ("fsqrt", (6.25,), 2.5), ("fmadd", (3.0, 5.0, 2.0), 17.0),
    ("fmsub", (3.0, 5.0, 2.0), 13.0), ("fnmsub", (3.0, 5.0, 2.0), -13.0),
    ("fnmadd", (3.0, 5.0, 2.0), -17.0), ("fsgnj", (1.0, -2.0), -1.0),
    ("fsgnjn", (1.0, -2.0), 1.0), ("fsgnjx", (-1.0, -2.0), 1.0), ("fmin", (1.0, -2.0), -2.0),
    ("fmax", (1.0, -2.0), 1.0), ("fmin", (0.0, -0.0), -0.0), ("fmax", (-0.0, 0.0), 0.0),
    ("fmsub", (1.0, 1.0, 1.0), 0.0), ("fnmadd", (1.0, 1.0, -1.0), 0.0),
]  # fmt: skip


@pytest.mark.parametrize("name, args, result", ARITHMETIC)
def test_arithmetic(name: str, args: tuple[float, ...], result: float) -> None:
    assert Machine(*map(s, args)).run(f"{name}.s").f == s(result)
    assert Machine(*map(d, args)).run(f"{name}.d").f == d(result)
    assert Machine(*map(half, args)).run(f"{name}.h").f == half(result)


def test_the_static_mode_wins_over_frm() -> None:
    thirds = {rm: Machine(d(1.0), d(3.0), frm=3).run("fdiv.d", imm=rm).f for rm in range(5)}
    down = d(1 / 3)
    assert thirds == {0: down, 1: down, 2: down, 3: down + 1, 4: down}
    assert Machine(d(1.0), d(3.0), frm=3).run("fdiv.d", imm=DYN).f == down + 1


def test_exceptions_accrue() -> None:
    machine = Machine(d(1.0), d(0.0)).run("fdiv.d")
    assert (machine.f, machine.flags) == (d(float("inf")), DZ)
    machine.run("fcvt.w.d", imm=1)
    assert machine.flags == DZ
    machine.h.f[11] = d(3.0)
    machine.run("fdiv.d")
    assert machine.flags == DZ | NX
    machine.h.f[10] = d(-1.0)
    machine.run("fsqrt.d")
    assert (machine.f, machine.flags) == (NAN64, DZ | NX | NV)


@pytest.mark.parametrize("name", ["feq", "flt", "fle"])
def test_comparisons(name: str) -> None:
    for a, b in [(1.0, 2.0), (2.0, 1.0), (1.0, 1.0), (-1.0, 1.0), (-0.0, 0.0), (-1.0, -2.0)]:
        want = {"feq": a == b, "flt": a < b, "fle": a <= b}[name]
        assert Machine(s(a), s(b)).run(f"{name}.s").x == want
        assert Machine(d(a), d(b)).run(f"{name}.d").x == want
        assert Machine(half(a), half(b)).run(f"{name}.h").x == want
    unordered = Machine(d(1.0), NAN64).run(f"{name}.d")
    assert (unordered.x, unordered.flags) == (0, 0 if name == "feq" else NV)


def test_classes() -> None:
    assert Machine(s(-1.0)).run("fclass.s").x == 1 << 1
    assert Machine(d(0.0)).run("fclass.d").x == 1 << 4
    assert Machine(half(2.0**-20)).run("fclass.h").x == 1 << 5
    assert Machine(s(1.0) & ~BOX).run("fclass.s").x == 1 << 9


@pytest.mark.parametrize("name", ["fadd.s", "fmin.s", "fmul.s", "fcvt.d.s", "fsqrt.s", "fmadd.s"])
def test_a_single_that_is_not_boxed_is_a_nan(name: str) -> None:
    unboxed = s(1.0) & ~(1 << 32)
    result = Machine(unboxed, unboxed, unboxed).run(name)
    assert result.f == (NAN64 if name == "fcvt.d.s" else BOX | NAN32)
    assert result.flags == 0


@pytest.mark.parametrize("name", ["fadd.h", "fmin.h", "fround.h", "fcvt.d.h", "fcvt.s.h"])
@pytest.mark.parametrize("missing", [16, 32, 63])
def test_a_half_that_is_not_boxed_is_a_nan(name: str, missing: int) -> None:
    unboxed = half(1.0) & ~(1 << missing)
    result = Machine(unboxed, unboxed).run(name)
    assert result.f == {"fcvt.d.h": NAN64, "fcvt.s.h": BOX | NAN32}.get(name, H_BOX | NAN16)
    assert result.flags == 0


def test_sign_injection_takes_a_nan_for_what_is_not_boxed() -> None:
    assert Machine(0x3F800000, s(-1.0)).run("fsgnj.s").f == BOX | NAN32 | 1 << 31
    assert Machine(s(-1.0), 0xBF800000).run("fsgnj.s").f == s(1.0)


def test_moves_do_not_look_at_the_box() -> None:
    assert Machine(0x1234567880000001).run("fmv.x.w").x == 0xFFFFFFFF80000001
    assert Machine(x=0x123456789ABCDEF0).run("fmv.w.x").f == BOX | 0x9ABCDEF0
    assert Machine(0x123456789ABCDEF0).run("fmv.x.d").x == 0x123456789ABCDEF0
    assert Machine(x=0x123456789ABCDEF0).run("fmv.d.x").f == 0x123456789ABCDEF0
    assert Machine(0x123456789ABCDEF0).run("fmv.x.h").x == 0xFFFFFFFFFFFFDEF0
    assert Machine(x=0x123456789ABCDEF0).run("fmv.h.x").f == H_BOX | 0xDEF0


def test_signalling_nans_survive_a_move_and_not_an_operation() -> None:
    snan = BOX | 0x7F800001
    assert Machine(snan, snan).run("fsgnj.s").f == snan
    added = Machine(snan, s(1.0)).run("fadd.s")
    assert (added.f, added.flags) == (BOX | NAN32, NV)
    assert Machine(snan, s(1.0)).run("fmax.s").f == s(1.0)


def test_loads_and_stores() -> None:
    machine = Machine(x=RAM_BASE + 8)
    machine.ram[16:24] = struct.pack("<Q", 0x7F80000112345678)
    assert machine.run("flw", imm=12).f == BOX | 0x7F800001
    assert machine.run("fld", imm=8).f == 0x7F80000112345678
    machine.h.f[11] = 0x0123456789ABCDEF
    machine.run("fsd", imm=-8).run("fsw", imm=20)
    assert machine.ram[0:8] == struct.pack("<Q", 0x0123456789ABCDEF)
    assert machine.ram[28:32] == struct.pack("<I", 0x89ABCDEF)
    assert machine.ram[24:28] == bytes(4)
    assert machine.run("flh", imm=10).f == H_BOX | 0x1234
    machine.run("fsh", imm=30)
    assert machine.ram[36:42] == b"\0\0\xef\xcd\0\0"


TO_INTEGER = [
    ("w", -1.5, 1, -1, NX), ("w", 2.5, 0, 2, NX), ("w", 2.5, 4, 3, NX), ("w", -0.5, 2, -1, NX),
    ("w", 0.5, 3, 1, NX), ("w", 3e9, 1, 2**31 - 1, NV), ("w", -3e9, 1, -(2**31), NV),
    ("wu", 3e9, 1, 3000000000 - 2**32, 0), ("wu", -1.0, 1, 0, NV), ("wu", -0.5, 1, 0, NX),
    ("wu", 1e10, 1, -1, NV), ("l", -1e10, 1, -(10**10), 0), ("l", 1e19, 1, 2**63 - 1, NV),
    ("lu", 2.0**63, 1, 2**63, 0), ("lu", 1e20, 1, 2**64 - 1, NV),
    ("lu", float("nan"), 1, 2**64 - 1, NV), ("w", float("nan"), 1, 2**31 - 1, NV),
    ("wu", float("inf"), 1, -1, NV), ("l", float("-inf"), 1, -(2**63), NV),
]  # fmt: skip


@pytest.mark.parametrize("kind, a, rm, result, flags", TO_INTEGER)
def test_to_integer(kind: str, a: float, rm: int, result: int, flags: int) -> None:
    machine = Machine(d(a)).run(f"fcvt.{kind}.d", imm=rm)
    assert (machine.x, machine.flags) == (result % 2**64, flags)
    if struct.unpack("<f", struct.pack("<f", a))[0] == a or isnan(a):
        machine = Machine(s(a)).run(f"fcvt.{kind}.s", imm=rm)
        assert (machine.x, machine.flags) == (result % 2**64, flags)


@pytest.mark.parametrize("kind", ["w", "wu", "l", "lu"])
def test_from_integer(kind: str) -> None:
    for x in (0, 1, -1, 2**31, -(2**31) - 1, 2**63 + 2**40, 0x7FFFFFFFFFFFFFFF):
        bits = 32 if kind[0] == "w" else 64
        number = x % 2**bits
        if "u" not in kind and number >> (bits - 1):
            number -= 2**bits
        assert Machine(x=x).run(f"fcvt.d.{kind}").f == d(float(number)), x
    assert Machine(x=1).run(f"fcvt.s.{kind}").f == s(1.0)


def test_between_formats() -> None:
    assert Machine(s(-1.5)).run("fcvt.d.s").f == d(-1.5)
    narrowed = Machine(d(1e300)).run("fcvt.s.d", imm=1)
    assert (narrowed.f, narrowed.flags) == (BOX | 0x7F7FFFFF, OF | NX)
    tiny = Machine(d(1e-42)).run("fcvt.s.d")
    assert (tiny.f, tiny.flags) == (s(1e-42), UF | NX)
    assert Machine(half(-1.5)).run("fcvt.d.h").f == d(-1.5)
    assert Machine(half(65504.0)).run("fcvt.s.h").f == s(65504.0)
    over = Machine(s(65520.0)).run("fcvt.h.s")
    assert (over.f, over.flags) == (half(float("inf")), OF | NX)
    small = Machine(d(3e-8)).run("fcvt.h.d", imm=2)
    assert (small.f, small.flags) == (half(0.0), UF | NX)


def test_integer_results_for_x0_go_to_the_sink() -> None:
    machine = Machine(d(1.0), d(1.0)).run("feq.d", rd=SINK)
    assert machine.h.x[0] == 0
    assert machine.h.x[SINK] == 1


def state(h: Any) -> tuple[int, int, int]:
    return int(h.fflags), int(h.frm), int(h.fp_ready)


def test_csr_writes_keep_the_architectural_bits() -> None:
    h = Hart(mstatus=DIRTY)
    fp_write(h, u32(0xFFFFFFFF), u32(3))
    assert state(h) == (31, 3, 1)
    fp_write(h, u32(2), u32(12))
    assert state(h) == (2, 4, 0)
    fp_write(h, u32(0), u32(0))
    assert state(h) == (0, 0, 1)


def test_ready_follows_mstatus() -> None:
    for fs in (OFF, INITIAL, CLEAN, DIRTY):
        h = Hart(mstatus=fs, fp_ready=1)
        fp_update_ready(h)
        assert h.fp_ready == int(fs == DIRTY)


def test_constants() -> None:
    """FLI: the table of the chapter on Zfa, as numbers and as what the formats make of them."""
    exact = {"s": s, "d": d, "h": half}
    for suffix, convert in exact.items():
        for number, name in enumerate(FLI_NAMES):
            machine = Machine()
            instruction = INSTRUCTIONS[f"fli.{suffix}"]
            instruction.meaning(machine.h, Operands(rd=13, rs1=number))
            if name == "min":
                want = {"s": BOX | 1 << 23, "d": 1 << 52, "h": H_BOX | 1 << 10}[suffix]
            elif name == "65536.0" and suffix == "h":
                want = half(float("inf"))
            else:
                want = convert(float(name))
            assert (machine.f, machine.flags) == (want, 0), (suffix, name)


def test_quiet_comparisons_and_propagating_extremes() -> None:
    snan = 0x7FF0 << 48 | 1
    for name in ("fleq.d", "fltq.d"):
        assert (Machine(d(1.0), NAN64).run(name).x, Machine(d(1.0), NAN64).run(name).flags) == (
            0,
            0,
        )
        assert Machine(d(1.0), snan).run(name).flags == NV
    for name in ("fminm.d", "fmaxm.d"):
        one = Machine(d(1.0), NAN64).run(name)
        assert (one.f, one.flags) == (NAN64, 0)
        assert Machine(snan, d(1.0)).run(name).flags == NV
    assert Machine(d(-0.0), d(0.0)).run("fminm.d").f == d(-0.0)
    assert Machine(d(0.0), d(-0.0)).run("fmaxm.d").f == d(0.0)


MODULAR = [
    (1.75, 1, NX), (-1.75, -1, NX), (2.0**31, -(2**31), NV), (-(2.0**31), -(2**31), 0),
    (2.0**32 + 5, 5, NV), (-(2.0**32) - 5, -5, NV), (2.0**83 + 2.0**31, 1 << 31, NV), (2.0**84, 0, NV),
    (2.0**52 + 2.0**31 + 1, (1 << 31) + 1, NV), (float("inf"), 0, NV), (float("nan"), 0, NV),
    (-0.25, 0, NX), (4294967295.5, -1, NV),
]  # fmt: skip


@pytest.mark.parametrize("a, result, flags", MODULAR)
def test_modular_conversion(a: float, result: int, flags: int) -> None:
    machine = Machine(d(a)).run("fcvtmod.w.d", imm=1)
    extended = (result % 2**32 ^ 1 << 31) - (1 << 31)
    assert (machine.x, machine.flags) == (extended % 2**64, flags)


def test_modular_conversion_rounds_towards_zero_alone() -> None:
    decoder = InstructionSet([ZFA])
    word = WORDS["fcvtmod.w.d"] & ~(7 << 12)
    assert [rm for rm in range(8) if decoder.decode(word | rm << 12)] == [1]
