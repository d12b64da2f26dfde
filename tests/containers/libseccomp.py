"""libseccomp, the peer: the same profile as runc would give it, exported as BPF."""

from __future__ import annotations

import ctypes
import tempfile
from typing import Any

TOKENS = {
    "SCMP_ARCH_X86_64": 0xC000003E, "SCMP_ARCH_X86": 0x40000003, "SCMP_ARCH_X32": 0x4000003E,
    "SCMP_ARCH_AARCH64": 0xC00000B7, "SCMP_ARCH_ARM": 0x40000028, "SCMP_ARCH_RISCV64": 0xC00000F3,
    "SCMP_ARCH_PPC64LE": 0xC0000015, "SCMP_ARCH_PPC64": 0x80000015, "SCMP_ARCH_PPC": 0x14,
    "SCMP_ARCH_S390X": 0x80000016, "SCMP_ARCH_S390": 0x16,
}  # fmt: skip
OPS = {"NE": 1, "LT": 2, "LE": 3, "EQ": 4, "GE": 5, "GT": 6, "MASKED_EQ": 7}


class Refused(Exception):
    """libseccomp does not take the rule."""


class Cmp(ctypes.Structure):
    _fields_ = (
        ("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64),
    )  # fmt: skip


def load() -> ctypes.CDLL | None:
    try:
        lib = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return None
    lib.seccomp_init.restype = ctypes.c_void_p
    lib.seccomp_init.argtypes = [ctypes.c_uint32]
    lib.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(Cmp),
    ]  # fmt: skip
    for name, arg in (
        ("export_bpf", ctypes.c_int),
        ("arch_add", ctypes.c_uint32),
        ("arch_remove", ctypes.c_uint32),
    ):
        getattr(lib, f"seccomp_{name}").argtypes = [ctypes.c_void_p, arg]
    lib.seccomp_release.argtypes = [ctypes.c_void_p]
    return lib


LIB = load()


def _conditions(args: list[dict[str, Any]]) -> list[list[Cmp]]:
    made = [Cmp(a["index"], OPS[a["op"][9:]], a["value"], a.get("valueTwo", 0)) for a in args]
    if len({a["index"] for a in args}) < len(args):
        return [[one] for one in made]
    return [made]


def compile_profile(profile: dict[str, Any], action: Any, native: str) -> bytes:
    """Return the filter libseccomp makes; `action` turns a rule into a return value."""
    assert LIB is not None
    default = action(profile, "defaultAction", "defaultErrnoRet", "")
    context = LIB.seccomp_init(default)
    try:
        wanted = {TOKENS[native], *(TOKENS[name] for name in profile.get("architectures", ()))}
        own = 0xC000003E  # libseccomp starts with the host's, which is x86-64 here
        if own not in wanted:
            assert LIB.seccomp_arch_remove(context, own) == 0
        for token in wanted - {own}:
            assert LIB.seccomp_arch_add(context, token) == 0
        for rule in profile.get("syscalls", ()):
            value = action(rule, "action", "errnoRet", "")
            if value == default:
                continue
            for name in rule["names"]:
                nr = LIB.seccomp_syscall_resolve_name(name.encode())
                if nr == -1:
                    continue
                for conditions in _conditions(rule.get("args") or []):
                    array = (Cmp * max(1, len(conditions)))(*conditions)
                    code = LIB.seccomp_rule_add_array(context, value, nr, len(conditions), array)
                    if code != 0:
                        raise Refused(name, code, rule)
        with tempfile.TemporaryFile() as out:
            assert LIB.seccomp_export_bpf(context, out.fileno()) == 0
            out.seek(0)
            return out.read()
    finally:
        LIB.seccomp_release(context)
