"""Which extensions a hart has, and their names for `isa` strings and device trees."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from innkeeper.isa.riscv.spec import Extension, Instruction

EXTENSION_NAMES = (
    "i", "m", "a", "f", "d", "c", "b", "v",
    "zic64b", "zicbom", "zicbop", "zicboz", "ziccamoa", "ziccif", "zicclsm", "ziccrse", "zicntr",
    "zicond", "zicsr", "zifencei", "zihintntl", "zihintpause", "zihpm", "zimop", "za64rs", "zawrs",
    "zfa", "zfh", "zfhmin", "zca", "zcb", "zcd", "zcmop", "zba", "zbb", "zbc", "zbkb", "zbkc",
    "zbkx", "zbs", "zknd", "zkne", "zknh", "zvbb", "zvbc", "zvfh", "zvfhmin", "zvkb",
    "zvkg", "zvkned", "zvknha", "zvknhb",
    "ssccptr", "sscofpmf", "sscounterenw", "ssnpm", "sstc", "sstvala", "sstvecd", "ssu64xl",
    "svade", "svbare", "svinval", "svnapot", "svpbmt", "svvptc",
)  # fmt: skip
"""What device trees declare: RVA23S64 but for H, and for Zkt and Zvkt.

The handlers of Zkt's instructions are written without branches or tables that depend on data, but
nothing keeps LLVM from making a branch of a choice: that is no promise of constant time. Zvknhb has
all of Zvknha; both are named, as some programs ask for one alone.
"""


@cache
def extensions() -> tuple[Extension, ...]:
    """Return every extension, in the order in which handlers are numbered."""
    from innkeeper.isa.riscv.atomic import A
    from innkeeper.isa.riscv.base import I
    from innkeeper.isa.riscv.compressed import C
    from innkeeper.isa.riscv.fp import F
    from innkeeper.isa.riscv.fp_double import D
    from innkeeper.isa.riscv.fp_half import ZFH
    from innkeeper.isa.riscv.mul import M
    from innkeeper.isa.riscv.svinval import SVINVAL
    from innkeeper.isa.riscv.system import SYSTEM
    from innkeeper.isa.riscv.vector import VECTOR
    from innkeeper.isa.riscv.zawrs import ZAWRS
    from innkeeper.isa.riscv.zba import ZBA
    from innkeeper.isa.riscv.zbb import ZBB
    from innkeeper.isa.riscv.zbc import ZBC
    from innkeeper.isa.riscv.zbk import ZBKB, ZBKX
    from innkeeper.isa.riscv.zbs import ZBS
    from innkeeper.isa.riscv.zcb import ZCB
    from innkeeper.isa.riscv.zfa import ZFA
    from innkeeper.isa.riscv.zicbo import ZICBOM, ZICBOP, ZICBOZ
    from innkeeper.isa.riscv.zicond import ZICOND
    from innkeeper.isa.riscv.zimop import ZCMOP, ZIMOP
    from innkeeper.isa.riscv.zkn import ZKND, ZKNE, ZKNH

    return (
        I, M, A, F, D, SYSTEM, ZBA, ZBB, ZBS, ZICBOM, ZICBOZ, ZICBOP, C,
        ZICOND, ZBC, ZBKB, ZBKX, ZKNE, ZKND, ZKNH, ZCB, ZIMOP, ZCMOP, ZAWRS, ZFH, ZFA,
        SVINVAL, *VECTOR,
    )  # fmt: skip


@cache
def instructions() -> tuple[Instruction, ...]:
    """Return every instruction of every extension."""
    return tuple(i for e in extensions() for i in e.instructions)
