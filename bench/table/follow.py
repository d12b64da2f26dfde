"""Follow a guest's runner over its console, with the host's clock and CPU account beside it."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench.process import BenchError, Command
from bench.table.figures import Timed
from innkeeper.engine.emulator.regions.service import THREAD_NAME

SILENCE_S = 900
CLOCK_SLACK_S, CLOCK_SLACK = 0.5, 0.1
_TICKS = os.sysconf("SC_CLK_TCK")
_MARK = "@bench "


def follow(
    command: Command, names: Sequence[str], hear: Callable[[str, int], None] | None = None
) -> dict[str, Timed]:
    """Run an emulator until its guest has run the programs `names`, and return what it reported.

    `hear` gets every line of the console, and the emulator's process id.
    `BenchError` if one of them failed, the guest stopped early, or its clock and the host's
    disagree by more than a tenth.
    """
    process = subprocess.Popen(
        command.argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=command.environment(),
    )  # fmt: skip
    try:
        return _Follower(process, command, names, hear).run()
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _used_s(path: Path) -> float:
    """Return user and system CPU seconds (proc_pid_stat(5): utime, stime)."""
    fields = path.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


class _Follower:
    def __init__(
        self, process: subprocess.Popen[bytes], command: Command, names: Sequence[str],
        hear: Callable[[str, int], None] | None,
    ) -> None:  # fmt: skip
        self._process, self._command, self._names = process, command, names
        self._hear = hear
        self._heard: list[str] = []
        self._started = (0.0, 0.0, 0.0)
        self._done: dict[str, Timed] = {}

    def run(self) -> dict[str, Timed]:
        finished = False
        for line in self._lines():
            self._heard.append(line)
            _, mark, said = line.partition(_MARK)
            if mark:
                finished = self._obey(said.split()) or finished
            if self._hear is not None:
                self._hear(line, self._process.pid)
        status = self._process.wait()
        if not finished or status != 0 or set(self._done) != set(self._names):
            self._fail(f"the guest stopped early; the emulator's status is {status}")
        return self._done

    def _obey(self, words: list[str]) -> bool:
        """Take one report; tell whether it was the last."""
        if words[0] == "start":
            self._started = (time.perf_counter(), *self._cpu_s())
        elif words[0] == "end":
            name, seconds, figure, output = words[1:5]
            self._end(name, float(seconds), float(figure), output)
        elif words[0] == "fail":
            self._fail(" ".join(words[1:]))
        return words[0] == "done"

    def _end(self, name: str, seconds: float, figure: float, output: str) -> None:
        wall_s = time.perf_counter() - self._started[0]
        cpu_s, compile_s = (
            now - then for now, then in zip(self._cpu_s(), self._started[1:], strict=True)
        )
        if abs(wall_s - seconds) > CLOCK_SLACK_S + CLOCK_SLACK * wall_s:
            self._fail(f"{name}: {seconds} s by the guest's clock, {wall_s:.3f} by the host's")
        self._done[name] = Timed(figure, seconds, wall_s, cpu_s - compile_s, output, compile_s)

    def _cpu_s(self) -> tuple[float, float]:
        """Return the CPU seconds of the whole process, and those of the thread that compiles."""
        base = Path(f"/proc/{self._process.pid}")
        compiling = 0.0
        for task in (base / "task").iterdir():
            with contextlib.suppress(OSError):  # a thread that has just ended
                if (task / "comm").read_text().rstrip("\n") == THREAD_NAME:
                    compiling += _used_s(task / "stat")
        return _used_s(base / "stat"), compiling

    def _lines(self) -> Iterator[str]:
        assert self._process.stdout is not None
        pipe, held = self._process.stdout.fileno(), b""
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while True:
                if not selector.select(SILENCE_S):
                    self._fail(f"the guest said nothing for {SILENCE_S} s")
                data = os.read(pipe, 65536)
                if not data:
                    return
                *lines, held = (held + data).split(b"\n")
                yield from (line.decode(errors="replace").rstrip("\r") for line in lines)

    def _fail(self, why: str) -> None:
        tail = "\n".join(f"    {line}" for line in self._heard[-12:])
        raise BenchError(f"{self._command}\n  {why}; the console ended with\n{tail}")
