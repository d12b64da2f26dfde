"""Numbers of the RISC-V Supervisor Binary Interface 2.0, by their names there."""

from __future__ import annotations

from enum import IntEnum

SPEC_VERSION = 2 << 24
"""2.0: the major number in bits 30..24 (SBI 2.0 4.1)."""

IMPL_ID = 0x494E4E
"""`INN`. Not in the specification's list (4.9), which has no number for us."""


class Error(IntEnum):
    """Standard errors (SBI 2.0 table 1)."""

    SUCCESS = 0
    FAILED = -1
    NOT_SUPPORTED = -2
    INVALID_PARAM = -3
    DENIED = -4
    INVALID_ADDRESS = -5
    ALREADY_AVAILABLE = -6
    ALREADY_STARTED = -7
    ALREADY_STOPPED = -8
    NO_SHMEM = -9


class Eid(IntEnum):
    """Extension ids (a7)."""

    LEGACY_SET_TIMER = 0
    LEGACY_PUTCHAR = 1
    LEGACY_GETCHAR = 2
    LEGACY_CLEAR_IPI = 3
    LEGACY_SEND_IPI = 4
    LEGACY_REMOTE_FENCE_I = 5
    LEGACY_REMOTE_SFENCE_VMA = 6
    LEGACY_REMOTE_SFENCE_VMA_ASID = 7
    LEGACY_SHUTDOWN = 8
    BASE = 0x10
    TIME = 0x5449_4D45
    IPI = 0x0073_5049
    RFENCE = 0x5246_4E43
    HSM = 0x0048_534D
    SRST = 0x5352_5354
    PMU = 0x0050_4D55
    DBCN = 0x4442_434E
    SUSP = 0x5355_5350
    CPPC = 0x4350_5043
    NACL = 0x4E41_434C
    STA = 0x0053_5441


class BaseFid(IntEnum):
    """Functions of the base extension (SBI 2.0 chapter 4)."""

    SPEC_VERSION = 0
    IMPL_ID = 1
    IMPL_VERSION = 2
    PROBE = 3
    MVENDORID = 4
    MARCHID = 5
    MIMPID = 6


class RfenceFid(IntEnum):
    """Functions of the RFENCE extension (SBI 2.0 chapter 8)."""

    FENCE_I = 0
    SFENCE_VMA = 1
    SFENCE_VMA_ASID = 2
    HFENCE_GVMA_VMID = 3
    HFENCE_GVMA = 4
    HFENCE_VVMA_ASID = 5
    HFENCE_VVMA = 6


class HsmFid(IntEnum):
    """Functions of the HSM extension (SBI 2.0 chapter 9)."""

    START = 0
    STOP = 1
    STATUS = 2
    SUSPEND = 3


class HartState(IntEnum):
    """Hart states (SBI 2.0 chapter 9)."""

    STARTED = 0
    STOPPED = 1
    START_PENDING = 2
    STOP_PENDING = 3
    SUSPENDED = 4
    SUSPEND_PENDING = 5
    RESUME_PENDING = 6


class SuspendType(IntEnum):
    """The hart suspend types that are not platform specific (SBI 2.0 9.4)."""

    RETENTIVE = 0
    NON_RETENTIVE = 0x8000_0000


class ResetType(IntEnum):
    """System reset types (SBI 2.0 10.1)."""

    SHUTDOWN = 0
    COLD_REBOOT = 1
    WARM_REBOOT = 2


class ResetReason(IntEnum):
    """System reset reasons (SBI 2.0 10.1)."""

    NONE = 0
    SYSTEM_FAILURE = 1


class DbcnFid(IntEnum):
    """Functions of the debug console extension (SBI 2.0 chapter 12)."""

    WRITE = 0
    READ = 1
    WRITE_BYTE = 2
