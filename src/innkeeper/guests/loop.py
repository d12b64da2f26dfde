"""The I/O loop of one `inn run`: descriptors, ports, events and the clock around a `RunSession`.

It runs in the host's main thread, where Python delivers signals; the vCPUs run in theirs. Device
state is touched with the machine's lock held and never while a descriptor may block.
"""

from __future__ import annotations

import os
import select
import stat
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass

from innkeeper.devices.char import BytesLike, CharPort
from innkeeper.guests.io import GuestIO, QuitEvent, ResizeEvent, SignalEvent
from innkeeper.guests.session import Phase, RunSession
from innkeeper.guests.streams import InputPump, OutputPump

CHUNK_BYTES = 64 << 10
DRAIN_LIMIT_S = 10.0  # for a process that SIGKILL cannot end to close its streams


@dataclass(frozen=True, kw_only=True)
class ConsolePorts:
    """The ports of the guest's virtio console: either the three streams or the terminal."""

    control: CharPort
    stdin: CharPort | None = None
    stdout: CharPort | None = None
    stderr: CharPort | None = None
    tty: CharPort | None = None


class SessionLoop:
    """Connects a session to its ports and the host's descriptors, and runs it to its end."""

    def __init__(
        self,
        session: RunSession,
        *,
        ports: ConsolePorts,
        io: GuestIO,
        lock: AbstractContextManager[object],
    ) -> None:
        self._session = session
        self._io = io
        self._lock = lock
        self._ended: tuple[str, str] | None = None
        self._control = ports.control
        ports.control.sink = self
        ports.control.on_writable = io.events.wake
        self._unsent = b""
        self._tty = ports.tty is not None
        self._outputs: list[tuple[int, OutputPump]] = []
        source = ports.tty or ports.stdin
        for fd, port in ((io.stdout, ports.tty or ports.stdout), (io.stderr, ports.stderr)):
            if port is not None:
                self._outputs.append((fd, OutputPump(port, wake=io.events.wake)))
        self._input: InputPump | None = None
        if source is not None and io.stdin is not None:
            self._input = InputPump(source, wake=io.events.wake)

    def write(self, data: BytesLike) -> int:
        """Take control bytes from the guest (`CharSink`)."""
        self._session.receive(data)
        self._io.events.wake()
        return len(data)

    def guest_open(self, is_open: bool) -> None:
        """Ignore it: the session knows the guest by what it says (`CharSink`)."""

    def machine_ended(self, *, why: str = "", console: str = "") -> None:
        """Tell the loop, from any thread, that the machine has stopped."""
        self._ended = (why, console)
        self._io.events.wake()

    def run(self, *, timeout_s: float | None = None) -> int:
        """Run until the exit status is known and all output is out; return it.

        Raises what ended the run otherwise (`GuestTimeout`, `MachineError`). The machine may
        still be on its way to power-off.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        drain_by: float | None = None
        while not self._session.over:
            if self._session.phase is Phase.EXITED:
                drain_by = drain_by or time.monotonic() + DRAIN_LIMIT_S
                if self._drained() or time.monotonic() >= drain_by:
                    self._session.output_drained()
            self._send_control()
            if not self._session.over:
                self._poll(min((t for t in (deadline, drain_by) if t), default=None))
            self._take_events()
            if deadline is not None and time.monotonic() >= deadline:
                self._session.expire(timeout_s or 0)
        self._flush_rest()
        return self._session.result()

    def _flush_rest(self) -> None:
        """Write what the guest said before its end, unless nobody takes it or cares."""
        stop_at = time.monotonic() + DRAIN_LIMIT_S
        while any(pump.pending for _, pump in self._outputs) and time.monotonic() < stop_at:
            self._poll(stop_at)
            if any(isinstance(event, QuitEvent) for event in self._io.events.take()):
                return

    def _take_events(self) -> None:
        for event in self._io.events.take():
            if isinstance(event, SignalEvent):
                self._session.send_signal(event.name)
            elif isinstance(event, ResizeEvent):
                self._session.resize(event.size)
            elif isinstance(event, QuitEvent):
                self._session.abandon(event.exit_status)
        if self._ended is not None:
            why, console = self._ended
            self._session.machine_ended(why=why, console=console)

    def _drained(self) -> bool:
        # A terminal's driver waits for each write; a stream's last word is that it was closed.
        if self._tty:
            return not any(pump.pending for _, pump in self._outputs)
        return all(pump.finished for _, pump in self._outputs)

    def _send_control(self) -> None:
        with self._lock:
            self._unsent += self._session.take_output()
            while self._unsent:
                taken = self._control.feed(self._unsent)
                if not taken:
                    return
                self._unsent = self._unsent[taken:]

    def _poll(self, until: float | None) -> None:
        poller = select.poll()
        poller.register(self._io.events.wake_fd, select.POLLIN)
        for fd, pump in self._outputs:
            if pump.pending:
                poller.register(fd, select.POLLOUT)
        reading = self._input is not None and self._input.wants_data and self._session.started
        if reading and self._io.stdin is not None and self._session.phase is Phase.RUNNING:
            poller.register(self._io.stdin, select.POLLIN)
        wait_ms = None if until is None else max(0.0, until - time.monotonic()) * 1000 + 1
        ready = {fd for fd, _ in poller.poll(wait_ms)}
        for fd, pump in self._outputs:
            if fd in ready:
                ready.discard(fd)  # both streams may be one pipe, ready for one write
                self._write_out(fd, pump)
        if reading and self._io.stdin in ready:
            self._read_in()

    def _write_out(self, fd: int, pump: OutputPump) -> None:
        with self._lock:
            data = pump.peek(_write_limit(fd))
        try:
            count = os.write(fd, data) if data else 0
        except BlockingIOError:
            return
        except OSError:  # nobody reads it any more: what a local command would learn by SIGPIPE
            with self._lock:
                pump.discard()
            self._session.send_signal("PIPE")
            return
        with self._lock:
            pump.written(count)

    def _read_in(self) -> None:
        assert self._input is not None and self._io.stdin is not None
        try:
            data = os.read(self._io.stdin, CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:  # a terminal that went away reads as its end
            data = b""
        with self._lock:
            self._input.put(data)


def _write_limit(fd: int) -> int:
    """Return how much a write may carry without blocking once `poll` says ready."""
    return CHUNK_BYTES if stat.S_ISREG(os.fstat(fd).st_mode) else select.PIPE_BUF
