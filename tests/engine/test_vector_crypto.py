"""Vector cryptography: whole ciphers and hashes with published or hashlib's answers."""

from __future__ import annotations

import hashlib
import random
from math import isqrt
from typing import Any

import pytest

from tests.engine.harness import State, check
from tests.engine.vector_program import DIRTY


def on(raw: Any) -> None:
    raw.mstatus = DIRTY


def registers(end: State, first: int, count: int = 1) -> bytes:
    halves = [end.values[f"v{n // 2}[{n % 2}]"] for n in range(first * 2, (first + count) * 2)]
    return b"".join(half.to_bytes(8, "little") for half in halves)


def data(label: str, value: bytes) -> str:
    return f".align 4\n{label}: .byte {', '.join(map(str, value))}\n"


# ---- AES (FIPS 197, appendix C)

PLAIN = bytes.fromhex("00112233445566778899aabbccddeeff")
AES128 = bytes.fromhex("69c4e0d86a7b0430d8cdb78070b4c55a")
AES256 = bytes.fromhex("8ea2b7ca516745bfeafc49904b496089")


@pytest.mark.parametrize("form", ["vv", "vs"])
@pytest.mark.parametrize(("bits", "rounds", "expected"), [(128, 10, AES128), (256, 14, AES256)])
def test_aes(form: str, bits: int, rounds: int, expected: bytes) -> None:
    lines = ["la a0, key", "vle8.v v10, (a0)", "addi a0, a0, 16", "vle8.v v11, (a0)",
             "la a0, plain", "vle8.v v2, (a0)", "vsetivli zero, 4, e32, m1, ta, ma"]  # fmt: skip
    for n in range(1 if bits == 128 else 2, rounds + 1):
        if bits == 128:
            lines.append(f"vaeskf1.vi v{10 + n}, v{9 + n}, {n}")
        else:
            lines += [f"vmv.v.v v{10 + n}, v{8 + n}", f"vaeskf2.vi v{10 + n}, v{9 + n}, {n}"]
    lines.append("vaesz.vs v2, v10")
    lines += [f"vaesem.{form} v2, v{10 + n}" for n in range(1, rounds)]
    lines += [f"vaesef.{form} v2, v{10 + rounds}", "vmv.v.v v3, v2", f"vaesz.vs v3, v{10 + rounds}"]
    lines += [f"vaesdm.{form} v3, v{10 + n}" for n in range(rounds - 1, 0, -1)]
    lines.append(f"vaesdf.{form} v3, v10")
    source = "vsetivli zero, 16, e8, m1, ta, ma\n" + "\n".join(lines) + "\n j done\n"
    end = check(source + data("key", bytes(range(32))) + data("plain", PLAIN) + "done:", on)
    assert registers(end, 2) == expected and registers(end, 3) == PLAIN


# ---- SHA-2


def primes(count: int) -> list[int]:
    found: list[int] = []
    n = 2
    while len(found) < count:
        if all(n % p for p in found):
            found.append(n)
        n += 1
    return found


def cube_root(n: int) -> int:
    low, high = 0, 1 << 80
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**3 <= n else (low, middle)
    return low


