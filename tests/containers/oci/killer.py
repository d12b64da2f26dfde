"""Runs inn-oci and kills it before its N-th call of the kernel; run as a program by test_crash.py.

What it counts: system calls through `kernel.syscall`, and functions of `os` that leave a trace.
"""

from __future__ import annotations

import os
import sys


def arm(number: int, side: str) -> None:
    """Wrap what is counted; `side` is whose calls: the runtime's or the container's process's."""
    from innkeeper.containers import kernel

    runtime, count = os.getpid(), 0

    def counted(function):  # type: ignore[no-untyped-def]
        def call(*args, **named):  # type: ignore[no-untyped-def]
            nonlocal count
            if (os.getpid() == runtime) == (side == "runtime"):
                count += 1
                if count == number:
                    if side == "runtime":
                        os.kill(runtime, 9)
                    os._exit(137)  # SIGKILL of its own the first process of a namespace ignores
            return function(*args, **named)

        return call

    kernel.syscall = counted(kernel.syscall)
    for name in (
        "open", "write", "mkdir", "rmdir", "rename", "unlink", "mkfifo", "pipe", "close", "chdir", "read",
        "mknod", "symlink", "setsid", "setresuid", "execve", "memfd_create", "waitpid", "fchdir",
    ):  # fmt: skip
        setattr(os, name, counted(getattr(os, name)))


if __name__ == "__main__":
    source, number, side = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    sys.path.insert(0, source)
    from innkeeper.containers.main import main

    arm(number, side)
    os._exit(main(sys.argv[4:]))
