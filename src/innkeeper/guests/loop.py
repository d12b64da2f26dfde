"""The I/O loops around a guest: descriptors, ports, events and the clock.

`SessionLoop` is for `inn run` (a `RunSession` over a virtio console), `ConsoleLoop` for `inn boot`
(a serial console). They run in the host's main thread, where Python delivers signals; the vCPUs
run in theirs. Device state is touched with the machine's lock held, and never while a descriptor
may block.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import stat
import time
from contextlib import AbstractContextManager

from innkeeper.base.record import record
from innkeeper.devices.char import BytesLike, CharPort
from innkeeper.guests.io import Event, GuestIO, QuitEvent, ResizeEvent, SignalEvent
from innkeeper.guests.session import Phase, RunSession, timed_out
from innkeeper.guests.streams import InputPump, OutputPump

CHUNK_BYTES = 64 << 10
DRAIN_LIMIT_S = 10.0  # for a process that SIGKILL cannot end to close its streams
ENDING_SIGNALS = ("HUP", "INT", "QUIT", "TERM")
BROKEN_PIPE_STATUS = 141  # 128 + SIGPIPE

Lock = AbstractContextManager[object]


@record(kw_only=True)
class ConsolePorts:
    """The ports of the guest's virtio console: either the three streams or the terminal."""

    control: CharPort
    stdin: CharPort | None = None
    stdout: CharPort | None = None
    stderr: CharPort | None = None
    tty: CharPort | None = None


