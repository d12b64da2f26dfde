"""Filters installed for real: every action, argument comparisons, the default profile."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import platform
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from innkeeper.containers.seccomp import default_profile
from innkeeper.containers.seccomp.arches import ABIS
from innkeeper.containers.seccomp.compile import compile_filter

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64" or not Path("/proc/sys/kernel/seccomp").exists(),
    reason="the raw system calls of these tests are x86-64's, under a kernel with seccomp",
)
CHILD = Path(__file__).with_name("seccomp_child.py")
NR = ABIS["SCMP_ARCH_X86_64"].numbers()
NR32 = ABIS["SCMP_ARCH_X86"].numbers()


def start(made: dict[str, Any], calls: list[list[Any]], **order: Any) -> subprocess.Popen[bytes]:
    code, flags, _notify = compile_filter(made, "x86_64")
    order |= {"filter": code.hex(), "flags": flags, "calls": calls}
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[order["listener"]] if "listener" in order else [],
    )
    assert child.stdin is not None
    child.stdin.write(json.dumps(order).encode() + b"\n")
    child.stdin.flush()
    return child


def finish(child: subprocess.Popen[bytes]) -> tuple[int, list[Any]]:
    out, _ = child.communicate(timeout=60)
    return child.returncode, [json.loads(line) for line in out.splitlines()]


def run(made: dict[str, Any], calls: list[list[Any]], **order: Any) -> tuple[int, list[Any]]:
    return finish(start(made, calls, **order))


def allowing(*rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": list(rules), **more}


def rule(name: str, action: str, **more: Any) -> dict[str, Any]:
    return {"names": [name], "action": f"SCMP_ACT_{action}", **more}


def test_errno_allow_and_log() -> None:
    made = allowing(rule("getppid", "ERRNO", errnoRet=1234), rule("getuid", "LOG"))
    status, said = run(made, [[NR["getppid"]], [NR["getuid"]], [NR["getgid"]]])
    assert (status, said) == (0, [[-1, 1234], [os.getuid(), 0], [os.getgid(), 0]])
    logged = Path("/proc/sys/kernel/seccomp/actions_logged")
    assert not logged.exists() or "log" in logged.read_text().split()


@pytest.mark.parametrize("action", ["KILL", "KILL_THREAD", "KILL_PROCESS"])
def test_kill_ends_a_process_with_sigsys(action: str) -> None:
    status, said = run(allowing(rule("getppid", action)), [[NR["getgid"]], [NR["getppid"]]])
    assert (status, said) == (-signal.SIGSYS, [[os.getgid(), 0]])


def test_kill_thread_leaves_the_other_threads_and_kill_process_does_not() -> None:
    calls = [[NR["getppid"]]]
    assert run(allowing(rule("getppid", "KILL_THREAD")), calls, thread=True) == (
        0,
        ["the thread is gone"],
    )
    status, said = run(allowing(rule("getppid", "KILL_PROCESS")), calls, thread=True)
    assert (status, said) == (-signal.SIGSYS, [])


def test_trap_raises_sigsys() -> None:
    status, said = run(allowing(rule("getppid", "TRAP")), [[NR["getppid"]]], trap=True)
    assert status == 0
    assert "SIGSYS" in said


def test_trace_without_a_tracer_is_enosys() -> None:
    status, said = run(allowing(rule("getppid", "TRACE", errnoRet=7)), [[NR["getppid"]]])
    assert (status, said) == (0, [[-1, errno.ENOSYS]])


PTRACE_SEIZE, PTRACE_GETEVENTMSG, PTRACE_CONT, O_TRACESECCOMP, EVENT_SECCOMP = (
    0x4206,
    0x4201,
    7,
    0x80,
    7,
)


def test_trace_tells_a_tracer_the_number() -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    ptrace = libc.ptrace
    ptrace.restype, ptrace.argtypes = ctypes.c_long, [ctypes.c_long] * 2 + [ctypes.c_void_p] * 2
    child = start(allowing(rule("getppid", "TRACE", errnoRet=77)), [[NR["getppid"]]], wait=True)
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stdout.readline() == b'"ready"\n'
    if ptrace(PTRACE_SEIZE, child.pid, 0, O_TRACESECCOMP) != 0:
        child.kill()
        child.communicate()
        pytest.skip(f"ptrace: {os.strerror(ctypes.get_errno())}")
    child.stdin.write(b"go\n")
    child.stdin.flush()
    _, status = os.waitpid(child.pid, 0)
    assert status >> 8 == signal.SIGTRAP | EVENT_SECCOMP << 8
    told = ctypes.c_ulong()
    assert ptrace(PTRACE_GETEVENTMSG, child.pid, 0, ctypes.addressof(told)) == 0
    assert told.value == 77
    assert ptrace(PTRACE_CONT, child.pid, 0, 0) == 0
    assert finish(child) == (0, [[os.getpid(), 0]])


RECV, SEND, CONTINUE = 0xC0502100, 0xC0182101, 1  # linux/seccomp.h: SECCOMP_IOCTL_NOTIF_*


def test_notify_is_answered_by_an_agent() -> None:
    ours, theirs = socket.socketpair()
    made = allowing(
        *[rule(n, "NOTIFY") for n in ("getppid", "getuid", "getgid")], listenerPath="/agent"
    )
    with ours, theirs:
        calls = [[NR["getppid"], 5, 6], [NR["getuid"]], [NR["getgid"]]]
        child = start(made, calls, listener=theirs.fileno())
        _, (listener, *_), _, _ = socket.recv_fds(ours, 1, 1)
    for nr, value, error, flags in (
        (NR["getppid"], 424242, 0, 0), (NR["getuid"], 0, -errno.EXDEV, 0), (NR["getgid"], 0, 0, CONTINUE),
    ):  # fmt: skip
        request = bytearray(80)
        fcntl.ioctl(listener, RECV, request)
        cookie, pid, _flags, called, arch, _ip, first, second = struct.unpack_from(
            "=QIIiIQQQ", request
        )
        assert (pid, called, arch) == (child.pid, nr, 0xC000003E)
        if nr == NR["getppid"]:
            assert (first, second) == (5, 6)
        fcntl.ioctl(listener, SEND, struct.pack("=QqiI", cookie, value, error, flags))
    os.close(listener)
    assert finish(child) == (0, [[424242, 0], [-1, errno.EXDEV], [os.getgid(), 0]])


def comparisons() -> Iterator[tuple[str, int, int, dict[int, bool]]]:
    big = 0x1_0000_0005
    for op, value, second in (
        ("NE", big, 0), ("LT", big, 0), ("LE", big, 0), ("EQ", big, 0), ("GE", big, 0), ("GT", big, 0),
        ("MASKED_EQ", 0xF_0000_000F, 0x1_0000_0005), ("EQ", (1 << 64) - 1, 0), ("GT", 1 << 63, 0),
    ):  # fmt: skip
        yield op, value, second, {
            have: {
                "NE": have != value, "LT": have < value, "LE": have <= value, "EQ": have == value,
                "GE": have >= value, "GT": have > value, "MASKED_EQ": have & value == second,
            }[op]
            for have in (0, 5, big - 1, big, big + 1, 0x2_0000_0000, 0x21_0000_0035, 1 << 63, (1 << 64) - 1)
        }  # fmt: skip


def test_arguments_are_compared_by_the_kernel() -> None:
    """lseek(-1, n) fails with EBADF unless a rule for its third argument says otherwise."""
    rules, calls, want = [], [], []
    for at, (op, value, second, cases) in enumerate(comparisons()):
        args = [{"index": 2, "op": "SCMP_CMP_EQ", "value": 1000 + at},
                {"index": 1, "op": f"SCMP_CMP_{op}", "value": value, "valueTwo": second}]  # fmt: skip
        rules.append(rule("lseek", "ERRNO", errnoRet=2000 + at, args=args))
        for have, hit in cases.items():
            calls.append([NR["lseek"], -1, have, 1000 + at])
            want.append([-1, 2000 + at if hit else errno.EBADF])
    assert run(allowing(*rules), calls) == (0, want)


def emulates_32_bit() -> bool:
    return run(allowing(architectures=["SCMP_ARCH_X86"]), [["int80", NR32["getpid"]]])[0] == 0


def test_foreign_abis_are_killed_unless_listed() -> None:
    made = allowing(rule("getppid", "ERRNO", errnoRet=99))
    x32 = [[0x40000000 | NR["getppid"]]]
    assert run(made, x32) == (-signal.SIGSYS, [])
    assert run({**made, "architectures": ["SCMP_ARCH_X32"]}, x32) == (0, [[-1, 99]])
    if not emulates_32_bit():
        pytest.skip("this kernel runs no 32-bit programs")
    calls = [["int80", NR32["getppid"]]]
    assert run(made, calls) == (-signal.SIGSYS, [])
    assert run({**made, "architectures": ["SCMP_ARCH_X86"]}, calls) == (0, [[-99, 0]])


def test_default_profile_in_the_kernel() -> None:
    calls = [
        [NR["mount"], 0, 0, 0, 0, 0], [NR["unshare"], 0x10000000], [NR["clone3"], 0, 0],
        [NR["clone"], 0x10000000 | 17, 0, 0, 0, 0], [NR["socket"], 40, 1, 0], [NR["socket"], 38, 5, 0],
        [NR["personality"], 0xFFFFFFFF], [NR["personality"], 0x0040000], [NR["keyctl"], 0, 0],
        [9999], [NR["getuid"]],
    ]  # fmt: skip
    status, said = run(default_profile([], "x86_64"), calls, exec=["/bin/sh", "-c", "exit 7"])
    assert [error for _, error in said] == [1, 1, 38, 1, 1, 1, 0, 1, 1, 38, 0]
    assert status == 7
    with_admin = default_profile(["CAP_SYS_ADMIN"], "x86_64")
    _, said = run(with_admin, [[NR["mount"], 0, 0, 0, 0, 0], [NR["clone3"], 0, 0]])
    assert [error for _, error in said] == [errno.EFAULT, errno.EINVAL]
