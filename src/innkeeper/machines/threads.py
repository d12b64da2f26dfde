"""Running the harts of a machine at once, each on a host thread of its own."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

from innkeeper.base.errors import MachineError
from innkeeper.engine.emulator.emulator import Exit
from innkeeper.machines.turns import crash

if TYPE_CHECKING:
    from innkeeper.machines.virt import VirtMachine

LONGEST_WAIT_S = 3600.0
SWITCH_INTERVAL_S = 0.0005
"""How soon a hart that wants to make a host call gets the interpreter from one that makes many."""


class HartThreads:
    """One run of a machine's harts on threads; the thread that calls `run` only watches."""

    def __init__(self, machine: VirtMachine) -> None:
        self._machine = machine
        self._changed = threading.Condition(threading.Lock())
        self._looks = 0
        self._error: BaseException | None = None
        self._ended = threading.Event()

    def look_again(self) -> None:
        """Tell the watching thread that something has changed; safe from any thread."""
        with self._changed:
            self._looks += 1
            self._changed.notify_all()

    def await_end(self) -> None:
        """Return when no hart runs any more; not for a thread that holds the machine's lock."""
        self._ended.wait()

    def run(self) -> None:
        """Run until the machine has an outcome or a debugger, or raise what ended a hart."""
        machine = self._machine
        signals = machine.emulator.signals
        interval_s = sys.getswitchinterval()
        sys.setswitchinterval(min(interval_s, SWITCH_INTERVAL_S))
        signals.halt(on=False)
        threads = [
            threading.Thread(target=self._run_hart, args=(n,), name=f"hart {n}", daemon=True)
            for n in range(machine.config.hart_count)
        ]
        try:
            for thread in threads:
                thread.start()
            self._watch()
        finally:
            signals.halt()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
            sys.setswitchinterval(interval_s)
            self._ended.set()
        if self._error is not None:
            raise self._error

    def _watch(self) -> None:
        machine = self._machine
        while True:
            seen = self._looks
            if machine.outcome is not None or machine.debugger is not None or self._error:
                return
            with machine.lock:
                machine.expire_alarm()
            alarm_s = machine.alarm_in_s()
            wait_s = LONGEST_WAIT_S if alarm_s is None else min(alarm_s, LONGEST_WAIT_S)
            with self._changed:
                if self._looks == seen:
                    self._changed.wait(wait_s)

    def _run_hart(self, hart: int) -> None:
        try:
            reason = self._machine.emulator.run_alone(hart)
            if reason is Exit.TRAP:
                raise crash(self._machine.harts, hart)
            if reason is not Exit.REQUEST:
                raise MachineError(f"hart {hart} stopped for {reason.name} with no debugger")
        except BaseException as error:
            if self._error is None:
                self._error = error
        self.look_again()
