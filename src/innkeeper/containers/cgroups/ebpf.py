"""The device list as an eBPF program of type CGROUP_DEVICE, and its place on a cgroup.

cgroup-v2.rst "Device controller", bpf(2), linux/bpf.h. The program sees `struct bpf_cgroup_dev_ctx`
{u32 access_type, major, minor}, access_type being access << 16 | type; it returns 1 to allow.
"""

from __future__ import annotations

import os
import sys

from innkeeper.containers import kernel as k
from innkeeper.containers.cgroups.devices import ANY, DeviceList

TYPE_CHECKING = False
if TYPE_CHECKING:
    from innkeeper.containers.cgroups.devices import Node

LDX_W, ALU32_MOV_X, ALU64_MOV_K = 0x61, 0xBC, 0xB7
ALU32_AND_K, ALU32_RSH_K = 0x54, 0x74
JNE_K, JNE_X, JEQ_K, JA, EXIT = 0x55, 0x5D, 0x15, 0x05, 0x95
R0, R1, R2, R3, R4, R5, R6 = range(7)
TYPES = {"b": 1, "c": 2}  # BPF_DEVCG_DEV_*
ACCESS = {"m": 1, "r": 2, "w": 4}  # BPF_DEVCG_ACC_*
ALL_ACCESS = 7
MAX_PROGRAMS = 64

INSTRUCTION_BYTES, ATTRIBUTE_BYTES = 8, 64
PROG_LOAD, PROG_ATTACH, PROG_DETACH, PROG_GET_FD_BY_ID, PROG_QUERY = 5, 8, 9, 13, 16
TYPE_CGROUP_DEVICE, ATTACH_CGROUP_DEVICE = 15, 6
ALLOW_MULTI, REPLACE = 2, 4
LICENSE = b"Apache\0"
NAME = b"inn_devices\0"


def device_program(devices: DeviceList) -> bytes:
    """Return the program as an array of struct bpf_insn of this machine's byte order.

    One block for each exception: skipped where type, access, major or minor differ. Exceptions
    that allow must cover all of the access, exceptions that deny any of it.
    """
    code = [
        insn(LDX_W, R2, R1, 0),
        insn(ALU32_MOV_X, R3, R2),
        insn(ALU32_AND_K, R2, imm=0xFFFF),
        insn(ALU32_RSH_K, R3, imm=16),
        insn(LDX_W, R4, R1, 4),
        insn(LDX_W, R5, R1, 8),
    ]
    for node in sorted(devices.rules):
        code += _block(node, devices.rules[node], deny=devices.default_allow)
    code += _return(allow=devices.default_allow)
    return b"".join(code)


def _block(node: Node, may: frozenset[str], *, deny: bool) -> list[bytes]:
    """Return the code of one exception; every test that fails jumps behind it."""
    kind, major, minor = node
    tests: list[tuple[bytes, ...]] = [(insn(JNE_K, R2, imm=TYPES[kind]),)]
    mask = sum(ACCESS[each] for each in may)
    if mask != ALL_ACCESS:
        masked = (insn(ALU32_MOV_X, R6, R3), insn(ALU32_AND_K, R6, imm=mask))
        tests.append((*masked, insn(JEQ_K, R6, imm=0) if deny else insn(JNE_X, R6, R3)))
    for register, number in ((R4, major), (R5, minor)):
        if number != ANY:
            tests.append((insn(JNE_K, register, imm=number),))
    end = _return(allow=not deny)
    body = [each for test in tests for each in test] + end
    for at, each in enumerate(body):
        if each[0] in (JNE_K, JNE_X, JEQ_K):
            body[at] = _jump(each, len(body) - at - 1)
    return body


def _return(*, allow: bool) -> list[bytes]:
    return [insn(ALU64_MOV_K, R0, imm=int(allow)), insn(EXIT)]


