"""Running commands and accounting for them: CPU seconds, wall time, resident memory."""

from __future__ import annotations

import os
import shlex
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

TAIL_BYTES = 2000
T = TypeVar("T")


class BenchError(Exception):
    """A command did not do what was to be timed."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """What to run, what its output must have when it is checked, and its exit status.

    `env` is added to our own environment.
    """

    argv: Sequence[str]
    expect: bytes = b""
    status: int = 0
    env: Mapping[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """Return the whole environment of the process."""
        return {**os.environ, **self.env}

    def __str__(self) -> str:
        return shlex.join([*(f"{name}={value}" for name, value in self.env.items()), *self.argv])


@dataclass(frozen=True)
class Sample:
    """One run: CPU seconds (user and system, its children included), wall seconds, peak RSS."""

    cpu_s: float
    wall_s: float
    peak_kib: int


@dataclass(frozen=True)
class Spread:
    """Several values of one figure."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)


def check(command: Command) -> bytes:
    """Run a command once, untimed, to warm caches; return its output or raise `BenchError`."""
    done = subprocess.run(
        command.argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env=command.environment(), check=False,
    )  # fmt: skip
    tail = done.stdout[-TAIL_BYTES:].decode(errors="replace")
    if done.returncode != command.status or command.expect not in done.stdout:
        raise BenchError(
            f"{command}\n  status {done.returncode}, wanted {command.status} and {command.expect!r}"
            f" in the output, which ends with:\n{tail}"
        )
    return done.stdout


def finish(process: subprocess.Popen[bytes], started_s: float, command: Command) -> Sample:
    """Wait for a process and return what it used."""
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - started_s
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != command.status:
        raise BenchError(f"{command}\n  status {process.returncode}, wanted {command.status}")
    return Sample(usage.ru_utime + usage.ru_stime, wall_s, usage.ru_maxrss)


def run(command: Command) -> Sample:
    """Run a command with its streams on /dev/null and return what it used."""
    null = subprocess.DEVNULL
    started_s = time.perf_counter()
    process = subprocess.Popen(
        command.argv, stdin=null, stdout=null, stderr=null, env=command.environment()
    )
    return finish(process, started_s, command)


def first_byte(command: Command) -> tuple[float, Sample]:
    """Run a command; return the seconds until its first byte of output, and what it used."""
    null = subprocess.DEVNULL
    started_s = time.perf_counter()
    process = subprocess.Popen(
        command.argv, stdin=null, stdout=subprocess.PIPE, stderr=null, env=command.environment()
    )
    assert process.stdout is not None
    with process.stdout as pipe:
        said = os.read(pipe.fileno(), 1)
        until_s = time.perf_counter() - started_s
        while os.read(pipe.fileno(), 4096):
            pass
        sample = finish(process, started_s, command)
    if not said:
        raise BenchError(f"{command}\n  said nothing")
    return until_s, sample


def interleave(
    commands: Mapping[str, Command], runs: int, measure: Callable[[Command], T]
) -> dict[str, list[T]]:
    """Measure every command in turn, `runs` times over: A B A B ..."""
    samples: dict[str, list[T]] = {name: [] for name in commands}
    for _ in range(runs):
        for name, command in commands.items():
            samples[name].append(measure(command))
    return samples


def cpu(samples: Sequence[Sample]) -> Spread:
    """Return the CPU seconds of some runs."""
    return Spread(tuple(s.cpu_s for s in samples))


def wall(samples: Sequence[Sample]) -> Spread:
    """Return the wall seconds of some runs."""
    return Spread(tuple(s.wall_s for s in samples))
