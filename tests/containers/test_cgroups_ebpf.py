"""The device program, interpreted, against a slow reading of the rules; the kernel runs it elsewhere."""

from __future__ import annotations

import itertools
import random
import struct
from typing import Any

import pytest

from innkeeper.base.errors import ConfigError
from innkeeper.containers.cgroups import devices, ebpf

MASK64 = (1 << 64) - 1


def run(code: bytes, access: int, kind: int, major: int, minor: int) -> int:
    """Interpret the handful of instructions a device program may have (bpf instruction set)."""
    program = list(struct.iter_unpack("<BBhi", code))
    context = struct.pack("<III", access << 16 | kind, major, minor)
    r = [0] * 11
    at = 0
    while True:
        op, registers, offset, imm = program[at]
        to, source = registers & 15, registers >> 4
        at += 1
        if op == ebpf.LDX_W:
            assert source == ebpf.R1
            r[to] = struct.unpack_from("<I", context, offset)[0]
        elif op == ebpf.ALU32_MOV_X:
            r[to] = r[source] & 0xFFFFFFFF
        elif op == ebpf.ALU64_MOV_K:
            r[to] = imm & MASK64
        elif op == ebpf.ALU32_AND_K:
            r[to] = r[to] & imm & 0xFFFFFFFF
        elif op == ebpf.ALU32_RSH_K:
            r[to] = (r[to] & 0xFFFFFFFF) >> imm
        elif op == ebpf.JNE_K:
            at += offset if r[to] != imm & MASK64 else 0
        elif op == ebpf.JEQ_K:
            at += offset if r[to] == imm & MASK64 else 0
        elif op == ebpf.JNE_X:
            at += offset if r[to] != r[source] else 0
        else:
            assert op == ebpf.EXIT
            return r[0]


def decide(made: devices.DeviceList, access: str, kind: str, major: int, minor: int) -> bool:
    """What cgroup v1's devcgroup does (security/device_cgroup.c): default and exceptions."""
    for (k, ma, mi), may in made.rules.items():
        if k != kind or ma not in (devices.ANY, major) or mi not in (devices.ANY, minor):
            continue
        if made.default_allow and set(access) & may:
            return False
        if not made.default_allow and set(access) <= may:
            return True
    return made.default_allow


def rules(rng: random.Random) -> list[dict[str, Any]]:
    made = []
    for _ in range(rng.randrange(6)):
        rule: dict[str, Any] = {
            "allow": rng.random() < 0.6,
            "access": rng.choice(("r", "w", "m", "rw", "rwm", "")),
        }
        if rng.random() < 0.8:
            rule |= {"type": rng.choice("bc")}
            for key in ("major", "minor"):
                if rng.random() < 0.7:
                    rule[key] = rng.choice((0, 1, 3, 8, 10, 0x7FFFFFFF))
        made.append(rule)
    return made


def test_programs_decide_as_the_rules() -> None:
    rng = random.Random("device lists")
    tried = 0
    for _ in range(150):
        try:
            made = devices.wanted(rules(rng))
        except ConfigError:
            continue  # a hole in a wildcard
        tried += 1
        code = ebpf.device_program(made)
        for access, kind, major, minor in itertools.product(
            ("r", "w", "m", "rw", "rwm"), "bc", (0, 1, 3, 8, 136), (0, 3, 8, 200)
        ):
            bits = sum(ebpf.ACCESS[each] for each in access)
            got = run(code, bits, ebpf.TYPES[kind], major, minor)
            assert got == decide(made, access, kind, major, minor), (
                made.rules,
                access,
                kind,
                major,
                minor,
            )
    assert tried > 80


def test_holes_in_wildcards_are_refused() -> None:
    allow = {"allow": True, "type": "c", "major": 1, "access": "rw"}
    hole = {"allow": False, "type": "c", "major": 1, "minor": 3, "access": "r"}
    with pytest.raises(ConfigError, match=r"devices\[1\].*punch a hole"):
        devices.wanted([allow, hole])
    assert devices.wanted([allow, {**hole, "access": "m"}]).rules[
        ("c", 1, devices.ANY)
    ] == frozenset("rw")


def test_number_of_rules_is_bounded() -> None:
    with pytest.raises(ConfigError, match="at most 4096"):
        devices.wanted([{"allow": True, "type": "c"}] * 4097)
