"""`inn run --engine container` of a user without privileges."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guests.containers.harness import IMAGE, Inn, make_inn, needs_busybox

UID = 23457
pytestmark = [
    needs_busybox,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody without privileges"),
]


class UserInn(Inn):
    """`inn` of another user, by a Python that he can reach."""

    def __init__(self, folder: Path, python: str) -> None:
        super().__init__(folder)
        self.python = python
        self.env["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        self.env.pop("XDG_RUNTIME_DIR", None)
        self.env["HOME"] = str(folder)

    def argv(self, *args: str) -> list[str]:
        user = ["setpriv", "--reuid", str(UID), "--regid", str(UID), "--clear-groups", "--"]
        return [*user, self.python, "-m", "innkeeper", *args]


@pytest.fixture(scope="module")
def user() -> Iterator[Inn]:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    python = shutil.which(version, path="/usr/bin")
    if python is None or not shutil.which("setpriv"):
        pytest.skip(f"needs setpriv and a {version} in /usr/bin that another user can run")
    home = Path(f"/tmp/inn-rootless-engine-{os.getpid()}")
    home.mkdir(mode=0o755)
    os.chown(home, UID, UID)
    made = UserInn(home, python)
    try:
        probe = subprocess.run(
            made.argv("--version"), env=made.env, capture_output=True, check=False
        )
        if probe.returncode:
            pytest.skip(f"another user cannot run this checkout: {probe.stderr.decode()[-200:]}")
        yield make_inn(home, made)
    finally:
        shutil.rmtree(home)


def test_root_inside_is_the_user_outside(user: Inn) -> None:
    done = user.run(
        IMAGE, "sh", "-c", "id -u; touch /x; cat /proc/self/uid_map; cat; exit 5", input=b"in"
    )
    words = done.stdout.decode().split()
    assert (done.returncode, words) == (5, ["0", "0", str(UID), "1", "in"])
    assert user.left() == []


def test_what_a_user_cannot_have(user: Inn) -> None:
    other = user.run("-u", "web", IMAGE, "true")
    assert other.returncode == 2 and b"uidmap" in other.stderr
    assert user.run("-v", "/root:/r", IMAGE, "ls", "/r").returncode != 0
    assert user.left() == []


def test_detached(user: Inn) -> None:
    script = "trap 'exit 4' TERM; echo out; while :; do sleep 0.1; done"
    assert user.run("-d", "--name", "u", IMAGE, "sh", "-c", script).returncode == 0
    assert user("exec", "u", "id", "-u").stdout == b"0\n"
    assert user("stop", "u").returncode == 0 and user("wait", "u").stdout == b"4\n"
    assert user("logs", "u").stdout == b"out\n" and user("rm", "u").returncode == 0
    assert user.left() == []


def test_a_limit_is_kept_or_an_error(user: Inn) -> None:
    done = user.run("--memory", "16M", IMAGE, "tail", "/dev/zero")
    refused = done.returncode == 125 and b"memory" in done.stderr
    assert refused or (done.returncode == 137 and b"more memory than 16 MiB" in done.stderr)
    assert user.left() == []
