"""Install a filter and make raw system calls; run by the tests as a process of its own.

Reads one JSON object from standard input: `filter` (hex), `flags`, `calls` (lists of integers, or
of "int80" and integers), and switches; prints one JSON line for each call: [result, errno].
"""

import ctypes
import json
import mmap
import os
import signal
import socket
import sys
import threading

SYS_SECCOMP, PR_SET_NO_NEW_PRIVS = 317, 38
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


class Program(ctypes.Structure):
    _fields_ = (("count", ctypes.c_ushort), ("code", ctypes.c_char_p))


def raw(*numbers):
    ctypes.set_errno(0)
    result = libc.syscall(*(ctypes.c_ulong(n & (1 << 64) - 1) for n in numbers))
    return [result, ctypes.get_errno() if result == -1 else 0]


def int80(nr):
    """Make a system call of the 32-bit ABI: mov eax, nr; int 0x80; ret."""
    return ctypes.CFUNCTYPE(ctypes.c_int)(STUBS[nr])()


def stub(nr):
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(b"\xb8" + nr.to_bytes(4, "little") + b"\xcd\x80\xc3")
    KEEP.append(page)
    return ctypes.addressof(ctypes.c_char.from_buffer(page))


def install(order):
    code = bytes.fromhex(order["filter"])
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    program = Program(len(code) // 8, code)
    fd = libc.syscall(SYS_SECCOMP, 1, order["flags"], ctypes.byref(program))
    assert fd >= 0, os.strerror(ctypes.get_errno())
    return fd


def say(what):
    os.write(1, json.dumps(what).encode() + b"\n")


KEEP, STUBS = [], {}
order = json.loads(sys.stdin.buffer.readline())
for call in order["calls"]:
    if call[0] == "int80":
        STUBS[call[1]] = stub(call[1])
if order.get("trap"):
    signal.signal(signal.SIGSYS, lambda number, frame: say("SIGSYS"))
listener = socket.socket(fileno=order["listener"]) if "listener" in order else None
if order.get("wait"):
    say("ready")
    sys.stdin.buffer.readline()
fd = install(order)
if listener is not None:
    socket.send_fds(listener, [b"x"], [fd])
for call in order["calls"]:
    if call[0] == "int80":
        say([int80(call[1]), 0])
    elif order.get("thread"):
        caller = threading.Thread(target=raw, args=call, daemon=True)
        caller.start()
        while os.path.exists(f"/proc/self/task/{caller.native_id}"):
            os.sched_yield()
        say("the thread is gone")
        os._exit(0)
    else:
        say(raw(*call))
if order.get("exec"):
    os.execv(order["exec"][0], order["exec"])
os._exit(0)
