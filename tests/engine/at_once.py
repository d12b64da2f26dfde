"""Harts on threads of their own, without a board: what `machines.threads` does, for tests."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from innkeeper.base.errors import InnError
from innkeeper.engine.emulator.emulator import Emulator, EmulatorConfig, Exit, HostCalls
from innkeeper.isa.riscv.asm import Program, assemble
from innkeeper.memory.ram import GuestRam
from tests.engine.harness import DEVICE, RAM_BASE

LIMIT_S = 60.0
"""After this a run is taken to hang; tests that pass need a second or two."""

Setup = Callable[[int, Any], None]

PRELUDE = """
.option norvc
.equ DEVICE, 0x10000000
"""
ROUTINES = """
# jal gp, barrier: returns in all harts at nearly the same time. Hart 0 waits until the others have
# come, and until it sees each of them move while it looks: then they run at once, on a host that
# can do that. Not for ever: s10 says how often it may give the host's CPU away to wait for that.
# s11 counts the calls; t0 to t6 are lost.
barrier:
    la t5, barrier_words
    addi s11, s11, 1
    bnez tp, follow
    li t4, 1
next_hart:
    li t0, HARTS
    bgeu t4, t0, open
    slli t6, t4, 7
    add t6, t6, t5
1:  ld t3, 8(t6)
    bgeu t3, s11, moves
    lr.d t3, (t6)
    wrs.nto
    j 1b
moves:
    blez s10, 3f
    ld t3, 0(t6)
    li t2, 2000
2:  ld t1, 0(t6)
    bne t1, t3, 3f
    addi t2, t2, -1
    bnez t2, 2b
    addi s10, s10, -1
    lr.d t3, (t6)
    wrs.nto
    j moves
3:  addi t4, t4, 1
    j next_hart
open:
    fence rw, rw
    sd s11, 0(t5)
    jr gp
follow:
    slli t6, tp, 7
    add t6, t6, t5
    fence rw, rw
    sd s11, 8(t6)
1:  li t2, 4000
2:  ld t3, 0(t6)
    addi t3, t3, 1
    sd t3, 0(t6)
    ld t3, 0(t5)
    bgeu t3, s11, 3f
    addi t2, t2, -1
    bnez t2, 2b
    lr.d t3, (t6)
    wrs.nto
    j 1b
3:  fence rw, rw
    jr gp
# j finish: the hart's work is done.
finish:
    li t0, DEVICE
    sd x0, 0(t0)
1:  wfi
    j 1b
.align 12                   # data in a page of code would have its cells dropped at every store
barrier_words: .zero 128 * HARTS
.align 12
"""
PATIENCE = 500


class AtOnce:
    """Harts that begin at one entry; each ends by a store to `DEVICE` (`j finish`)."""

    def __init__(self, harts: int, *, ram_bytes: int = 2 << 20, pool_pages: int = 0) -> None:
        self.harts, self.ram = harts, GuestRam(RAM_BASE, ram_bytes)
        self.finished: set[int] = set()
        self.on_write: Callable[[int, int, int], None] = lambda _hart, _gpa, _value: None
        self.emulator = Emulator(
            EmulatorConfig(harts, RAM_BASE, ram_bytes, self.ram.hva),
            HostCalls(self._read, self._write, lambda _hart: None),
        )
        if pool_pages:
            self.emulator.code.raw.pool_pages = pool_pages
        self._lock = threading.Lock()
        self._errors: list[BaseException] = []

    def _read(self, _hart: int, gpa: int, _size: int) -> int:
        raise InnError(f"nothing at {gpa:#x}")

    def _write(self, hart: int, gpa: int, _size: int, value: int) -> None:
        if gpa != DEVICE:
            self.on_write(hart, gpa, value)
            return
        with self._lock:
            self.finished.add(hart)
            if len(self.finished) == self.harts:
                self.emulator.signals.halt()

    def assemble(self, source: str) -> Program:
        """Assemble a program for this many harts."""
        head = f".equ HARTS, {self.harts}\n"
        return assemble(head + PRELUDE + ROUTINES + source, base=RAM_BASE)

    def load(
        self, made: Program, setup: Setup = lambda _n, _raw: None, *, supervisor: bool = False
    ) -> None:
        """Put a program into RAM, the rest of which is zeroed, and all harts at its entry.

        They are in M-mode, or in S-mode over the built-in SBI; a0 is the hart's number.
        """
        self.ram.write(RAM_BASE, made.image + bytes(self.ram.size_bytes - len(made.image)))
        for n, raw in enumerate(self.emulator.raw):
            self.emulator.reset_hart(n)
            if supervisor:
                self.emulator.enter_supervisor(n)
            raw.pmp_count, raw.pc, raw.x[10] = 0, made.entry, n
            raw.x[4], raw.x[26], raw.x[27] = n, PATIENCE, 0  # for `barrier`
            setup(n, raw)
        self.emulator.stops.set_trap_stops(0, unhandled=True)
        self.emulator.reset_code()
        self.finished.clear()

    def run(self) -> None:
        """Run until every hart has finished."""
        signals = self.emulator.signals
        signals.halt(on=False)
        threads = [threading.Thread(target=self._hart, args=(n,)) for n in range(self.harts)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT_S)
        hung = [n for n, thread in enumerate(threads) if thread.is_alive()]
        where = [f"hart {n} at {self.emulator.raw[n].pc:#x}" for n in hung]
        signals.halt()
        for thread in threads:
            thread.join()
        if self._errors:
            raise self._errors[0]
        assert not hung, where

    def _hart(self, number: int) -> None:
        try:
            reason = self.emulator.run_alone(number)
            raw = self.emulator.raw[number]
            assert reason is Exit.REQUEST, f"{reason!r} at {raw.pc:#x}, cause {raw.trap_cause}"
        except BaseException as error:
            self._errors.append(error)
            self.emulator.signals.halt()

    def u64(self, gpa: int) -> int:
        """Return a doubleword of RAM."""
        return self.ram.read_u64(gpa)


def at_once(source: str, harts: int, *, supervisor: bool = False) -> tuple[AtOnce, Program]:
    """Run a program on a fresh machine until every hart has finished."""
    machine = AtOnce(harts)
    made = machine.assemble(source)
    machine.load(made, supervisor=supervisor)
    machine.run()
    return machine, made
