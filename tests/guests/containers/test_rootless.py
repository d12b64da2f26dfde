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


def test_a_limit_is_kept_or_an_error(user: Inn) -> None:
    done = user.run("--memory", "16M", IMAGE, "tail", "/dev/zero")
    refused = done.returncode == 125 and b"memory" in done.stderr
    assert refused or (done.returncode == 137 and b"more memory than 16 MiB" in done.stderr)
    assert user.left() == []
