"""Programs against a slow reading of the specification, and against libseccomp."""

from __future__ import annotations

import random
from typing import Any

import pytest

from innkeeper.base.errors import ContainerError
from innkeeper.containers.seccomp import default_profile
from innkeeper.containers.seccomp.arches import ABIS, MACHINES
from innkeeper.containers.seccomp.compile import compile_filter
from innkeeper.containers.seccomp.rules import action as rule_value
from tests.containers import bpf, libseccomp, profiles

ALL_ABIS = [name for abis in MACHINES.values() for name in abis]
# Rules behind socketcall(2) with different actions are more than libseccomp takes.
NOT_SOCKETPAIR = [n for n in profiles.NAMES if n not in ("socket", "socketpair")]
needs_libseccomp = pytest.mark.skipif(libseccomp.LIB is None, reason="libseccomp is not installed")


def calls(rng: random.Random, numbers: list[int], count: int) -> list[tuple[int, tuple[int, ...]]]:
    """Draw numbers a profile names, their neighbours and far ones, with arguments at the edges."""
    odd = [0, 0x40000000, 0x40000001, 0x7FFFFFFF, 0x80000000, 0xC0000000, 0xFFFFFFFE, 0xFFFFFFFF]
    found = []
    for _ in range(count):
        nr = rng.choice([rng.choice(numbers) + rng.choice((0, 0, 0, -1, 1)), rng.randrange(600)])
        nr = rng.choice(odd) if rng.random() < 0.05 else max(nr, 0)
        args = tuple(
            (rng.choice(profiles.BOUNDARY) + rng.choice((0, 0, -1, 1))) & (1 << 64) - 1
            for _ in range(6)
        )
        found.append((nr, args))
    return found


@pytest.mark.parametrize("machine", sorted(MACHINES))
def test_decides_as_the_specification_reads(machine: str) -> None:
    rng = random.Random(f"oracle {machine}")
    tables = {name: ABIS[name].numbers() for name in MACHINES[machine]}
    big_endian = ABIS[MACHINES[machine][0]].big_endian
    # socketcall(2) and ipc(2) have their own test; s390 has the setup(2) exception.
    names = [n for n in profiles.NAMES if n not in ("socket", "socketpair")]
    for _ in range(25):
        architectures = [n for n in MACHINES[machine] if rng.random() < 0.7]
        made = profiles.profile(rng, architectures, names)
        active = {n: tables[n] for n in {MACHINES[machine][0], *architectures}}
        program = bpf.decode(compile_filter(made, machine)[0], big_endian=big_endian)
        bpf.check(program)
        for name in MACHINES[machine]:
            numbers = [tables[name].get(n, 3) for n in names]
            for nr, args in calls(rng, numbers, 120):
                if nr == 0 and "S390" in name:
                    continue
                want = profiles.decide(made, active, ABIS[name].audit, nr, args)
                call = bpf.data(nr, ABIS[name].audit, args, big_endian=big_endian)
                got = bpf.run(program, call, big_endian=big_endian)
                assert got == want, (made, name, hex(nr), args)


@needs_libseccomp
@pytest.mark.parametrize("machine", ["x86_64", "aarch64", "ppc64le"])
def test_decides_as_libseccomp(machine: str) -> None:
    """The same filter from the peer: with its order of overlapping rules and its socketcall(2)."""
    rng = random.Random(f"peer {machine}")
    native = MACHINES[machine][0]
    compared = 0
    for _ in range(40):
        architectures = list(MACHINES[machine])
        made = profiles.profile(rng, architectures, NOT_SOCKETPAIR, plain=True)
        if made["defaultAction"] not in ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"):
            made |= {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38}  # no -ENOSYS stub
        ours = bpf.decode(compile_filter(made, machine)[0])
        try:
            theirs = bpf.decode(libseccomp.compile_profile(made, rule_value, native))
        except libseccomp.Refused as why:
            print(why)
            continue
        compared += 1
        for name in architectures:
            numbers = list(ABIS[name].numbers().values())
            for nr, args in calls(rng, numbers, 150):
                call = bpf.data(nr, ABIS[name].audit, args)
                assert bpf.run(ours, call) == bpf.run(theirs, call), (made, name, hex(nr), args)
    assert compared > 35


