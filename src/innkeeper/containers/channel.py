"""What the runtime and a container's first process say to each other while it is made.

Two pipes. The process reports one JSON object a line, the runtime answers with single bytes; a
pipe that ends means that the other is gone, and then so is the container: whoever kills the
runtime between two steps leaves no process behind.
"""

from __future__ import annotations

import os

from innkeeper.base.errors import ContainerError
from innkeeper.containers.jsontext import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MAX_REPORT = 1 << 20
GO, HOOKS_DONE, SAVED = b"G", b"H", b"S"


class Channel:
    """Both pipes; each side closes the ends that are not its own."""

    def __init__(self) -> None:
        self.reports, self._report_to = os.pipe()
        self._answers, self._answer_to = os.pipe()
        self._rest = b""

    def be_child(self) -> None:
        """Keep the ends of the container's process."""
        os.close(self.reports)
        os.close(self._answer_to)

    def be_parent(self) -> None:
        """Keep the ends of the runtime."""
        os.close(self._report_to)
        os.close(self._answers)

    def report(self, **what: Any) -> None:
        """Tell the runtime (child)."""
        text = (dumps(what) + "\n").encode()
        while text:
            text = text[os.write(self._report_to, text) :]

    def await_answer(self, expected: bytes) -> None:
        """Wait for a word of the runtime's (child); end when there is no runtime any more."""
        if os.read(self._answers, 1) != expected:
            os._exit(1)

    def answer(self, word: bytes) -> None:
        """Tell the process (parent); one that is gone has left its reason in the other pipe."""
        try:
            os.write(self._answer_to, word)
        except BrokenPipeError:
            pass

    def next_report(self) -> dict[str, Any] | None:
        """Wait for a report (parent): None at the end; an error that was reported is raised."""
        while b"\n" not in self._rest:
            chunk = os.read(self.reports, 1 << 16)
            if not chunk or len(self._rest) > MAX_REPORT:
                return None
            self._rest += chunk
        line, _, self._rest = self._rest.partition(b"\n")
        report: dict[str, Any] = loads(line)
        if "error" in report:
            raise ContainerError(report["error"])
        return report
