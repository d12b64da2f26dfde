"""The last step before a container's program: a program of our own that only calls execve.

A process in the container whose `/proc/PID/exe` is the host's Python could be made to run it (with
`#!/proc/self/exe`) and then overwrite it: CVE-2019-5736. So this process first becomes a hundred
bytes of machine code in a sealed, anonymous file, which nobody can write to, and that calls
`execve(path, argv, envp)` with what it was given on its own stack. It holds no secret and no
privilege that the container's program does not get, and when `execve` fails it says why on
standard error, like runc.
"""

from __future__ import annotations

import os

from innkeeper.base.errors import ContainerError
from innkeeper.containers import kernel as k

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The file is mapped as a whole at _BASE; what the code reads lies at fixed places in it.
_BASE = 0x400000
_CODE = 64 + 2 * 56  # after the ELF header and two program headers
_SAYING_BYTES, _TABLE, _SAYING, _PATH = 0x1F8, 0x200, 0x2400, 0x4000
_ENTRY_BYTES = 64  # one for each errno: the length of the text in a byte, then the text
_ERRORS = 134  # Linux has errno 1 to 133
# What execve(2) lists; of anything else the number of the exit status is all that is known.
_EXECVE_ERRORS = (1, 2, 5, 7, 8, 11, 12, 13, 14, 20, 21, 22, 23, 24, 26, 36, 40, 80)
_MAX_PATH = 4096
_F_ADD_SEALS, _ALL_SEALS = 1033, 0xF  # seal, shrink, grow, write
_MFD_EXEC = 0x10  # since Linux 6.3

_X86_64 = bytes.fromhex(
    "488b0c24"  # mov rcx,[rsp]
    "488d742408"  # lea rsi,[rsp+0x8]
    "488d54ce08"  # lea rdx,[rsi+rcx*8+0x8]
    "bf00404000"  # mov edi,0x404000
    "b83b000000"  # mov eax,0x3b
    "0f05"  # syscall
    "f7d8"  # neg eax
    "89c3"  # mov ebx,eax
    "bf02000000"  # mov edi,0x2
    "be00244000"  # mov esi,0x402400
    "8b1425f8014000"  # mov edx,ds:0x4001f8
    "b801000000"  # mov eax,0x1
    "0f05"  # syscall
    "c1e306"  # shl ebx,0x6
    "8db300024000"  # lea esi,[rbx+0x400200]
    "0fb616"  # movzx edx,byte [rsi]
    "ffc6"  # inc esi
    "b801000000"  # mov eax,0x1
    "0f05"  # syscall
    "bf01000000"  # mov edi,0x1
    "b8e7000000"  # mov eax,0xe7
    "0f05"  # syscall
)
_AARCH64 = bytes.fromhex(
    "e90340f9"  # ldr x9, [sp]
    "e1230091"  # add x1, sp, #8
    "220c098b"  # add x2, x1, x9, lsl #3
    "42200091"  # add x2, x2, #8
    "000088d2"  # mov x0, #16384
    "0008a0f2"  # movk x0, #64, lsl #16
    "a81b80d2"  # mov x8, #221
    "010000d4"  # svc #0
    "e90300cb"  # neg x9, x0
    "018084d2"  # mov x1, #9216
    "0108a0f2"  # movk x1, #64, lsl #16
    "033f80d2"  # mov x3, #504
    "0308a0f2"  # movk x3, #64, lsl #16
    "620040f9"  # ldr x2, [x3]
    "400080d2"  # mov x0, #2
    "080880d2"  # mov x8, #64
    "010000d4"  # svc #0
    "61200091"  # add x1, x3, #8
    "2118098b"  # add x1, x1, x9, lsl #6
    "22144038"  # ldrb w2, [x1], #1
    "400080d2"  # mov x0, #2
    "010000d4"  # svc #0
    "200080d2"  # mov x0, #1
    "c80b80d2"  # mov x8, #94
    "010000d4"  # svc #0
)
_RISCV64 = bytes.fromhex(
    "83320100"  # ld t0,0(sp)
    "93058100"  # addi a1,sp,8
    "93923200"  # slli t0,t0,0x3
    "33865500"  # add a2,a1,t0
    "13068600"  # addi a2,a2,8
    "37454000"  # lui a0,0x404
    "9308d00d"  # addi a7,zero,221
    "73000000"  # ecall
    "b302a040"  # sub t0,zero,a0
    "b7254000"  # lui a1,0x402
    "93850540"  # addi a1,a1,1024
    "37034000"  # lui t1,0x400
    "0336831f"  # ld a2,504(t1)
    "13052000"  # addi a0,zero,2
    "93080004"  # addi a7,zero,64
    "73000000"  # ecall
    "93926200"  # slli t0,t0,0x6
    "b3055300"  # add a1,t1,t0
    "93850520"  # addi a1,a1,512
    "03c60500"  # lbu a2,0(a1)
    "93851500"  # addi a1,a1,1
    "13052000"  # addi a0,zero,2
    "73000000"  # ecall
    "13051000"  # addi a0,zero,1
    "9308e005"  # addi a7,zero,94
    "73000000"  # ecall
)
_MACHINES = {"x86_64": (62, _X86_64), "aarch64": (183, _AARCH64), "riscv64": (243, _RISCV64)}


