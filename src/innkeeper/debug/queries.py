"""The q packets: what the server can do, the harts as threads, the target description, monitor."""

from __future__ import annotations

import re
from collections.abc import Callable

from innkeeper.debug.fields import (
    EMPTY,
    MAX_MEMORY_BYTES,
    OK,
    BadRequestError,
    hexed,
    number,
    numbers,
    unhex,
)
from innkeeper.debug.inspection import Inspection
from innkeeper.debug.packets import MAX_PACKET_BYTES, escape
from innkeeper.debug.riscv_description import target_xml
from innkeeper.debug.target import DebugTarget

MAX_THREADS_A_PACKET = 256
_HELP = "info    describe the machine\nreset   return to the state after power-on, stopped\n"
_RESET_DONE = "reset; type `maintenance flush register-cache` to see it\n"
_NO_DOCUMENT = b"E00"


class Queries:
    """The answers to general queries about `target`."""

    def __init__(self, target: DebugTarget, inspection: Inspection) -> None:
        self.harts = tuple(target.harts())
        self.reported_breaks: set[str] = set()  # of swbreak and hwbreak, what the client knows
        self._target = target
        self._inspection = inspection
        self._threads_told = 0
        self._table: dict[str, Callable[[str], bytes]] = {
            "Supported": self._supported,
            "Attached": lambda _: b"1",
            "C": lambda _: b"QC%x" % (inspection.hart + 1),
            "fThreadInfo": lambda _: self._threads(0),
            "sThreadInfo": lambda _: self._threads(self._threads_told),
            "ThreadExtraInfo": self._describe_thread,
            "Symbol": lambda _: OK,
            "Rcmd": self._monitor,
            "Xfer": self._transfer,
        }

    def answer(self, text: str) -> bytes:
        """Answer a q packet, without its q."""
        name = re.split(r"[:,;]", text, maxsplit=1)[0]
        handler = self._table.get(name)
        return EMPTY if handler is None else handler(text[len(name) + 1 :])

    def hart(self, thread: str) -> int | None:
        """Return the hart of a thread number, `None` if there is no such."""
        hart = number(thread) - 1
        return hart if hart in self.harts else None

    def _supported(self, text: str) -> bytes:
        theirs = set(text.split(";"))
        self.reported_breaks = {word for word in ("swbreak", "hwbreak") if f"{word}+" in theirs}
        return (
            f"PacketSize={MAX_PACKET_BYTES:x};QStartNoAckMode+;qXfer:features:read+;"
            "vContSupported+;swbreak+;hwbreak+"
        ).encode()

    def _threads(self, first: int) -> bytes:
        some = self.harts[first : first + MAX_THREADS_A_PACKET]
        self._threads_told = first + len(some)
        return b"m" + ",".join(f"{hart + 1:x}" for hart in some).encode() if some else b"l"

    def _describe_thread(self, text: str) -> bytes:
        hart = self.hart(text)
        if hart is None:
            raise BadRequestError
        return hexed(f"hart {hart}: {self._target.describe_hart(hart)}")

    def _transfer(self, text: str) -> bytes:
        what, operation, document, place = [*text.split(":"), "", "", "", ""][:4]
        if (what, operation) != ("features", "read"):
            return EMPTY
        if document != "target.xml":
            return _NO_DOCUMENT
        offset, size_bytes = numbers(place, 2)
        content = target_xml()
        piece = content[offset : offset + min(size_bytes, MAX_MEMORY_BYTES)]
        more = offset + len(piece) < len(content)
        return (b"m" if more else b"l") + escape(piece)

    def _monitor(self, text: str) -> bytes:
        command = unhex(text).decode("utf-8", "replace").strip()
        if command == "info":
            return hexed(self._target.describe().rstrip("\n") + "\n")
        if command == "reset":
            self._target.reset()
            return hexed(_RESET_DONE)
        if command in ("", "help"):
            return hexed(_HELP)
        return hexed(f"no monitor command {command[:80]!r}; there are:\n{_HELP}")
