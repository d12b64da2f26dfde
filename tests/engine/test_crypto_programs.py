"""The scalar cryptography instructions in use: the published vectors, by guest programs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from tests.engine.harness import RAM_BASE, check, program, tier0

KEYS = RAM_BASE + 0x1_0000
TEXT = RAM_BASE + 0x1_1000


def dwords(data: bytes, at: int, through: str = "s0") -> str:
    """Return code that puts bytes into memory."""
    lines = [f"li {through}, {at}"]
    for n in range(0, len(data), 8):
        lines += [
            f"li t0, {int.from_bytes(data[n : n + 8], 'little'):#x}",
            f"sd t0, {n}({through})",
        ]
    return "\n".join(lines)


def key_schedule(words: int) -> Iterator[str]:
    """Expand the key in t0 to t3 (128 or 256 bits), storing every round key from 0(s0) on."""
    at = 0
    last = {4: 10, 8: 7}[words]
    for n in range(words // 2):
        yield f"ld t{n}, {n * 8}(s0)"
    for n in range(last + 1):
        for pair in (0, 1)[: words // 4]:
            low, high = pair * 2, pair * 2 + 1
            yield f"sd t{low}, {at}(s0)\nsd t{high}, {at + 8}(s0)"
            at += 16
            if n == last:
                break
            if words == 4:
                yield f"aes64ks1i t4, t1, {n}\naes64ks2 t0, t4, t0\naes64ks2 t1, t0, t1"
            elif pair == 1:
                yield f"aes64ks1i t4, t3, {n}\naes64ks2 t0, t4, t0\naes64ks2 t1, t0, t1"
                if n < last - 1:
                    yield "aes64ks1i t4, t1, 10\naes64ks2 t2, t4, t2\naes64ks2 t3, t2, t3"


def add_key(number: int, mix: bool = False) -> str:
    through = "\naes64im t0, t0\naes64im t1, t1" if mix else ""
    load = f"ld t0, {number * 16}(s0)\nld t1, {number * 16 + 8}(s0)"
    return f"{load}{through}\nxor a0, a0, t0\nxor a1, a1, t1"


def one_round(name: str) -> str:
    return f"{name} t2, a0, a1\n{name} a1, a1, a0\nmv a0, t2"


def cipher(rounds: int) -> Iterator[str]:
    """Encrypt a0 and a1, keep that in a2 and a3, decrypt it again."""
    yield add_key(0)
    for n in range(1, rounds + 1):
        yield one_round("aes64esm" if n < rounds else "aes64es")
        yield add_key(n)
    yield "mv a2, a0\nmv a3, a1"
    yield add_key(rounds)
    for n in range(rounds - 1, -1, -1):
        yield one_round("aes64dsm" if n else "aes64ds")
        yield add_key(n, mix=n > 0)


@pytest.mark.parametrize(
    ("words", "rounds", "wanted"),
    [
        (4, 10, "69c4e0d86a7b0430d8cdb78070b4c55a"),
        (8, 14, "8ea2b7ca516745bfeafc49904b496089"),
    ],
    ids=["AES-128", "AES-256"],
)
def test_aes_example_vectors(words: int, rounds: int, wanted: str) -> None:
    """FIPS 197 appendix C.1 and C.3: the cipher, its inverse, and the key expansion."""
    plain = bytes.fromhex("00112233445566778899aabbccddeeff")
    low, high = (int.from_bytes(plain[n : n + 8], "little") for n in (0, 8))
    end = check(
        f"""
