"""Encodings as LLVM's assembler knows them: what we disassemble, it assembles to the same bits."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache

import pytest

from innkeeper.isa.riscv.codec import operands, pc_relative
from innkeeper.isa.riscv.disasm import disassemble
from innkeeper.isa.riscv.profiles import extensions
from innkeeper.isa.riscv.spec import Instruction
from tests.isa.test_asm_disasm import samples

OLDEST = 19
"""Before, some of the extensions were experimental or not there."""

FEATURES = (
    "+m,+a,+f,+d,+c,+zba,+zbb,+zbs,+zicbom,+zicboz,+zicbop,+zicond,+zbc,+zbkb,+zbkx,+zkne,+zknd,"
    "+zknh,+zcb,+zimop,+zcmop,+zawrs,+zfh,+zfa,+zicsr,+svinval"
    ",+v,+zvfh,+zvbb,+zvbc,+zvkned,+zvknhb,+zvksed,+zvksh,+zvkg"
)

SPELLED_OTHERWISE = {"fence"}
"""Instructions whose raw operands LLVM does not read."""

RV32_CSR = re.compile(r"csr\w+ \w+, \w+h,")
"""CSRs that LLVM knows for RV32 alone."""

MOST_TRIES = 400


def four(one: Instruction) -> list[int]:
    """Return valid encodings; of vector registers those that overlap in no instruction."""
    if not one.vector_registers:
        return samples(one, 4)
    found = []
    for bits in samples(one, MOST_TRIES):
        numbers = [operands(one, bits)[name] for name in sorted(one.vector_registers)]
        apart = (
            len(numbers) == 1
            or min((abs(a - b) for n, a in enumerate(numbers) for b in numbers[n + 1 :]), default=8)
            >= 8
        )
        if apart and operands(one, bits).get("rd") != 0 and not any(n % 8 for n in numbers):
            found.append(bits)
    return found[:4]


ENCODING = re.compile(r"# encoding: \[([0-9a-fx,]+)\]")


@cache
def llvm_mc() -> str:
    """Return an `llvm-mc` that is new enough, or skip."""
    names = ["llvm-mc", *(f"llvm-mc-{n}" for n in range(OLDEST, OLDEST + 6))]
    for path in filter(None, map(shutil.which, names)):
        text = subprocess.run([path, "--version"], capture_output=True, text=True).stdout
        found = re.search(r"LLVM version (\d+)", text)
        if found and int(found[1]) >= OLDEST:
            return path
    pytest.skip(f"llvm-mc {OLDEST} or newer is not installed")


@pytest.mark.parametrize("extension", extensions(), ids=lambda e: e.name)
def test_llvm_assembles_our_disassembly_to_the_same_bits(extension) -> None:  # type: ignore[no-untyped-def]
    wanted = [
        (disassemble(bits, aliases=False), bits.to_bytes(one.length, "little"))
        for one in extension.instructions
        if not pc_relative(one) and one.name not in SPELLED_OTHERWISE
        for bits in four(one)
        if not RV32_CSR.match(disassemble(bits, aliases=False))
    ]
    done = subprocess.run(
        [llvm_mc(), "-triple=riscv64", f"-mattr={FEATURES}", "-show-encoding"],
        input="".join(f".option {'rvc' if len(c) == 2 else 'norvc'}\n{t}\n" for t, c in wanted),
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    got = [bytes(int(b, 16) for b in found.split(",")) for found in ENCODING.findall(done.stdout)]
    assert len(got) == len(wanted)
    wrong = [(text, code.hex(), other.hex()) for (text, code), other in zip(wanted, got, strict=True)
             if code != other]  # fmt: skip
    assert not wrong
