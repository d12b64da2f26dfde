"""The parts of a bare CPU that its user touches: registers, memory, callable devices, syscalls."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

from innkeeper.base.errors import InnError, UsageError
from innkeeper.isa.riscv.names import F_NAMES, X_NAMES
from innkeeper.machines.registers import REGISTER_NUMBERS, HartRegisters

if TYPE_CHECKING:
    from innkeeper.engine.emulator.emulator import Emulator

ReadDevice = Callable[[int, int], int]
WriteDevice = Callable[[int, int, int], None]

MAX_READ_BYTES = 1 << 30
MAX_WRITE_BYTES = 16 << 20
"""The most that one write call takes; like the kernel's, it may take less than was asked."""

A0, A1, A2, A7 = 10, 11, 12, 17
SYS_WRITE, SYS_EXIT, SYS_EXIT_GROUP = 64, 93, 94
EBADF, EFAULT, ENOSYS = 9, 14, 38
MASK64 = (1 << 64) - 1


class Registers:
    """Registers by name: `regs.a0`, `regs["mstatus"]`, `regs.pc`; f registers as raw bits."""

    __slots__ = ("_access",)
    _access: HartRegisters

    def __init__(self, access: HartRegisters) -> None:
        object.__setattr__(self, "_access", access)

    def __getitem__(self, name: str) -> int:
        number = REGISTER_NUMBERS.get(name)
        value = None if number is None else self._access.read(number)
        if value is None:
            raise _unknown(name)
        return value

    def __setitem__(self, name: str, value: int) -> None:
        number = REGISTER_NUMBERS.get(name)
        if number is None or self._access.read(number) is None:
            raise _unknown(name)
        if not self._access.write(number, value):
            raise UsageError(f"register {name} cannot be set to {value:#x}")

    def __getattr__(self, name: str) -> int:
        if name not in REGISTER_NUMBERS:
            raise AttributeError(f"there is no register {name!r}")
        return self[name]

    def __setattr__(self, name: str, value: int) -> None:
        if name not in REGISTER_NUMBERS:
            raise AttributeError(f"there is no register {name!r}")
        self[name] = value

    def __dir__(self) -> list[str]:
        return sorted(REGISTER_NUMBERS)

    def dump(self, *, floats: bool = False) -> dict[str, int]:
        """Return the integer registers and the pc, and the floating-point ones if wanted."""
        names = (*X_NAMES, "pc", *(F_NAMES if floats else ()))
        return {name: self[name] for name in names}


def _unknown(name: str) -> UsageError:
    near = difflib.get_close_matches(name, REGISTER_NUMBERS, 3)
    fix = f"there is {', '.join(near)}" if near else ""
    return UsageError(f"there is no register {name!r}", fix=fix)


class Memory:
    """Memory as the CPU's loads and stores see it now: `mem[va]` is a byte, `mem[a:b]` bytes.

    Only RAM: devices are not touched. `UsageError` where something is not mapped.
    """

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    def read(self, va: int, size: int) -> bytes:
        """Return `size` bytes at `va`."""
        if not 0 <= size <= MAX_READ_BYTES:
            raise UsageError(f"{size} bytes cannot be read at once")
        data = self._emulator.read_virtual(0, va, size)
        if data is None:
            raise UsageError(f"{size} bytes at {va:#x} are not all mapped memory")
        return data

    def write(self, va: int, data: bytes | bytearray | memoryview) -> None:
        """Set memory at `va`, code included; nothing is written if not all of it is mapped."""
        if not self._emulator.write_virtual(0, va, bytes(data)):
            raise UsageError(f"{len(data)} bytes at {va:#x} are not all mapped memory")

    def __getitem__(self, where: int | slice) -> int | bytes:
        if isinstance(where, slice):
            start, size = _span(where)
            return self.read(start, size)
        return self.read(where, 1)[0]

    def __setitem__(self, where: int | slice, value: int | bytes) -> None:
        if isinstance(where, slice):
            start, size = _span(where)
            if not isinstance(value, bytes | bytearray | memoryview) or len(value) != size:
                raise UsageError(f"{size} bytes of memory can only be set to {size} bytes")
            self.write(start, value)
        elif isinstance(value, int):
            self.write(where, bytes([value]))
        else:
            raise UsageError("one byte of memory can only be set to a number")


def _span(where: slice) -> tuple[int, int]:
    if where.start is None or where.stop is None or where.step not in (None, 1):
        raise UsageError("a stretch of memory has a start and an end: mem[start:end]")
    if where.stop < where.start:
        raise UsageError(f"memory from {where.start:#x} to {where.stop:#x} runs backwards")
    return where.start, where.stop - where.start


class CallbackError(Exception):
    """Carries what a device's function raised through native code, `InnError` included."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        super().__init__(str(error))


class CallableDevice:
    """A device (`devices.bus.MmioDevice`) made of two functions; a missing one is a fault."""

    def __init__(self, read: ReadDevice | None, write: WriteDevice | None) -> None:
        self._read, self._write = read, write

    def read(self, offset: int, size: int) -> int:
        """Load from the device."""
        if self._read is None:
            raise InnError("this device cannot be read")
        try:
            return self._read(offset, size) & ((1 << 8 * size) - 1)
        except BaseException as error:
            raise CallbackError(error) from error

    def write(self, offset: int, size: int, value: int) -> None:
        """Store to the device."""
        if self._write is None:
            raise InnError("this device cannot be written")
        try:
            self._write(offset, size, value)
        except BaseException as error:
            raise CallbackError(error) from error


class MinimalCalls:
    """Linux's exit, exit_group and write for a program without an OS (riscv64 numbers).

    Everything else answers -ENOSYS.
    """

    def __init__(
        self, emulator: Emulator, stdout: BinaryIO | None, stderr: BinaryIO | None
    ) -> None:
        self._emulator = emulator
        self._files = {1: stdout, 2: stderr}
        self.exit_code: int | None = None

    def call(self) -> None:
        """Answer the call in the registers; sets `exit_code` when it was an exit."""
        x = self._emulator.raw[0].x
        if x[A7] in (SYS_EXIT, SYS_EXIT_GROUP):
            self.exit_code = x[A0] & 0xFF
            return
        result = self._write(x[A0], x[A1], x[A2]) if x[A7] == SYS_WRITE else -ENOSYS
        x[A0] = result & MASK64

    def _write(self, descriptor: int, va: int, count: int) -> int:
        if descriptor not in self._files:
            return -EBADF
        data = self._emulator.inspector.read_part(0, va, min(count, MAX_WRITE_BYTES))
        if count and not data:
            return -EFAULT
        out = self._files[descriptor] or (sys.stdout, sys.stderr)[descriptor - 1].buffer
        out.write(data)
        out.flush()
        return len(data)
