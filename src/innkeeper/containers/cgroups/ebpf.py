"""The device list as an eBPF program of type CGROUP_DEVICE, and its place on a cgroup.

cgroup-v2.rst "Device controller", bpf(2), linux/bpf.h. The program sees `struct bpf_cgroup_dev_ctx`
{u32 access_type, major, minor}, access_type being access << 16 | type; it returns 1 to allow.
"""

from __future__ import annotations

import os

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

BPF_SYSCALLS = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351, "ppc64le": 361}
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
    import sys

    registers = to | source << 4 if sys.byteorder == "little" else to << 4 | source
    number = imm & 0xFFFFFFFF
    return (
        bytes((op, registers))
        + (offset & 0xFFFF).to_bytes(2, sys.byteorder)
        + number.to_bytes(4, sys.byteorder)
    )


def _jump(each: bytes, offset: int) -> bytes:
    import sys

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
    from ctypes import addressof, create_string_buffer

    text, license_ = create_string_buffer(code, len(code)), create_string_buffer(LICENSE)
    return _bpf(
        PROG_LOAD,
        (TYPE_CGROUP_DEVICE, 4),
        (len(code) // 8, 4),
        (addressof(text), 8),
        (addressof(license_), 8),
        (0, 4),  # log_level
        (0, 4),  # log_size
        (0, 8),  # log_buf
        (0, 4),  # kern_version
        (0, 4),  # prog_flags
        (int.from_bytes(NAME.ljust(16, b"\0"), "little"), 16),
    )


def _attached(directory: int) -> list[int]:
    """Return the identities of the programs attached to this very cgroup."""
    from ctypes import addressof, c_uint32

    numbers = (c_uint32 * MAX_PROGRAMS)()
    fields = ((directory, 4), (ATTACH_CGROUP_DEVICE, 4), (0, 4), (0, 4))
    attribute = _attributes(*fields, (addressof(numbers), 8), (MAX_PROGRAMS, 4), (0, 4))
    _call(PROG_QUERY, attribute)
    count = int.from_bytes(attribute.raw[24:28], "little")
    return list(numbers[: min(count, MAX_PROGRAMS)])


def _attributes(*fields: tuple[int, int]):  # type: ignore[no-untyped-def]
    """Pack a `union bpf_attr` from (value, size) pairs; the host's byte order."""
    import sys
    from ctypes import create_string_buffer

    packed = b"".join(
        value.to_bytes(size, sys.byteorder if size < 16 else "little") for value, size in fields
    )
    return create_string_buffer(packed, max(len(packed), 64))


def _bpf(command: int, *fields: tuple[int, int]) -> int:
    return _call(command, _attributes(*fields))


def _call(command: int, attribute) -> int:  # type: ignore[no-untyped-def]
    """Make the bpf(2) system call; raises OSError."""
    from ctypes import CDLL, byref, c_long, c_uint, c_ulong, get_errno

    number = BPF_SYSCALLS.get(os.uname().machine)
    if number is None:
        raise OSError(38, os.strerror(38))
    call = CDLL(None, use_errno=True).syscall
    call.restype = c_long
    size = c_uint(len(attribute))
    result: int = call(c_ulong(number), c_ulong(command), byref(attribute), size)
    if result < 0:
        errno = get_errno()
        raise OSError(errno, os.strerror(errno))
    return result