@pytest.mark.parametrize("bits", [256, 512])
def test_sha2_of_one_block(bits: int) -> None:
    size, regs, rounds = (4, 1, 64) if bits == 256 else (8, 2, 80)
    width, mask = size * 8, (1 << size * 8) - 1
    start = [isqrt(p << 2 * width) & mask for p in primes(8)]
    constants = [cube_root(p << 3 * width) & mask for p in primes(rounds)]
    message = b"abc" + b"\x80"
    message += bytes(16 * size - len(message) - 8) + (24).to_bytes(8, "big")
    words = [int.from_bytes(message[n : n + size], "big") for n in range(0, 16 * size, size)]
    a, b, c, d, e, f, g, h = start

    def packed(values: list[int]) -> bytes:
        return b"".join(v.to_bytes(size, "little") for v in values)

    w = [10, 12, 14, 16]
    lines = [f"vsetivli zero, 4, e{width}, m{regs}, ta, mu", "vmv.v.i v0, 1", "la a0, inputs"]
    for register in (2, 4, *w):
        lines += [f"vle{width}.v v{register}, (a0)", f"addi a0, a0, {4 * size}"]
    lines += ["vmv.v.v v6, v2", "vmv.v.v v8, v4"]
    for quad in range(rounds // 4):
        oldest, second, third, newest = (w[(quad + k) % 4] for k in range(4))
        lines += [f"vle{width}.v v18, (a0)", f"addi a0, a0, {4 * size}",
                  f"vadd.vv v18, v18, v{oldest}", "vsha2cl.vv v4, v2, v18",
                  "vsha2ch.vv v2, v4, v18"]  # fmt: skip
        lines += [f"vmerge.vvm v20, v{third}, v{second}, v0",
                  f"vsha2ms.vv v{oldest}, v20, v{newest}"]  # fmt: skip
    lines += ["vadd.vv v2, v2, v6", "vadd.vv v4, v4, v8", "j done"]
    inputs = packed([f, e, b, a, h, g, d, c, *words, *constants])
    end = check("\n".join(lines) + "\n" + data("inputs", inputs) + "done:", on)
    first, second_half = registers(end, 2, regs), registers(end, 4, regs)
    out = [int.from_bytes(half[n : n + size], "little") for half in (first, second_half)
           for n in range(0, 4 * size, size)]  # fmt: skip
    f, e, b, a, h, g, d, c = out
    digest = b"".join(v.to_bytes(size, "big") for v in (a, b, c, d, e, f, g, h))
    assert digest == hashlib.new(f"sha{bits}", b"abc").digest()


# ---- GHASH, by the algorithm of SP 800-38D, 6.3


def product(x: int, y: int) -> int:
    z, v = 0, y
    for n in range(127, -1, -1):
        z ^= v * (x >> n & 1)
        v = v >> 1 ^ (0xE1 << 120) * (v & 1)
    return z


@pytest.mark.parametrize("seed", range(4))
def test_ghash(seed: int) -> None:
    rng = random.Random(seed)
    state, block, key = (rng.randbytes(32) for _ in range(3))
    end = check(
        "vsetivli zero, 8, e32, m2, ta, ma\n la a0, inputs\n"
        + "".join(f"vle32.v v{n}, (a0)\n addi a0, a0, 32\n" for n in (2, 4, 6))
        + "vmv.v.v v8, v2\n vghsh.vv v2, v6, v4\n vgmul.vv v8, v6\n j done\n"
        + data("inputs", state + block + key)
        + "done:",
        on,
    )
    for n in (0, 16):
        y, x, h = (int.from_bytes(v[n : n + 16], "big") for v in (state, block, key))
        assert int.from_bytes(registers(end, 2, 2)[n : n + 16], "big") == product(y ^ x, h)
        assert int.from_bytes(registers(end, 8, 2)[n : n + 16], "big") == product(y, h)


@pytest.mark.parametrize(
    ("vtype", "vl", "instruction"),
    [
        ("e64, m1", 2, "vaesem.vv v4, v6"), ("e32, m1", 3, "vaesem.vv v4, v6"),
        ("e32, mf2", 2, "vaesz.vs v4, v6"), ("e32, m2", 8, "vaesz.vs v4, v5"),
        ("e64, m1", 2, "vsha2ms.vv v4, v6, v8"), ("e32, m1", 4, "vsha2cl.vv v4, v4, v8"),
        ("e32, m1", 4, "vsha2ms.vv v4, v6, v4"), ("e16, m1", 4, "vghsh.vv v4, v6, v8"),
    ],
)  # fmt: skip
def test_reserved_configurations_are_illegal(vtype: str, vl: int, instruction: str) -> None:
    end = check(f"""
        la t0, handler
        csrw mtvec, t0
        vsetivli zero, {vl}, {vtype}, ta, ma
        j start
    .align 2
    handler:
        csrr s2, mcause
        j done
    start:
        {instruction}
    done:""", on)  # fmt: skip
    assert end.x(18) == 2
