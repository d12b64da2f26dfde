"""The GDB remote serial protocol, without I/O: bytes of a client in, bytes for it out.

Source: Debugging with GDB, appendix E "Remote Protocol": Packets, Stop Reply Packets, General Query
Packets, vCont. All-stop mode; harts are threads, numbered from 1 because 0 means "any".
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from innkeeper.base.errors import InnError
from innkeeper.debug.fields import (
    ADDRESS_LIMIT,
    BAD_REQUEST,
    EMPTY,
    FAILED,
    OK,
    BadRequestError,
    after_signal,
    number,
)
from innkeeper.debug.inspection import Inspection
from innkeeper.debug.packets import Packet, PacketReader, Signal, pack
from innkeeper.debug.queries import Queries
from innkeeper.debug.riscv_description import PC
from innkeeper.debug.target import BreakpointKind, DebugTarget, StopReply

_WATCH_NAMES = {
    BreakpointKind.WATCH_WRITE: "watch",
    BreakpointKind.WATCH_READ: "rwatch",
    BreakpointKind.WATCH_ACCESS: "awatch",
}
_ANY_THREAD = ("0", "-1")

_LOG = logging.getLogger("innkeeper.debug")


@dataclass(frozen=True, slots=True)
class _Action:
    """One part of a vCont: what a hart, or each that no part before names (`None`), shall do."""

    step: bool
    hart: int | None


class GdbSession:
    """One client's conversation about `target`, which stands still for the reason `stop` at first.

    `receive` takes what the client sent and returns what to send back; while `running` is True,
    hand the target's next stop to `stopped`. Once `finished` is True, close the connection; call
    `close` in any case. No input raises.
    """

    def __init__(self, target: DebugTarget, stop: StopReply) -> None:
        self.running = False
        self.finished = False
        self._target = target
        self._stop = stop
        self._reader = PacketReader()
        self._acks = True
        self._last = b""
        self._resume_hart: int | None = None  # what c and s mean; None is all
        self._inspection = Inspection(target, stop.hart)
        self._queries = Queries(target, self._inspection)
        self._commands = self._command_table()

    def receive(self, data: bytes) -> bytes:
        """Take bytes from the client, cut anywhere; return bytes for it."""
        out = bytearray()
        for event in self._reader.feed(data):
            if self.finished:
                break
            out += self._event(event)
        return bytes(out)

    def stopped(self, stop: StopReply) -> bytes:
        """Report that the target came to a stop after it was resumed."""
        self.running = False
        self._stop, self._inspection.hart = stop, stop.hart
        if stop.exit_code is not None:
            self._end()
        return self._send(self._stop_reply())

    def close(self) -> None:
        """Take back every breakpoint and let the target run on, unless it has ended."""
        if not self.finished:
            self._inspection.remove_breakpoints()
            self.finished = True
            self._target.detach()

    def _end(self) -> None:
        self._inspection.forget_breakpoints()
        self.finished = True

    def _event(self, event: Packet | Signal) -> bytes:
        if isinstance(event, Packet):
            return self._packet(event.data)
        if event is Signal.INTERRUPT and self.running:
            self._target.interrupt()
        elif event is Signal.NAK and self._acks:
            return self._last
        elif event is Signal.DAMAGED and self._acks:
            return b"-"
        return b""

    def _packet(self, data: bytes) -> bytes:
        ack = b"+" if self._acks else b""
        if self.running and data != b"vCtrlC":
            return ack  # nothing can be asked in all-stop mode until the stop is reported
        try:
            reply = self._command(data)
        except BadRequestError:
            reply = BAD_REQUEST
        except InnError as error:
            _LOG.warning("the debugger's request failed: %s", error)
            reply = FAILED
        return ack if reply is None else ack + self._send(reply)

    def _send(self, reply: bytes) -> bytes:
        self._last = pack(reply)
        return self._last

    def _command(self, data: bytes) -> bytes | None:
        """Answer one packet; `None` if the answer comes later, or never."""
        if data[:1] == b"X":
            return self._inspection.write_binary(data[1:])
        text = data.decode("latin-1")
        handler = self._commands.get(text[:1])
        return EMPTY if handler is None else handler(text[1:])

    def _command_table(self) -> dict[str, Callable[[str], bytes | None]]:
        inspection = self._inspection
        return {
            "?": lambda _: self._stop_reply(),
            "g": inspection.read_all,
            "G": inspection.write_all,
            "p": inspection.read_one,
            "P": inspection.write_one,
            "m": inspection.read_memory,
            "M": inspection.write_memory,
            "Z": lambda text: inspection.breakpoint(text, add=True),
            "z": lambda text: inspection.breakpoint(text, add=False),
            "c": lambda text: self._continue(text, step=False),
            "s": lambda text: self._continue(text, step=True),
            "C": lambda text: self._continue(after_signal(text), step=False),
            "S": lambda text: self._continue(after_signal(text), step=True),
            "v": self._multi_letter,
            "H": self._choose_hart,
            "T": lambda text: BAD_REQUEST if self._queries.hart(text) is None else OK,
            "q": self._queries.answer,
            "Q": self._set,
            "D": self._detach,
            "k": self._kill,
        }

    def _stop_reply(self) -> bytes:
        stop = self._stop
        if stop.exit_code is not None:
            return b"W%02x" % (stop.exit_code & 0xFF)
        parts = [f"T{stop.signal & 0xFF:02x}thread:{stop.hart + 1:x};"]
        if stop.cause is not None and stop.cause.is_watch:
            parts.append(f"{_WATCH_NAMES[stop.cause]}:{(stop.watch_va or 0) % ADDRESS_LIMIT:x};")
        elif stop.cause is not None:
            word = "swbreak" if stop.cause is BreakpointKind.SOFTWARE else "hwbreak"
            if word in self._queries.reported_breaks:
                parts.append(f"{word}:;")
        return "".join(parts).encode()

    def _choose_hart(self, text: str) -> bytes:
        operation, thread = text[:1], text[1:]
        if operation not in ("g", "c"):
            raise BadRequestError
        hart = None
        if thread not in _ANY_THREAD and (hart := self._queries.hart(thread)) is None:
            raise BadRequestError
        if operation == "c":
            self._resume_hart = hart
        elif hart is not None:
            self._inspection.hart = hart
        return OK

    def _continue(self, text: str, *, step: bool) -> None:
        hart = self._inspection.hart if self._resume_hart is None else self._resume_hart
        if text:
            self._target.write_register(hart, PC, number(text))
        self._resume(
            step_hart=hart if step else None,
            harts=self._queries.harts if self._resume_hart is None else (hart,),
        )

    def _resume(self, *, step_hart: int | None, harts: tuple[int, ...]) -> None:
        everyone = len(harts) == len(self._queries.harts)
        self._target.resume(step_hart=step_hart, harts=None if everyone else harts)
        self.running = True

    def _multi_letter(self, text: str) -> bytes | None:
        if text == "Cont?":
            return b"vCont;c;C;s;S"
        if text.startswith("Cont;"):
            self._vcont(text[5:])
            return None
        if text.startswith("Kill;"):
            self._kill("")
            return OK
        if text == "CtrlC":
            if self.running:
                self._target.interrupt()
            return OK
        return EMPTY  # vMustReplyEmpty among them

    def _vcont(self, text: str) -> None:
        harts = self._queries.harts
        actions = [self._action(part) for part in text.split(";")[: len(harts) + 1]]
        chosen = {
            hart: action
            for hart in harts
            if (action := next((a for a in actions if a.hart in (None, hart)), None))
        }
        if not chosen:
            raise BadRequestError
        moving = tuple(chosen)
        stepping = [hart for hart, action in chosen.items() if action.step]
        if len(stepping) > 1:  # "step them all": one of them is what anybody can follow
            hart = self._inspection.hart
            stepping = [hart if hart in stepping else stepping[0]]
            moving = (stepping[0],)
        self._resume(step_hart=stepping[0] if stepping else None, harts=moving)

    def _action(self, text: str) -> _Action:
        what, _, thread = text.partition(":")
        letter, signal = what[:1], what[1:]
        if letter not in ("c", "s", "C", "S"):
            raise BadRequestError
        if letter in "CS":
            number(signal)  # and no more than that: a signal means nothing to a machine
        elif signal:
            raise BadRequestError
        step = letter in "sS"
        if thread in ("", "-1"):
            return _Action(step, None)
        hart = self._inspection.hart if thread == "0" else self._queries.hart(thread)
        if hart is None:
            raise BadRequestError
        return _Action(step, hart)

    def _set(self, text: str) -> bytes:
        if text != "StartNoAckMode":
            return EMPTY
        self._acks = False
        return OK

    def _detach(self, _text: str) -> bytes:
        self.close()
        return OK

    def _kill(self, _text: str) -> None:
        self._end()
        self._target.kill()
