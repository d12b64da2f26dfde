"""`inn` killed before each of its steps: what it leaves is found and removed."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from tests.guests.containers.harness import IMAGE, TIMEOUT_S, Inn
from tests.guests.containers.userinn import UserInn, user_inn

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
import innkeeper.containers.launch, innkeeper.containers.idmaps
import innkeeper.guests.containers.foreground, innkeeper.guests.containers.inside
import innkeeper.guests.containers.streams
setattr(resolve_name(place), name, lambda *a, **k: os.kill(os.getpid(), 9))
from innkeeper.cli.quick import main
main()
"""


ROOTLESS_STEPS = (
    "innkeeper.guests.containers.roots.own_maps",
    "innkeeper.guests.containers.inside._call",
    "innkeeper.guests.containers.inside._result",
    "innkeeper.guests.containers.roots.mounter",
    "innkeeper.containers.idmaps.write_maps",
    *STEPS,
)
DETACHED_STEPS = (
    "innkeeper.guests.containers.streams._listen",
    "innkeeper.guests.containers.streams.Streams.launch",
    "innkeeper.guests.containers.making.launch_now",
    "innkeeper.guests.containers.records.Record.change",
    "innkeeper.guests.containers.streams.Streams.become_attendant",
)
IMPORT_STEPS = (
    "innkeeper.guests.containers.arriving.nameless_image",
    "innkeeper.images.oci.commit._put_image",
    "innkeeper.guests.containers.detached.create",
    "innkeeper.guests.containers.records._claim",
    "innkeeper.guests.containers.roots.prepare_rootfs",
    "innkeeper.guests.containers.making.launch_of",
    "innkeeper.guests.containers.ending.keep",
)
CREATE_STEPS = (
    "innkeeper.guests.containers.records._claim",
    "innkeeper.guests.containers.roots.prepare_rootfs",
    "innkeeper.guests.containers.making.launch_of",
    "innkeeper.guests.containers.ending.keep",
)
NO_USER = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")


@pytest.fixture(scope="module")
def user() -> Iterator[UserInn]:
    with user_inn("rootless-crash", subids=True) as made:
        yield made


def killed(
    inn: Inn, step: str, words: list[str], command: list[str] | None = None, data: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Run `inn` with the blow in place of a step."""
    run = [*(command or ["run", "--engine", "container"]), *words]
    done = subprocess.run(
        [*inn.python_argv(), "-c", SCRIPT, step, *run], env=inn.env, input=data,
        capture_output=True, check=False, timeout=TIMEOUT_S,
    )  # fmt: skip
    # Some steps are taken by the process that stays beside a detached container, or works as root.
    if "-d" in words and done.returncode == 0:  # it lives on and ends by itself
        inn("wait", "crash")
    else:
        assert done.returncode == -signal.SIGKILL or b"was killed" in done.stderr, done.stderr
    return done


def swept(inn: Inn) -> None:
    """Check that `prune` finds what there is, and that the name is free again."""
    assert inn("system", "prune").returncode == 0
    assert inn.left() == []
    assert inn.run("--name", "crash", IMAGE, "true").returncode == 0


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.rpartition(".")[2])
@pytest.mark.parametrize("options", [[], ["-d", "--rm"]], ids=["foreground", "detached"])
def test_killed_before(inn: Inn, step: str, options: list[str]) -> None:
    killed(inn, step, [*options, "--name", "crash", IMAGE, "sleep", "0.2"])
    swept(inn)


@pytest.mark.parametrize("step", DETACHED_STEPS, ids=lambda step: step.rpartition(".")[2])
@pytest.mark.parametrize("options", [["--rm"], [], ["-it"]], ids=["removed", "kept", "terminal"])
def test_what_stays_killed_before(inn: Inn, step: str, options: list[str]) -> None:
    """The process that is to stay beside a detached container; what is kept is one that ended."""
    killed(inn, step, ["-d", *options, "--name", "crash", IMAGE, "sleep", "0.2"])
    inn("rm", "-f", "crash")
    swept(inn)


@pytest.mark.parametrize("step", CREATE_STEPS, ids=lambda step: step.rpartition(".")[2])
def test_create_killed_before(inn: Inn, step: str) -> None:
    done = killed(inn, step, ["--name", "crash", IMAGE, "true"], command=["create"])
    assert done.returncode == -signal.SIGKILL
    assert inn("system", "prune").returncode == 0
    inn("rm", "crash")
    swept(inn)


@pytest.mark.parametrize("step", IMPORT_STEPS, ids=lambda step: step.rpartition(".")[2])
def test_import_killed_before(inn: Inn, step: str) -> None:
    inn("create", "--name", "crash", IMAGE, "true")
    data, images = inn("export", "crash").stdout, inn("image", "ls", "-o", "json").stdout
    inn("rm", "crash")
    done = killed(inn, step, ["-"], command=["import"], data=data)
    assert done.returncode == -signal.SIGKILL
    assert inn("system", "prune").returncode == 0
    inn("rm", "crash")
    swept(inn)
    assert inn("image", "prune").returncode == 0

    assert inn("image", "ls", "-o", "json").stdout == images


@NO_USER
@pytest.mark.parametrize("step", ROOTLESS_STEPS, ids=lambda step: step.rpartition(".")[2])
def test_a_users_killed_before(user: UserInn, step: str) -> None:
    """The folders that other users of /etc/subuid own are removed, too."""
    script = "mkdir /v; touch /v/f; busybox chown -R 7:7 /v; busybox chmod 0 /v"
    killed(user, step, ["--name", "crash", IMAGE, "sh", "-c", script])
    swept(user)