def insn(op: int, to: int = 0, source: int = 0, offset: int = 0, imm: int = 0) -> bytes:
    """Encode struct bpf_insn {u8 code; u8 dst:4, src:4; s16 off; s32 imm}."""
    registers = to | source << 4 if sys.byteorder == "little" else to << 4 | source
    number = imm & 0xFFFFFFFF
    return (
        bytes((op, registers))
        + (offset & 0xFFFF).to_bytes(2, sys.byteorder)
        + number.to_bytes(4, sys.byteorder)
    )


def _jump(each: bytes, offset: int) -> bytes:
    return each[:2] + offset.to_bytes(2, sys.byteorder) + each[4:]


def attach(path: str, code: bytes) -> None:
    """Put a program in the place of the ones attached to a cgroup; raises OSError.

    The new one is in force before the old ones are not: there is no moment without.
    """
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    opened: list[int] = [directory]
    try:
        program = _load(code)
        opened.append(program)
        old = []
        for number in _attached(directory):
            old.append(_bpf(PROG_GET_FD_BY_ID, (number, 4)))
            opened.append(old[-1])
        if len(old) == 1 and _replace(directory, program, old[0]):
            return
        _bpf(PROG_ATTACH, (directory, 4), (program, 4), (ATTACH_CGROUP_DEVICE, 4), (ALLOW_MULTI, 4))
        for each in old:
            _bpf(PROG_DETACH, (directory, 4), (each, 4), (ATTACH_CGROUP_DEVICE, 4))
    finally:
        for fd in opened:
            os.close(fd)


def _replace(directory: int, program: int, old: int) -> bool:
    """Try to exchange one program for another in one step (Linux 5.6)."""
    flags = ALLOW_MULTI | REPLACE
    place = ((directory, 4), (program, 4), (ATTACH_CGROUP_DEVICE, 4), (flags, 4), (old, 4))
    try:
        _bpf(PROG_ATTACH, *place)
    except OSError:
        return False
    return True


def _load(code: bytes) -> int:
    """Load a program; the verifier's log is not asked for: it is our own code."""
    (text, code_at), (license_, license_at) = k.pinned(code), k.pinned(LICENSE)
    fields = (
        *((TYPE_CGROUP_DEVICE, 4), (len(code) // INSTRUCTION_BYTES, 4)),
        *((code_at, 8), (license_at, 8)),
        *((0, 4), (0, 4), (0, 8)),  # log_level, log_size, log_buf
        *((0, 4), (0, 4)),  # kern_version, prog_flags
        (int.from_bytes(NAME.ljust(16, b"\0"), sys.byteorder), 16),
    )
    fd = _bpf(PROG_LOAD, *fields)
    del text, license_
    return fd


def _attached(directory: int) -> list[int]:
    """Return the identities of the programs attached to this very cgroup."""
    numbers, at = k.pinned(bytes(4 * MAX_PROGRAMS))
    fields = ((directory, 4), (ATTACH_CGROUP_DEVICE, 4), (0, 4), (0, 4))
    attribute, address = k.pinned(_attributes(*fields, (at, 8), (MAX_PROGRAMS, 4), (0, 4)))
    k.syscall("bpf", PROG_QUERY, address, ATTRIBUTE_BYTES)
    count = int.from_bytes(bytes(attribute)[24:28], sys.byteorder)
    raw = bytes(numbers)
    found = [raw[each : each + 4] for each in range(0, 4 * min(count, MAX_PROGRAMS), 4)]
    return [int.from_bytes(each, sys.byteorder) for each in found]


def _attributes(*fields: tuple[int, int]) -> bytes:
    """Pack a `union bpf_attr` from (value, size) pairs; what no command uses is zero."""
    packed = b"".join(value.to_bytes(size, sys.byteorder) for value, size in fields)
    return packed.ljust(ATTRIBUTE_BYTES, b"\0")


def _bpf(command: int, *fields: tuple[int, int]) -> int:
    """Make the bpf(2) system call; raises OSError."""
    return k.syscall("bpf", command, _attributes(*fields), ATTRIBUTE_BYTES)
