"""The packets that look at a stopped machine and change it: g G p P m M X Z z."""

from __future__ import annotations

import binascii

from innkeeper.debug.fields import (
    ADDRESS_LIMIT,
    EMPTY,
    FAILED,
    MAX_MEMORY_BYTES,
    NO_MEMORY,
    NO_ROOM,
    OK,
    BadRequestError,
    number,
    numbers,
    unhex,
)
from innkeeper.debug.riscv_description import GENERAL_COUNT, LAST, register_bytes
from innkeeper.debug.target import BreakpointKind, DebugTarget

MAX_BREAKPOINTS = 1024
MAX_WATCH_BYTES = 4096
MAX_INSTRUCTION_BYTES = 8


class Inspection:
    """Registers, memory and breakpoints of `target`, seen through the hart the client chose."""

    def __init__(self, target: DebugTarget, hart: int) -> None:
        self.hart = hart
        self._target = target
        self._breakpoints: set[tuple[BreakpointKind, int, int]] = set()

    def read_all(self, _text: str) -> bytes:
        """Answer g: the integer registers and the pc; the others are fetched one by one."""
        return binascii.hexlify(self._target.read_registers(self.hart))

    def write_all(self, text: str) -> bytes:
        """Answer G, the counterpart of g."""
        values = unhex(text)
        if len(values) < 8 * GENERAL_COUNT:
            raise BadRequestError
        for index in range(1, GENERAL_COUNT):  # x0 is what it is
            value = int.from_bytes(values[8 * index : 8 * index + 8], "little")
            if not self._target.write_register(self.hart, index, value):
                return FAILED
        return OK

    def read_one(self, text: str) -> bytes:
        """Answer p: any one register."""
        index = _register_number(text)
        value = self._target.read_register(self.hart, index)
        size_bytes = register_bytes(index)
        if value is None:
            return b"xx" * size_bytes  # "unavailable"; an error would end GDB's whole listing
        return binascii.hexlify((value % (1 << 8 * size_bytes)).to_bytes(size_bytes, "little"))

    def write_one(self, text: str) -> bytes:
        """Answer P: set any one register."""
        index_text, _, value_text = text.partition("=")
        index, value = _register_number(index_text), unhex(value_text)
        if len(value) != register_bytes(index):
            raise BadRequestError
        if index == 0:
            return OK
        done = self._target.write_register(self.hart, index, int.from_bytes(value, "little"))
        return OK if done else FAILED

    def read_memory(self, text: str) -> bytes:
        """Answer m: as much as is mapped and fits a packet."""
        va, size_bytes = numbers(text, 2)
        size_bytes = min(size_bytes, MAX_MEMORY_BYTES, ADDRESS_LIMIT - va)
        if size_bytes == 0:
            return EMPTY
        data = self._target.read_memory(self.hart, va, size_bytes)
        return binascii.hexlify(data[:size_bytes]) if data else NO_MEMORY

    def write_memory(self, text: str) -> bytes:
        """Answer M: memory as digits."""
        place, _, digits = text.partition(":")
        return self._store(place, unhex(digits))

    def write_binary(self, data: bytes) -> bytes:
        """Answer X: memory as bytes."""
        place, _, content = data.partition(b":")
        return self._store(place.decode("latin-1"), content)

    def _store(self, place: str, data: bytes) -> bytes:
        va, size_bytes = numbers(place, 2)
        if size_bytes != len(data) or va + size_bytes > ADDRESS_LIMIT:
            raise BadRequestError
        if not data:
            return OK  # how GDB asks whether X is known
        return OK if self._target.write_memory(self.hart, va, data) else NO_MEMORY

    def breakpoint(self, text: str, *, add: bool) -> bytes:
        """Answer Z and z: both may come twice, and then do nothing (E.2, "idempotent")."""
        kind_text, _, place = text.partition(",")
        if kind_text not in ("0", "1", "2", "3", "4"):
            return EMPTY
        kind = BreakpointKind(int(kind_text))
        va, length = numbers(place, 2)
        limit = MAX_WATCH_BYTES if kind.is_watch else MAX_INSTRUCTION_BYTES
        if not 1 <= length <= limit or va + length > ADDRESS_LIMIT:
            raise BadRequestError
        return self._insert(kind, va, length) if add else self._remove(kind, va, length)

    def _insert(self, kind: BreakpointKind, va: int, length: int) -> bytes:
        if (kind, va, length) in self._breakpoints:
            return OK
        if len(self._breakpoints) >= MAX_BREAKPOINTS:
            return NO_ROOM
        if not self._target.add_breakpoint(kind, va, length):
            return NO_ROOM
        self._breakpoints.add((kind, va, length))
        return OK

    def _remove(self, kind: BreakpointKind, va: int, length: int) -> bytes:
        if (kind, va, length) in self._breakpoints:
            self._breakpoints.discard((kind, va, length))
            if not self._target.remove_breakpoint(kind, va, length):
                return FAILED
        return OK

    def remove_breakpoints(self) -> None:
        """Take back every breakpoint."""
        for breakpoint_ in sorted(self._breakpoints):
            self._target.remove_breakpoint(*breakpoint_)
        self.forget_breakpoints()

    def forget_breakpoints(self) -> None:
        """Leave the breakpoints of a machine that has ended."""
        self._breakpoints.clear()


def _register_number(text: str) -> int:
    index = number(text)
    if index > LAST:
        raise BadRequestError
    return index
