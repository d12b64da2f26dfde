"""`inn` killed before each of its steps: what it leaves is found and removed."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.guests.containers.harness import IMAGE, TIMEOUT_S, Inn

STEPS = (
    "innkeeper.guests.containers.records._claim",
    "innkeeper.guests.containers.roots.prepare_rootfs",
    "innkeeper.guests.containers.making.make_bundle",
    "innkeeper.guests.containers.making.launch_of",
    "innkeeper.guests.containers.making.launch_now",
    "innkeeper.containers.launch.Launch._spawn",
    "innkeeper.containers.launch.Launch._attend",
    "innkeeper.containers.launch.Launch._finish",
    "innkeeper.guests.containers.ending.note_end",
    "innkeeper.guests.containers.ending.stop_holding",
    "innkeeper.guests.containers.ending.release_rootfs",
    "innkeeper.guests.containers.records.remove_tree",
)
SCRIPT = """
import os, sys
from pkgutil import resolve_name
place, _, name = sys.argv.pop(1).rpartition(".")
import innkeeper.containers.launch, innkeeper.guests.containers.foreground
setattr(resolve_name(place), name, lambda *a, **k: os.kill(os.getpid(), 9))
from innkeeper.cli.quick import main
main()
"""


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.rpartition(".")[2])
@pytest.mark.parametrize("options", [[], ["-d", "--rm"]], ids=["foreground", "detached"])
def test_killed_before(inn: Inn, step: str, options: list[str]) -> None:
    words = ["run", "--engine", "container", *options, "--name", "crash", IMAGE, "sleep", "0.2"]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, step, *words], env=inn.env, stdin=subprocess.DEVNULL,
        capture_output=True, check=False, timeout=TIMEOUT_S,
    )  # fmt: skip
    # Of a detached container, some steps are taken by the process that stays beside it.
    if not options:
        assert done.returncode == -signal.SIGKILL, done.stderr
    elif done.returncode == 0:  # it lives on and ends by itself
        inn("wait", "crash")
    else:
        assert done.returncode == -signal.SIGKILL or b"was killed" in done.stderr, done.stderr
    assert inn("system", "prune").returncode == 0
    assert inn.left() == []
    assert inn.run("--name", "crash", IMAGE, "true").returncode == 0
