"""`memory`: host memory while Debian's kernel boots, guest RAM apart from the rest.

`/proc/PID/smaps` is read every few hundredths of a second. Guest RAM is the one mapping that is at
least as large as the guest's RAM and at most `SLACK_KIB` larger: ours and QEMU both map it at
once, anonymous and private, so its `Rss` is the RAM that the guest or the loader has touched.
Everything else in `Rss`, shared library pages included, is the emulator's own; that is what issue
2 bounds by 150 MiB. The kernel's own page tables for the process are not in `Rss` and not counted
for either. A figure is the largest sample of a run, so a peak between two samples can be missed;
the process's own high-water mark (`ru_maxrss`) has no such gap and stands beside it.
"""

from __future__ import annotations

import re
import subprocess
import time
from dataclasses import dataclass

from bench.cases.boot import commands
from bench.process import BenchError, Command, Spread, check, finish, interleave
from bench.report import Aim, Result, Row
from bench.subject import OURS, PEER, RAM_MIB, Subject

PERIOD_S = 0.03
MAX_RUNS = 3
SLACK_KIB = 64 << 10
AIM = Aim(sense="<=", bound=150, absolute=True)
_MAPPING = re.compile(rb"^Size:\s+(\d+) kB$.*?^Rss:\s+(\d+) kB$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Peak:
    """The largest samples of a run, in MiB."""

    guest: float
    rest: float
    total: float


def memory(subject: Subject) -> Result:
    """Watch both boot."""
    both = commands(subject)
    for command in both.values():
        check(command)
    peaks = interleave(both, min(subject.runs, MAX_RUNS), watch)

    def row(figure: str, field: str, aim: Aim | None = None) -> Row:
        spreads = {w: Spread(tuple(getattr(p, field) for p in taken)) for w, taken in peaks.items()}
        return Row(
            benchmark="memory", figure=figure, unit="MiB", ours=spreads[OURS],
            peer=spreads.get(PEER), aim=aim,
        )  # fmt: skip

    rows = [
        row("beside guest RAM", "rest", AIM),
        row("guest RAM touched", "guest"),
        row("peak RSS", "total"),
    ]
    return Result(rows, [str(c) for c in both.values()])


def watch(command: Command) -> Peak:
    """Run a command and return its peaks."""
    null = subprocess.DEVNULL
    started_s = time.perf_counter()
    process = subprocess.Popen(command.argv, stdin=null, stdout=null, stderr=null)
    guest = rest = 0
    while (sample := _sample(process.pid)) is not None:
        guest, rest = max(guest, sample[0]), max(rest, sample[1])
        time.sleep(PERIOD_S)
    used = finish(process, started_s, command)
    if guest == 0:
        raise BenchError(f"{command}\n  no mapping of {RAM_MIB} MiB was seen")
    return Peak(guest / 1024, rest / 1024, used.peak_kib / 1024)


def _sample(pid: int) -> tuple[int, int] | None:
    """Return KiB of guest RAM and of everything else; None once the process has ended."""
    try:
        with open(f"/proc/{pid}/smaps", "rb") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError):
        return None
    found = [(int(size), int(rss)) for size, rss in _MAPPING.findall(text)]
    if not found:
        return None  # a zombie has no mappings
    ram_kib = RAM_MIB << 10
    guest = sum(rss for size, rss in found if ram_kib <= size <= ram_kib + SLACK_KIB)
    return guest, sum(rss for _, rss in found) - guest
