"""Zvbb and Zvbc against models that work on bit strings."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from innkeeper.isa.riscv.zvbb import ZVBB, ZVBC
from tests.engine.harness import State, check
from tests.engine.vector_program import DIRTY


def bits(a: int, width: int) -> str:
    return f"{a:0{width}b}"


def rotated(a: int, n: int, width: int) -> int:
    text = bits(a, width)
    n %= width
    return int(text[n:] + text[:n], 2)


def product(a: int, b: int) -> int:
    total = 0
    for n in range(64):
        total ^= (a << n) * (b >> n & 1)
    return total


Model = Callable[[int, int, int], int]
MODELS: dict[str, Model] = {
    "vandn": lambda a, b, w: a & ((1 << w) - 1 - b),
    "vrol": lambda a, b, w: rotated(a, b, w),
    "vror": lambda a, b, w: rotated(a, -b, w),
    "vwsll": lambda a, b, w: (a << b % (2 * w)) % (1 << 2 * w),
    "vbrev": lambda a, _, w: int(bits(a, w)[::-1], 2),
    "vbrev8": lambda a, _, w: int.from_bytes(
        bytes(int(bits(x, 8)[::-1], 2) for x in a.to_bytes(w // 8, "big")), "big"
    ),
    "vrev8": lambda a, _, w: int.from_bytes(a.to_bytes(w // 8, "little"), "big"),
    "vclz": lambda a, _, w: w - len(bits(a, w).lstrip("0")),
    "vctz": lambda a, _, w: w - len(bits(a, w).rstrip("0")),
    "vcpop": lambda a, _, w: bits(a, w).count("1"),
    "vclmul": lambda a, b, _: product(a, b) % (1 << 64),
    "vclmulh": lambda a, b, _: product(a, b) >> 64,
}
SCALAR = 0x0123_4567_89AB_CDEB
IMMEDIATE = 13


def elements(end: State, register: int, count: int, width: int) -> list[int]:
    first = range(register * 2, register * 2 + 4)
    whole = sum(end.values[f"v{n // 2}[{n % 2}]"] << 64 * k for k, n in enumerate(first))
    return [whole >> n * width & ((1 << width) - 1) for n in range(count)]


@pytest.mark.parametrize("name", [i.name for e in (ZVBB, ZVBC) for i in e.instructions])
def test_agrees_with_the_model(name: str) -> None:
    stem, form = name.split(".")
    other = {"vv": ", v10", "vx": ", a0", "vi": f", {IMMEDIATE}", "v": ""}[form]
    rng = random.Random(name)
    values = [rng.choice((0, rng.getrandbits(64), rng.getrandbits(8) << 56)) for _ in range(64)]

    def setup(raw: Any) -> None:
        raw.mstatus = DIRTY
        raw.x[10] = SCALAR
        for n in range(64):
            raw.v[n] = values[n]

    for width in (8, 16, 32, 64):
        if (width == 64 and stem == "vwsll") or (width < 64 and stem.startswith("vclmul")):
            continue
        count = 128 // width
        source = f"vsetivli zero, {count}, e{width}, m1, ta, ma\n {name} v12, v8{other}\n done:"
        end = check(source, setup)
        a, b = elements(end, 8, count, width), elements(end, 10, count, width)
        if form in ("vx", "vi"):
            b = [(SCALAR if form == "vx" else IMMEDIATE) % (1 << width)] * count
        got = elements(end, 12, count, width * 2 if stem == "vwsll" else width)
        assert got == [MODELS[stem](x, y, width) for x, y in zip(a, b, strict=True)]


@pytest.mark.parametrize("width", [8, 16, 32])
def test_carryless_products_are_of_64_bits(width: int) -> None:
    end = check(f"""
        la t0, handler
        csrw mtvec, t0
        vsetivli zero, 2, e{width}, m1, ta, ma
        j start
    .align 2
    handler:
        csrr s2, mcause
        j done
    start:
        vclmul.vv v4, v5, v6
    done:""", lambda raw: setattr(raw, "mstatus", DIRTY))  # fmt: skip
    assert end.x(18) == 2