class StreamLoop:
    """Moves bytes between descriptors and ports; what it all means is for the subclass."""

    def __init__(
        self,
        outputs: list[tuple[int, CharPort]],
        *,
        source: CharPort | None,
        io: GuestIO,
        lock: Lock,
    ) -> None:
        self._io = io
        self._lock = lock
        self._ended: tuple[str, str] | None = None
        wake = io.events.wake
        self._writers = [HostWriter(fd) for fd, _ in outputs]
        self._outputs = [
            (writer, OutputPump(port, wake=wake, lock=lock))
            for writer, (_, port) in zip(self._writers, outputs, strict=True)
        ]
        self._input: InputPump | None = None
        if source is not None and io.stdin is not None:
            self._input = InputPump(source, wake=wake)

    def machine_ended(self, *, why: str = "", console: str = "") -> None:
        """Tell the loop, from any thread, that the machine has stopped."""
        self._ended = (why, console)
        self._io.events.wake()

    def _pending(self) -> bool:
        return any(pump.pending for _, pump in self._outputs)

    def _on_broken_pipe(self) -> None:
        raise NotImplementedError

    def _flush_rest(self) -> None:
        """Write what the guest said before its end, unless nobody takes it or cares."""
        stop_at = time.monotonic() + DRAIN_LIMIT_S
        while self._pending() and time.monotonic() < stop_at:
            self._poll(stop_at, reading=False)
            if any(isinstance(event, QuitEvent) for event in self._io.events.take()):
                return

    def _poll(self, until: float | None, *, reading: bool) -> None:
        poller = select.poll()
        poller.register(self._io.events.wake_fd, select.POLLIN)
        for writer, pump in self._outputs:
            if pump.pending:
                poller.register(writer.fd, select.POLLOUT)
        source = self._io.stdin if reading and self._input and self._input.wants_data else None
        if source is not None:
            poller.register(source, select.POLLIN)
        wait_ms = None if until is None else max(0.0, until - time.monotonic()) * 1000 + 1
        ready = {fd for fd, _ in poller.poll(wait_ms)}
        for writer, pump in self._outputs:
            if writer.fd in ready and pump.pending:
                ready.discard(writer.fd)  # both streams may be one pipe, ready for one write
                self._write_out(writer, pump)
        if source is not None and source in ready:
            self._read_in(source)

    def _write_out(self, writer: HostWriter, pump: OutputPump) -> None:
        data = pump.peek(writer.limit_bytes)
        try:
            count = os.write(writer.fd, data) if data else 0
        except BlockingIOError:
            return
        except OSError:  # nobody reads it any more: what a local command would learn by SIGPIPE
            pump.discard()
            self._on_broken_pipe()
            return
        pump.written(count)

    def close(self) -> None:
        """Close what was opened for writing."""
        for writer in self._writers:
            writer.close()

    def _read_in(self, fd: int) -> None:
        try:
            data = os.read(fd, CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:  # a terminal that went away reads as its end
            data = b""
        if data and self._io.escape is not None:
            data, quit_now = self._io.escape.filter(data)
            if quit_now:
                self._io.events.post(QuitEvent(0))
            if not data:
                return
        assert self._input is not None
        with self._lock:
            self._input.put(data)


class SessionLoop(StreamLoop):
    """Connects a session to its ports and the host's descriptors, and runs it to its end."""

    def __init__(
        self, session: RunSession, *, ports: ConsolePorts, io: GuestIO, lock: Lock
    ) -> None:
        wanted = [(io.stdout, ports.tty or ports.stdout), (io.stderr, ports.stderr)]
        outputs = [(fd, port) for fd, port in wanted if port is not None]
        super().__init__(outputs, source=ports.tty or ports.stdin, io=io, lock=lock)
        self._session = session
        self._tty = ports.tty is not None
        self._control = ports.control
        ports.control.sink = self
        ports.control.on_writable = io.events.wake
        self._unsent = b""

    def write(self, data: BytesLike) -> int:
        """Take control bytes from the guest (`CharSink`)."""
        self._session.receive(data)
        self._io.events.wake()
        return len(data)

    def guest_open(self, is_open: bool) -> None:
        """Ignore it: the session knows the guest by what it says (`CharSink`)."""

    def run(self, *, timeout_s: float | None = None) -> int:
        """Run until the exit status is known and all output is out; return it.

        Raises what ended the run otherwise (`GuestTimeout`, `MachineError`). The machine may
        still be on its way to power-off.
        """
        try:
            return self._run(timeout_s)
        finally:
            self.close()

    def _run(self, timeout_s: float | None) -> int:
        session = self._session
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        drain_by: float | None = None
        self._io.start()
        while not session.over:
            if session.phase is Phase.EXITED:
                drain_by = drain_by or time.monotonic() + DRAIN_LIMIT_S
                if self._drained() or time.monotonic() >= drain_by:
                    session.output_drained()
            self._send_control()
            if not session.over:
                until = min((t for t in (deadline, drain_by) if t), default=None)
                self._poll(until, reading=session.phase is Phase.RUNNING)
            for event in self._io.events.take():
                self._handle(event)
            if self._ended is not None:
                session.machine_ended(why=self._ended[0], console=self._ended[1])
            if deadline is not None and time.monotonic() >= deadline:
                session.expire(timeout_s or 0)
        self._flush_rest()
        return session.result()

    def _handle(self, event: Event) -> None:
        if isinstance(event, SignalEvent):
            if not self._session.started and event.name in ENDING_SIGNALS:
                # Nobody is there to take it: a guest that hangs while it boots can be ended.
                self._session.abandon(128 + signal.Signals[f"SIG{event.name}"])
                return
            self._session.send_signal(event.name)
        elif isinstance(event, ResizeEvent):
            self._session.resize(event.size)
        else:
            self._session.abandon(event.exit_status)

    def _drained(self) -> bool:
        # A terminal's driver waits for each write; a stream's last word is that it was closed.
        with self._lock:
            return not self._pending() if self._tty else all(p.finished for _, p in self._outputs)

    def _send_control(self) -> None:
        if not self._unsent and not self._session.has_output:
            return
        with self._lock:
            self._unsent += self._session.take_output()
            while self._unsent:
                taken = self._control.feed(self._unsent)
                if not taken:
                    return
                self._unsent = self._unsent[taken:]

    def _on_broken_pipe(self) -> None:
        self._session.send_signal("HUP" if self._tty else "PIPE")


class ConsoleLoop(StreamLoop):
    """A serial console on the host's standard streams, until the machine stops."""

    def __init__(self, console: CharPort, *, io: GuestIO, lock: Lock) -> None:
        super().__init__([(io.stdout, console)], source=console, io=io, lock=lock)
        self._quit: int | None = None

    def run(self, *, timeout_s: float | None = None) -> int | None:
        """Run until the machine stops (`None`) or the user quits (the exit status for that)."""
        try:
            return self._run(timeout_s)
        finally:
            self.close()

    def _run(self, timeout_s: float | None) -> int | None:
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._io.start()
        while self._ended is None and self._quit is None:
            self._poll(deadline, reading=True)
            for event in self._io.events.take():
                if isinstance(event, QuitEvent):
                    self._quit = event.exit_status
            if deadline is not None and time.monotonic() >= deadline and self._ended is None:
                self._flush_rest()
                raise timed_out(timeout_s or 0)
        self._flush_rest()
        return self._quit

    def _on_broken_pipe(self) -> None:
        self._quit = BROKEN_PIPE_STATUS


class HostWriter:
    """A descriptor to write to, and how much one write may carry without blocking after `poll`.

    A pipe is opened anew without blocking, which leaves the flags of the one that we share with
    others as they are; where that fails, PIPE_BUF bytes never block.
    """

    def __init__(self, fd: int) -> None:
        self.fd, self.limit_bytes, self._own = fd, select.PIPE_BUF, False
        mode = os.fstat(fd).st_mode
        if stat.S_ISREG(mode):
            self.limit_bytes = CHUNK_BYTES
        elif stat.S_ISFIFO(mode):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC
            with contextlib.suppress(OSError):
                self.fd = os.open(f"/proc/self/fd/{fd}", flags)
                self.limit_bytes, self._own = CHUNK_BYTES, True

    def close(self) -> None:
        """Close the descriptor if it is ours."""
        if self._own:
            os.close(self.fd)
            self._own = False
