"""`oci`: a whole `inn-oci run` and `exec` of `true`, beside runc on the same bundle.

Wall time of the process from its spawn to its end, and CPU seconds with those of its children: on a
busy machine the second is the steadier. The bundle is the document that `inn-oci spec` writes, with
the host's static busybox for a root file system; crun's figures,
where it runs, are in the notes. `container.py` has the rows of `inn run` beside podman.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from bench.cases.container import container_samples
from bench.process import BenchError, Command, Sample, Spread, check, cpu, interleave, run, wall
from bench.report import Aim, Result, Row
from bench.subject import OURS, PEER, Subject
from innkeeper.containers.spec import default_spec

RUN_AIM = Aim(sense="<=", bound=1.0)
ENGINE_AIM = Aim(sense="<=", bound=0.4)
EXEC_AIM = Aim(sense="<=", bound=1.5)
MIN_RUNS = 21
CRUN = "crun"
_PROGRAM = Path(__file__).resolve().parents[2] / "inn-oci"


def oci(subject: Subject) -> Result:
    """Time both; runc is needed to compare with, and root."""
    runc, busybox = shutil.which("runc", path="/usr/sbin:/usr/bin"), shutil.which("busybox")
    if os.geteuid() != 0 or runc is None or busybox is None:
        raise BenchError(
            "needs root, runc and a static busybox (apt-get install runc busybox-static)"
        )
    bundle = _bundle(subject.folder / "oci", Path(busybox))
    programs = {OURS: str(_PROGRAM), PEER: runc}
    if crun := shutil.which(CRUN):
        programs[CRUN] = crun
    try:
        runs = max(subject.runs, MIN_RUNS)
        result = _measure(programs, bundle, runs)
    finally:
        for program in programs.values():
            _call(bundle, program, "delete", "--force", _name(program))
    if samples := container_samples(subject, bundle / "rootfs", runs):
        rows = _rows("inn run --engine container", ENGINE_AIM, samples, beside="podman")
        return Result([*result.rows, *rows], result.commands, result.notes)
    return result


def _measure(programs: dict[str, str], bundle: Path, runs: int) -> Result:
    rows: list[Row] = []
    notes: list[str] = []
    shown: list[Command] = []
    for what, aim, prepare in (
        ("run", RUN_AIM, _runs),
        ("exec", EXEC_AIM, _execs),
    ):
        commands = prepare(programs, bundle)
        samples = interleave(commands, runs, run)
        rows += _rows(what, aim, samples)
        shown += commands.values()
        if CRUN in samples:
            notes.append(f"crun {what}: {_ms(wall(samples[CRUN])).median:.1f} ms wall")
    return Result(rows, [str(command) for command in shown], notes)


def _bundle(folder: Path, busybox: Path) -> Path:
    (folder / "rootfs/bin").mkdir(parents=True)
    shutil.copy(busybox, folder / "rootfs/bin/busybox")
    for name in ("true", "sleep"):
        (folder / "rootfs/bin" / name).symlink_to("busybox")
    document = default_spec()
    document["process"] |= {"terminal": False, "args": ["true"]}
    (folder / "config.json").write_text(json.dumps(document))
    document["process"]["args"] = ["sleep", "100000"]
    (folder / "asleep").mkdir()
    document["root"]["path"] = str(folder / "rootfs")
    (folder / "asleep/config.json").write_text(json.dumps(document))
    return folder


def _name(program: str) -> str:
    return f"inn-bench-{Path(program).name}"  # it is also the name of a cgroup


def _state(bundle: Path, program: str) -> tuple[str, ...]:
    return (program, "--root", str(bundle / f"state-{Path(program).name}"))


def _runs(programs: dict[str, str], bundle: Path) -> dict[str, Command]:
    def command(program: str) -> Command:
        return Command(argv=(*_state(bundle, program), "run", "-b", str(bundle), _name(program)))

    return _working(programs, command)


def _execs(programs: dict[str, str], bundle: Path) -> dict[str, Command]:
    def command(program: str) -> Command:
        asleep = str(bundle / "asleep")
        _call(bundle, program, "run", "--detach", "-b", asleep, _name(program))
        return Command(argv=(*_state(bundle, program), "exec", _name(program), "true"))

    return _working(programs, command)


def _working(programs: dict[str, str], make: Callable[[str], Command]) -> dict[str, Command]:
    """Return the commands that work; crun does not on every mixture of cgroups."""
    commands = {}
    for name, program in programs.items():
        command = make(program)
        try:
            check(command)
        except BenchError:
            if name != CRUN:
                raise
            continue
        commands[name] = command
    return commands


def _call(bundle: Path, program: str, *args: str) -> None:
    null = subprocess.DEVNULL
    subprocess.run(
        [*_state(bundle, program), *args], stdin=null, stdout=null, stderr=null, check=False
    )


def _rows(
    what: str, aim: Aim, samples: dict[str, list[Sample]], *, beside: str = "runc"
) -> list[Row]:
    ours, peer = samples[OURS], samples[PEER]
    return [
        Row(benchmark="oci", figure=f"{what} of true beside {beside}, wall", unit="ms",
            ours=_ms(wall(ours)), peer=_ms(wall(peer)), aim=aim),
        Row(benchmark="oci", figure=f"{what} of true beside {beside}, CPU", unit="ms",
            ours=_ms(cpu(ours)), peer=_ms(cpu(peer))),
    ]  # fmt: skip


def _ms(spread: Spread) -> Spread:
    return Spread(tuple(value * 1000 for value in spread.values))
