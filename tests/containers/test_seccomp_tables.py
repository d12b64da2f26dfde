"""The system call tables, derived again from whatever headers this host has."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from innkeeper.containers.seccomp import tables
from innkeeper.containers.seccomp.arches import ABIS
from tests.containers import libseccomp
from tests.containers.derive_syscall_tables import HEADERS, numbers

INCLUDES = {
    "x86_64": "/usr/include/x86_64-linux-gnu", "x86": "/usr/include/x86_64-linux-gnu",
    "x32": "/usr/include/x86_64-linux-gnu", "aarch64": "/usr/aarch64-linux-gnu/include",
    "riscv64": "/usr/riscv64-linux-gnu/include", "arm": "/usr/arm-linux-gnueabihf/include",
    "ppc64": "/usr/powerpc64le-linux-gnu/include", "ppc": "/usr/powerpc64le-linux-gnu/include",
    "s390x": "/usr/s390x-linux-gnu/include", "s390": "/usr/s390x-linux-gnu/include",
}  # fmt: skip


@pytest.mark.parametrize("arch", sorted(HEADERS))
def test_table_is_what_the_headers_say(arch: str) -> None:
    include = INCLUDES[arch]
    if not Path(include, "asm/unistd.h").exists() or not shutil.which("gcc"):
        pytest.skip(f"no gcc or no kernel headers in {include}")
    ours, theirs = tables.load(arch), numbers(arch, include)
    shared = ours.keys() & theirs.keys()
    assert {name: ours[name] for name in shared} == {name: theirs[name] for name in shared}
    assert len(shared) > 300


@pytest.mark.skipif(libseccomp.LIB is None, reason="libseccomp is not installed")
@pytest.mark.parametrize("name", sorted(ABIS))
def test_table_is_what_libseccomp_says(name: str) -> None:
    lib = libseccomp.LIB
    assert lib is not None
    same = 0
    for call, number in ABIS[name].numbers().items():
        theirs = lib.seccomp_syscall_resolve_name_arch(libseccomp.TOKENS[name], call.encode())
        if theirs > 0:  # else newer than the library, or behind socketcall(2) or ipc(2)
            assert theirs == number, call
            same += 1
    assert same > 300


@pytest.mark.parametrize("name", sorted(ABIS))
def test_numbers_are_not_shared_but_by_aliases(name: str) -> None:
    found: dict[int, list[str]] = {}
    for call, number in ABIS[name].numbers().items():
        found.setdefault(number, []).append(call)
    doubled = {tuple(sorted(calls)) for calls in found.values() if len(calls) > 1}
    assert doubled <= {("arm_sync_file_range", "sync_file_range2"), ("fadvise64", "fadvise64_64"),
                       ("sync_file_range", "sync_file_range2")}  # fmt: skip
