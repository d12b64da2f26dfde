"""Kill the runtime, or the container's process, before each step: `delete --force` finds it all."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.containers.oci.kit import REPO, Bundle

# Every STRIDE-th step; INN_TEST_STRIDE=1 for each one.
STRIDE = int(os.environ.get("INN_TEST_STRIDE", "9"))
KILLER = Path(__file__).with_name("killer.py")
MOST_STEPS = 2000


def attempt(bundle: Bundle, number: int, side: str, command: str) -> int:
    """Run one command with the blow at its N-th step; return how it ended."""
    done = subprocess.run(
        [*bundle.interpreter, str(KILLER), str(REPO / "src"), str(number), side, "--root", str(bundle.state), command, bundle.id],
        cwd=bundle.directory, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        timeout=60,
    )  # fmt: skip
    return done.returncode


def processes(bundle: Bundle) -> list[int]:
    """Return processes that are in a cgroup of the container's, or wait in one of its descriptors."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (
                bundle.id in (entry / "cgroup").read_text()
                or bundle.id.encode() in (entry / "cmdline").read_bytes()
            ):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def swept(bundle: Bundle) -> None:
    assert bundle.oci("delete", "--force", bundle.id).returncode == 0
    assert not (bundle.state / bundle.id).exists()
    deadline = time.monotonic() + 30
    while processes(bundle):  # a killed process takes its moment
        assert time.monotonic() < deadline, processes(bundle)
    assert bundle.cgroups() == []


@pytest.mark.parametrize(
    "side,command", [("runtime", "create"), ("runtime", "run"), ("process", "run")]
)
def test_a_kill_before_any_step_leaves_nothing(bundle: Bundle, side: str, command: str) -> None:
    bundle.mount("/sys/fs/cgroup", "ro", kind="cgroup", source="cgroup")
    bundle.linux["resources"] = {"pids": {"limit": 100}}
    bundle.write()
    blows = 0
    for number in range(1, MOST_STEPS, STRIDE):
        ended = attempt(bundle, number, side, command)
        swept(bundle)
        assert bundle.mounts() == []
        if ended == 0:
            break
        blows += 1
        assert ended in (-9, 1, 137)  # killed, or it says that its process was, or passes that on
    else:
        pytest.fail("the command never came to its end")
    assert blows * STRIDE > 40


@pytest.mark.parametrize("command", ["delete", "start", "kill"])
def test_a_kill_of_later_commands_leaves_a_container_that_can_be_deleted(
    bundle: Bundle, command: str
) -> None:
    for number in range(1, MOST_STEPS, STRIDE):
        bundle.create()
        ended = attempt(bundle, number, "runtime", command)
        swept(bundle)
        if ended == 0:
            break


def test_a_record_that_was_never_written_is_swept(bundle: Bundle) -> None:
    (bundle.state / bundle.id).mkdir(parents=True)
    swept(bundle)
    (bundle.state / bundle.id).mkdir(parents=True)
    (bundle.state / bundle.id / "state.json").write_text("{ half")
    assert bundle.oci("state", bundle.id).returncode == 1
    assert bundle.oci("list").returncode == 0
    swept(bundle)
