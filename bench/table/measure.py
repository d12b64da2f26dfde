"""Run the table's groups: ours from an empty region cache, then ours and QEMU in turns."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bench import programs
from bench.cases import boot
from bench.process import BenchError, Command, check, run
from bench.subject import OURS, REGIONS, Subject
from bench.table.figures import FIRST, TIER0, Line, Timed
from bench.table.follow import follow
from bench.table.guest import Guest, make_guest
from bench.table.plan import GROUPS, PARALLEL_NAME, PROGRAMS

TABLE, BOOT, SMP = "table", "boot", "smp"
MAX_FIRST_BOOTS = 3


def select(words: Sequence[str]) -> dict[str, list[str]]:
    """Return the chosen programs by group, from words such as `table:fp` or `table:real:xz`."""
    chosen: dict[str, list[str]] = {}
    for word in words:
        name, _, wanted = word.partition(":")
        if name != TABLE:
            continue
        for group, names in _everything().items():
            some = [n for n in names if wanted in ("", group, n)]
            chosen[group] = [n for n in names if n in some or n in chosen.get(group, [])]
    return {group: names for group, names in chosen.items() if names}


def choices() -> list[str]:
    """Return the words that `select` understands."""
    parts = [dict.fromkeys((group, *names)) for group, names in _everything().items()]
    return [TABLE, *(f"{TABLE}:{name}" for some in parts for name in some)]


def _everything() -> dict[str, list[str]]:
    full = {group: [n for n in PROGRAMS if n.startswith(f"{group}:")] for group in GROUPS}
    return {BOOT: [BOOT], **full, SMP: [PARALLEL_NAME]}


class Measurement:
    """The table of one subject; `tier0` adds ours without regions as a third."""

    def __init__(self, subject: Subject, chosen: Mapping[str, list[str]], *, tier0: bool) -> None:
        self._subject, self._chosen, self._tier0 = subject, chosen, tier0
        self._caches = 0
        self.lines: list[Line] = []
        self.commands: dict[str, str] = {}
        self.notes: list[str] = []
        self.failed = False

    def run(self) -> None:
        """Measure group after group; one that cannot be run is reported and left out."""
        names = [n for group, some in self._chosen.items() if group != BOOT for n in some]
        guest: Guest | None = None
        for group, some in self._chosen.items():
            print(f"... {TABLE}:{group}", file=sys.stderr, flush=True)
            try:
                if group == BOOT:
                    self.lines += self._boot()
                    continue
                guest = guest or make_guest(self._subject, names)
                self.lines += self._parallel(guest) if group == SMP else self._group(guest, some)
            except BenchError as error:
                self.failed = True
                print(f"{TABLE}:{group}: {error}", file=sys.stderr)
            except KeyboardInterrupt:
                self.failed = True
                print("interrupted: what was measured follows", file=sys.stderr)
                return

    def _group(self, guest: Guest, names: list[str]) -> Iterator[Line]:
        able = [n for n in names if n not in guest.missing]
        self.notes += [f"{n} is left out: {guest.missing[n]}" for n in names if n in guest.missing]
        if not able:
            return
        taken = self._turns(guest.commands(self._subject, able), able, first=True)
        for name in able:
            yield Line.of(name, PROGRAMS[name], {who: runs[name] for who, runs in taken.items()})

    def _parallel(self, guest: Guest) -> Iterator[Line]:
        names = [PARALLEL_NAME]
        for harts in (1, 2):
            commands = guest.commands(self._subject, names, harts=harts)
            taken = self._turns(commands, names, first=False)
            found = {who: runs[PARALLEL_NAME] for who, runs in taken.items()}
            yield Line.of(f"{SMP}:harts={harts}", PROGRAMS[PARALLEL_NAME], found)

    def _turns(
        self, commands: dict[str, Command], names: list[str], *, first: bool
    ) -> dict[str, dict[str, list[Timed]]]:
        """Follow each command in turn, `runs` times over; `first` keeps the first run's figures."""
        order = self._with_caches(commands)
        taken: dict[str, dict[str, list[Timed]]] = {}

        def take(who: str, command: Command) -> None:
            for name, timed in follow(command, names).items():
                taken.setdefault(who, {}).setdefault(name, []).append(timed)

        take(FIRST, order[OURS])
        for _ in range(self._subject.runs):
            for who, command in order.items():
                take(who, command)
        for who, command in order.items():
            self.commands.setdefault(who, str(command))
        agree(taken)
        return taken if first else {who: t for who, t in taken.items() if who != FIRST}

    def _with_caches(self, commands: dict[str, Command]) -> dict[str, Command]:
        """Return the commands in their order, ours with a code cache that has no region yet."""
        ours = commands[OURS]
        order = {OURS: replace(ours, env={"XDG_CACHE_HOME": str(self._new_cache())})}
        if self._tier0:
            env = {"XDG_CACHE_HOME": str(self._new_cache({REGIONS: "off"})), REGIONS: "off"}
            order[TIER0] = replace(ours, env=env)
        return {**order, **{who: c for who, c in commands.items() if who != OURS}}

    def _new_cache(self, env: Mapping[str, str] | None = None) -> Path:
        """Return a new cache folder that has the compiled emulator and no more."""
        env = env or {}
        seed = self._subject.folder / ("seed" + "".join(env.values()))
        if not seed.exists():
            first = programs.first_program(
                self._subject.folder / "first.elf", base=programs.FIRMWARE_BASE
            )
            command = self._subject.pair(bios=first, expect=b"!")[OURS]
            check(replace(command, env={**env, "XDG_CACHE_HOME": str(seed)}))
        self._caches += 1
        folder = self._subject.folder / f"cache{self._caches}"
        shutil.copytree(seed, folder)
        return folder

    def _boot(self) -> Iterator[Line]:
        both = boot.commands(self._subject)
        taken: dict[str, list[Timed]] = {FIRST: []}
        for _ in range(min(self._subject.runs, MAX_FIRST_BOOTS)):
            order = self._with_caches(both)
            taken[FIRST].append(_whole(order[OURS]))
        for command in order.values():
            check(command)
        for _ in range(self._subject.runs):
            for who, command in order.items():
                taken.setdefault(who, []).append(_whole(command))
        yield Line(name=f"{BOOT}:start to power-off", samples=taken)


def _whole(command: Command) -> Timed:
    sample = run(command)
    return Timed(sample.wall_s, sample.wall_s, sample.wall_s, sample.cpu_s, "")


def agree(taken: Mapping[str, Mapping[str, Sequence[Timed]]]) -> None:
    """Refuse a program whose output was not the same in every run of every emulator."""
    for name in taken[OURS]:
        outputs = {who: sorted({t.output for t in runs[name]}) for who, runs in taken.items()}
        if len({output for some in outputs.values() for output in some}) != 1:
            raise BenchError(f"the outputs of {name} differ, by CRC-32: {outputs}")
