"""The filter that runc installs and ours, both read back from the kernel, decide every call alike."""

from __future__ import annotations

import copy
import ctypes
import os
import random
from typing import Any

import pytest

from innkeeper.containers.seccomp import default_profile
from innkeeper.containers.seccomp.arches import ABIS, MACHINES
from tests.containers import bpf
from tests.containers.libseccomp import LIB, TOKENS
from tests.containers.oci.kit import Bundle, runc_of

PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH, PTRACE_SECCOMP_GET_FILTER = (
    0x4206,
    0x4207,
    17,
    0x420C,
)
pytestmark = pytest.mark.skipif(
    os.uname().machine != "x86_64" or LIB is None, reason="compares x86-64 with libseccomp's runc"
)


def filter_of(pid: int) -> list[tuple[int, int, int, int]]:
    """Return the newest filter of a process (ptrace(2), PTRACE_SECCOMP_GET_FILTER)."""
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.restype, ptrace.argtypes = ctypes.c_long, [ctypes.c_long] * 2 + [ctypes.c_void_p] * 2
    if ptrace(PTRACE_SEIZE, pid, 0, 0) != 0:
        pytest.skip(f"ptrace: {os.strerror(ctypes.get_errno())}")
    try:
        assert ptrace(PTRACE_INTERRUPT, pid, 0, 0) == 0
        os.waitpid(pid, 0x40000000)  # __WALL
        count = ptrace(PTRACE_SECCOMP_GET_FILTER, pid, 0, 0)
        if count < 0:
            pytest.skip(f"this kernel does not show filters: {os.strerror(ctypes.get_errno())}")
        code = ctypes.create_string_buffer(8 * count)
        assert ptrace(PTRACE_SECCOMP_GET_FILTER, pid, 0, ctypes.addressof(code)) == count
    finally:
        ptrace(PTRACE_DETACH, pid, 0, 0)
    return bpf.decode(code.raw)


def known(profile: dict[str, Any]) -> dict[str, Any]:
    """Leave out the calls that this libseccomp is too old for, which would move its last call."""
    tables = {abi: ABIS[abi].numbers() for abi in MACHINES["x86_64"]}

    def takes(name: str) -> bool:
        assert LIB is not None
        numbers = [
            LIB.seccomp_syscall_resolve_name_arch(TOKENS[abi], name.encode())
            for abi, table in tables.items()
            if name in table
        ]
        return all(number != -1 and number > -1000 for number in numbers)

    profile = copy.deepcopy(profile)
    for rule in profile["syscalls"]:
        rule["names"] = [name for name in rule["names"] if takes(name)]
    profile["syscalls"] = [rule for rule in profile["syscalls"] if rule["names"]]
    return profile


def log_all_but(name: str) -> dict[str, Any]:
    rule = {"names": [name], "action": "SCMP_ACT_ERRNO", "errnoRet": 77}
    return {
        "defaultAction": "SCMP_ACT_LOG",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [rule],
    }


@pytest.mark.parametrize("kind", ["default", "privileged", "own architecture", "permissive"])
def test_installed_filters_decide_alike(bundle: Bundle, kind: str) -> None:
    capabilities = ["CAP_SYS_ADMIN", "CAP_SYS_PTRACE"] if kind == "privileged" else []
    profile = known(default_profile(capabilities, "x86_64"))
    if kind == "own architecture":
        profile["architectures"] = ["SCMP_ARCH_X86_64"]
    if kind == "permissive":
        profile = log_all_but("acct")
    bundle.linux["seccomp"] = profile
    bundle.process["args"] = ["sleep", "100"]
    peer = runc_of(bundle)
    filters = []
    for one in (bundle, peer):
        try:
            one.start()
            filters.append(filter_of(one.pid()))
        finally:
            if one is peer:
                one.clean()
    ours, theirs = filters
    assert kind == "permissive" or len(ours) < len(theirs)
    rng = random.Random(kind)
    odd = [0x40000000 + 600, 0x7FFFFFFF, 0x80000000, 0xC0000001, 0xFFFFFFFE, 0xFFFFFFFF]
    interesting = (0, 1, 2, 8, 12, 16, 38, 40, 0x10000000, 0x20008, 0x7E020000, 0xFFFFFFFF, 1 << 32)
    for arch in (0xC000003E, 0x40000003, 0xC00000B7):
        for nr in (*range(600), *range(0x40000000, 0x40000000 + 600), *odd):
            for _ in range(4):
                call = bpf.data(nr, arch, tuple(rng.choice(interesting) for _ in range(6)))
                assert bpf.run(ours, call) == bpf.run(theirs, call), (hex(arch), hex(nr))
