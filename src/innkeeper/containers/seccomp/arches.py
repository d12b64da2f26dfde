"""The ABIs a filter can tell apart: AUDIT_ARCH_* (linux/audit.h) and how their calls look.

One AUDIT_ARCH can carry two ABIs: x32 calls arrive as x86_64 with bit 30 of the number set
(arch/x86/include/uapi/asm/unistd.h).
"""

from __future__ import annotations

X32_BIT = 0x40000000
_64BIT, _LE = 0x80000000, 0x40000000


class Abi:
    """One ABI: its table, the width of its arguments and what seccomp(2) calls it."""

    __slots__ = ("audit", "base", "big_endian", "bits", "name", "table")

    def __init__(self, name: str, audit: int, table: str, bits: int, base: int = 0) -> None:
        self.name, self.audit, self.table, self.bits, self.base = name, audit, table, bits, base
        self.big_endian = not audit & _LE

    def numbers(self) -> dict[str, int]:
        """Return this ABI's calls by name, as `seccomp_data.nr` shows them."""
        from innkeeper.containers.seccomp.tables import load

        found = load(self.table)
        if self.base:
            return {name: number + self.base for name, number in found.items()}
        return found


# Elf machine numbers (linux/elf-em.h) with the 64-bit and little-endian marks.
ABIS = {
    abi.name: abi
    for abi in (
        Abi("SCMP_ARCH_X86_64", 62 | _64BIT | _LE, "x86_64", 64),
        Abi("SCMP_ARCH_X86", 3 | _LE, "x86", 32),
        Abi("SCMP_ARCH_X32", 62 | _64BIT | _LE, "x32", 32, X32_BIT),
        Abi("SCMP_ARCH_AARCH64", 183 | _64BIT | _LE, "aarch64", 64),
        Abi("SCMP_ARCH_ARM", 40 | _LE, "arm", 32),
        Abi("SCMP_ARCH_RISCV64", 243 | _64BIT | _LE, "riscv64", 64),
        Abi("SCMP_ARCH_PPC64LE", 21 | _64BIT | _LE, "ppc64", 64),
        Abi("SCMP_ARCH_PPC64", 21 | _64BIT, "ppc64", 64),
        Abi("SCMP_ARCH_PPC", 20, "ppc", 32),
        Abi("SCMP_ARCH_S390X", 22 | _64BIT, "s390x", 64),
        Abi("SCMP_ARCH_S390", 22, "s390", 32),
    )
}
# Names the specification also allows, for which this program carries no table.
WITHOUT_TABLE = "MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PARISC PARISC64"
# What uname(2) calls the machine, and the ABIs it runs beside its own.
MACHINES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "i386": ("SCMP_ARCH_X86",),
    "i686": ("SCMP_ARCH_X86",),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
    "armv7l": ("SCMP_ARCH_ARM",),
    "armv8l": ("SCMP_ARCH_ARM",),
    "riscv64": ("SCMP_ARCH_RISCV64",),
    "ppc64le": ("SCMP_ARCH_PPC64LE",),
    "ppc64": ("SCMP_ARCH_PPC64", "SCMP_ARCH_PPC"),
    "s390x": ("SCMP_ARCH_S390X", "SCMP_ARCH_S390"),
}

# socketcall(2) and ipc(2): one call whose first argument says which (linux/net.h, linux/ipc.h).
_SOCKETCALL = (
    "1 socket bind connect listen accept getsockname getpeername socketpair send recv sendto "
    "recvfrom shutdown setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg"
)
_IPC = (
    "1 semop semget semctl semtimedop",
    "11 msgsnd msgrcv msgget msgctl",
    "21 shmat shmdt shmget shmctl",
)


def multiplexed() -> dict[str, dict[str, int]]:
    """Return, for each multiplexing call, the selectors of those behind it."""
    from innkeeper.containers.seccomp.tables import parse

    return {"socketcall": parse(_SOCKETCALL), "ipc": parse("\n".join(_IPC))}
