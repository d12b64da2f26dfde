"""`python -m bench.profile real:xz fp:lu`: where a guest program's time goes on our emulator.

For each program, counts of the hart per million instructions, calls from native code into Python
and their time, and with `perf` installed the CPU time by part of the emulator and by symbol. The
guest is the table's, in `bench.counted`'s machine; what comes before and after is not counted.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.process import Command, check
from bench.programs import FIRMWARE_BASE, first_program
from bench.subject import OURS, Subject, keep_bytecode
from bench.table.figures import Timed
from bench.table.follow import follow
from bench.table.guest import APPEND, Guest, make_guest
from bench.table.plan import PROGRAMS
from innkeeper.engine.emulator.regions.service import THREAD_NAME

PARTS = (
    ("loads and stores, quick", r"^op\.f?([ls][bhwd]|l[bhw]u)\.\d$"),
    (
        "loads and stores, slow; page walk",
        r"^op\..*\.slow$|^access\.|^tlb\.|^mmu\.|^pmp|^cells\.written",
    ),
    ("floating point", r"^op\.f[^e]"),
    ("branches and jumps in a page", r"^op\.(b[eqnlgtu]+|jal)\.\d\.in$"),
    ("jumps to other pages", r"^op\.(jalr?|b[eqnlgtu]+)\.\d$|jump|cross|fetch_cells|page_end"),
    ("traps, CSRs, resuming", r"resume|trap|csr|ret|ecall|sfence|deliver|^loop\."),
    ("decoding", r"decode|^cells\."),
    ("other instructions", r"^op\."),
)
"""Parts of the emulator by the names of its functions; the first that matches counts."""

COMPILING = "the thread that compiles"
_SYMBOLS = 14
_ROW = re.compile(r"^\s*([0-9.]+)%\s*\|\s*(\S.*?)\s*\|\s*(\S.*?)\s*\|\s*\[(.)\]\s+(\S+)")


class Watcher:
    """Attaches `perf` for the time of each program and keeps the counts at its two ends."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._perf: subprocess.Popen[bytes] | None = None
        self._now = ""
        self.pid = 0
        self.counts: dict[str, list[dict[str, float]]] = {}

    def hear(self, line: str, pid: int) -> None:
        """Take a line of the console."""
        self.pid = pid
        words = line.split()
        if line.startswith("@bench start"):
            self._now = words[2]
            self._attach()
        elif line.startswith("@bench end"):
            self._detach()
        elif line.startswith("@counts"):
            self.counts.setdefault(self._now, []).append(json.loads(line.partition(" ")[2]))

    def data(self, name: str) -> Path:
        """Return the file of what `perf` recorded for a program."""
        return self._folder / f"{name.replace(':', '-')}.perf"

    def _attach(self) -> None:
        if shutil.which("perf") is None:
            return
        words = ["perf", "record", "-q", "-F", "999", "-p", str(self.pid)]
        self._perf = subprocess.Popen(
            [*words, "-o", str(self.data(self._now))],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def _detach(self) -> None:
        if self._perf is not None:
            self._perf.send_signal(signal.SIGINT)
            self._perf.wait()
            self._perf = None


def main() -> None:
    """Profile the programs that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    parser.add_argument("programs", nargs="+", choices=list(PROGRAMS), metavar="GROUP:PROGRAM")
    names = parser.parse_args().programs
    with tempfile.TemporaryDirectory(prefix="inn-profile-") as folder:
        subject = Subject(Path(folder), 1)
        keep_bytecode(subject.folder)
        first = first_program(subject.folder / "first.elf", base=FIRMWARE_BASE)
        check(subject.pair(bios=first, expect=b"!")[OURS])
        guest = make_guest(subject, names)
        for name in names:
            _profile(subject.folder, guest, name)


def _profile(folder: Path, guest: Guest, name: str) -> None:
    files = (str(guest.kernel), str(guest.initrd), str(guest.disk))
    command = Command(
        argv=(sys.executable, "-m", "bench.counted", *files, f"{APPEND} bench={name}"),
        env={"INN_DEBUG": "perf"},
    )
    watcher = Watcher(folder)
    timed = follow(command, [name], watcher.hear)
    before, after = watcher.counts[name]
    _print_counts(name, timed[name], {key: after[key] - before[key] for key in after})
    if watcher.data(name).exists():
        _print_shares(watcher.data(name))
    Path(f"/tmp/perf-{watcher.pid}.map").unlink(missing_ok=True)


def _print_counts(name: str, timed: Timed, counts: dict[str, float]) -> None:
    """Print rates by CPU time, which other work on the host does not stretch as it does time."""
    count, cpu_s = counts["instructions"], max(timed.cpu_s, 0.01)
    print(f"\n{name}: {timed.seconds:.2f} s, {cpu_s:.2f} CPU s, {count / 1e9:.2f} G instructions,")
    in_python = 100 * counts["python s"] / timed.seconds
    print(f"  {count / cpu_s / 1e6:.0f} MIPS; {in_python:.1f} % in Python")
    rates = [
        f"{key} {value / count * 1e6:.3g}"
        for key, value in counts.items()
        if key not in ("instructions", "python s")
    ]
    print(f"  per million instructions: {', '.join(rates)}")


def _print_shares(data: Path) -> None:
    words = ["perf", "report", "--stdio", "-q", "-i", str(data), "-t", "|"]
    words += ["--sort", "comm,dso,symbol"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    parts: dict[str, float] = {}
    symbols: list[tuple[float, str]] = []
    for line in done.stdout.splitlines():
        if row := _ROW.match(line):
            share, symbol = float(row[1]), row[5]
            part = COMPILING if row[2] == THREAD_NAME else _part(row[3], row[4], symbol)
            parts[part] = parts.get(part, 0) + share
            symbols.append((share, symbol))
    for part, share in sorted(parts.items(), key=lambda pair: -pair[1]):
        print(f"  {share:5.1f} %  {part}")
    most = sorted(symbols, reverse=True)[:_SYMBOLS]
    print("  " + ", ".join(f"{symbol} {share:.1f}" for share, symbol in most))


def _part(place: str, mode: str, symbol: str) -> str:
    if "innkeeper regions" in place:
        return "regions"
    if mode == "k":
        return "the host's kernel"
    if not place.startswith("[JIT]"):
        return f"host library: {place}"
    return next((part for part, names in PARTS if re.search(names, symbol)), "other native code")


if __name__ == "__main__":
    main()
