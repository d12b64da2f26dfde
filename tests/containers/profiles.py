"""Random profiles, and a slow reading of the specification that decides calls one by one."""

from __future__ import annotations

import random
from typing import Any

from tests.containers.libseccomp import TOKENS

VALUES = {
    "SCMP_ACT_KILL": 0, "SCMP_ACT_KILL_THREAD": 0, "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_TRAP": 0x30000, "SCMP_ACT_ERRNO": 0x50000, "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_LOG": 0x7FFC0000, "SCMP_ACT_ALLOW": 0x7FFF0000, "SCMP_ACT_NOTIFY": 0x7FC00000,
}  # fmt: skip
WITH_ERRNO = ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE")
NARROW = ("SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_ARM", "SCMP_ARCH_PPC", "SCMP_ARCH_S390")
_NAMES = (
    "read open openat dup lseek ioctl mmap clone clone3 personality socket getpid exit_group "
    "execve prctl futex pidfd_open statx no_such_call socketpair kill unshare"
)
NAMES = _NAMES.split()
BOUNDARY = (
    0, 1, 5, 9, 16, 0xFF, 0x7E020000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x100000000,
    0x1FFFFFFFF, 0x123456789ABCDEF0, (1 << 63) - 1, 1 << 63, (1 << 64) - 1,
)  # fmt: skip


def value_of(rule: dict[str, Any], key: str = "action", errno_key: str = "errnoRet") -> int:
    name = rule[key]
    errno = rule.get(errno_key)
    return VALUES[name] | ((1 if errno is None else errno) if name in WITH_ERRNO else 0)


def action(rng: random.Random) -> dict[str, Any]:
    name = rng.choice([name for name in VALUES if name != "SCMP_ACT_NOTIFY"])
    rule: dict[str, Any] = {"action": name}
    if name in WITH_ERRNO and rng.random() < 0.7:
        rule["errnoRet"] = rng.randrange(4096)
    return rule


def arguments(rng: random.Random) -> list[dict[str, Any]]:
    found = []
    for _ in range(rng.choice((0, 0, 1, 1, 2, 3))):
        op = rng.choice(("NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"))
        value = rng.choice(BOUNDARY)
        found.append({"index": rng.randrange(6), "op": f"SCMP_CMP_{op}", "value": value,
                      "valueTwo": rng.choice(BOUNDARY)})  # fmt: skip
    return found


def profile(
    rng: random.Random, architectures: list[str], names: list[str], *, plain: bool = False
) -> dict[str, Any]:
    """Make a profile in which the conditional rules of one call share one action.

    `plain` leaves out conjunctions of inequalities, which libseccomp 2.5.4 gets wrong at times.
    """
    default = action(rng)
    made: dict[str, Any] = {"defaultAction": default["action"], "architectures": architectures}
    if "errnoRet" in default:
        made["defaultErrnoRet"] = default["errnoRet"]
    per_call = {name: action(rng) for name in names}
    made["syscalls"] = []
    for _ in range(rng.randrange(1, 60)):
        args = arguments(rng)
        if plain and len(args) > 1 and not all(a["op"].endswith("EQ") for a in args):
            args = args[:1]
        some = rng.sample(names, rng.randrange(1, 4)) if not args else [rng.choice(names)]
        rule = dict(per_call[some[0]]) if args else action(rng)
        made["syscalls"].append({"names": some, **rule, **({"args": args} if args else {})})
    return made


def holds(arg: dict[str, Any], args: tuple[int, ...], bits: int) -> bool:
    fits = (1 << bits) - 1
    have, value = args[arg["index"]] & fits, arg["value"] & fits
    second = arg.get("valueTwo", 0) & fits
    return {
        "NE": have != value, "LT": have < value, "LE": have <= value, "EQ": have == value,
        "GE": have >= value, "GT": have > value, "MASKED_EQ": have & value == second & value,
    }[arg["op"][9:]]  # fmt: skip


def decide(
    made: dict[str, Any],
    tables: dict[str, dict[str, int]],
    arch: int,
    nr: int,
    args: tuple[int, ...],
) -> int:
    """Decide one call: `tables` holds the numbers of the ABIs in the filter, by SCMP_ARCH name."""
    default = value_of(made, "defaultAction", "defaultErrnoRet")
    x32 = arch == 0xC000003E and bool(nr & 0x40000000)
    if x32 and nr == 0xFFFFFFFF and "SCMP_ARCH_X32" not in tables:
        return default  # ptrace's "skip this call"
    token = 0x4000003E if x32 else arch
    abi = next((name for name in tables if TOKENS[name] == token), None)
    if abi is None:
        return 0
    bits = 32 if abi in NARROW else 64
    permissive = made["defaultAction"] in ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")
    named = [tables[abi][n] for r in made["syscalls"] for n in r["names"] if n in tables[abi]]
    if named and nr > max(named) and not permissive:
        return 0x50000 | 38
    if arch == 0xC000003E and nr >= 0x40000000 and not x32 and "SCMP_ARCH_X32" not in tables:
        return 0
    fits = (1 << bits) - 1
    rules = [r for r in made["syscalls"] if value_of(r) != default
             and nr in [tables[abi].get(n) for n in r["names"]]]  # fmt: skip
    for rule in rules:
        asked = [a for a in rule.get("args", ()) if a["op"][9:] != "MASKED_EQ" or a["value"] & fits]
        alternatives = len({a["index"] for a in rule.get("args", ())}) < len(rule.get("args", ()))
        if not asked or (alternatives and len(asked) < len(rule["args"])):
            return value_of(rule)  # no condition, or one that asks for no bit
    for rule in rules:
        wanted = rule["args"]
        indexes = [a["index"] for a in wanted]
        met = any if len(set(indexes)) < len(indexes) else all
        if met(holds(a, args, bits) for a in wanted):
            return value_of(rule)
    return default
