"""Rows of `oci`: a whole `inn run --engine container` of `true`, beside podman with runc.

Both get the same root file system, no network, and remove their container at its end.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from bench.process import BenchError, Command, Sample, check, interleave, run
from bench.subject import OURS, PEER, Subject

PODMAN = "podman"
_INN = Path(__file__).resolve().parents[2] / "inn"
# podman asks for more than a sandbox without CAP_SYS_RESOURCE may have.
_LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096")


def container_samples(subject: Subject, rootfs: Path, runs: int) -> dict[str, list[Sample]]:
    """Time both; nothing where there is no podman, or it does not work here."""
    podman = shutil.which(PODMAN)
    if podman is None:
        return {}
    folder = subject.folder / "container"
    folder.mkdir()
    ours = _ours(folder, rootfs)
    try:
        commands = {OURS: ours, PEER: _podman(podman, folder, rootfs)}
        for command in commands.values():
            check(command)
    except (BenchError, subprocess.CalledProcessError):
        return {}
    return interleave(commands, runs, run)


def _ours(folder: Path, rootfs: Path) -> Command:
    env = {f"XDG_{kind}_HOME": str(folder / kind) for kind in ("DATA", "STATE")}
    subprocess.run(
        [_INN, "image", "import", rootfs, "bench"], env={**os.environ, **env}, check=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    words = ("run", "--engine", "container", "--network", "none", "bench", "--", "true")
    return Command(argv=(str(_INN), *words), env=env)


def _podman(podman: str, folder: Path, rootfs: Path) -> Command:
    archive = folder / "rootfs.tar"
    subprocess.run(["tar", "-C", rootfs, "-cf", archive, "."], check=True)
    start = (
        podman, "--root", str(folder / "podman"), "--runroot", str(folder / "podman-run"),
        "--cgroup-manager", "cgroupfs", "--runtime", "runc",
    )  # fmt: skip
    subprocess.run([*start, "import", archive, "bench:1"], check=True, capture_output=True)
    words = ("run", "--rm", *_LIMITS, "--network", "none", "bench:1", "true")
    return Command(argv=(*start, *words))