def image(path: str, machine: str = k.MACHINE) -> bytes:
    """Return the ELF file whose only deed is `execve` of `path` with its own arguments."""
    if machine not in _MACHINES:
        raise ContainerError(f"exec {path}", why=f"no container can be started on {machine} yet")
    name = os.fsencode(path)
    if len(name) >= _MAX_PATH:
        raise ContainerError(f"exec {path[:80]}...", why="file name too long")
    number, code = _MACHINES[machine]
    said = b"exec " + name
    parts = {
        0: _headers(number, _PATH + len(name) + 1),
        _CODE: code,
        _SAYING_BYTES: k.words(len(said)),
        _TABLE: _table(),
        _SAYING: said,
        _PATH: name + b"\0",
    }
    file = bytearray(_PATH + len(name) + 1)
    for place, part in parts.items():
        file[place : place + len(part)] = part
    return bytes(file)


def _headers(machine: int, size: int) -> bytes:
    """Return the ELF header and two program headers: everything readable, the stack not code."""
    half, word = 2, 4
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    kind = k.words(2, machine, size=half) + k.words(1, size=word)
    places = k.words(_BASE + _CODE, 64, 0)
    sizes = k.words(0, size=word) + k.words(64, 56, 2, 64, 0, 0, size=half)
    load = k.words(1, 5, size=word) + k.words(0, _BASE, _BASE, size, size, 0x1000)
    stack = k.words(0x6474E551, 6, size=word) + k.words(0, 0, 0, 0, 0, 16)
    return ident + kind + places + sizes + load + stack


def _table() -> bytes:
    table = bytearray(_ENTRY_BYTES * _ERRORS)
    for number in _EXECVE_ERRORS:
        text = f": {os.strerror(number).lower()}\n".encode()[: _ENTRY_BYTES - 1]
        start = number * _ENTRY_BYTES
        table[start : start + 1 + len(text)] = bytes((len(text),)) + text
    return bytes(table)


def sealed(path: str) -> int:
    """Put the image into an anonymous file that nobody can change any more."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        fd = os.memfd_create("inn-oci-exec", flags | _MFD_EXEC)
    except OSError:
        fd = os.memfd_create("inn-oci-exec", flags)
    os.write(fd, image(path))
    k.syscall("fcntl", fd, _F_ADD_SEALS, _ALL_SEALS)
    return fd


def become(fd: int, args: list[str], env: dict[str, str], *, seccomp: dict[str, Any]) -> None:
    """Execute the sealed image, which executes the program; returns only by an exception."""
    if allows_execveat(seccomp):
        os.execve(fd, args, env)
    try:
        os.execve(f"/proc/self/fd/{fd}", args, env)
    except FileNotFoundError:
        why = "the seccomp profile refuses execveat, and there is no /proc to do without"
        raise ContainerError(f"exec {args[0]}", why=why) from None


def allows_execveat(seccomp: dict[str, Any]) -> bool:
    """Say whether a profile lets `execveat` through; `execve` it must, or nothing ever starts."""
    passing = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG")
    action = seccomp.get("defaultAction", "SCMP_ACT_ALLOW")
    for rule in seccomp.get("syscalls", []):
        if "execveat" in rule["names"]:
            action = rule["action"]
    return action in passing
