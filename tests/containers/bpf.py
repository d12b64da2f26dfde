"""An interpreter of classic BPF as seccomp uses it: the kernel's checks, then the program."""

from __future__ import annotations

import struct

LD, RET, ALU_AND = 0x20, 0x06, 0x54
JA = 0x05
JUMPS = {
    0x15: lambda a, k: a == k,
    0x25: lambda a, k: a > k,
    0x35: lambda a, k: a >= k,
    0x45: lambda a, k: a & k != 0,
}


def decode(code: bytes, *, big_endian: bool = False) -> list[tuple[int, int, int, int]]:
    assert len(code) % 8 == 0
    return list(struct.iter_unpack(">HBBI" if big_endian else "<HBBI", code))


def check(program: list[tuple[int, int, int, int]]) -> None:
    """What bpf_check_classic and seccomp_check_filter would refuse (kernel/seccomp.c)."""
    assert 0 < len(program) <= 4096
    assert program[-1][0] == RET
    for at, (op, jt, jf, k) in enumerate(program):
        if op == LD:
            assert k % 4 == 0 and k < 64
        elif op == JA:
            assert at + 1 + k < len(program)
        elif op in JUMPS:
            assert at + 1 + max(jt, jf) < len(program)
        else:
            assert op in (RET, ALU_AND), hex(op)


def data(nr: int, arch: int, args: tuple[int, ...] = (), *, big_endian: bool = False) -> bytes:
    args = (*args, *([0] * (6 - len(args))))
    return struct.pack((">" if big_endian else "<") + "IIQ6Q", nr, arch, 0, *args)


def run(program: list[tuple[int, int, int, int]], call: bytes, *, big_endian: bool = False) -> int:
    words = struct.unpack((">" if big_endian else "<") + "16I", call)
    a = at = steps = 0
    while True:
        op, jt, jf, k = program[at]
        at, steps = at + 1, steps + 1
        if op == LD:
            a = words[k // 4]
        elif op == ALU_AND:
            a &= k
        elif op == JA:
            at += k
        elif op == RET:
            return k
        else:
            at += jt if JUMPS[op](a, k) else jf
