"""`inn run --engine container` of a user without privileges."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.guests.containers.harness import IMAGE, Inn, needs_busybox
from tests.guests.containers.userinn import UID, user_inn

pytestmark = [
    needs_busybox,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody without privileges"),
]


@pytest.fixture(scope="module")
def user() -> Iterator[Inn]:
    with user_inn("rootless-engine", subids=False) as made:
        yield made


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


def test_attached_to(user: Inn) -> None:
    script = "while read -r x; do echo got $x >/dev/stdout; done; exit 4"
    assert user("create", "-i", "--name", "u", IMAGE, "sh", "-c", script).returncode == 0
    done = user("start", "-ai", "u", input=b"one\ntwo\n")
    assert (done.returncode, done.stdout) == (4, b"got one\ngot two\n"), done.stderr
    assert user("restart", "u").returncode == 0
    with user.start("attach", "u", stdin=-1) as attached:
        assert attached.stdin is not None and attached.stdout is not None
        attached.stdin.write(b"three\n")
        attached.stdin.flush()
        assert attached.stdout.readline() == b"got three\n"
        assert user("kill", "u").returncode == 0 and attached.wait() == 137
    assert user("logs", "--tail", "1", "u").stdout == b"got three\n"
    assert user("rm", "u").returncode == 0 and user.left() == []


def test_its_health(user: Inn) -> None:
    words = ["-d", "--name", "u", "--health-cmd", "test -e /good", "--health-interval", "1h"]
    assert user.run(*words, IMAGE, "sleep", "1000").returncode == 0
    assert user("healthcheck", "run", "u").stdout == b"starting\n"
    assert user("exec", "u", "touch", "/good").returncode == 0
    assert user("healthcheck", "run", "u").stdout == b"healthy\n"
    assert user("rm", "-f", "u").returncode == 0 and user.left() == []


def test_it_ends_with_its_inn(user: Inn) -> None:
    with user.start(
        "run", "--engine", "container", IMAGE, "sh", "-c", "echo ready; sleep 1000"
    ) as running:
        assert running.stdout is not None and running.stdout.readline() == b"ready\n"
        running.kill()
        assert running.stdout.read() == b""  # the kernel has killed it: nobody has that open
    assert user("system", "prune").returncode == 0 and user.left() == []


def test_it_moves(user: Inn) -> None:
    user("create", "--name", "u", IMAGE, "cat", "/f")
    (user.folder / "f").write_text("mine")
    assert user("cp", str(user.folder / "f"), "u:/f").returncode == 0
    data = user("export", "u").stdout
    assert user("import", "--name", "v", "-", input=data).returncode == 0
    assert user("start", "-a", "v").stdout == b"mine"
    assert user("rm", "u", "v").returncode == 0 and user.left() == []


def test_a_limit_is_kept_or_an_error(user: Inn) -> None:
    done = user.run("--memory", "16M", IMAGE, "tail", "/dev/zero")
    refused = done.returncode == 125 and b"memory" in done.stderr
    assert refused or (done.returncode == 137 and b"more memory than 16 MiB" in done.stderr)
    assert user.left() == []