@needs_libseccomp
def test_default_profile_is_libseccomps_for_every_number() -> None:
    for capabilities in ((), ("CAP_SYS_ADMIN", "SYS_PTRACE")):
        made = default_profile(capabilities, "x86_64")
        made["defaultErrnoRet"] = 38
        ours = bpf.decode(compile_filter(made, "x86_64")[0])
        theirs = bpf.decode(libseccomp.compile_profile(made, rule_value, "SCMP_ARCH_X86_64"))
        assert len(ours) < len(theirs)
        lib = libseccomp.LIB
        assert lib is not None
        for name in MACHINES["x86_64"]:
            for call, nr in ABIS[name].numbers().items():
                known = lib.seccomp_syscall_resolve_name_arch(
                    libseccomp.TOKENS[name], call.encode()
                )
                if known == -1 or known < -10000:
                    continue  # newer than this libseccomp
                for first in (0, 8, 1, 12, 16, 40, 0x20008, 0xFFFFFFFF, 0x10000000, 1 << 32):
                    data = bpf.data(nr, ABIS[name].audit, (first, first))
                    assert bpf.run(ours, data) == bpf.run(theirs, data), (name, call, first)


def profile(*syscalls: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": list(syscalls), **more}


def rule(name: str, action: str, *args: tuple[int, str, int], **more: Any) -> dict[str, Any]:
    comparisons = [{"index": i, "op": f"SCMP_CMP_{op}", "value": v} for i, op, v in args]
    return {"names": [name], "action": f"SCMP_ACT_{action}", "args": comparisons, **more}


def ask(made: dict[str, Any], nr: int, *args: int, machine: str = "x86_64") -> int:
    program = bpf.decode(compile_filter(made, machine)[0])
    return bpf.run(program, bpf.data(nr, ABIS[MACHINES[machine][0]].audit, args))


ALLOW, EPERM, ENOSYS, ERRNO2 = 0x7FFF0000, 0x50001, 0x50026, 0x50002


def test_unconditional_rules_win_and_the_first_of_them() -> None:
    two = {"errnoRet": 2}
    assert ask(profile(rule("read", "ALLOW"), rule("read", "ERRNO", **two)), 0) == ALLOW
    assert ask(profile(rule("read", "ERRNO", **two), rule("read", "ALLOW")), 0) == ERRNO2
    narrow = rule("read", "ERRNO", (0, "EQ", 5), **two)
    assert ask(profile(narrow, rule("read", "ALLOW")), 0, 5) == ALLOW
    assert ask(profile(rule("read", "ALLOW"), narrow), 0, 5) == ALLOW


@needs_libseccomp
@pytest.mark.parametrize("reverse", [False, True])
def test_overlapping_rules_are_asked_in_libseccomps_order(reverse: bool) -> None:
    pairs = [
        ((0, "GE", 5), (0, "EQ", 7)), ((0, "EQ", 7), (1, "EQ", 9)), ((0, "GE", 5), (0, "GE", 9)),
        ((0, "LT", 5), (0, "LT", 9)), ((1, "NE", 3), (0, "NE", 3)),
    ]  # fmt: skip
    for first, second in pairs:
        rules = [rule("read", "ALLOW", first), rule("read", "ERRNO", second, errnoRet=2)]
        made = profile(*(reversed(rules) if reverse else rules), defaultErrnoRet=38)
        theirs = bpf.decode(libseccomp.compile_profile(made, rule_value, "SCMP_ARCH_X86_64"))
        for a in range(12):
            for b in (3, 9):
                got = bpf.run(theirs, bpf.data(0, 0xC000003E, (a, b)))
                assert ask(made, 0, a, b) == got, (first, second, a, b)


def test_contradicting_rules_are_refused_unless_something_else_decides() -> None:
    first, second = (
        rule("read", "ALLOW", (0, "EQ", 5)),
        rule("read", "ERRNO", (0, "EQ", 5), errnoRet=2),
    )
    with pytest.raises(ContainerError, match="read contradict"):
        compile_filter(profile(first, second), "x86_64")
    assert ask(profile(first, second, rule("read", "ALLOW")), 0, 5) == ALLOW


def test_comparisons_of_one_argument_are_alternatives() -> None:
    made = profile(rule("read", "ALLOW", (0, "EQ", 5), (0, "EQ", 6)))
    assert [ask(made, 0, n) for n in (4, 5, 6)] == [EPERM, ALLOW, ALLOW]


def test_newer_calls_are_enosys_and_older_denied() -> None:
    made = profile(rule("statx", "ALLOW"), rule("read", "ALLOW"))
    assert [ask(made, nr) for nr in (332, 333, 9999, 1, 0xFFFFFFFF)] == [
        ALLOW,
        ENOSYS,
        ENOSYS,
        EPERM,
        EPERM,
    ]
    for lenient in ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE"):
        made = {"defaultAction": lenient, "syscalls": [rule("read", "ERRNO")]}
        assert ask(made, 9999) != ENOSYS


def test_s390_multiplexer_of_unknown_calls_is_enosys() -> None:
    made = profile(rule("read", "ALLOW"), architectures=["SCMP_ARCH_S390X"])
    program = bpf.decode(compile_filter(made, "s390x")[0], big_endian=True)
    call = bpf.data(0, ABIS["SCMP_ARCH_S390X"].audit, big_endian=True)
    assert bpf.run(program, call, big_endian=True) == ENOSYS


def test_foreign_architectures_and_x32_are_killed() -> None:
    made = profile(rule("read", "ALLOW"))
    program = bpf.decode(compile_filter(made, "x86_64")[0])
    for arch, nr in ((0x40000003, 3), (0xC00000B7, 63), (0xC000003E, 0x40000000)):
        assert bpf.run(program, bpf.data(nr, arch)) == 0


def test_flags() -> None:
    def flags(**more: Any) -> int:
        return compile_filter(profile(rule("read", "ALLOW"), **more), "x86_64")[1]

    assert flags() == 4  # runc's default
    assert flags(flags=[]) == 0
    assert flags(flags=["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG"]) == 2
    assert flags(flags=["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]) == 0
    notify = profile(rule("mount", "NOTIFY"), listenerPath="/run/agent",
                     flags=["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"])  # fmt: skip
    assert compile_filter(notify, "x86_64")[1:] == (8 | 32, True)


BAD = [
    ({}, "defaultAction"),
    ({"defaultAction": "SCMP_ACT_MAYBE"}, "defaultAction"),
    ({"defaultAction": "SCMP_ACT_NOTIFY"}, "defaultAction"),
    ({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}, "defaultErrnoRet"),
    ({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1 << 16}, "defaultErrnoRet"),
    ({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": True}, "defaultErrnoRet"),
    (profile(architectures=["SCMP_ARCH_VAX"]), "architectures"),
    (profile(architectures=["SCMP_ARCH_MIPS"]), "no system call table"),
    (profile(architectures=["SCMP_ARCH_S390X"]), "byte order"),
    (profile(architectures="SCMP_ARCH_X86"), "architectures"),
    (profile(flags=["SECCOMP_FILTER_FLAG_NEW"]), "flags"),
    (profile(listenerMetadata="x"), "listenerMetadata"),
    (profile(rule("mount", "NOTIFY")), "listenerPath"),
    (profile(rule("write", "NOTIFY"), listenerPath="/x"), "write"),
    (profile(rule("read", "ALLOW", (6, "EQ", 1))), "index"),
    (profile(rule("read", "ALLOW", (0, "EQ", 1 << 64))), "value"),
    (profile(rule("read", "ALLOW", (0, "EQ", -1))), "value"),
    (profile(rule("read", "ALLOW", (0, "ABOUT", 1))), "op"),
    (profile({"names": [], "action": "SCMP_ACT_ALLOW"}), "names"),
    (profile({"names": [""], "action": "SCMP_ACT_ALLOW"}), "names"),
    (profile({"names": "read", "action": "SCMP_ACT_ALLOW"}), "names"),
    (profile({"names": ["read"], "action": "SCMP_ACT_ALLOW", "errnoRet": 5}), "errnoRet"),
    (profile({"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [3]}), "args"),
    ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": 3}, "syscalls"),
    (profile(*[rule("read", "ALLOW", (0, "EQ", n)) for n in range(1000)]), "4096"),
]  # fmt: skip


@pytest.mark.parametrize(("made", "says"), BAD)
def test_bad_profiles_name_the_field(made: dict[str, Any], says: str) -> None:
    with pytest.raises(ContainerError, match=says):
        compile_filter(made, "x86_64")


def test_long_jumps() -> None:
    """Two calls with 200 rules each: the tree's jumps and the architecture's exceed 255."""
    made = profile(*[rule(n, "ALLOW", (0, "EQ", v)) for n in ("read", "statx") for v in range(200)],
                   architectures=["SCMP_ARCH_X86"])  # fmt: skip
    assert [ask(made, nr, v) for nr in (0, 332) for v in (0, 199, 200)] == [ALLOW, ALLOW, EPERM] * 2
    program = bpf.decode(compile_filter(made, "x86_64")[0])
    bpf.check(program)
    assert bpf.run(program, bpf.data(3, 0x40000003, (199,))) == ALLOW


def test_unknown_machine_is_refused() -> None:
    with pytest.raises(ContainerError, match="no system call table for vax"):
        compile_filter(profile(), "vax")