_start:
{dwords(bytes(range(words * 4)), KEYS)}
{chr(10).join(key_schedule(words))}
li a0, {low:#x}
li a1, {high:#x}
{chr(10).join(cipher(rounds))}
j done
done: nop
"""
    )
    encrypted = b"".join(end.x(n).to_bytes(8, "little") for n in (12, 13))
    assert encrypted.hex() == wanted
    assert b"".join(end.x(n).to_bytes(8, "little") for n in (10, 11)) == plain


def root(value: int, power: int) -> int:
    """Return the integer part of a root."""
    low, high = 0, value
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if middle**power <= value else (low, middle - 1)
    return low


def primes(count: int) -> list[int]:
    found: list[int] = []
    n = 2
    while len(found) < count:
        if all(n % p for p in found):
            found.append(n)
        n += 1
    return found


def fraction(prime: int, power: int, bits: int) -> int:
    """Return the first bits of the fractional part of a prime's root (FIPS 180-4 4.2.2, 5.3.3)."""
    return root(prime << bits * power, power) & (1 << bits) - 1


def compression(bits: int, message: bytes) -> str:
    """One block of SHA-256 or SHA-512 (FIPS 180-4 6.2, 6.4), unrolled; the hash in s0 to s7."""
    sha, rounds = {32: ("sha256", 64), 64: ("sha512", 80)}[bits]
    size, add, load = bits // 8, "addw" if bits == 32 else "add", "lw" if bits == 32 else "ld"
    store = "sw" if bits == 32 else "sd"
    initial = [fraction(p, 2, bits) for p in primes(8)]
    lines = [dwords(message, TEXT, "a0")]
    for n in range(16, rounds):
        for register, back in (("t0", 2), ("t1", 7), ("t2", 15), ("t3", 16)):
            lines.append(f"{load} {register}, {(n - back) * size}(a0)")
        lines.append(f"{sha}sig1 t0, t0\n{sha}sig0 t2, t2\n{add} t0, t0, t1")
        lines.append(f"{add} t0, t0, t2\n{add} t0, t0, t3\n{store} t0, {n * size}(a0)")
    lines += [f"li s{n}, {value:#x}" for n, value in enumerate(initial)]
    for n, prime in enumerate(primes(rounds)):
        a, b, c, d, e, f, g, h = (f"s{(k - n) % 8}" for k in range(8))
        lines.append(f"{load} t0, {n * size}(a0)\nli t1, {fraction(prime, 3, bits):#x}")
        lines.append(f"{add} t0, t0, t1\n{add} t0, t0, {h}\n{sha}sum1 t1, {e}\n{add} t0, t0, t1")
        lines.append(f"and t1, {e}, {f}\nandn t2, {g}, {e}\nxor t1, t1, t2\n{add} t0, t0, t1")
        lines.append(f"{add} {d}, {d}, t0\n{sha}sum0 t1, {a}\nxor t2, {b}, {c}\nand t2, t2, {a}")
        lines.append(f"and t3, {b}, {c}\nxor t2, t2, t3\n{add} t1, t1, t2\n{add} {h}, t0, t1")
    lines += [f"li t0, {value:#x}\n{add} s{n}, s{n}, t0" for n, value in enumerate(initial)]
    return "\n".join(lines)


@pytest.mark.parametrize(("bits", "name"), [(32, "sha256"), (64, "sha512")])
def test_sha2_of_abc(bits: int, name: str) -> None:
    """The one-block example of FIPS 180-2 appendices B.1 and C.1."""
    size = bits // 8
    block = b"abc\x80" + bytes(16 * size - 12) + (24).to_bytes(8, "big")
    words = [block[n : n + size][::-1] for n in range(0, 16 * size, size)]
    end = check(f"_start:\n{compression(bits, b''.join(words))}\nj done\ndone: nop\n")
    registers = (8, 9, 18, 19, 20, 21, 22, 23)
    got = b"".join((end.x(n) & (1 << bits) - 1).to_bytes(size, "big") for n in registers)
    assert got == hashlib.new(name, b"abc").digest()


def test_waiting_on_a_reservation_goes_on() -> None:
    """Neither WRS instruction traps or waits for ever, with a reservation or without one."""
    end = check(
        f"""
_start:
    li a1, {TEXT}
    wrs.nto
    lr.d a0, (a1)
    wrs.nto
    wrs.sto
    li a0, 7
    sc.d a2, a0, (a1)
    ld a3, (a1)
    csrr a4, minstret
    j done
done: nop
"""
    )
    assert (end.x(12), end.x(13)) == (0, 7)


def test_waiting_lets_the_other_hart_run() -> None:
    """A hart that waits for a store gives its turn away instead of spinning through it."""
    made = program(
        f"""
_start:
    li a1, {TEXT}
    li a2, 0
    csrr t0, mhartid
    bnez t0, other
again:
    lr.d a0, (a1)
    bnez a0, done
    addi a2, a2, 1
    wrs.nto
    j again
other:
    li t0, 7
    sd t0, (a1)
    wfi
done: nop
"""
    )
    machine = tier0(2)
    machine.load(made.image, made.entry)
    end = machine.run(made.symbols["done"])
    assert (end.x(10), end.x(12)) == (7, 1)
